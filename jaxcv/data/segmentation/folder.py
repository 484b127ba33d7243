"""Folders of images and folders of their masks."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from jaxcv.arguments import check_choice
from jaxcv.data.decode import MAX_PIXELS, DecodeError, upright_size
from jaxcv.data.finding import existing_folder, files_by_name
from jaxcv.data.fit import Fit, Size
from jaxcv.data.formats import accepted_formats
from jaxcv.data.image_reader import ImageReader, read_file
from jaxcv.data.name_lists import check_disjoint, listed_names
from jaxcv.data.named_files import file_keys
from jaxcv.data.orientation import MarkedOn, read_header, upright_pixels
from jaxcv.data.segmentation.masks import (
    IGNORE_LABEL,
    Color,
    MaskValues,
    decode_mask,
    fit_mask,
    wrong_kind,
)
from jaxcv.data.source import Record, Source, Split, check_split, split_view, stratified_split
from jaxcv.limits import MAX_IMAGE_BYTES
from jaxcv.names import nearest_name
from jaxcv.regular_file import open_file

# An image file and its mask.
Pair = tuple[pathlib.Path, pathlib.Path]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskFolder:
    """Images and masks in folders of the same layout, paired by name.

    `images/a/b.jpg` belongs to `masks/a/b.png`: the path below the folder, without suffix, is the
    same. An image without a mask is an error when the data set is opened, a mask without an image
    is not. The test set is `test_images` with `test_masks`, or the names in `test_list`, or else a
    fixed part of the images, chosen by a digest of their names (see `stratified_split`); the
    validation set is there where its folders or its list are given.

    How well-known layouts are written:

    - Pascal VOC: `images="VOC2012/JPEGImages"`, `masks="VOC2012/SegmentationClass"`,
      `train_list="VOC2012/ImageSets/Segmentation/train.txt"`, `test_list=".../val.txt"`. Its masks
      are palette images whose indices are the classes, 255 being ignored: nothing else to set.
    - Cityscapes: `images="leftImg8bit/train"`, `masks="gtFine/train"`, `image_suffix="_leftImg8bit"`,
      `mask_suffix="_gtFine_labelIds"`, `test_images="leftImg8bit/val"`, `test_masks="gtFine/val"`,
      with `class_values` and `ignore_values` of `CITYSCAPES`;
      `mask_suffix="_gtFine_labelTrainIds"` needs neither.
    - ADE20K (scene parsing): `class_values=tuple(range(1, 151))`, `ignore_values=(0,)`.
    - CamVid with masks as it publishes them: `mask_suffix="_L"` and a `palette`.
    - Black and white masks of two classes, 0 and 255: `class_values=(0, 255)`. (Without that, 255
      would be the ignore label.)

    Attributes:
      images: folder of the training images, or of all.
      masks: folder of their masks.
      class_names: name of each class, in the order of the labels.
      validation_images: folder of the validation images.
      validation_masks: folder of their masks.
      test_images: folder of the test images.
      test_masks: folder of their masks.
      train_list: text file with the name of one training image per line, see `listed_names`; None
        takes all that are not in the other lists. No image may be in two parts.
      validation_list: likewise.
      test_list: likewise.
      test_fraction: part taken as the test set where neither folder nor list says which.
      split_seed: another seed takes another part.
      image_suffix: end of the image names, before the file's suffix, that is no part of the name.
      mask_suffix: likewise of the mask names.
      class_values: see `MaskValues`.
      ignore_values: see `MaskValues`.
      ignore_label: see `MaskValues`.
      palette: see `MaskValues`.
      ignore_colors: see `MaskValues`.
      size: bring to this size, see `fit_image` and `fit_mask`; None needs images of one size.
      fit: how.
      channels: of the images, 1 or 3.
      max_pixels: larger images raise.
      apply_exif: bring images, and masks, upright by their EXIF orientation.
      masks_on: whether masks are those of the upright images, or of the pixels as stored, and then turn
        with their images, see `orientation`.
      check_files: compare the sizes of every image and its mask, and look for colour masks, when
        the data set is opened; reads the headers of all files.
    """

    images: str
    masks: str
    class_names: tuple[str, ...]
    validation_images: str | None = None
    validation_masks: str | None = None
    test_images: str | None = None
    test_masks: str | None = None
    train_list: str | None = None
    validation_list: str | None = None
    test_list: str | None = None
    test_fraction: float = 0.2
    split_seed: int = 0
    image_suffix: str = ""
    mask_suffix: str = ""
    class_values: tuple[int, ...] | None = None
    ignore_values: tuple[int, ...] = ()
    ignore_label: int = IGNORE_LABEL
    palette: tuple[Color, ...] | None = None
    ignore_colors: tuple[Color, ...] = ()
    size: Size = None
    fit: Fit = "crop"
    channels: Literal[1, 3] = 3
    max_pixels: int = MAX_PIXELS
    apply_exif: bool = True
    masks_on: MarkedOn = "upright"
    check_files: bool = True

    def open(self, split: Split) -> Source:
        """Pairs the files and opens one part; no image is decoded yet."""
        check_choice("masks_on", self.masks_on, get_args(MarkedOn))
        pairs = self._split_pairs(split)
        if pairs is not None:
            return MaskSource(self, pairs)
        pairs = self._pairs(self.images, self.masks, self._found(self.images, self.masks))
        whole = MaskSource(self, pairs)
        names = [whole.record_name(i) for i in range(len(whole))]
        relative = [
            pathlib.Path(n).relative_to(existing_folder(self.images)).as_posix() for n in names
        ]
        strata = np.zeros(len(whole), np.int32)
        parts = stratified_split(
            strata, relative, self.test_fraction, self.split_seed, groups=file_keys(names)
        )
        return split_view(whole, parts, split, f"the folder {self.images}")

    def _split_pairs(self, split: Split) -> list[Pair] | None:
        """The files of one part; None where the test set is a part taken by chance."""
        folders: dict[str, tuple[Any, Any]] = {
            "train": (self.images, self.masks),
            "validation": (self.validation_images, self.validation_masks),
            "test": (self.test_images, self.test_masks),
        }
        lists = {
            "train": self.train_list,
            "validation": self.validation_list,
            "test": self.test_list,
        }
        for part, (images, masks) in folders.items():
            if (images is None) != (masks is None):
                raise ValueError(f"give both {part}_images and {part}_masks, or neither")
        given = [part for part in ("validation", "test") if folders[part][0] or lists[part]]
        by_chance = "test" not in given
        if by_chance and (given or self.train_list):
            raise ValueError(
                "where some parts are told by folders or lists, the test set must be too: give "
                "test_images and test_masks, or test_list"
            )
        known = ("train", "test", *(part for part in given if part != "test"))
        check_split(split, f"the folder {self.images}", known)
        if by_chance:
            return None
        whole = folders["train"]
        where = {p: folders[p] if folders[p][0] else whole for p in ("train", *given)}
        found = {part: self._found(*where[part]) for part in where}
        names = {
            part: listed_names(lists[part] or "", by_name) if lists[part] else list(by_name)
            for part, by_name in found.items()
        }
        if not self.train_list:
            elsewhere = {
                n for part in given if lists[part] and where[part] == whole for n in names[part]
            }
            names["train"] = [name for name in names["train"] if name not in elsewhere]
        # One file may have two names only where there are two folders.
        several = len(set(where.values())) > 1
        check_disjoint(
            {
                f"{part} ({lists[part] or where[part][0]})": [
                    os.path.realpath(found[part][name]) if several else name for name in names[part]
                ]
                for part in where
            }
        )
        chosen = {name: found[split][name] for name in sorted(names[split])}
        return self._pairs(*where[split], chosen)

    def _found(self, images: str, masks: str) -> dict[str, pathlib.Path]:
        """The images of a folder by name, without the masks that may lie beside them."""
        root = existing_folder(images)
        together = root.resolve() == existing_folder(masks).resolve()
        beside = self.mask_suffix if together and not self.image_suffix else None
        return files_by_name(root, self.image_suffix, beside, companions=together)

    def _pairs(self, images: str, masks: str, by_name: dict[str, pathlib.Path]) -> list[Pair]:
        """Images, some or all of a folder, each with its mask."""
        image_root, mask_root = existing_folder(images), existing_folder(masks)
        masks_by_name = files_by_name(mask_root, self.mask_suffix)
        if not by_name:
            raise ValueError(
                f"{image_root}: there are no images in it"
                + (f" whose names end with {self.image_suffix!r}" if self.image_suffix else "")
            )
        missing = [name for name in by_name if name not in masks_by_name]
        if missing:
            found = f", where {len(masks_by_name)} were found"
            raise ValueError(
                f"{by_name[missing[0]]}: its mask is missing; wanted "
                f"{mask_root / missing[0]}{self.mask_suffix}.png or the like{found}; "
                f"{len(missing)} of {len(by_name)} images have none"
                f"{nearest_name(missing[0], masks_by_name)}"
            )
        return [(path, masks_by_name[name]) for name, path in by_name.items()]


class MaskSource:
    """Images and masks read and decoded from files.

    Args:
      dataset: what the files mean and how to bring them to a size.
      pairs: [N] files.
    """

    def __init__(self, dataset: MaskFolder, pairs: Sequence[Pair]):
        self.pairs, self.class_names = pairs, dataset.class_names
        self._dataset = dataset
        self.image_reader = ImageReader(
            size=dataset.size,
            fit=dataset.fit,
            channels=dataset.channels,
            max_pixels=dataset.max_pixels,
            apply_exif=dataset.apply_exif,
            decode_margin=None,  # An image is decoded whole, as its mask is.
        )
        self._values = MaskValues(
            num_classes=len(dataset.class_names),
            class_values=dataset.class_values,
            ignore_values=dataset.ignore_values,
            ignore_label=dataset.ignore_label,
            palette=dataset.palette,
            ignore_colors=dataset.ignore_colors,
        )
        if dataset.check_files:
            for image, mask in pairs:
                _check_headers(image, mask, dataset)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Record:
        data, (image_path, mask_path) = self._dataset, self.pairs[index]
        image = self.image_reader.read_whole(image_path)
        stored = data.masks_on == "stored"
        mask = decode_mask(
            read_file(mask_path),
            color=data.palette is not None,
            record=os.fspath(mask_path),
            max_pixels=data.max_pixels,
            apply_exif=data.apply_exif and not stored,
        )
        if stored and data.apply_exif and (header := read_header(image_path)) is not None:
            mask = upright_pixels(mask, header.orientation)
        check_mask_size(mask.shape, image.shape, os.fspath(mask_path))
        labels = self._values.labels(mask, os.fspath(mask_path))
        return {
            "image": self.image_reader.fit_pixels(image),
            "label": fit_mask(labels, data.size, data.fit, data.ignore_label),
        }

    def record_name(self, index: int) -> str:
        """Path of the image."""
        return os.fspath(self.pairs[index][0])


def check_mask_size(mask: Sequence[int], image: Sequence[int], record: str) -> None:
    """Raises ValueError if shapes that begin with (height, width) are of different size."""
    if tuple(mask[:2]) != tuple(image[:2]):
        turned = tuple(mask[:2]) == tuple(image[1::-1])
        say = (
            "; if the image is turned by its EXIF orientation, say by masks_on what masks belong to"
        )
        raise ValueError(
            f"{record}: the mask is {mask[0]} x {mask[1]} pixels (height x width), but its image "
            f"is {image[0]} x {image[1]}; they must be of one size{say if turned else ''}"
        )


def _check_headers(image_path: pathlib.Path, mask_path: pathlib.Path, data: MaskFolder) -> None:
    """Looks at sizes and kind without decoding; what cannot be read is left for when it is."""
    try:
        with (
            open_file(mask_path, MAX_IMAGE_BYTES) as mask_file,
            open_file(image_path, MAX_IMAGE_BYTES) as image_file,
            Image.open(mask_file, formats=accepted_formats()) as mask,
            Image.open(image_file, formats=accepted_formats()) as image,
        ):
            wrong = wrong_kind(mask, color=data.palette is not None)
            sizes = upright_size(mask, data.apply_exif), upright_size(image, data.apply_exif)
        if data.masks_on == "stored":
            headers = read_header(mask_path), read_header(image_path)
            sizes = headers[0].stored_size, headers[1].stored_size  # type: ignore[union-attr]
    except Exception:
        return
    if wrong:
        raise DecodeError(os.fspath(mask_path), wrong)
    check_mask_size(*sizes, os.fspath(mask_path))
