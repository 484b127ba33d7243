"""Detection data in COCO's format: a folder of images and one JSON file."""

import dataclasses
import os
import pathlib
from collections.abc import Hashable, Sequence

import numpy as np

from jaxcv.data.detection.coco_file import CocoTable, check_images_once, read_coco
from jaxcv.data.detection.marked_files import MarkedFiles, MarkedFileSource, Marks
from jaxcv.data.finding import existing_folder
from jaxcv.data.named_files import file_keys
from jaxcv.data.source import Source, Split, check_split, stratified_split


@dataclasses.dataclass(frozen=True, kw_only=True)
class COCODetection(MarkedFiles):
    """Images in a folder, and what is in them in a JSON file as COCO's `instances_*.json`.

    The classes are the categories in the order of their ids, whatever the ids are; those of the
    training file hold for all splits. `iscrowd` marks an object that need not be found. Images
    without annotations are records like others. The test set is that of `test_annotations`, or
    else a fixed part of the training images, chosen by a digest of their names; the validation set
    is there where its annotations are given. Everything is checked when a split is opened; one picture
    under two image ids, or in two splits, is refused however its name is spelt.

    The source has besides, to write results in COCO's format, `image_ids` int64 [N], `category_ids`
    int64 [C] and `annotation_file`; and `box_counts`.

    T.-Y. Lin et al., Microsoft COCO: common objects in context, ECCV 2014; the format is described
    at https://cocodataset.org/#format-data.

    Attributes:
      images: folder of the training images; names in the JSON file are relative to it.
      annotations: JSON file of the training images.
      test_images: folder of the test images; None: that of the training images.
      test_annotations: JSON file of the test images.
      validation_images: folder of the validation images; None: that of the training images.
      validation_annotations: JSON file of the validation images.

    The other fields are those of `MarkedFiles`.

    Example:
      >>> data = COCODetection(
      ...     images="coco/train2017",
      ...     annotations="coco/annotations/instances_train2017.json",
      ...     test_images="coco/val2017",
      ...     test_annotations="coco/annotations/instances_val2017.json",
      ...     size=640,
      ... )
      >>> data.max_boxes
      100
    """

    images: str
    annotations: str
    test_images: str | None = None
    test_annotations: str | None = None
    validation_images: str | None = None
    validation_annotations: str | None = None

    def open(self, split: Split) -> Source:
        """Reads the annotations of one split and checks them; no image is decoded yet."""
        self.check()
        files = {
            "train": (self.images, self.annotations),
            "validation": (self.validation_images, self.validation_annotations),
            "test": (self.test_images, self.test_annotations),
        }
        given = [part for part, (_, file) in files.items() if file]
        for part, (given_folder, file) in files.items():
            if given_folder and not file:
                raise ValueError(f"{part}_images is given without {part}_annotations")
        if "validation" in given and "test" not in given:
            raise ValueError("with validation_annotations, give test_annotations too")
        check_split(split, f"the data set of {self.annotations}", sorted({*given, "train", "test"}))
        train = read_coco(self.annotations)
        by_chance = "test" not in given
        told, file = files["train" if by_chance else split]
        folder = existing_folder(told or self.images)
        table = train if by_chance else read_coco(file or "")
        _check_categories(table, train)
        keys = file_keys([folder / name for name in table.file_names])
        check_images_once(table.path, table.image_ids.tolist(), table.file_names, keys)
        if table is not train:
            _check_apart(table, keys, train, existing_folder(self.images))
        chosen = np.arange(len(table.image_ids))
        if by_chance:
            strata = np.zeros(len(chosen), np.int32)
            parts = stratified_split(strata, table.file_names, self.test_fraction, self.split_seed)
            chosen = parts[split == "test"]
            if not len(chosen):
                raise ValueError(
                    f"{table.path}: of its {len(table.image_ids)} images, none is for {split!r}; give "
                    "test_annotations, or another test_fraction"
                )
        return CocoSource(self, table, train, chosen, folder)


class CocoSource(MarkedFileSource):
    """Images and objects of a COCO file.

    Args:
      dataset: how to read and check them.
      table: the file.
      train: the file that tells the classes.
      chosen: int [N], which images of it.
      folder: of the images.

    Attributes:
      image_ids: int64 [N], COCO's id of each record.
      category_ids: int64 [C], COCO's id of each class.
      annotation_file: the file.
    """

    def __init__(
        self,
        dataset: COCODetection,
        table: CocoTable,
        train: CocoTable,
        chosen: np.ndarray,
        folder: pathlib.Path,
    ):
        self.image_ids = table.image_ids[chosen]
        self.category_ids, self.annotation_file = train.category_ids, table.path
        labels = np.searchsorted(train.category_ids, table.categories).astype(np.int32)
        marks = []
        for image in chosen.tolist():
            rows = table.rows(image)
            name = table.file_names[image]
            marks.append(
                Marks(
                    image=folder / name,
                    name=f"{table.path}: image id {table.image_ids[image]} ({name})",
                    boxes=table.boxes[rows],
                    classes=labels[rows],
                    ignored=table.crowds[rows],
                    area=table.areas[rows],
                    size=(int(table.sizes[image, 0]), int(table.sizes[image, 1])),
                )
            )
        super().__init__(dataset, marks, train.category_names, os.fspath(table.path), folder)


def _check_apart(
    table: CocoTable, keys: Sequence[Hashable], train: CocoTable, folder: pathlib.Path
) -> None:
    """Raises ValueError where a picture of a file is one of the training file's.

    Args:
      table: the file.
      keys: [N] what tells its pictures from others, see `file_keys`.
      train: the training file.
      folder: of the training images.
    """
    places = {key: place for place, key in enumerate(keys)}
    for place, key in enumerate(file_keys([folder / name for name in train.file_names])):
        if key in places:
            i = places[key]
            raise ValueError(
                f"{table.path}: image id {table.image_ids[i]} ({table.file_names[i]}) is the picture of "
                f"image id {train.image_ids[place]} of {train.path}, which is for training; a picture must "
                "be in one split"
            )


def _check_categories(table: CocoTable, train: CocoTable) -> None:
    """Raises ValueError where a file's categories are not among those of the training file."""
    known = dict(zip(train.category_ids.tolist(), train.category_names))
    for number, name in zip(table.category_ids.tolist(), table.category_names):
        if known.get(number) != name:
            there = f"calls it {known[number]!r}" if number in known else "does not have it"
            raise ValueError(
                f"{table.path}: category id {number} is {name!r}, but {train.path}, whose categories "
                f"are the classes, {there}; all files must have the same categories"
            )
