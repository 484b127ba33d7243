"""Data sets of people: a folder of folders, and divisions of any data set by identity."""

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from jaxcv.data.decode import MAX_PIXELS
from jaxcv.data.files import Folder
from jaxcv.data.fit import Fit, Size, View
from jaxcv.data.image_reader import ImageReader
from jaxcv.data.random_resized_crop import DecodeRandomResizedCrop
from jaxcv.data.source import (
    Dataset,
    Record,
    Source,
    SourceView,
    Split,
    check_split,
    record_labels,
)
from jaxcv.names import name_bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class People:
    """A folder with one folder of pictures for each person; all pictures are in `train`.

    Which of them are for testing is another's to say: `DisjointIdentities` sets whole people aside,
    `ImagesPerIdentity` some pictures of each. (`Folder` sets a part of the pictures aside itself.)

    Attributes:
      root: the folder; people are numbered in the order of their folders' names.
      size: resize to this size, see `fit_image`; None needs pictures of one size.
      fit: how to resize.
      channels: 1 (grey) or 3 (RGB).
      max_pixels: larger pictures raise.
      apply_exif: bring pictures upright by their EXIF orientation.
    """

    root: str
    size: Size = None
    fit: Fit = "crop"
    channels: Literal[1, 3] = 3
    max_pixels: int = MAX_PIXELS
    apply_exif: bool = True

    def open(self, split: Split) -> Source:
        """Lists the files; no picture is read yet."""
        only_train(split, f"the folder {self.root}")
        # The people's folders are `root` itself, not a folder called "train" below it.
        folder = Folder(train_folder=".", **dataclasses.asdict(self))
        return folder.open("train")


def only_train(split: str, data: str) -> None:
    """Raises ValueError for another split than train, and says how to divide the data."""
    check_split(
        split,
        f"{data}, which DisjointIdentities or ImagesPerIdentity can divide,",
        known=("train",),
    )


