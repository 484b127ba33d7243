"""What a run keeps of its data: enough to answer about new pictures, and to notice other data.

The card is written into run.json when training starts. Prediction needs nothing else of the data; where
they are opened again, their fingerprints are compared with the card's.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import jax
import numpy as np

from jaxcv.data import Dataset, ImageReader, Record, Source, Split
from jaxcv.errors import listed
from jaxcv.train.checks import SetupError

logger = logging.getLogger(__name__)

# Of more records than these, so many names, evenly spread, are looked at.
_MOST_NAMES = 2**20
_SPLITS: tuple[Split, ...] = ("train", "test")
# Of more classes than these, no count of each is kept.
_MOST_CLASSES = 1000


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """Which records a split has; equal where they are the same, wherever they lie.

    Attributes:
        count: number of records.
        names: digest of their names, less the folder that they all lie in.
        content: digest of what the source knows of them without reading any, such as labels and boxes.
        class_names: digest of the names of the classes.
        class_counts: records by class, where labels are known and the classes are few; else empty.
    """

    count: int
    names: str
    content: str
    class_names: str
    class_counts: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DataCard:
    """The data of a run, as they were when it started.

    Attributes:
        class_names: of the training records, by label.
        image_shape: (H, W, C) of an image as the source reads it, before preprocessing.
        image_dtype: its type.
        image_reader: what reads an image file likewise; None where the source hands none over.
        crop_size: (H, W) of what training shows of an image; None for all of it.
        category_ids: of the classes, in the data set's own annotations; empty where it has none.
        train, test: which records there were.
    """

    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    image_dtype: str
    image_reader: ImageReader | None
    crop_size: tuple[int, int] | None
    category_ids: tuple[int, ...]
    train: Fingerprint
    test: Fingerprint

    @property
    def image(self) -> jax.ShapeDtypeStruct:
        """[H, W, C] as the source reads it."""
        return jax.ShapeDtypeStruct(self.image_shape, self.image_dtype)


def describe(train: Source, test: Source, record: Record) -> DataCard:
    """The card of data that were opened.

    Args:
        train, test: the records.
        record: one of `train`.
    """
    image = np.asarray(record["image"])
    try:
        reader = getattr(train, "image_reader", None)
    except ValueError:  # No file holds records of this kind, such as those of two channels.
        reader = None
    crop = getattr(train, "random_resized_crop", None)
    return DataCard(
        class_names=tuple(train.class_names),
        image_shape=image.shape,  # type: ignore[arg-type]
        image_dtype=str(image.dtype),
        image_reader=reader if isinstance(reader, ImageReader) else None,
        crop_size=None if crop is None else tuple(crop.size),
        category_ids=tuple(map(int, getattr(train, "category_ids", ()))),
        train=fingerprint(train),
        test=fingerprint(test),
    )


def fingerprint(source: Source) -> Fingerprint:
    """Which records a source has. Reads none of them.

    A source takes part by its `record_name`s and, if it knows labels or boxes without reading records, by a
    method `fingerprint_arrays() -> {name: array}`; "label" [N] and "classes" [M] are counted by class.

    Example:
        >>> from jaxcv.data import Digits
        >>> fingerprint(Digits().open("test")).class_counts
        (35, 36, 35, 37, 36, 37, 36, 36, 35, 36)
    """
    arrays: Mapping[str, np.ndarray] = getattr(source, "fingerprint_arrays", dict)()
    content = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        content.update(f"{name} {array.dtype} {array.shape}\n".encode())
        content.update(array.tobytes())
    return Fingerprint(
        count=len(source),
        names=_digest(_relative_names(source)),
        content=content.hexdigest(),
        class_names=_digest(source.class_names),
        class_counts=_class_counts(arrays, len(source.class_names)),
    )


def _relative_names(source: Source) -> Iterator[bytes]:
    """The records' names as bytes, without the folder that they have in common."""
    step = -(-len(source) // _MOST_NAMES) or 1
    common = None
    for index in range(0, len(source), step):
        name = source.record_name(index)
        common = os.path.dirname(name) if common is None else _common_folder(common, name)
        if not common:
            break
    start = len(common) if common else 0
    for index in range(0, len(source), step):
        yield os.fsencode(source.record_name(index)[start:])


def _common_folder(folder: str, name: str) -> str:
    if name.startswith(folder) and name[len(folder) : len(folder) + 1] == os.sep:
        return folder
    return os.path.dirname(os.path.commonprefix([folder + os.sep, name]))  # noqa: RUF071


def _digest(texts: Any) -> str:
    digest = hashlib.sha256()
    for text in texts:
        data = text if isinstance(text, bytes) else os.fsencode(text)
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _class_counts(arrays: Mapping[str, np.ndarray], classes: int) -> tuple[int, ...]:
    labels = arrays.get("label", arrays.get("classes"))
    if labels is None or not 0 < classes <= _MOST_CLASSES or labels.dtype.kind not in "iu":
        return ()
    known = labels[(labels >= 0) & (labels < classes)]
    return tuple(np.bincount(known.ravel(), minlength=classes).tolist())


class Splits(Mapping[Split, Source]):
    """The splits of a data set, each opened when it is first asked for.

    Args:
        dataset: whose.
        card: of the run; what has changed since is said when a split is opened. None knows of nothing.
        accept: other classes are let pass.
    """

    def __init__(
        self, dataset: Dataset, card: DataCard | None = None, accept: bool = False
    ) -> None:
        self._dataset, self._card, self._accept = dataset, card, accept
        self._opened: dict[Split, Source] = {}

    def __getitem__(self, split: Split) -> Source:
        if split not in self._opened:
            source = self._dataset.open(split)
            if self._card is not None:
                self._compare(split, source, self._card)
            self._opened[split] = source
        return self._opened[split]

    def __iter__(self) -> Iterator[Split]:
        return iter(_SPLITS)

    def __len__(self) -> int:
        return len(_SPLITS)

    def opened(self, split: Split) -> Source | None:
        """A split, if it has been opened."""
        return self._opened.get(split)

    def _compare(self, split: Split, source: Source, then: DataCard) -> None:
        """Warns of changed records; raises SetupError for changed classes: numbers would mean nothing."""
        # The people of a test set need not be those of training, whose names alone are kept.
        same_classes = getattr(then, split).class_names == then.train.class_names
        names = tuple(source.class_names) if same_classes else then.class_names
        found: dict[str, Any] = {split: fingerprint(source)}
        now = replace(then, class_names=names, **found)
        different = list(changes(then, now, (split,)))
        if not different:
            return
        if names != then.class_names and not self._accept:
            raise SetupError(
                f"the data are not those that the run was trained on: {'; '.join(different)}. Give the "
                "classes their names again, or say --data-changed accept"
            )
        logger.warning("the data have changed since the run started: %s", "; ".join(different))


def changes(then: DataCard, now: DataCard, splits: tuple[Split, ...]) -> Iterator[str]:
    """What is different about the data, a phrase for each difference with both values."""
    yield from _changed_classes(then.class_names, now.class_names)
    for name in ("image_shape", "image_dtype", "image_reader", "crop_size", "category_ids"):
        old, new = getattr(then, name), getattr(now, name)
        if old != new:
            yield f"{name} was {_shown(old, new)} and is now {_shown(new, old)}"
    for split in splits:
        yield from _changed_records(split, then, now)


def _changed_classes(then: tuple[str, ...], now: tuple[str, ...]) -> Iterator[str]:
    if then == now:
        return
    gone, new = set(then) - set(now), set(now) - set(then)
    parts = [f"{listed(sorted(gone))} gone"] * bool(gone) + [f"{listed(sorted(new))} new"] * bool(
        new
    )
    how = ", ".join(parts) or "the same in another order"
    yield f"classes were {listed(then)} and are now {listed(now)}: {how}"


def _changed_records(split: str, then: DataCard, now: DataCard) -> Iterator[str]:
    old, new = getattr(then, split), getattr(now, split)
    named = new.class_names == now.train.class_names
    names = now.class_names if named else range(len(new.class_counts))
    moved = [
        f"{name} {before} -> {after}"
        for name, before, after in zip(names, old.class_counts, new.class_counts, strict=False)
        if before != after
    ]
    by_class = f" ({listed(moved)})" if moved and then.class_names == now.class_names else ""
    if old.count != new.count:
        yield f"{split} had {old.count} records and has {new.count} now{by_class}"
    elif old.names != new.names:
        yield f"{split} has {new.count} records as before, but with other names{by_class}"
    elif old.content != new.content:
        yield f"{split} has the same {new.count} records, but other labels or contents{by_class}"
    elif old.class_names != new.class_names and split != "train":
        yield f"the classes of {split} have other names"


def _shown(value: Any, other: Any) -> str:
    """A value beside another one: of readers, the fields in which they differ."""
    if type(value) is type(other) and isinstance(value, ImageReader):
        names = [f.name for f in fields(value)]
        different = [n for n in names if getattr(value, n) != getattr(other, n)]
        return ", ".join(f"{n}={getattr(value, n)!r}" for n in different)
    return repr(value)
