"""Image files with objects marked in them: what `COCODetection` and `VOCDetection` share."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from jaxcv.arguments import check_choice
from jaxcv.data.decode import MAX_PIXELS, DecodeError
from jaxcv.data.detection.objects import (
    MAX_BOXES,
    BoxCounts,
    Objects,
    OnBadBox,
    check_object_count,
    check_settings,
    checked_objects,
    detection_record,
    log_counts,
)
from jaxcv.data.fit import Fit, Size, size_pair
from jaxcv.data.image_reader import ImageReader
from jaxcv.data.named_files import first_outside
from jaxcv.data.orientation import (
    Header,
    MarkedOn,
    read_header,
    upright_boxes,
)
from jaxcv.data.source import Record
from jaxcv.names import nearest_name


@dataclasses.dataclass(frozen=True, kw_only=True)
class MarkedFiles:
    """How marked image files are read and checked.

    Attributes:
      test_fraction: part taken as the test set where nothing else says which.
      split_seed: another seed takes another part.
      size: bring images to this size, and boxes with them; None needs images of one size.
      fit: `pad` (letterbox) or `stretch`, see `fit_image`.
      channels: 1 or 3.
      max_pixels: larger images raise.
      max_boxes: rows M of a record; an image with more objects is an error on opening.
      on_bad_box: whether a box without area is dropped and counted, or raises.
      boxes_on: whether boxes are those of the upright image, or of the pixels as stored, see
        `orientation`.
      check_files: compare the size of every image with what its annotations say when the data set
        is opened, which reads the headers of all images; False does so when an image is read.
      allow_outside_root: let the names of files lead out of their folders: by `..`, as absolute paths,
        by links.
    """

    test_fraction: float = 0.2
    split_seed: int = 0
    size: Size = None
    fit: Fit = "pad"
    channels: Literal[1, 3] = 3
    max_pixels: int = MAX_PIXELS
    max_boxes: int = MAX_BOXES
    on_bad_box: OnBadBox = "drop"
    boxes_on: MarkedOn = "upright"
    check_files: bool = True
    allow_outside_root: bool = False

    def check(self) -> None:
        """Raises ValueError for settings out of range."""
        check_settings(self.fit, self.max_boxes, self.on_bad_box)
        check_choice("boxes_on", self.boxes_on, get_args(MarkedOn))
        size_pair(self.size)


@dataclasses.dataclass(frozen=True, eq=False)
class Marks:
    """What an annotation file tells of one image.

    Attributes:
      image: file of the image.
      name: what to call the annotations in a message.
      boxes: float64 [N, 4], corners in pixels.
      classes: int32 [N].
      ignored: bool [N].
      area: float64 [N], NaN for the box's own; None for all boxes' own.
      size: (height, width) of the image as the annotations tell it; None where they do not.
    """

    image: pathlib.Path
    name: str
    boxes: np.ndarray
    classes: np.ndarray
    ignored: np.ndarray
    area: np.ndarray | None = None
    size: tuple[int, int] | None = None


class MarkedFileSource:
    """Images and their objects, read and decoded from files.

    Args:
      settings: how to read and check them.
      marks: [N] what is marked in each image.
      class_names: names of the classes.
      data: what to call the data set in the log.
      folder: the folder of the images, which their paths do not lead out of.

    Attributes:
      class_names: names of the classes.
      box_counts: boxes clipped and dropped, over all records.
      image_sizes: [N] (height, width) of each upright image.

    Raises:
      ValueError: an image is outside the folder, missing, or not of the size that its annotations tell;
        a box is as `checked_objects` refuses it; there are more objects in an image than `max_boxes`.
    """

    def __init__(
        self,
        settings: MarkedFiles,
        marks: Sequence[Marks],
        class_names: tuple[str, ...],
        data: str,
        folder: pathlib.Path,
    ):
        self.class_names, self.box_counts = class_names, BoxCounts()
        self._settings = settings
        self.image_reader = ImageReader(
            size=settings.size,
            fit=settings.fit,
            channels=settings.channels,
            max_pixels=settings.max_pixels,
            decode_margin=None,  # Boxes are checked against the whole image.
        )
        self._paths = [each.image for each in marks]
        self._names = [each.name for each in marks]
        if not settings.allow_outside_root:
            check_inside(folder, self._paths, self._names)
        self._check_present()
        self.image_sizes: list[tuple[int, int]] = []
        self._objects: list[Objects] = []
        for each in marks:
            size, objects, counts = _placed(each, settings)
            self.image_sizes.append(size)
            self._objects.append(objects)
            self.box_counts += counts
        most = max(map(len, self._objects))
        for path, objects in zip(self._paths, self._objects):
            check_object_count(len(objects), settings.max_boxes, os.fspath(path), most)
        log_counts(data, self.box_counts)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Record:
        settings, path = self._settings, self._paths[index]
        image = self.image_reader.read_whole(path)
        if image.shape[:2] != self.image_sizes[index]:
            raise _wrong_size(self._names[index], self.image_sizes[index], path, image.shape[:2])
        return detection_record(
            image,
            self._objects[index],
            size=settings.size,
            fit=settings.fit,
            max_boxes=settings.max_boxes,
            record=os.fspath(path),
        )

    def fingerprint_arrays(self) -> dict[str, np.ndarray]:
        """Boxes and classes of all objects, in order, and how many there are in each image."""
        return {
            "boxes": np.concatenate([each.boxes for each in self._objects]),
            "classes": np.concatenate([each.classes for each in self._objects]),
            "ignored": np.concatenate([each.ignored for each in self._objects]),
            "objects": np.asarray([len(each) for each in self._objects]),
        }

    def record_name(self, index: int) -> str:
        """Path of the image."""
        return os.fspath(self._paths[index])

    def _check_present(self) -> None:
        missing = [i for i, path in enumerate(self._paths) if not path.is_file()]
        if not missing:
            return
        path = self._paths[missing[0]]
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ValueError(
            f"{self._names[missing[0]]}: its image {path} is missing; {len(missing)} of "
            f"{len(self._paths)} images are{nearest_name(path.name, beside)}. Is the folder of the "
            "images the right one?"
        )


def check_inside(folder: pathlib.Path, paths: Sequence[pathlib.Path], names: Sequence[str]) -> None:
    """Raises ValueError where a path leads out of a folder.

    Args:
      folder: the folder.
      paths: [N].
      names: [N] what to call that which names each path.
    """
    place = first_outside(folder, paths)
    if place is not None:
        raise ValueError(
            f"{names[place]}: {paths[place]} leads out of {folder}; give the folder that holds all files, "
            "or allow_outside_root=True where that is meant"
        )


def _placed(marks: Marks, settings: MarkedFiles) -> tuple[tuple[int, int], Objects, BoxCounts]:
    """Size of the upright image, its objects in it, and what became of their boxes."""
    header = None
    if settings.check_files or settings.boxes_on == "stored" or marks.size is None:
        header = read_header(marks.image)
        if header is None and marks.size is None:
            raise DecodeError(os.fspath(marks.image), "is no image of a known format")
    size = marks.size
    if header is not None:
        found = header.annotated_size(settings.boxes_on)
        if size is not None and size != found:
            raise _wrong_size(marks.name, size, marks.image, found, header)
        size = found
    assert size is not None
    objects, counts = checked_objects(
        marks.boxes,
        marks.classes,
        size=size,
        record=marks.name,
        ignored=marks.ignored,
        area=marks.area,
        on_bad_box=settings.on_bad_box,
    )
    if header is not None and settings.boxes_on == "stored":
        boxes = upright_boxes(objects.boxes, header)
        return header.upright_size, dataclasses.replace(objects, boxes=boxes), counts
    return size, objects, counts


def _wrong_size(
    name: str,
    told: Sequence[int],
    path: pathlib.Path,
    found: Sequence[int],
    header: Header | None = None,
) -> ValueError:
    turned = ""
    if header is not None and told in (header.stored_size, header.upright_size):
        turned = (
            f". Its EXIF orientation is {header.orientation}: say by boxes_on whether the boxes are "
            "those of the upright image or of the stored pixels"
        )
    return ValueError(
        f"{name}: is for an image of {told[0]} x {told[1]} pixels (height x width), but {path} has "
        f"{found[0]} x {found[1]}; the annotations belong to another version of it{turned}"
    )
