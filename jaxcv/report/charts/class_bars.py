"""A bar for each class: fractions of 1, best first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxcv.report.charts import svg
from jaxcv.report.charts.confusion import shortened
from jaxcv.report.markup import Markup, join, tag

_ROW = 22


def hex_color(color: np.ndarray | tuple[int, int, int]) -> str:
    """A colour [3] uint8 as CSS writes it.

    Example:
        >>> hex_color((255, 16, 0))
        '#ff1000'
    """
    return "#" + "".join(f"{int(part):02x}" for part in color)


def class_bars(
    fractions: Sequence[float | None],
    class_names: Sequence[str],
    palette: np.ndarray,
    *,
    title: str,
    measure: str,
    details: Sequence[str],
    marks: Sequence[float | None] | None = None,
    mark_name: str = "",
    unknown: str = "nowhere",
    most: int | None = None,
) -> Markup:
    """A bar for each class in its colour, best first, and the mean as a dashed line.

    Args:
        fractions: [C] in [0, 1]; None for a class without, which comes last and is in no mean.
        class_names: [C].
        palette: [C, 3] uint8.
        title: of the chart.
        measure: what the bars show, for the text under the mouse pointer.
        details: [C] more of that text.
        marks: [C] a second fraction of each class, an upright stroke; None for none.
        mark_name: what the strokes show.
        unknown: what stands in the place of a bar that is None.
        most: how many bars to show, half of them the best and half the worst; None shows all.
    """
    known = [(fraction, c) for c, fraction in enumerate(fractions) if fraction is not None]
    order = [c for _, c in sorted(known, key=lambda pair: (-pair[0], pair[1]))]
    order += [c for c, fraction in enumerate(fractions) if fraction is None]
    left_out = 0
    if most is not None and len(order) > most:
        left_out = len(order) - most
        order = order[: most // 2] + order[len(order) - (most - most // 2) :]
    width, left, right, top = 520, 130, 470, 8
    height = top + len(order) * _ROW + 24
    parts = [svg.line(left, top, left, height - 22, class_="axis")]
    if known:
        mean = sum(fraction for fraction, _ in known) / len(known)
        x = left + (right - left) * mean
        parts.append(svg.line(x, top, x, height - 22, class_="diagonal"))
        parts.append(svg.text(f"mean {100 * mean:.1f}%", x, height - 6, class_="label"))
    for row, c in enumerate(order):
        y, fraction = top + row * _ROW, fractions[c]
        middle = y + _ROW / 2 + 4
        name = shortened(class_names[c], 18)
        parts.append(svg.text(name, left - 8, middle, anchor="end", hint=class_names[c]))
        if fraction is None:
            parts.append(svg.text(unknown, left + 6, middle, anchor="start"))
            continue
        bar = (right - left) * fraction
        hint = f"{class_names[c]}: {measure} {100 * fraction:.1f}%, {details[c]}"
        look = {"fill": hex_color(palette[c]), "stroke": "currentColor", "stroke_opacity": 0.35}
        parts.append(svg.rectangle(left, y + 3, max(bar, 1), _ROW - 6, hint=hint, **look))
        mark = marks[c] if marks is not None else None
        if mark is not None:
            x = left + (right - left) * mark
            parts.append(svg.line(x, y + 2, x, y + _ROW - 2, class_="stroke"))
        said = f"{100 * fraction:.1f}%"
        after = left + bar + 6
        if mark is not None and 0 <= x - after < 40:  # the text would lie on the stroke
            after = x + 6
        parts.append(svg.text(said, after, middle, anchor="start", class_="halo"))
    keys = [tag("span", tag("i", class_="upright"), mark_name, class_="key")] if mark_name else []
    caption = tag("figcaption", tag("span", title, class_="chart-title"), *keys)
    box = f"0 0 {width} {height}"
    chart = tag("svg", join(*parts), viewBox=box, role="img", aria_label=title)
    note = (
        f"The best and the worst of {len(fractions)} classes; {left_out} in between are left out."
    )
    return tag("figure", caption, chart, tag("p", note, class_="note") if left_out else None)


def color_keys(colors: Sequence[tuple[str, np.ndarray | tuple[int, int, int]]]) -> list[Markup]:
    """A swatch and a name for each (name, colour)."""
    return [
        tag(
            "span",
            tag("i", style=f"background:{hex_color(color)}", class_="swatch"),
            name,
            class_="key",
        )
        for name, color in colors
    ]
