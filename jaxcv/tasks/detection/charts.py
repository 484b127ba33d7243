"""Charts of a test of detection: precision and recall, classes, sizes, confusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcv.report.charts.class_bars import class_bars
from jaxcv.report.charts.confusion import MAX_CLASSES, confusion_chart
from jaxcv.report.charts.curves import curve_chart, histogram_chart
from jaxcv.report.markup import Markup, tag
from jaxcv.report.tables import confused_table

BACKGROUND = ("nothing", "missed")
"""What the last row and the last column of the confusion are called."""

_CURVES = 5  # classes whose curves are drawn beside the mean
_BARS = 40
_SIZE_LIMITS = (32, 96)  # COCO's, sides of squares in pixels


def precision_recall_chart(
    curves: Sequence[Sequence[float | None]], class_names: Sequence[str]
) -> Markup | None:
    """Precision against recall at IoU 0.5, the mean and some classes; None without any.

    Args:
        curves: [C] of [101] precisions at the recalls 0, 0.01 .. 1; None for a class that has none.
        class_names: [C].
    """
    known = {c: np.array(curve, np.float64) for c, curve in enumerate(curves) if None not in curve}
    if not known:
        return None
    best_first = sorted(known, key=lambda c: (-known[c].mean(), c))
    chosen, note = best_first, ""
    if len(known) > _CURVES:
        middle = len(known) // 2
        chosen = [*best_first[:2], best_first[middle], *best_first[-2:]]
        note = f"Of {len(known)} classes the two best, the middle one and the two worst. "
    series = {class_names[c]: _curve(known[c]) for c in chosen}
    if len(known) > 1:
        series = {"mean of classes": _curve(np.mean(list(known.values()), axis=0)), **series}
    return curve_chart(
        series,
        title="Precision and recall at IoU 0.5",
        x_label="recall (%)",
        y_label="precision (%)",
        x_range=(0.0, 100.0),
        y_range=(0.0, 102.0),
        note=note + "At each recall the greatest precision there or beyond it.",
    )


def _curve(precision: np.ndarray) -> list[tuple[float, float]]:
    """Points in percent, up to the recall that is reached."""
    reached = int(np.flatnonzero(precision)[-1]) if precision.any() else 0
    return [(float(r), 100 * float(precision[r])) for r in range(min(reached + 2, 101))]


def average_precision_chart(
    per_class: Mapping[str, Sequence[Any]], class_names: Sequence[str], palette: np.ndarray
) -> Markup:
    """A bar of COCO's average precision for each class, and a stroke where it is at IoU 0.5."""
    details = [
        ("" if half is None else f"at IoU 0.5 {100 * half:.1f}%, ")
        + f"{objects:,} objects, {detections:,} detections"
        for half, objects, detections in zip(
            per_class["average_precision_50"], per_class["support"], per_class["detections"]
        )
    ]
    return class_bars(
        per_class["average_precision"],
        class_names,
        palette,
        title="Average precision of each class",
        measure="AP",
        details=details,
        marks=per_class["average_precision_50"],
        mark_name="at IoU 0.5",
        unknown="no object",
        most=_BARS,
    )


def size_histogram(areas: np.ndarray, found: np.ndarray, score_threshold: float) -> Markup | None:
    """How many objects of each size were found and missed; None without an object.

    Args:
        areas: [K] pixels of the original image.
        found: [K] bool.
        score_threshold: From which detections count.
    """
    if not len(areas):
        return None
    sides = np.sqrt(np.maximum(np.asarray(areas, np.float64), 1.0))
    low, high = np.floor(np.log2(sides.min())), np.ceil(np.log2(sides.max()))
    edges = 2 ** np.linspace(low, max(high, low + 1), int(4 * max(high - low, 1)) + 1)
    counts = {
        name: np.histogram(sides[which], edges)[0].astype(float).tolist()
        for name, which in (("found", found), ("missed", ~found))
    }
    return histogram_chart(
        counts,
        edges.tolist(),
        title="Sizes of objects",
        x_label="square root of the area (pixels)",
        y_label="objects",
        lines={str(limit): float(limit) for limit in _SIZE_LIMITS},
        log=True,
        stacked=True,
        note=(
            f"Found: by a detection of their class with a score of {score_threshold:.2f} or more at "
            f"IoU 0.5, which {100 * found.mean():.1f}% of {len(found):,} objects are. COCO calls "
            f"objects small below {_SIZE_LIMITS[0]} pixels and large above {_SIZE_LIMITS[1]}."
        ),
    )


def confusion_cards(summary: Mapping[str, Any], class_names: Sequence[str]) -> Markup:
    """Which class was taken for which, what was missed, and what was detected where nothing is.

    Args:
        summary: What `jaxcv.metrics.detection_summary` returned.
        class_names: [C]. Beyond `MAX_CLASSES` - 1 there is only the table of errors.
    """
    matrix = np.asarray(summary["confusion_with_background"])
    errors = confused_table(matrix, class_names, 10, background=BACKGROUND)
    drawn = len(matrix) <= MAX_CLASSES
    threshold = summary["best_f1_threshold"]
    note = (
        "Detections and objects that overlap by IoU 0.5 or more, whatever their classes, at a score "
        f"of {threshold:.2f} or more, where F1 is best."
    )
    title = tag("h3", "True and detected classes")
    chart = confusion_chart(matrix, class_names, background=BACKGROUND) if drawn else None
    table = tag(
        "div", tag("h3", "Most frequent errors"), errors or "There are none.", class_="card"
    )
    card = tag("div", title, tag("p", note, class_="note"), chart, class_="card")
    return tag("div", card, table, class_="pair" if len(matrix) <= 9 else "stack")
