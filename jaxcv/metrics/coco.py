"""COCO's average precision and recall, computed by faster-coco-eval.

That package is a maintained C++ version of pycocotools; the tests find the two equal. What is
COCO's about it: ten IoU thresholds 0.50, 0.55 .. 0.95; precision at 101 recalls, made monotone; at most
100 detections for each image and class; sizes of objects by area (small below 32², large above 96²
pixels); a crowd, or any ignored object, may be met by any number of detections, which then count
neither way.

Lin et al. 2014, Microsoft COCO: Common Objects in Context, and cocodataset.org/#detection-eval.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxcv.metrics.box_overlap import box_area
from jaxcv.metrics.detection_examples import DetectionExamples, checked_examples
from jaxcv.metrics.ratio import mean_of_known

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
SIZES = ("all", "small", "medium", "large")
DETECTION_LIMITS = (1, 10, 100)


@dataclass(frozen=True, kw_only=True, eq=False)
class COCOEvaluation:
    """Precision and recall of each class; NaN where a class has no object of that size.

    Attributes:
        precision: [10, 101, C, 4] by IoU threshold, recall, class and size, at 100 detections.
        recall: [10, C, 4, 3] by IoU threshold, class, size and number of detections (1, 10, 100).
    """

    precision: np.ndarray
    recall: np.ndarray

    def figures(self) -> dict[str, float]:
        """The twelve figures that COCO publishes; NaN where pycocotools says -1."""
        precision, recall = self.precision, self.recall
        means = {
            "average_precision": precision[..., 0],
            "average_precision_50": precision[0, ..., 0],
            "average_precision_75": precision[5, ..., 0],
            **{f"average_precision_{name}": precision[..., i] for i, name in _named_sizes()},
            **{f"average_recall_{n}": recall[..., 0, i] for i, n in enumerate(DETECTION_LIMITS)},
            **{f"average_recall_{name}": recall[..., i, 2] for i, name in _named_sizes()},
        }
        return {name: mean_of_known(values) for name, values in means.items()}

    def class_average_precision(self) -> np.ndarray:
        """[C] mean over IoU thresholds and recalls; NaN for a class without an object."""
        return self.precision[..., 0].mean((0, 1))

    def class_average_precision_50(self) -> np.ndarray:
        """[C] at IoU 0.5."""
        return self.precision[0, ..., 0].mean(0)

    def class_average_recall(self) -> np.ndarray:
        """[C] mean over IoU thresholds, at 100 detections."""
        return self.recall[..., 0, 2].mean(0)

    def precision_by_recall(self) -> np.ndarray:
        """[C, 101] at IoU 0.5: the greatest precision at the recalls 0, 0.01 .. 1 or beyond them."""
        return self.precision[0, ..., 0].T


def _named_sizes() -> list[tuple[int, str]]:
    return list(enumerate(SIZES))[1:]


def coco_evaluation(
    examples: Mapping[str, Any] | DetectionExamples, num_classes: int
) -> COCOEvaluation:
    """Evaluates detections as pycocotools does.

    Of detections with equal scores the earlier row counts first, of images the earlier one.

    Args:
        examples: As `checked_examples` takes them: padded arrays in pixels of the original images.
        num_classes: C.

    Raises:
        ValueError: As `checked_examples`.
    """
    if not isinstance(examples, DetectionExamples):
        examples = checked_examples(examples, num_classes)
    # Here, since it is needed only where something is evaluated.
    from faster_coco_eval.core.coco import COCO
    from faster_coco_eval.core.faster_eval_api import COCOeval_faster

    quiet = logging.getLogger("jaxcv.coco").debug
    images = [{"id": i} for i in range(len(examples))]
    categories = [{"id": c, "name": str(c)} for c in range(examples.num_classes)]
    sides = []
    for objects in (true_annotations(examples), detected_annotations(examples)):
        side = COCO(print_function=quiet)
        side.dataset = {"images": images, "categories": categories, "annotations": objects}
        side.createIndex()
        sides.append(side)
    evaluator = COCOeval_faster(*sides, iouType="bbox", print_function=quiet)
    if images and categories:
        evaluator.evaluate()
        evaluator.accumulate()
        found = evaluator.eval
        precision, recall = np.asarray(found["precision"]), np.asarray(found["recall"])
    else:
        C = examples.num_classes
        precision, recall = np.full((10, 101, C, 4, 3), -1.0), np.full((10, C, 4, 3), -1.0)
    return COCOEvaluation(
        precision=_known(precision[..., DETECTION_LIMITS.index(100)]), recall=_known(recall)
    )


def _known(values: np.ndarray) -> np.ndarray:
    """NaN in place of the -1 of pycocotools."""
    return np.where(values < 0, np.nan, values)


def true_annotations(examples: DetectionExamples) -> list[dict[str, Any]]:
    """True objects as annotations in COCO's format; image i has id i, class c is category c."""
    return _annotations(
        *np.nonzero(examples.present),
        classes=examples.classes,
        boxes=examples.boxes,
        area=examples.area,
        iscrowd=examples.ignored.astype(int),
    )


def detected_annotations(examples: DetectionExamples) -> list[dict[str, Any]]:
    """Detections as annotations in COCO's format; their area is that of their box."""
    return _annotations(
        *np.nonzero(examples.detected),
        classes=examples.detected_classes,
        boxes=examples.detected_boxes,
        area=box_area(examples.detected_boxes),
        iscrowd=np.zeros(examples.detected.shape, int),
        score=examples.detected_scores,
    )


def _annotations(
    image: np.ndarray,
    row: np.ndarray,
    *,
    classes: np.ndarray,
    boxes: np.ndarray,
    **numbers: np.ndarray,
) -> list[dict[str, Any]]:
    corners = boxes[image, row]
    sizes = np.maximum(corners[:, 2:] - corners[:, :2], 0.0)
    columns = {
        "id": np.arange(1, len(image) + 1),  # from 1: pycocotools takes 0 for unmatched
        "image_id": image,
        "category_id": classes[image, row],
        "bbox": np.concatenate((corners[:, :2], sizes), axis=1),
        **{name: values[image, row] for name, values in numbers.items()},
    }
    lists = [column.tolist() for column in columns.values()]
    return [dict(zip(columns, values)) for values in zip(*lists)]
