"""What an objective may ask of the training records before the first step."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from jaxcv.data import DecodeError, Source


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The training records, as an objective's state starts from them.

    Attributes:
        num_examples: how many there are; `batch["record"]` lies below it.
        num_classes: number of classes C; None where labels are not classes.
        source: the records; None where only shapes matter, since a checkpoint replaces the values.
        image_shape: (H, W, C) of an image after augmentation, before preprocessing; None where it is
            not known.
    """

    num_examples: int
    num_classes: int | None
    source: Source | None = None
    image_shape: tuple[int, int, int] | None = None

    @property
    def classes(self) -> int:
        """C.

        Raises:
            ValueError: where labels are not classes.
        """
        if self.num_classes is None:
            raise ValueError("the labels of this task are no classes, which the objective is for")
        return self.num_classes

    def class_counts(self) -> np.ndarray:
        """[C] int64: how many labels, of images or of pixels, are of each class.

        Reads every record, once, where the source does not know its labels; a damaged one counts for
        nothing. 0 where only shapes matter.

        Raises:
            ValueError: where the records have no label, such as those of detection.
        """
        return self._class_counts

    @functools.cached_property
    def _class_counts(self) -> np.ndarray:
        counts = np.zeros(self.classes, np.int64)
        if self.source is None:
            return counts
        for labels in _labels(self.source):
            classes = np.ravel(labels)
            classes = classes[(classes >= 0) & (classes < self.classes)]
            counts += np.bincount(classes.astype(np.int64), minlength=self.classes)
        return counts

    def label_mean(self, most: int = 256) -> float:
        """Mean label, a float64: of all records where the source knows their labels, else of `most`.

        0 where labels are no scalars or none is finite, or where only shapes matter.
        """
        if self.source is None:
            return 0.0
        count = len(self.source)
        chosen = range(0, count, max(count // most, 1))
        labels = list(_labels(self.source, chosen))
        if any(label.shape not in ((), (count,)) for label in labels[:1]):
            return 0.0
        values = np.ravel(labels).astype(np.float64)
        values = values[np.isfinite(values)]
        return float(values.mean()) if values.size else 0.0


def _labels(source: Source, chosen: Iterable[int] | None = None) -> Iterator[np.ndarray]:
    """The labels of all records, at once where the source knows them, else of the chosen ones each."""
    known = getattr(source, "labels", None)
    if known is not None:
        yield np.asarray(known)
        return
    for index in range(len(source)) if chosen is None else chosen:
        try:
            record = source[index]
        except DecodeError:
            continue  # What becomes of it is said when a batch meets it.
        if "label" not in record:
            raise ValueError(
                f"{source.record_name(index)} has {', '.join(record)}, but no label to count the classes "
                "by; choose an objective that does not start from class counts"
            )
        yield np.asarray(record["label"])
