"""What a source of records is, and the plain things done to one: taking a part, splitting."""

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from jaxcv.data.fit import View
from jaxcv.data.image_reader import ImageReader
from jaxcv.data.random_resized_crop import DecodeRandomResizedCrop

Split = Literal["train", "validation", "test"]
Record = dict[str, Any]


@runtime_checkable
class Source(Protocol):
    """Records in a fixed order, read by index.

    `source[i]` is a dict of arrays with one static shape per key: `image` uint8 [H, W, C] in 0..255
    and `label`, an int32 scalar (class) or a float32 or float64 scalar (regression). Reading is pure - the
    same index gives the same record - and may happen in several threads at once. A source that
    reads many records faster at once than one by one has `__getitems__(indices) -> list of records`
    besides; `Batches` then uses it. One that knows every label without reading the images has
    `labels` [N]; `record_labels` asks for it. One that can show a part of an image while it decodes
    it has `read_views(indices, views, (height, width))`, and may have a `random_resized_crop`: what
    training batches are to show.

    A source that stands before another, or shows a part of it, hands on its `image_reader`.
    """

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes by label; empty where the label is no class."""
        ...

    @property
    def image_reader(self) -> ImageReader:
        """What reads an image as the records are read: a file for prediction looks as they do."""
        ...

    def __len__(self) -> int:
        """Number of records."""
        ...

    def __getitem__(self, index: int) -> Record:
        """Record `index`, 0 <= index < len."""
        ...

    def record_name(self, index: int) -> str:
        """What to call the record in a message to a person: a file, or a split and number."""
        ...


@runtime_checkable
class Dataset(Protocol):
    """A frozen dataclass that says where the data are; it stands in an experiment's config."""

    def open(self, split: Split) -> Source:
        """Opens one split; ValueError with one clear line where the data are not as described.

        Every data set has "train"; one that has no such split as is asked for says so.
        """
        ...


def check_split(split: str, data: str, known: Sequence[str] = ("train", "test")) -> None:
    """Raises ValueError where a data set is asked for a split that it does not have.

    Args:
      split: what is asked for.
      data: what to call the data set in the message.
      known: the splits that it has.
    """
    if split not in known:
        raise ValueError(f"{data} has no split {split!r}; it has {' and '.join(map(repr, known))}")


@dataclasses.dataclass(frozen=True, eq=False)
class SourceView:
    """Some records of a source, in a given order.

    Attributes:
      source: the source viewed.
      indices: int [N], positions in `source`.

    Example:
      >>> from jaxcv.data import Digits
      >>> len(SourceView(Digits().open("train"), range(100)))
      100
    """

    source: Source
    indices: Sequence[int] | np.ndarray

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes of the source viewed."""
        return self.source.class_names

    @property
    def image_reader(self) -> ImageReader:
        """That of the source viewed."""
        return self.source.image_reader

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Record:
        return self.source[int(self.indices[index])]

    def __getitems__(self, indices: Sequence[int]) -> list[Record]:
        """Many records at once, where the source viewed can."""
        inner = [int(self.indices[index]) for index in indices]
        read_many = getattr(self.source, "__getitems__", None)
        return read_many(inner) if read_many else [self.source[index] for index in inner]

    @property
    def random_resized_crop(self) -> DecodeRandomResizedCrop | None:
        """That of the source viewed."""
        return getattr(self.source, "random_resized_crop", None)

    def read_views(
        self, indices: Sequence[int], views: Sequence[View], target: tuple[int, int]
    ) -> list[Record]:
        """Records of which only a part is shown, where the source viewed can."""
        source: Any = self.source
        return source.read_views([int(self.indices[i]) for i in indices], views, target)

    @property
    def labels(self) -> np.ndarray:
        """[N] label of each record, as the source viewed knows it."""
        return record_labels(self.source)[np.asarray(self.indices, np.int64)]

    def record_name(self, index: int) -> str:
        """Name of the record in the source viewed."""
        return self.source.record_name(int(self.indices[index]))


def record_labels(source: Source) -> np.ndarray:
    """The label of every record: what the source knows, else read record by record.

    Args:
      source: N records; one with `labels` is not read.

    Returns:
      [N] int32, float32 or float64, in the source's order.

    Raises:
      ValueError: the labels are no scalars, but maps or boxes.

    Example:
      >>> from jaxcv.data import Digits
      >>> record_labels(Digits().open("test"))[:5].tolist()
      [7, 5, 8, 0, 5]
    """
    known = getattr(source, "labels", None)
    if known is None:
        known = [np.asarray(source[index]["label"]) for index in range(len(source))]
        if known and known[0].ndim:
            raise ValueError(f"{source.record_name(0)}: its label is no scalar: {known[0].shape}")
    labels = np.asarray(known)
    if np.issubdtype(labels.dtype, np.integer):
        return labels.astype(np.int32, copy=False)
    # Of a UNIX time float32 keeps two minutes: float64 stays.
    return labels if labels.dtype == np.float64 else labels.astype(np.float32, copy=False)


def stratified_split(
    labels: Sequence[int] | np.ndarray,
    names: Sequence[str],
    test_fraction: float,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Divides records into train and test, every class in the same proportion, reproducibly.

    The test set takes ceil(N * test_fraction) records, shared out over the classes by largest
    remainder; a class with at least one record keeps one for training. Within a class the records
    are ordered by SHA-256 of "seed:name", and the first go to the test set: a record's place
    depends on its name, not on its position, so that adding files moves at most a few others.

    Args:
      labels: [N] class of each record.
      names: [N] name of each record, unique.
      test_fraction: fraction of the test set, 0 to 1.
      seed: another seed gives another split.

    Returns:
      (train, test): int64 positions, each in ascending order; together every record once.
    """
    if not 0.0 <= test_fraction < 1.0:
        raise ValueError(f"test_fraction must be at least 0 and below 1, not {test_fraction}")
    labels = np.asarray(labels)
    classes, counts = np.unique(labels, return_counts=True)
    quota = counts * test_fraction
    taken = np.floor(quota).astype(int)
    missing = math.ceil(round(len(labels) * test_fraction, 6)) - int(taken.sum())
    for position in np.argsort(taken - quota, kind="stable")[:missing]:
        taken[position] += 1
    taken = np.minimum(taken, counts - 1)
    test: list[int] = []
    for value, count in zip(classes, taken):
        members = np.flatnonzero(labels == value)
        ordered = sorted(members.tolist(), key=lambda i: _place(seed, names[i]))
        test.extend(ordered[:count])
    test_indices = np.sort(np.asarray(test, np.int64))
    train_indices = np.setdiff1d(np.arange(len(labels), dtype=np.int64), test_indices)
    return train_indices, test_indices


def _place(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()
