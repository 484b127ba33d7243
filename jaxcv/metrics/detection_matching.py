"""Which detections are right, which are wrong, and which objects are missed: COCO's rule at one IoU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxcv.metrics.box_overlap import box_iou
from jaxcv.metrics.detection_examples import DetectionExamples, checked_examples


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectionMatches:
    """What became of the detections and the objects of N images.

    Attributes:
        truth: [N, D] int64, the row of the object that a detection met, ignored ones too; -1 for none.
        right: [N, D] bool, detections of an object of their class.
        wrong: [N, D] bool, detections of nothing, of another class or of an object that was taken.
            Neither right nor wrong are those of ignored objects and those below the threshold.
        found: [N, M] bool, objects with a right detection.
        missed: [N, M] bool, objects without; ignored ones are neither.
    """

    truth: np.ndarray
    right: np.ndarray
    wrong: np.ndarray
    found: np.ndarray
    missed: np.ndarray


def match_detections(
    examples: Mapping[str, Any] | DetectionExamples,
    num_classes: int,
    *,
    iou_threshold: float = 0.5,
    score_threshold: float | None = None,
) -> DetectionMatches:
    """Matches detections with objects of their own class, the surest first.

    A detection takes the object that it overlaps most of those that are not taken, if by
    `iou_threshold` or more; if there is none, an ignored object that it lies in. One image alone is a
    batch of one.

    Args:
        examples: As `checked_examples` takes them: padded arrays in pixels of the original images.
        num_classes: C.
        iou_threshold: Overlap from which an object is found.
        score_threshold: Detections with a lower score are left out; None takes all.

    Raises:
        ValueError: As `checked_examples`.
    """
    if not isinstance(examples, DetectionExamples):
        examples = checked_examples(examples, num_classes)
    used = _used(examples, score_threshold)
    truth = _greedy(examples, used, iou_threshold, same_class=True)
    met_ignored = _at(examples.ignored, truth)
    right = (truth >= 0) & ~met_ignored
    found = np.zeros(examples.classes.shape, bool)
    image, row = np.nonzero(right)
    found[image, truth[image, row]] = True
    return DetectionMatches(
        truth=truth,
        right=right,
        wrong=used & (truth < 0),
        found=found,
        missed=examples.wanted & ~found,
    )


def confusion_with_background(
    examples: Mapping[str, Any] | DetectionExamples,
    num_classes: int,
    *,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
) -> np.ndarray:
    """Counts which class was taken for which: [C + 1, C + 1], true class by row.

    Detections, the surest first, take the object of any class that they overlap most of those not
    taken; between two that they overlap alike, one of their own class. The last row counts detections
    of nothing, the last column objects that were missed. The corner, and ignored objects with their
    detections, count nothing.

    Args:
        examples: As `checked_examples` takes them: padded arrays in pixels of the original images.
        num_classes: C.
        iou_threshold: Overlap from which a detection and an object belong together.
        score_threshold: Detections with a lower score are left out.

    Raises:
        ValueError: As `checked_examples`.
    """
    if not isinstance(examples, DetectionExamples):
        examples = checked_examples(examples, num_classes)
    used = _used(examples, score_threshold)
    truth = _greedy(examples, used, iou_threshold, same_class=False)
    met = (truth >= 0) & ~_at(examples.ignored, truth)
    nothing = used & (truth < 0)
    missed = examples.wanted.copy()
    image, row = np.nonzero(met)
    missed[image, truth[image, row]] = False
    missing, unmet = examples.classes[missed], examples.detected_classes[nothing]
    rows = (examples.classes[image, truth[image, row]], np.full_like(unmet, num_classes), missing)
    columns = (examples.detected_classes[image, row], unmet, np.full_like(missing, num_classes))
    side = num_classes + 1
    cells = np.concatenate(rows) * side + np.concatenate(columns)
    return np.bincount(cells, minlength=side**2).reshape(side, side)


def image_f1(matches: DetectionMatches) -> np.ndarray:
    """F1 within each image, [N]: 2 right / (2 right + wrong + missed); 1 where there is none of them."""
    right, wrong, missed = (kind.sum(1) for kind in (matches.right, matches.wrong, matches.missed))
    total = 2 * right + wrong + missed
    return np.where(total > 0, 2 * right / np.maximum(total, 1), 1.0)


def best_f1(
    examples: Mapping[str, Any] | DetectionExamples, num_classes: int, *, iou_threshold: float = 0.5
) -> tuple[float, float]:
    """The score from which detections are best kept: (F1 over all images and classes, that score).

    Of several scores with the same F1 it is the highest. (NaN, 0) without an object that counts,
    (0, 0) if no detection is right.

    Raises:
        ValueError: As `checked_examples`.
    """
    if not isinstance(examples, DetectionExamples):
        examples = checked_examples(examples, num_classes)
    # What a detection meets does not depend on less sure ones, so one matching serves all thresholds.
    matches = match_detections(examples, num_classes, iou_threshold=iou_threshold)
    objects = int(examples.wanted.sum())
    if not objects:
        return float("nan"), 0.0
    counted = matches.right | matches.wrong
    scores, right = examples.detected_scores[counted], matches.right[counted]
    order = np.argsort(-scores, kind="stable")
    scores, found = scores[order], np.cumsum(right[order])
    if not len(found) or not found[-1]:
        return 0.0, 0.0
    last = np.append(scores[1:] != scores[:-1], True)  # of those with the same score
    f1 = np.where(last, 2 * found / (np.arange(1, len(found) + 1) + objects), -1.0)
    best = int(f1.argmax())
    return float(f1[best]), float(scores[best])


def _used(examples: DetectionExamples, score_threshold: float | None) -> np.ndarray:
    if score_threshold is None:
        return examples.detected
    return examples.detected & (examples.detected_scores >= score_threshold)


def _at(values: np.ndarray, row: np.ndarray) -> np.ndarray:
    """values[n, row[n, d]], and False where row is -1."""
    if not values.shape[1]:
        return np.zeros(row.shape, bool)
    return np.take_along_axis(values, np.maximum(row, 0), 1) & (row >= 0)


def _greedy(
    examples: DetectionExamples, used: np.ndarray, iou_threshold: float, *, same_class: bool
) -> np.ndarray:
    """The row of the object that each detection meets, [N, D]; -1 for none.

    The nth surest detections of all images are matched at once.
    """
    N, D = used.shape
    truth = np.full((N, D), -1, np.int64)
    if not examples.classes.shape[1]:
        return truth
    order = np.argsort(np.where(used, -examples.detected_scores, np.inf), axis=1, kind="stable")
    free = examples.wanted.copy()
    crowd = examples.present & examples.ignored
    threshold = min(iou_threshold, 1 - 1e-10)  # as pycocotools: rounding may take a trace off 1
    everyone = np.arange(N)
    for rank in range(int(used.sum(1).max(initial=0))):
        image = everyone[used[everyone, order[:, rank]]]
        row = order[image, rank]
        box = examples.detected_boxes[image, row][:, None]
        own = examples.classes[image] == examples.detected_classes[image, row][:, None]
        overlap = box_iou(box, examples.boxes[image], examples.ignored[image])
        overlap = np.where(overlap >= threshold, overlap, -1.0)
        if same_class:
            overlap = np.where(own, overlap, -1.0)
        among_free = np.where(free[image], overlap, -1.0)
        among_crowds = np.where(crowd[image], overlap, -1.0)
        takes_free = among_free.max(1) >= 0
        met = np.where(takes_free, _last_best(among_free, own), _last_best(among_crowds, own))
        truth[image, row] = met
        free[image[takes_free], met[takes_free]] = False
    return truth


def _last_best(overlap: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The column with the greatest overlap, -1 where all are negative.

    Of several that are alike it is one of the detection's own class, and the last one as in pycocotools.
    """
    M = overlap.shape[1]
    best = overlap == overlap.max(1, keepdims=True)
    mine = best & own
    pool = np.where(mine.any(1, keepdims=True), mine, best)
    last = M - 1 - pool[:, ::-1].argmax(1)
    return np.where(overlap.max(1) >= 0, last, -1)
