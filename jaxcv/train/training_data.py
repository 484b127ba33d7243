"""What an objective may ask of the training records before the first step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jaxcv.data import Source, record_labels


@dataclass(frozen=True)
class TrainingData:
    """The training records, as an objective's state starts from them.

    Attributes:
        source: the records.
        num_classes: number of classes C; None where labels are not classes.
    """

    source: Source
    num_classes: int | None

    @property
    def num_examples(self) -> int:
        """Number of training records; `batch["record"]` lies below it."""
        return len(self.source)

    def class_counts(self) -> np.ndarray:
        """[C] int64: how many training records have each class."""
        assert self.num_classes is not None, "only labels that are classes can be counted"
        return np.bincount(record_labels(self.source), minlength=self.num_classes)
