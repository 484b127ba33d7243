"""What a source of records is, and the plain things done to one: taking a part, splitting."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from jaxcv.data.bad_records import with_others
from jaxcv.data.decode import DecodeError
from jaxcv.data.fit import View
from jaxcv.data.image_reader import ImageReader
from jaxcv.data.random_resized_crop import DecodeRandomResizedCrop
from jaxcv.data.splitting import stratified_split as stratified_split
from jaxcv.limits import MAX_EMPTY_CLASSES

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
    training batches are to show. One that holds labels, boxes or the like in memory has
    `fingerprint_arrays() -> {name: array}`, by which a run notices that they have changed.

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

    def fingerprint_arrays(self) -> dict[str, np.ndarray]:
        """Those of the source viewed, of its records alone where an array has one row for each."""
        indices, length = np.asarray(self.indices, np.int64), len(self.source)
        arrays: dict[str, np.ndarray] = getattr(self.source, "fingerprint_arrays", dict)()
        return {k: v[indices] if len(v) == length else v for k, v in arrays.items()}

    def record_name(self, index: int) -> str:
        """Name of the record in the source viewed."""
        return self.source.record_name(int(self.indices[index]))


def first_record(source: Source, bad_allowed: int = 0) -> tuple[Record, str]:
    """The first record that can be read, and its name: an example of them all.

    Args:
      source: the records.
      bad_allowed: how many that cannot be decoded are passed over.

    Raises:
      DecodeError: one more than that cannot be decoded; it is named.
      ValueError: there are no records.
    """
    for index in range(len(source)):
        try:
            return source[index], source.record_name(index)
        except DecodeError as error:
            if not bad_allowed:
                raise with_others(source, index, error) from error
            if index >= min(bad_allowed, len(source) - 1):
                raise
    raise ValueError("the source holds no records")


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
        return int32_labels(labels, source.record_name)
    # Of a UNIX time float32 keeps two minutes: float64 stays.
    return labels if labels.dtype == np.float64 else labels.astype(np.float32, copy=False)


def int32_labels(labels: np.ndarray, record_name: Callable[[int], str]) -> np.ndarray:
    """Integer labels [N] as int32.

    Args:
      labels: of any integer dtype.
      record_name: what to call record i in a message.

    Raises:
      ValueError: a label does not fit; cut to 32 bits it would be another class.

    Example:
      >>> int32_labels(np.array([3, 5]), str).dtype
      dtype('int32')
    """
    limits = np.iinfo(np.int32)
    bad = np.flatnonzero((labels < limits.min) | (labels > limits.max))
    if len(bad):
        raise ValueError(
            f"{record_name(int(bad[0]))}: label {labels[bad[0]]} does not fit 32 bits; number the "
            "classes from 0"
        )
    return labels.astype(np.int32, copy=False)


def numbered_classes(labels: np.ndarray, record_name: Callable[[int], str]) -> tuple[str, ...]:
    """Names "0", "1", ... up to the largest label.

    Args:
      labels: int32 [N], N at least 1.
      record_name: what to call record i in a message.

    Raises:
      ValueError: a label is negative, or there would be more names than labels, above `MAX_EMPTY_CLASSES`.

    Example:
      >>> numbered_classes(np.array([2, 0]), str)
      ('0', '1', '2')
    """
    least, largest = int(np.argmin(labels)), int(np.argmax(labels))
    if labels[least] < 0:
        raise ValueError(
            f"{record_name(least)}: label {labels[least]} is no class, since classes are numbered from 0; "
            "give every class its number (of -1 and 1 make 0 and 1), and leave out records without one"
        )
    if labels[largest] >= max(len(labels), MAX_EMPTY_CLASSES):
        raise ValueError(
            f"{record_name(largest)}: label {labels[largest]} would make "
            f"{int(labels[largest]) + 1} classes of {len(labels)} records; more than records are accepted "
            f"up to {MAX_EMPTY_CLASSES} (MAX_EMPTY_CLASSES): number the classes that there are from 0"
        )
    return tuple(map(str, range(int(labels[largest]) + 1)))


def split_view(
    source: Source, parts: tuple[np.ndarray, np.ndarray], split: Split, data: str
) -> SourceView:
    """The records of one part of a `stratified_split`.

    Args:
      source: all records.
      parts: (train, test) positions.
      split: "train" or "test".
      data: what to call the data set in a message.

    Raises:
      ValueError: there are none.
    """
    chosen = parts[split == "test"]
    if not len(chosen):
        raise ValueError(
            f"{data}: of its {len(source)} records, none is for {split!r}: every class keeps one for "
            "training, and test_fraction is the part of the others to test on; set a higher "
            "test_fraction, or give a test set of its own"
        )
    return SourceView(source, chosen)
