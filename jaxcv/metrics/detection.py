"""Metrics of object detection over a data set, on the host: COCO's, VOC's, and what a report shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxcv.metrics.coco import coco_evaluation
from jaxcv.metrics.detection_examples import checked_examples
from jaxcv.metrics.detection_matching import best_f1, confusion_with_background
from jaxcv.metrics.ratio import mean_of_known
from jaxcv.metrics.voc import voc_average_precision


def detection_summary(examples: Mapping[str, Any], num_classes: int) -> dict[str, Any]:
    """Turns the detections on all test images into named numbers.

    An undefined number - of a class, or a size of objects, that is not in the truth - is NaN among the
    numbers and None in the tables, and is left out of means; pycocotools writes -1.

    Args:
        examples: What a detection task's `examples` gives, of all test images: `detected_boxes`
            [N, D, 4], `detected_scores` [N, D], `detected_classes` [N, D], `boxes` [N, M, 4],
            `classes` [N, M], `ignored` [N, M], `area` [N, M], in pixels of the original images and
            padded with class -1.
        num_classes: C.

    Returns:
        Numbers: COCO's twelve (see `jaxcv.metrics.coco`): `average_precision` and with _50, _75,
        _small, _medium, _large; `average_recall_` with 1, 10, 100, small, medium, large.
        `voc_average_precision_50` (area under the curve), the mean over classes. `best_f1` at IoU 0.5
        over all objects, and `best_f1_threshold`, the score from which detections are then kept.
        `count` (images), `objects` (without ignored ones), `detections`.
        Tables: `per_class` (lists `average_precision`, `average_precision_50`,
        `voc_average_precision_50`, `average_recall`, `support` - the objects - and `detections`),
        `precision_by_recall_50` ([C] lists at the recalls 0, 0.01 .. 1, IoU 0.5),
        `confusion_with_background` ([C + 1, C + 1] at IoU 0.5 and `best_f1_threshold`; rows are true
        classes, the last one is of detections of nothing, the last column of missed objects).

    Raises:
        ValueError: If shapes do not fit, a class is C or more, or a value is not finite.

    Example:
        >>> box = np.array([[[0.0, 0.0, 8.0, 8.0]]])
        >>> one = dict(boxes=box, classes=[[0]], ignored=[[False]], area=[[64.0]])
        >>> one |= dict(detected_boxes=box, detected_scores=[[0.9]], detected_classes=[[0]])
        >>> round(detection_summary(one, num_classes=1)["average_precision"], 6)
        1.0
    """
    checked = checked_examples(examples, num_classes)
    coco = coco_evaluation(checked, num_classes)
    voc = voc_average_precision(checked, num_classes)
    f1, threshold = best_f1(checked, num_classes)
    objects, detections = (
        np.bincount(classes, minlength=num_classes)
        for classes in (
            checked.classes[checked.wanted],
            checked.detected_classes[checked.detected],
        )
    )
    confusion = confusion_with_background(checked, num_classes, score_threshold=threshold)
    return {
        "count": len(checked),
        "objects": int(objects.sum()),
        "detections": int(detections.sum()),
        **coco.figures(),
        "voc_average_precision_50": mean_of_known(voc),
        "best_f1": f1,
        "best_f1_threshold": threshold,
        "per_class": {
            "average_precision": _listed(coco.class_average_precision()),
            "average_precision_50": _listed(coco.class_average_precision_50()),
            "voc_average_precision_50": _listed(voc),
            "average_recall": _listed(coco.class_average_recall()),
            "support": objects.tolist(),
            "detections": detections.tolist(),
        },
        "precision_by_recall_50": [_listed(curve) for curve in coco.precision_by_recall()],
        "confusion_with_background": confusion.tolist(),
    }


def _listed(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
