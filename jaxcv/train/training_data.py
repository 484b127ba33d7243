"""What an objective may ask of the training records before the first step."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from jaxcv.data import Source


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

        Reads every record, once, where the source does not know its labels. 0 where only shapes matter.
        """
        return self._class_counts

    @functools.cached_property
    def _class_counts(self) -> np.ndarray:
        counts = np.zeros(self.classes, np.int64)
        if self.source is None:
            return counts
        known = getattr(self.source, "labels", None)
        labels = (
            [known]
            if known is not None
            else (self.source[index]["label"] for index in range(len(self.source)))
        )
        for array in labels:
            array = np.asarray(array).ravel()
            valid = array[(array >= 0) & (array < self.classes)]
            counts += np.bincount(valid.astype(np.int64), minlength=self.classes)
        return counts
