"""How numbers are written and what they are called."""

from __future__ import annotations

import math
from typing import Any

from jaxcv.train.task import Headline


def title_of(name: str) -> str:
    """A field's name in words: `macro_f1` is "Macro F1"."""
    words = (
        name.replace("_", " ").replace("f1", "F1").replace("r squared", "R²").replace("iou", "IoU")
    )
    return words[:1].upper() + words[1:]


def shown(value: Any, headline: Headline | None = None) -> str:
    """A number as people read it: fractions in percent, counts in full, others to four digits.

    Args:
        value: the number.
        headline: what it is; None for one that no task names, which is shown as it is.

    Example:
        >>> shown(0.98765), shown(0.98765, Headline(name="accuracy", title="Accuracy", fraction=True))
        ('0.9877', '98.77%')
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if math.isnan(value):
        return "NaN"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{100 * value:.2f}%" if headline and headline.fraction else f"{value:.4g}"


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
