"""The sections of the report, each from the part of the run that it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcv.report.charts.confusion import MAX_CLASSES, confusion_chart
from jaxcv.report.charts.curves import line_chart, reliability_diagram
from jaxcv.report.markup import Markup, join, tag
from jaxcv.report.numbers import shown, wilson_interval
from jaxcv.report.pictures import picture, to_uint8
from jaxcv.report.tables import confused_table, outline, per_class_table, table
from jaxcv.train.task import Headline

# What every run logs of its training, whatever the task: name, title, unit.
_OF_TRAINING = (
    Headline(name="learning_rate", title="Learning rate", better=None),
    Headline(name="gradient_norm", title="Gradient norm", unit="L2 norm", better=None),
    Headline(name="images_per_second", title="Images per second", unit="images / s"),
)

_SPLIT_COLORS = {"train": 0, "test": 1, "test_ema": 2}


def headline_tiles(summary: Mapping[str, Any], headlines: Sequence[Headline]) -> Markup | None:
    """The numbers that matter most, in large type."""
    tiles = []
    for headline in headlines:
        value = summary.get(headline.name)
        if not isinstance(value, int | float):
            continue
        more = headline.unit
        if headline.name == "accuracy" and summary.get("count") and 0 <= value <= 1:
            low, high = wilson_interval(value, summary["count"])
            more = f"95% CI {100 * low:.1f}–{100 * high:.1f}%"
        tiles.append(
            tag(
                "div",
                tag("div", headline.title, class_="name"),
                tag("div", shown(value, headline), class_="value"),
                tag("div", more, class_="more") if more else None,
                class_="tile",
            )
        )
    return tag("div", *tiles, class_="tiles") if tiles else None


def curves(history: Sequence[Mapping[str, Any]], headlines: Sequence[Headline]) -> Markup | None:
    """Charts over the steps: the loss, the first headline of each split, and how training went."""
    large = [
        c for headline in _curve_headlines(history, headlines) if (c := _curve(headline, history))
    ]
    small = [c for headline in _OF_TRAINING if (c := _curve(headline, history, small=True))]
    pair = tag("div", *large, class_="pair") if large else None
    trio = tag("div", *small, class_="trio") if small else None
    return join(pair, trio) if pair or trio else None


def _curve_headlines(
    history: Sequence[Mapping[str, Any]], headlines: Sequence[Headline]
) -> list[Headline]:
    """The loss, and of each split the first other headline that its rows have."""
    logged: dict[str, set[str]] = {}
    for row in history:
        logged.setdefault(str(row.get("split", "train")), set()).update(row)
    first = [
        next((h for h in headlines if h.name in names and h.name not in ("loss", "count")), None)
        for names in logged.values()
    ]
    loss = next((h for h in headlines if h.name == "loss"), None)
    return [h for h in dict.fromkeys((loss, *first)) if h is not None]


def _curve(
    headline: Headline, history: Sequence[Mapping[str, Any]], *, small: bool = False
) -> Markup | None:
    """One number over the steps, a line per split; None where no row has it."""
    scale = 100.0 if headline.fraction else 1.0
    series: dict[str, list[tuple[float, float]]] = {}
    for row in history:
        if isinstance(row.get(headline.name), int | float):
            points = series.setdefault(str(row.get("split", "train")), [])
            points.append((float(row["step"]), scale * row[headline.name]))
    if not series:
        return None
    return line_chart(
        series,
        title=headline.title,
        x_label="step",
        y_label="%" if headline.fraction else headline.unit,
        colors=_SPLIT_COLORS,
        small=small,
    )


def class_names_for(summary: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """One name per class: those given, and numbers where none is."""
    matrix = summary.get("confusion_matrix")
    per_class = summary.get("per_class") or {}
    count = len(matrix) if matrix is not None else len(per_class.get("support", ()))
    return [names[i] if i < len(names) else str(i) for i in range(count)]


def evaluation(
    summary: Mapping[str, Any], class_names: Sequence[str], headlines: Sequence[Headline]
) -> Markup | None:
    """Confusion, reliability, scores per class, and every other number of the summary."""
    names = class_names_for(summary, class_names)
    matrix = summary.get("confusion_matrix")
    calibration = summary.get("calibration")
    chart = confused = diagram = per_class = None
    if matrix is not None:
        counts = np.asarray(matrix)
        drawn = len(names) <= MAX_CLASSES
        chart = _card("Confusion matrix", confusion_chart(counts, names)) if drawn else None
        if len(names) > 4:
            confusions = confused_table(counts, names, 10 if drawn else 30)
            confused = _card("Most frequent confusions", confusions or "There are none.")
    if calibration and sum(calibration["count"]):
        diagram = reliability_diagram(calibration, summary["expected_calibration_error"])
    if summary.get("per_class"):
        scores = tag("div", per_class_table(summary["per_class"], names), class_="scroll")
        per_class = _card("Scores per class", scores)
    # A small matrix leaves room beside it.
    wide, narrow = (None, chart) if len(names) <= 4 else (chart, confused)
    pair = tag("div", diagram, narrow, class_="pair") if diagram or narrow else None
    blocks = [b for b in (wide, pair, per_class, _all_numbers(summary, headlines)) if b]
    return tag("div", *blocks, class_="stack") if blocks else None


def _all_numbers(summary: Mapping[str, Any], headlines: Sequence[Headline]) -> Markup | None:
    known = {headline.name: headline for headline in headlines}
    rows = [
        [tag("code", name), (shown(value, known.get(name)), float(value))]
        for name, value in summary.items()
        if isinstance(value, int | float)
    ]
    if not rows:
        return None
    head = tag("summary", "All numbers")
    return tag("details", head, table(["Metric", "Value"], rows), class_="card")


def _card(title: str, *children: Any) -> Markup:
    return tag("div", tag("h3", title), *children, class_="card")


def samples_gallery(
    images: np.ndarray, labels: Sequence[Any] | np.ndarray, class_names: Sequence[str]
) -> Markup | None:
    """Augmented training images with their labels, as the model sees them."""
    cells = []
    for image, label in zip(to_uint8(np.asarray(images)), labels):
        name = _label_name(label, class_names)
        frame = tag("div", picture(image, description=name), class_="frame")
        cells.append(tag("div", frame, tag("div", name)))
    return tag("div", tag("div", *cells, class_="gallery"), class_="card") if cells else None


def _label_name(label: Any, class_names: Sequence[str]) -> str:
    """A class, a mix of two ("cat 70% + dog 30%"), or a plain number."""
    values = np.asarray(label)
    if values.ndim == 1:
        best = [i for i in np.argsort(-values, kind="stable")[:2] if values[i] > 0.005]
        mixed = [(_label_name(i, class_names), 100 * values[i]) for i in best]
        if len(mixed) == 1:
            return mixed[0][0]
        return " + ".join(f"{name} {fraction:.0f}%" for name, fraction in mixed)
    if np.issubdtype(values.dtype, np.integer) and 0 <= int(values) < len(class_names):
        return class_names[int(values)]
    return f"{values.item():g}" if isinstance(values.item(), float) else str(values.item())


def settings(value: Mapping[str, Any]) -> Markup | None:
    """Nested settings in a card."""
    return tag("div", outline(value), class_="card") if value else None


def environment_cards(environment: Mapping[str, Any]) -> Markup | None:
    """Versions and hardware, a card for each group."""
    groups = {name: value for name, value in environment.items() if isinstance(value, Mapping)}
    rest = {name: value for name, value in environment.items() if name not in groups}
    cards = [_card(name, outline(value)) for name, value in groups.items()]
    if rest:
        cards.append(_card("Run", outline(rest)))
    return tag("div", *cards, class_="pair") if cards else None