class IdentityView:
    """Some records of a source, with labels of their own.

    Args:
      source: the source viewed.
      indices: int [N], positions in `source`.
      labels: int [N], label of each record of the view.
      class_names: names by those labels.
    """

    def __init__(
        self,
        source: Source,
        indices: np.ndarray,
        labels: np.ndarray,
        class_names: tuple[str, ...],
    ):
        self._view = SourceView(source, indices)
        self.labels, self.class_names = labels.astype(np.int32), class_names

    def __len__(self) -> int:
        return len(self._view)

    def __getitem__(self, index: int) -> Record:
        return {**self._view[index], "label": self.labels[index]}

    def __getitems__(self, indices: Sequence[int]) -> list[Record]:
        """Many records at once, where the source viewed can."""
        records = self._view.__getitems__(indices)
        return [{**r, "label": self.labels[i]} for i, r in zip(indices, records)]

    @property
    def image_reader(self) -> ImageReader:
        """That of the source viewed."""
        return self._view.image_reader

    @property
    def random_resized_crop(self) -> DecodeRandomResizedCrop | None:
        """That of the source viewed."""
        return self._view.random_resized_crop

    def read_views(
        self, indices: Sequence[int], views: Sequence[View], target: tuple[int, int]
    ) -> list[Record]:
        """Records of which only a part is shown, where the source viewed can."""
        records = self._view.read_views(indices, views, target)
        return [{**r, "label": self.labels[i]} for i, r in zip(indices, records)]

    def fingerprint_arrays(self) -> dict[str, np.ndarray]:
        """Those of the source viewed, with the view's labels."""
        return {**self._view.fingerprint_arrays(), "label": self.labels}

    def record_name(self, index: int) -> str:
        """Name of the record in the source viewed."""
        return self._view.record_name(index)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DisjointIdentities:
    """Train, validation and test sets of different people: no person is in two of them.

    This is how a face model is judged: on people that it has never seen. People are ordered by
    SHA-256 of "seed:name"; the first are for testing, the next for validation, the others for
    training. So the choice needs no list and is the same everywhere, the test people do not depend
    on the number of validation people, and adding a person moves at most one other. In each set the
    labels are numbered anew from 0, in the order of the labels in `data`, and `class_names` with
    them.

    Attributes:
      data: any data set whose labels are people; people without a record there do not count.
      test_identities: how many people are for testing: a number, or a fraction between 0 and 1, which
        is rounded up.
      validation_identities: the same for validation; 0 for none.
      seed: another seed chooses other people.
      source_split: the split of `data` that is divided.

    Example:
      >>> from jaxcv.data import Digits
      >>> data = DisjointIdentities(data=Digits(), test_identities=3)
      >>> data.open("train").class_names, data.open("test").class_names
      (('0', '1', '2', '3', '5', '6', '8'), ('4', '7', '9'))
    """

    data: Dataset
    test_identities: int | float
    validation_identities: int | float = 0
    seed: int = 0
    source_split: Split = "train"

    def open(self, split: Split) -> Source:
        """Opens the records of the people of one set."""
        source = self.data.open(self.source_split)
        labels = _identity_labels(source)
        present = np.unique(labels)
        names = _names(source, present)
        test = _count("test_identities", self.test_identities, len(present))
        validation = _count("validation_identities", self.validation_identities, len(present))
        if test < 1:
            raise ValueError(f"test_identities must be above 0, not {self.test_identities}")
        if test + validation >= len(present):
            raise ValueError(
                f"{test} test and {validation} validation identities leave none of "
                f"{len(present)} to train on"
            )
        if split == "validation" and not validation:
            raise ValueError("there is no validation set: validation_identities is 0")
        order = sorted(range(len(present)), key=lambda i: _digest(self.seed, names[i]))
        parts = {
            "test": order[:test],
            "validation": order[test : test + validation],
            "train": order[test + validation :],
        }
        check_split(split, "DisjointIdentities", tuple(parts))
        return _renumbered(source, labels, present[np.sort(parts[split])])


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImagesPerIdentity:
    """K images of each person for training, the others for testing: a closed set of people.

    A person's images are ordered by SHA-256 of "seed:name:i", i being the image's number among the
    person's own, and the first K are for training. Labels and class names are those of `data`.

    Attributes:
      data: any data set whose labels are people.
      train_images: K; every person needs more than K images.
      seed: another seed chooses other images.
      source_split: the split of `data` that is divided.

    Example:
      >>> from jaxcv.data import Digits
      >>> len(ImagesPerIdentity(data=Digits(), train_images=5).open("train"))
      50
    """

    data: Dataset
    train_images: int = 5
    seed: int = 0
    source_split: Split = "train"

    def open(self, split: Split) -> Source:
        """Opens the training or the test images of everyone."""
        check_split(split, "ImagesPerIdentity")
        if self.train_images < 1:
            raise ValueError(f"train_images must be at least 1, not {self.train_images}")
        source = self.data.open(self.source_split)
        labels = _identity_labels(source)
        present, counts = np.unique(labels, return_counts=True)
        images_of = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
        chosen: list[int] = []
        for name, images in zip(_names(source, present), images_of):
            if len(images) <= self.train_images:
                least = self.train_images + 1
                raise ValueError(
                    f"{name!r} has {len(images)} images, which leaves none to test after "
                    f"train_images={self.train_images}; leave such people out with "
                    f"FrequentIdentities(data=..., minimum_images={least})"
                )
            order = sorted(range(len(images)), key=lambda i: _digest(self.seed, f"{name}:{i}"))
            kept = order[: self.train_images] if split == "train" else order[self.train_images :]
            chosen.extend(images[kept].tolist())
        return SourceView(source, np.sort(chosen))


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrequentIdentities:
    """The people of a data set who have enough images; the others are left out.

    Who stays is decided on one split and holds for all; labels are numbered anew from 0.

    Attributes:
      data: any data set whose labels are people.
      minimum_images: images that a person needs.
      source_split: the split of `data` in which images are counted.

    Example:
      >>> from jaxcv.data import Digits
      >>> FrequentIdentities(data=Digits(), minimum_images=146).open("test").class_names
      ('3', '5')
    """

    data: Dataset
    minimum_images: int = 2
    source_split: Split = "train"

    def open(self, split: Split) -> Source:
        """Opens what one split has of the people who stay."""
        counted = self.data.open(self.source_split)
        identities, counts = np.unique(_identity_labels(counted), return_counts=True)
        kept = identities[counts >= self.minimum_images]
        if not len(kept):
            raise ValueError(
                f"none of {len(identities)} identities has {self.minimum_images} images; the "
                f"largest has {counts.max()}"
            )
        source = counted if split == self.source_split else self.data.open(split)
        return _renumbered(source, _identity_labels(source), kept)


def _renumbered(source: Source, labels: np.ndarray, kept: np.ndarray) -> Source:
    """The records whose labels are in `kept` (ascending), with labels 0, 1, ... in that order."""
    indices = np.flatnonzero(np.isin(labels, kept))
    if not len(indices):
        raise ValueError(f"there is no record of the {len(kept)} identities chosen")
    return IdentityView(
        source, indices, np.searchsorted(kept, labels[indices]), _names(source, kept)
    )


def _identity_labels(source: Source) -> np.ndarray:
    labels = record_labels(source)
    if labels.dtype.kind != "i":
        raise ValueError(f"{source.record_name(0)}: its label {labels[0]} is a number, no identity")
    return labels


def _names(source: Source, labels: np.ndarray) -> tuple[str, ...]:
    """Names of labels; where the source has none, the numbers themselves."""
    known = source.class_names
    return tuple(known[i] if 0 <= i < len(known) else str(i) for i in labels.tolist())


def _count(field: str, wanted: int | float, total: int) -> int:
    """A number of people, from a number or a fraction."""
    if wanted < 0 or (isinstance(wanted, float) and wanted >= 1 and not wanted.is_integer()):
        raise ValueError(
            f"{field} must be a whole number of people or a fraction between 0 and 1, not {wanted}"
        )
    return math.ceil(round(wanted * total, 6)) if wanted < 1 else int(wanted)


def _digest(seed: int, name: str) -> bytes:
    return hashlib.sha256(name_bytes(f"{seed}:{name}")).digest()
