"""Average precision as the PASCAL Visual Object Classes challenge defines it, in NumPy.

Everingham, Van Gool, Williams, Winn & Zisserman 2010, The PASCAL Visual Object Classes (VOC) Challenge,
section 4.2; the development kit of VOC2012 for the area under the curve. Not done here is the kit's
addition of 1 to the width and height of boxes, which it takes for indices of pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxcv.metrics.box_overlap import box_iou
from jaxcv.metrics.detection_examples import DetectionExamples, checked_examples

_CHUNK = 1 << 20  # pairs of a detection and an object whose overlap is computed at a time


def voc_average_precision(
    examples: Mapping[str, Any] | DetectionExamples,
    num_classes: int,
    *,
    iou_threshold: float = 0.5,
    eleven_points: bool = False,
) -> np.ndarray:
    """Average precision of each class, [C]; NaN for a class without an object.

    Each detection belongs to the object of its class and image that it overlaps most, taken already or
    not. The surest detection of an object, if it overlaps by the threshold or more, is right, every
    other one wrong; those of an ignored (difficult) object count neither way. COCO differs: there a
    detection turns to the next object when the nearest is taken.

    Args:
        examples: As `checked_examples` takes them: padded arrays in pixels of the original images.
        num_classes: C.
        iou_threshold: Overlap from which an object is found.
        eleven_points: Whether to take the mean of the precisions at recalls 0, 0.1 .. 1 (VOC before
            2010) instead of the area under the curve.

    Raises:
        ValueError: As `checked_examples`.
    """
    if not isinstance(examples, DetectionExamples):
        examples = checked_examples(examples, num_classes)
    image, row = np.nonzero(examples.detected)
    classes = examples.detected_classes[image, row]
    scores = examples.detected_scores[image, row]
    order = np.lexsort((np.arange(len(scores)), -scores, classes))
    image, row, classes = image[order], row[order], classes[order]
    truth, overlap = _nearest_objects(examples, image, row)

    hits = overlap >= iou_threshold
    met = (image[hits], truth[hits])
    counted, right = np.ones(len(hits), bool), np.zeros(len(hits), bool)
    counted[hits] = ~examples.ignored[met]
    place = met[0] * examples.boxes.shape[1] + met[1]
    _, first = np.unique(place, return_index=True)  # the surest detection of each object
    right[np.flatnonzero(hits)[first]] = True

    objects = np.bincount(examples.classes[examples.wanted], minlength=num_classes)
    limits = np.searchsorted(classes, np.arange(num_classes + 1))
    result = np.full(num_classes, np.nan)
    for c in np.flatnonzero(objects):
        mine = slice(limits[c], limits[c + 1])
        precision, recall = _curve(right[mine][counted[mine]], int(objects[c]))
        area = eleven_point_mean if eleven_points else area_under_curve
        result[c] = area(precision, recall)
    return result


def _nearest_objects(
    examples: DetectionExamples, image: np.ndarray, row: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each detection the object of its class that it overlaps most, and the IoU; 0 for none."""
    M = examples.boxes.shape[1]
    truth, overlap = np.zeros(len(image), np.int64), np.zeros(len(image))
    size = max(_CHUNK // max(M, 1), 1)
    for start in range(0, len(image) if M else 0, size):
        part = slice(start, start + size)
        i, j = image[part], row[part]
        iou = box_iou(examples.detected_boxes[i, j][:, None], examples.boxes[i])
        iou[examples.classes[i] != examples.detected_classes[i, j][:, None]] = 0.0
        truth[part] = iou.argmax(1)
        overlap[part] = iou.max(1)
    return truth, overlap


def _curve(right: np.ndarray, objects: int) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall after each detection, surest first."""
    found = np.cumsum(right)
    return found / np.arange(1, len(right) + 1), found / objects


def area_under_curve(precision: np.ndarray, recall: np.ndarray) -> float:
    """The area under precision made monotone: at each recall the greatest at it or beyond (VOC2010+).

    Args:
        precision, recall: [P], recall ascending.

    Example:
        >>> area_under_curve(np.array([1.0, 0.5, 2 / 3]), np.array([0.5, 0.5, 1.0]))
        0.8333333333333333
    """
    monotone = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * monotone))


def eleven_point_mean(precision: np.ndarray, recall: np.ndarray) -> float:
    """The mean over the recalls 0, 0.1 .. 1 of the greatest precision there or beyond, 0 for none."""
    best = [precision[recall >= tenth / 10].max(initial=0.0) for tenth in range(11)]
    return float(np.mean(best))
