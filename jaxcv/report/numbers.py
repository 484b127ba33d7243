"""How numbers are written and what they are called."""

from __future__ import annotations

import math
from typing import Any

_FRACTIONS = (
    "accuracy",
    "iou",
    "dice",
    "precision",
    "recall",
    "f1",
    "accuracy_std",
    "calibration_error",
    "rate",
)

_FRACTION_FAMILIES = ("average_precision", "average_recall", "voc_average_precision")

_NAMES = {
    "expected_calibration_error": "Calibration error",
    "average_precision_50": "AP at IoU 0.5",
    "average_precision_75": "AP at IoU 0.75",
    "voc_average_precision_50": "VOC AP at IoU 0.5",
}


def is_fraction(name: str) -> bool:
    """Whether a metric of this name is a fraction of 1, shown in percent."""
    is_rate = (
        name.endswith(_FRACTIONS) or "_rate_at_" in name or name.startswith(_FRACTION_FAMILIES)
    )
    return is_rate and "learning" not in name


def title_of(name: str) -> str:
    """A field's name in words: `macro_f1` is "Macro F1"."""
    if name in _NAMES:
        return _NAMES[name]
    words = (
        name.replace("_", " ").replace("f1", "F1").replace("r squared", "R²").replace("iou", "IoU")
    )
    return words[:1].upper() + words[1:]


def shown(name: str, value: Any) -> str:
    """A metric's value: fractions in percent, counts in full, other numbers to four digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if math.isnan(value):
        return "NaN"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{100 * value:.2f}%" if is_fraction(name) else f"{value:.4g}"


def wilson_interval(fraction: float, count: int) -> tuple[float, float]:
    """95% interval of a fraction that was found in `count` examples (Wilson 1927).

    Example:
        >>> low, high = wilson_interval(0.9, 100)
        >>> round(low, 3), round(high, 3)
        (0.826, 0.945)
    """
    z = 1.959964
    centre = fraction + z * z / (2 * count)
    spread = z * math.sqrt(fraction * (1 - fraction) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return (centre - spread) / scale, (centre + spread) / scale
