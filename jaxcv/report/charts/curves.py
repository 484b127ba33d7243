"""Line charts, curves, histograms, the reliability diagram: inline SVG in the page's colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from jaxcv.report.charts import svg
from jaxcv.report.charts.axis import Axis, tick_labels
from jaxcv.report.markup import Markup, join, tag

Points = Sequence[tuple[float, float]]
Scale = Literal["linear", "log", "probit"]

WIDTH, HEIGHT = 520, 290
SMALL_WIDTH, SMALL_HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 12, 46
_DIGIT = 7.2  # width of a digit of a tick's label
STRIP = 48  # height of the histogram under the reliability diagram
MAX_POINTS = 400
MAX_DOTS = 40


def thin(points: Points, limit: int = MAX_POINTS) -> list[tuple[float, float]]:
    """Means of neighbouring points, so that at most `limit` remain.

    A mean skips values that are not finite; where there are no others the gap stays.
    """
    size = -(-len(points) // limit)
    thinned = []
    for start in range(0, len(points), size or 1):
        group = points[start : start + size]
        finite = [y for _, y in group if math.isfinite(y)]
        y = sum(finite) / len(finite) if finite else math.nan
        thinned.append((sum(x for x, _ in group) / len(group), y))
    return thinned


def _frame(
    x: Axis, y: Axis, x_label: str, y_label: str, *, floor: float, whole: bool = True
) -> Markup:
    """Grid lines, ticks and the names of both axes; the x axis lies at `floor`.

    `whole` leaves only whole numbers among the ticks of a linear x axis.
    """
    many = 6 if x.end > SMALL_WIDTH else 4
    parts = []
    for value, label in zip(y.ticks(), tick_labels(y.ticks())):
        parts.append(svg.line(x.start, y(value), x.end, y(value), class_="grid"))
        parts.append(svg.text(label, x.start - 8, y(value) + 4, anchor="end"))
    x_ticks = x.ticks(many, whole=whole)
    for value, label in zip(x_ticks, tick_labels(x_ticks)):
        parts.append(svg.line(x(value), floor, x(value), floor + 5, class_="axis"))
        parts.append(svg.text(label, x(value), floor + 18))
    middle = {"class_": "label", "text_anchor": "middle"}
    return join(
        *parts,
        svg.line(x.start, floor, x.end, floor, class_="axis"),
        svg.text(x_label, (x.start + x.end) / 2, floor + BOTTOM - 8, class_="label"),
        svg.upright(y_label, 14, (y.start + y.end) / 2, **middle),
    )


def _figure(
    title: str,
    legend: Markup | None,
    drawing: Markup,
    *,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    note: str = "",
) -> Markup:
    box = f"0 0 {size[0]} {size[1]}"
    picture = tag("svg", drawing, viewBox=box, role="img", aria_label=title)
    caption = tag("figcaption", tag("span", title, class_="chart-title"), legend)
    return tag("figure", caption, picture, tag("p", note, class_="note") if note else None)


def _path(points: Points, x: Axis, y: Axis) -> str:
    """SVG path commands; a value that cannot be drawn breaks the line."""
    commands, pen = [], "M"
    for px, py in points:
        if not math.isfinite(py):
            pen = "M"
            continue
        commands.append(f"{pen}{x(px):.1f} {y(py):.1f}")
        pen = "L"
    return "".join(commands)


def line_chart(
    series: Mapping[str, Points],
    *,
    title: str,
    x_label: str,
    y_label: str,
    colors: Mapping[str, int] | None = None,
    small: bool = False,
) -> Markup:
    """One line per series, its points marked where they are few.

    The y axis is logarithmic where all values are positive and span more than a factor of 30.

    Args:
        series: `{name: [(x, y), ...]}`, x ascending; y may be NaN or infinite, which leaves a gap.
        title: Title of the chart.
        x_label: What x is, with its unit.
        y_label: What y is, with its unit.
        colors: Number of the colour of each series, 0 to 5; by default in order.
        small: Whether the chart stands three to a row instead of two.
    """
    lines = {name: thin(points) for name, points in series.items()}
    values = [v for points in lines.values() for _, v in points if math.isfinite(v)]
    if not values:
        return _figure(title, None, svg.text("no finite values", WIDTH / 2, HEIGHT / 2))
    width, height = (SMALL_WIDTH, SMALL_HEIGHT) if small else (WIDTH, HEIGHT)
    log = min(values) > 0 and max(values) > 30 * min(values)
    y = Axis.around(values, start=height - BOTTOM, end=TOP, log=log)
    # The name of the axis stands left of its longest tick.
    left = max(LEFT, 28 + _DIGIT * max(map(len, tick_labels(y.ticks()))))
    steps = [v for points in lines.values() for v, _ in points]
    x = _steps_axis(steps, start=left, end=width - RIGHT)
    parts, legend = [], []
    for i, (name, points) in enumerate(lines.items()):
        color = f"series-{(colors or {}).get(name, i) % 6}"
        parts.append(tag("path", class_=f"line {color}", d=_path(points, x, y)))
        if len(points) <= MAX_DOTS:
            for px, py in points:
                if math.isfinite(py):
                    hint = f"{name}: {py:.5g} at {x_label} {px:,g}"
                    parts.append(svg.dot(x(px), y(py), 2.6, hint=hint, class_=f"dot {color}"))
        legend.append(tag("span", tag("i", class_=color), name, class_="key"))
    scale = ", ".join(part for part in (y_label, "log scale" if log else "") if part)
    frame = _frame(x, y, x_label, scale, floor=y.start)
    return _figure(title, join(*legend), join(frame, *parts), size=(width, height))


def _steps_axis(steps: Sequence[float], *, start: float, end: float) -> Axis:
    """A horizontal axis from 0 to the last step."""
    low, high = min(steps), max(steps)
    if low < high:
        return Axis(low=min(low, 0.0), high=high, start=start, end=end)
    return Axis(low=low - 1, high=high + 1, start=start, end=end)


def curve_chart(
    series: Mapping[str, Points],
    *,
    title: str,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    scales: tuple[Scale, Scale] = ("linear", "linear"),
    dots: Sequence[tuple[float, float, str]] = (),
    diagonal: bool = False,
    note: str = "",
) -> Markup:
    """One curve per series on axes of a given range: ROC, DET, precision against recall.

    Args:
        series: `{name: [(x, y), ...]}` within the ranges; a NaN for y leaves a gap.
        title: Title of the chart.
        x_label: What x is, with its unit.
        y_label: What y is, with its unit.
        x_range: Least and greatest x shown.
        y_range: Least and greatest y shown.
        scales: Of the x and of the y axis; "probit" wants percentages in (0, 100).
        dots: Points to be marked, `(x, y, text)`; the text appears under the mouse pointer.
        diagonal: Whether to draw the line x = y.
        note: A sentence below the chart.
    """
    x = _scaled_axis(x_range, scales[0], start=LEFT, end=WIDTH - RIGHT)
    y = _scaled_axis(y_range, scales[1], start=HEIGHT - BOTTOM, end=TOP)
    parts, legend = [], []
    if diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        parts.append(svg.line(x(low), y(low), x(high), y(high), class_="diagonal"))
    for i, (name, points) in enumerate(series.items()):
        color = f"series-{i % 6}"
        parts.append(tag("path", class_=f"line {color}", d=_path(points, x, y)))
        legend.append(tag("span", tag("i", class_=color), name, class_="key"))
    for px, py, hint in dots:
        if x.low <= px <= x.high and y.low <= py <= y.high:
            parts.append(svg.dot(x(px), y(py), 4, hint=hint, class_="dot series-1"))
    frame = _frame(x, y, x_label, y_label, floor=y.start, whole=False)
    keys = join(*legend) if len(series) > 1 else None
    return _figure(title, keys, join(frame, *parts), note=note)


def _scaled_axis(limits: tuple[float, float], scale: Scale, *, start: float, end: float) -> Axis:
    low, high = limits
    is_log, is_probit = scale == "log", scale == "probit"
    return Axis(low=low, high=high, start=start, end=end, log=is_log, probit=is_probit)


def histogram_chart(
    series: Mapping[str, Sequence[float]],
    edges: Sequence[float],
    *,
    title: str,
    x_label: str,
    y_label: str,
    lines: Mapping[str, float] | None = None,
    note: str = "",
    log: bool = False,
    stacked: bool = False,
) -> Markup:
    """Histograms over the same bins, one before the other or one upon the other.

    Args:
        series: `{name: [n heights]}`, none negative.
        edges: n + 1 limits of the bins, ascending.
        title: Title of the chart.
        x_label: What x is, with its unit.
        y_label: What the heights are, with their unit.
        lines: `{text: x}`, upright lines.
        note: A sentence below the chart.
        log: Whether the x axis is logarithmic; the edges are positive then.
        stacked: Whether each series stands on those before it.
    """
    bars = list(series.values())
    floors = [[0.0] * len(heights) for heights in bars]
    if stacked:
        for i in range(1, len(bars)):
            floors[i] = [low + value for low, value in zip(floors[i - 1], bars[i - 1])]
    tops = [low + v for i, heights in enumerate(bars) for low, v in zip(floors[i], heights)]
    tallest = max(tops, default=0.0) or 1.0
    x = Axis(low=edges[0], high=edges[-1], start=LEFT, end=WIDTH - RIGHT, log=log)
    y = Axis(low=0.0, high=1.08 * tallest, start=HEIGHT - BOTTOM, end=TOP)
    parts, legend = [], []
    for i, (name, heights) in enumerate(series.items()):
        color = f"series-{i % 6}"
        for value, floor, low, high in zip(heights, floors[i], edges[:-1], edges[1:]):
            if value:
                hint = f"{name}, {low:.4g} to {high:.4g}: {value:.4g} {y_label}"
                left, width, top = x(low), x(high) - x(low), y(floor + value)
                look = f"fill {color}"
                height = y(floor) - top
                parts.append(svg.rectangle(left, top, width, height, hint=hint, class_=look))
        legend.append(tag("span", tag("i", class_=color), name, class_="key"))
    for text, value in (lines or {}).items():
        if x.low <= value <= x.high:
            anchor: svg.Anchor = "end" if x(value) > WIDTH / 2 else "start"
            shift = -6 if anchor == "end" else 6
            parts.append(svg.line(x(value), y.start, x(value), TOP, class_="diagonal"))
            parts.append(svg.text(text, x(value) + shift, TOP + 10, anchor=anchor))
    frame = _frame(x, y, x_label, y_label, floor=y.start, whole=False)
    return _figure(title, join(*legend), join(frame, *parts), note=note)


def reliability_diagram(calibration: Mapping[str, Any], error: float) -> Markup:
    """Accuracy against confidence, bin by bin, over a histogram of the confidences.

    Where the accuracy lies below the diagonal the model is overconfident, above it underconfident
    (Guo, Pleiss, Sun & Weinberger 2017, figure 1).

    Args:
        calibration: Lists `count`, `confidence` and `accuracy` with one entry per bin of equal
            width; None where a bin is empty.
        error: Expected calibration error, in [0, 1].
    """
    counts = calibration["count"]
    total, largest = max(sum(counts), 1), max(max(counts), 1)
    floor = HEIGHT - BOTTOM
    x = Axis(low=0.0, high=100.0, start=LEFT, end=WIDTH - RIGHT)
    y = Axis(low=0.0, high=100.0, start=floor - STRIP, end=TOP)
    width = (x.end - x.start) / len(counts) - 2
    bars = []
    for i, count in enumerate(counts):
        if not count:
            continue
        accuracy, confidence = 100 * calibration["accuracy"][i], 100 * calibration["confidence"][i]
        hint = (
            f"{count:,} predictions ({100 * count / total:.1f}%): confidence {confidence:.1f}%, "
            f"accuracy {accuracy:.1f}%"
        )
        low, high = sorted((accuracy, confidence))
        tall = max((STRIP - 12) * count / largest, 1.0)
        for top, height, look in (
            (y(low), y.start - y(low), "bar"),
            (y(high), y(low) - y(high), "gap"),
            (y(accuracy) - 1.5, 3, "mark"),
            (floor - tall, tall, "share"),
        ):
            left = x.start + i * (width + 2) + 1
            bars.append(svg.rectangle(left, top, width, height, hint=hint, class_=look))
    diagonal = svg.line(x(0), y(0), x(100), y(100), class_="diagonal")
    names = {"mark": "accuracy", "gap": "gap to confidence", "share": "predictions"}
    keys = [tag("span", tag("i", class_=k), name, class_="key") for k, name in names.items()]
    note = (
        f"Expected calibration error {100 * error:.2f}%: the mean gap between accuracy and "
        f"confidence, weighted by the predictions in each of {len(counts)} bins."
    )
    frame = _frame(x, y, "confidence (%)", "accuracy (%)", floor=floor)
    return _figure("Reliability", join(*keys), join(frame, *bars, diagonal), note=note)
