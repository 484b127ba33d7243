"""The confusion matrix as a picture, and its largest errors as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcv.report.charts import svg
from jaxcv.report.markup import Markup, join, tag

MAX_CLASSES = 100
"""Up to this many classes the matrix is drawn."""

_NUMBERED_CLASSES = 25
"""Up to this many classes each cell shows its count."""


def shortened(name: str, length: int = 16) -> str:
    """A name of at most `length` characters; its start and its end stay."""
    return name if len(name) <= length else f"{name[: length - 6]}…{name[-5:]}"


def _cell_size(classes: int) -> float:
    """Width of a cell in pixels: as large as legible, as small as fits the page."""
    return max(10.0, min(46.0, 760.0 / classes))


def confusion_chart(
    matrix: np.ndarray, names: Sequence[str], *, background: tuple[str, str] | None = None
) -> Markup:
    """A cell per pair of true class (row) and predicted class (column).

    The depth of the colour is the fraction of the row's examples: blue on the diagonal, where the
    prediction is right, and orange beside it, where errors are deepened to be seen.

    Args:
        matrix: [C, C] counts, C <= `MAX_CLASSES`; [C + 1, C + 1] with a background.
        names: C names of classes.
        background: Of detections, the names of the last row (of what is no object) and the last column
            (of objects that were missed).
    """
    row_names, column_names = [*names], [*names]
    if background is not None:
        row_names.append(background[0])
        column_names.append(background[1])
    C = len(matrix)
    size = _cell_size(C)
    font = min(13.0, 0.85 * size)
    longest = max(len(shortened(name)) for name in (*row_names, *column_names))
    margin = 30 + min(120.0, 0.62 * font * longest)
    support = np.maximum(matrix.sum(1), 1)
    cells, labels = [], []
    for row, column in zip(*np.nonzero(matrix)):
        count = int(matrix[row, column])
        fraction = count / support[row]
        right = bool(row == column)
        depth = float(fraction if right else min(1.0, 0.08 + fraction**0.5))
        x, y = margin + column * size, margin + row * size
        hint = f"{row_names[row]} taken for {column_names[column]}"
        if max(row, column) >= len(names):
            hint = f"{row_names[row]}, {column_names[column]}"
        hint += f": {count:,} ({100 * fraction:.1f}%)"
        look = {"class_": "right" if right else "wrong", "fill_opacity": depth}
        cells.append(svg.rectangle(x + 0.5, y + 0.5, size - 1, size - 1, hint=hint, **look))
        if C <= _NUMBERED_CLASSES:
            cells.append(_number(count, x + size / 2, y + size / 2, size, on_color=depth > 0.55))
    style: dict[str, Any] = {"font_size": font, "dominant_baseline": "central"}
    for i, name in enumerate(row_names):
        centre, short = margin + (i + 0.5) * size, shortened(name)
        labels.append(svg.text(short, margin - 6, centre, anchor="end", hint=name, **style))
    for i, name in enumerate(column_names):
        centre, short = margin + (i + 0.5) * size, shortened(name)
        if longest <= 2:
            labels.append(svg.text(short, centre, margin - 10, hint=name, **style))
        else:
            labels.append(svg.upright(short, centre, margin - 6, **style))
    middle, total = margin + C * size / 2, margin + C * size + 2
    axes = [
        svg.text("predicted class", middle, 14, class_="label"),
        svg.upright("true class", 12, middle, class_="label", text_anchor="middle"),
        svg.rectangle(margin, margin, C * size, C * size, class_="frame"),
    ]
    if background is not None:
        edge, end = margin + len(names) * size, margin + C * size
        axes.append(svg.line(margin, edge, end, edge, class_="axis"))
        axes.append(svg.line(edge, margin, edge, end, class_="axis"))
    return tag(
        "svg",
        join(*axes, *cells, *labels),
        class_="confusion",
        viewBox=f"0 0 {total:.0f} {total:.0f}",
        style=f"max-width:{total:.0f}px",
        role="img",
        aria_label="Confusion matrix",
    )


def _number(count: int, x: float, y: float, size: float, *, on_color: bool) -> Markup:
    """A cell's count, as large as fits."""
    number = compact(count)
    font = min(14.0, 0.42 * size, 1.5 * size / len(number))
    color = "on-color" if on_color else "cell"
    return svg.text(number, x, y, class_=color, font_size=font, dominant_baseline="central")


def compact(count: int) -> str:
    """A count in at most five characters: pixels are counted by the million.

    Example:
        >>> compact(9_999), compact(46_187), compact(1_020_182)
        ('9999', '46k', '1.02M')
    """
    if count < 10_000:
        return str(count)
    if count < 999_500:
        return f"{count / 1e3:.0f}k"
    return f"{count / 1e6:.3g}M" if count < 999.5e6 else f"{count / 1e9:.3g}G"


def most_confused(matrix: np.ndarray, limit: int = 10) -> list[tuple[int, int, int]]:
    """The largest entries beside the diagonal as (true class, predicted class, count), descending.

    Example:
        >>> most_confused(np.array([[5, 1], [2, 7]]))
        [(1, 0, 2), (0, 1, 1)]
    """
    errors = np.array(matrix)
    np.fill_diagonal(errors, 0)
    flat = errors.ravel()
    order = np.argsort(-flat, kind="stable")[:limit]
    return [
        (int(i // len(errors)), int(i % len(errors)), int(flat[i])) for i in order if flat[i] > 0
    ]
