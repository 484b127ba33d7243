"""Tables of the report, and nested settings as an outline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcv.report.charts.confusion import most_confused
from jaxcv.report.markup import Markup, join, tag
from jaxcv.report.numbers import title_of

_SCORES = {
    "iou": "IoU",
    "accuracy": "Recall",
    "average_precision": "AP",
    "average_precision_50": "AP50",
    "voc_average_precision_50": "VOC AP50",
    "average_recall": "AR",
}
_COUNTS = {"support": "Examples", "pixels": "Pixels", "detections": "Detections"}


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], *, sortable: bool = False) -> Markup:
    """A table; a cell `(text, key)` is sorted by its key, and numbers stand to the right."""

    def cell(value: Any) -> Markup:
        shown, key = value if isinstance(value, tuple) else (value, value)
        is_number = isinstance(key, int | float)
        return tag("td", shown, class_="number" if is_number else None, data_key=str(key))

    first = rows[0] if rows else [""] * len(head)
    numeric = [isinstance(c[1] if isinstance(c, tuple) else c, int | float) for c in first]
    headings = [
        tag(
            "th",
            tag("button", name, type="button") if sortable else name,
            class_="number" if is_number else None,
            scope="col",
        )
        for name, is_number in zip(head, numeric)
    ]
    return tag(
        "table",
        tag("thead", tag("tr", *headings)),
        tag("tbody", *[tag("tr", *[cell(value) for value in row]) for row in rows]),
        class_="sortable" if sortable else None,
    )


def per_class_table(per_class: Mapping[str, Sequence[float]], names: Sequence[str]) -> Markup:
    """Scores and number of examples (`support`) or `pixels` of each class; a click on a heading sorts."""
    counts = [name for name in per_class if name in _COUNTS]
    scores = [name for name in per_class if name not in _COUNTS]

    def meter(value: float | None) -> tuple[Markup, float]:
        if value is None or math.isnan(value):
            return tag("span", "-"), -1.0  # No example tells.
        bar = tag("span", class_="meter", style=f"--share:{100 * value:.1f}%")
        return join(bar, tag("span", f"{100 * value:.1f}%", class_="percent")), value

    rows = [
        [
            (name, name.lower()),
            *(meter(per_class[score][i]) for score in scores),
            *((f"{per_class[count][i]:,}", per_class[count][i]) for count in counts),
        ]
        for i, name in enumerate(names)
    ]
    head = [*(_SCORES.get(name, title_of(name)) for name in scores)]
    head += [_COUNTS[name] for name in counts]
    return table(["Class", *head], rows, sortable=True)


def confused_table(
    matrix: np.ndarray,
    names: Sequence[str],
    limit: int,
    *,
    background: tuple[str, str] | None = None,
) -> Markup | None:
    """The most frequent errors; None where there is none. Arguments as of `confusion_chart`."""
    row_names, column_names = (
        [*names, *(background[side : side + 1] if background else ())] for side in (0, 1)
    )
    support = np.maximum(matrix.sum(1), 1)
    rows = [
        [
            row_names[true],
            column_names[predicted],
            (f"{count:,}", count),
            (f"{100 * count / support[true]:.1f}%", float(count / support[true])),
        ]
        for true, predicted, count in most_confused(matrix, limit)
    ]
    head = ["True class", "Predicted class", "Errors", "Share of true class"]
    if background is not None:
        head = ["True class", "Detected as", "Errors", "Share of row"]
    return table(head, rows, sortable=True) if rows else None


def outline(value: Any) -> Markup:
    """Nested dicts and lists as an outline; a dict's `class` is its headline, its module a hint."""
    if isinstance(value, Mapping):
        fields = {name: item for name, item in value.items() if name != "class"}
        rows = [tag("div", tag("dt", name), tag("dd", outline(v))) for name, v in fields.items()]
        path = str(value["class"]) if "class" in value else None
        headline = path and tag("span", path.rpartition(".")[2], class_="class", title=path)
        return join(headline, tag("dl", *rows) if rows else None)
    if isinstance(value, list | tuple):
        if not any(isinstance(item, Mapping | list | tuple) for item in value):
            return tag("code", ", ".join(map(_plain, value)) if value else "none")
        return tag("ol", *[tag("li", outline(item)) for item in value])
    return tag("code", _plain(value))


def _plain(value: Any) -> str:
    words = {None: "none", True: "yes", False: "no"}
    if value is None or isinstance(value, bool):
        return words[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
