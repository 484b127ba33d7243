"""Detections and true objects of test images, checked: what every metric of detection starts from.

Boxes are (x0, y0, x1, y1) in pixels of the original image, x to the right, y down, (0, 0) the outer
corner of the first pixel. Rows are padded: a class of -1 says that there is nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectionExamples:
    """N images with up to D detections and up to M true objects each, on the host.

    Attributes:
        detected_boxes: [N, D, 4] float64.
        detected_scores: [N, D] float64, higher is surer.
        detected_classes: [N, D] int64; -1 where there is none.
        boxes: [N, M, 4] float64.
        classes: [N, M] int64; -1 where there is none.
        ignored: [N, M] bool: objects that need not be found (COCO's iscrowd, VOC's difficult); a
            detection of one counts neither way.
        area: [N, M] float64 in pixels, by which objects are small, medium or large.
        num_classes: C.
    """

    detected_boxes: np.ndarray
    detected_scores: np.ndarray
    detected_classes: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    ignored: np.ndarray
    area: np.ndarray
    num_classes: int

    @property
    def detected(self) -> np.ndarray:
        """[N, D] bool: where there is a detection."""
        return self.detected_classes >= 0

    @property
    def present(self) -> np.ndarray:
        """[N, M] bool: where there is an object, ignored or not."""
        return self.classes >= 0

    @property
    def wanted(self) -> np.ndarray:
        """[N, M] bool: where there is an object that has to be found."""
        return self.present & ~self.ignored

    def __len__(self) -> int:
        return len(self.boxes)


def checked_examples(examples: Mapping[str, Any], num_classes: int) -> DetectionExamples:
    """Checks the arrays that a detection task gives for its test images.

    Args:
        examples: `detected_boxes` [N, D, 4], `detected_scores` [N, D], `detected_classes` [N, D],
            `boxes` [N, M, 4], `classes` [N, M], `ignored` [N, M], `area` [N, M]; other names are left
            alone. D and M may be 0.
        num_classes: C; classes are 0 .. C - 1, and anything below 0 is padding.

    Raises:
        ValueError: If an array is missing or has another shape than the others ask for, if a class is
            C or more, or if a box, a score or an area that is not padding is not finite.

    Example:
        >>> one = dict(boxes=np.zeros((1, 2, 4)), classes=[[0, -1]], ignored=[[False] * 2])
        >>> one |= dict(area=np.zeros((1, 2)), detected_boxes=np.zeros((1, 0, 4)))
        >>> one |= dict(detected_scores=np.zeros((1, 0)), detected_classes=np.zeros((1, 0), int))
        >>> checked_examples(one, num_classes=1).present.tolist()
        [[True, False]]
    """
    kinds: dict[str, Any] = {
        "detected_boxes": np.float64,
        "detected_scores": np.float64,
        "detected_classes": np.int64,
        "boxes": np.float64,
        "classes": np.int64,
        "ignored": np.bool_,
        "area": np.float64,
    }
    missing = [name for name in kinds if name not in examples]
    if missing:
        raise ValueError(
            f"examples lack {', '.join(missing)}; found {', '.join(examples) or 'nothing'}. They are "
            "what a detection task's `examples` gives."
        )
    arrays = {name: np.asarray(examples[name], kind) for name, kind in kinds.items()}
    _check_shapes(arrays)
    checked = DetectionExamples(num_classes=num_classes, **arrays)
    for name in ("detected_classes", "classes"):
        _check_rows(arrays[name] >= num_classes, arrays[name], name, f"below {num_classes}")
    for name in ("detected_boxes", "detected_scores", "boxes", "area"):
        real = checked.detected if name.startswith("detected") else checked.present
        values = arrays[name]
        bad = ~np.isfinite(values if values.ndim == 2 else values.sum(-1))
        _check_rows(bad & real, values, name, "finite")
    return checked


def _check_shapes(arrays: dict[str, np.ndarray]) -> None:
    for side, others in (
        ("detected_classes", ("detected_boxes", "detected_scores")),
        ("classes", ("boxes", "ignored", "area")),
    ):
        shape = arrays[side].shape
        if len(shape) != 2 or (len(shape) and shape[0] != len(arrays["classes"])):
            raise ValueError(
                f"{side} must be [N, ...], a row for each image, padded with -1: found {shape}"
                f" beside classes {arrays['classes'].shape}."
            )
        for name in others:
            wanted = (*shape, 4) if name.endswith("boxes") else shape
            if arrays[name].shape != wanted:
                raise ValueError(
                    f"{name} must be {wanted} to fit {side} {shape}, found {arrays[name].shape}."
                )


def _check_rows(bad: np.ndarray, values: np.ndarray, name: str, wanted: str) -> None:
    if bad.any():
        image, row = (int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{name} of test image {image}, row {row}, is {values[image, row].tolist()}, but must be "
            f"{wanted}."
        )
