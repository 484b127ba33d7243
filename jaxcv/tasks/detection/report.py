"""What a test of detection has to show: precision and recall, sizes, confusion, right and wrong boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxcv.metrics.detection_examples import DetectionExamples, checked_examples
from jaxcv.metrics.detection_matching import DetectionMatches, image_f1, match_detections
from jaxcv.report.markup import Markup, tag
from jaxcv.tasks.detection.charts import (
    average_precision_chart,
    confusion_cards,
    precision_recall_chart,
    size_histogram,
)
from jaxcv.tasks.detection.panels import DetectedImage, detection_panels

_FEW = 12  # classes


@dataclass(frozen=True, kw_only=True)
class DetectionEvidence:
    """What `detection_sections` shows beside the numbers of the summary.

    Attributes:
        worst: Images to be shown first, worst first.
        typical: Others, about the median.
        areas: [K] area in pixels of each object of the test images that counts.
        found: [K] bool, whether each has a right detection.
        score_threshold: Detections with a lower score were left out of all these.
    """

    worst: Sequence[DetectedImage] = ()
    typical: Sequence[DetectedImage] = ()
    areas: np.ndarray
    found: np.ndarray
    score_threshold: float


def detection_evidence(
    examples: Mapping[str, Any],
    num_classes: int,
    *,
    record: Callable[[int], Mapping[str, np.ndarray]],
    record_name: Callable[[int], str],
    score_threshold: float,
    worst: int = 8,
    typical: int = 4,
) -> DetectionEvidence:
    """Finds the worst and some typical images, and the sizes of what was found and missed.

    Worst is the least F1 at IoU 0.5 within the image; of those alike, the one with more errors.

    Args:
        examples: What a detection task's `examples` gives, of all test images, [N, ...].
        num_classes: C.
        record: The record of row i: `image` [H, W, C] uint8, and `placement` [4] where boxes of the
            original image have to be scaled and moved to lie on it.
        record_name: Name of the record of row i.
        score_threshold: Detections with a lower score are left out; `best_f1_threshold` of the
            summary, say.
        worst: How many of the worst images to show.
        typical: How many about the median to show.

    Raises:
        ValueError: As `jaxcv.metrics.detection_summary`.
    """
    checked = checked_examples(examples, num_classes)
    matches = match_detections(checked, num_classes, score_threshold=score_threshold)
    f1 = image_f1(matches)
    errors = matches.wrong.sum(1) + matches.missed.sum(1)
    order = [int(i) for i in np.lexsort((-errors, f1))]
    first, rest = order[:worst], order[worst:]
    start = max((len(rest) - typical) // 2, 0)

    def shown(rows: Sequence[int]) -> list[DetectedImage]:
        return [
            _detected_image(checked, matches, i, float(f1[i]), record(i), record_name(i))
            for i in rows
        ]

    return DetectionEvidence(
        worst=shown(first),
        typical=shown(rest[start : start + typical]),
        areas=checked.area[checked.wanted],
        found=matches.found[checked.wanted],
        score_threshold=score_threshold,
    )


def _detected_image(
    examples: DetectionExamples,
    matches: DetectionMatches,
    i: int,
    f1: float,
    record: Mapping[str, np.ndarray],
    name: str,
) -> DetectedImage:
    placement = np.asarray(record.get("placement", (1.0, 1.0, 0.0, 0.0)), np.float64)
    scale, shift = np.tile(placement[:2], 2), np.tile(placement[2:], 2)
    present = examples.present[i]
    used = matches.right[i] | matches.wrong[i] | (matches.truth[i] >= 0)
    scores = examples.detected_scores[i]
    kept = np.flatnonzero(used)[np.argsort(-scores[used], kind="stable")]
    return DetectedImage(
        image=np.asarray(record["image"]),
        boxes=examples.boxes[i][present] * scale + shift,
        classes=examples.classes[i][present],
        found=matches.found[i][present],
        ignored=examples.ignored[i][present],
        detected_boxes=examples.detected_boxes[i][kept] * scale + shift,
        detected_scores=scores[kept],
        detected_classes=examples.detected_classes[i][kept],
        right=matches.right[i][kept],
        wrong=matches.wrong[i][kept],
        f1=f1,
        record=name,
    )


def detection_sections(
    summary: Mapping[str, Any],
    evidence: DetectionEvidence,
    *,
    class_names: Sequence[str],
    palette: np.ndarray,
) -> dict[str, Markup | None]:
    """Sections for `write_report(task_sections=...)`: `{heading: content}`.

    Args:
        summary: What `jaxcv.metrics.detection_summary` returned.
        evidence: From `detection_evidence`.
        class_names: [C].
        palette: [C, 3] uint8.
    """
    per_class = summary["per_class"]
    curves = precision_recall_chart(summary["precision_by_recall_50"], class_names)
    bars = average_precision_chart(per_class, class_names, palette)
    sizes = size_histogram(evidence.areas, evidence.found, evidence.score_threshold)
    # A long row of bars stands beside both charts, a short one above the other chart.
    few = len(class_names) <= _FEW
    left = tag("div", curves, None if few else sizes, class_="stack")
    right = tag("div", bars, sizes if few else None, class_="stack")
    charts = tag("div", left, right, class_="pair")
    return {
        "Precision and recall": charts,
        "Confusion of classes": confusion_cards(summary, class_names),
        "Worst images": detection_panels(evidence.worst, class_names, evidence.score_threshold),
        "Typical images": detection_panels(evidence.typical, class_names, evidence.score_threshold),
    }
