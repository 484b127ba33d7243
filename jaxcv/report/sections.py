"""The sections of the report, each from the part of the run that it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxcv.report.charts.confusion import MAX_CLASSES, confusion_chart
from jaxcv.report.charts.curves import line_chart, reliability_diagram
from jaxcv.report.markup import Markup, join, tag
from jaxcv.report.numbers import is_fraction, shown, title_of, wilson_interval
from jaxcv.report.pictures import picture, to_uint8
from jaxcv.report.tables import confused_table, outline, per_class_table, table

HEADLINES = (
    "accuracy",
    "mean_iou",
    "pixel_accuracy",
    "average_precision",
    "average_precision_50",
    "voc_average_precision_50",
    "best_f1",
    "equal_error_rate",
    "true_accept_rate_at_far_0.01",
    "area_under_roc",
    "loss",
    "top_5_accuracy",
    "f1",
    "macro_f1",
    "expected_calibration_error",
    "r_squared",
    "root_mean_squared_error",
    "mean_absolute_error",
    "count",
)

_CURVES = (
    "loss",
    "accuracy",
    "mean_iou",
    "average_precision",
    "equal_error_rate",
    "mean_absolute_error",
)
_SMALL_CURVES = ("learning_rate", "gradient_norm", "images_per_second")

_UNITS = {
    "images_per_second": "images / s",
    "gradient_norm": "L2 norm",
    "mean_absolute_error": "label units",
}

_SPLIT_COLORS = {"train": 0, "test": 1, "test_ema": 2}


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A wrong prediction.

    Attributes:
        image: [H, W, C] or [H, W] uint8.
        true, predicted: Names of the two classes.
        confidence: Probability given to the predicted class, in [0, 1].
        record: Name of the record, to find it again.
    """

    image: np.ndarray
    true: str
    predicted: str
    confidence: float
    record: str = ""


def headline_tiles(summary: Mapping[str, Any]) -> Markup | None:
    """The numbers that matter most, in large type."""
    tiles = []
    for name in HEADLINES:
        value = summary.get(name)
        if not isinstance(value, int | float):
            continue
        more = ""
        if name == "accuracy" and summary.get("count") and 0 <= value <= 1:
            low, high = wilson_interval(value, summary["count"])
            more = f"95% CI {100 * low:.1f}–{100 * high:.1f}%"
        name_shown = "Test examples" if name == "count" else title_of(name)
        tiles.append(
            tag(
                "div",
                tag("div", name_shown, class_="name"),
                tag("div", shown(name, value), class_="value"),
                tag("div", more, class_="more") if more else None,
                class_="tile",
            )
        )
    return tag("div", *tiles, class_="tiles") if tiles else None


def curves(history: Sequence[Mapping[str, Any]]) -> Markup | None:
    """Charts over the steps of loss, accuracy, learning rate, throughput: whatever was logged."""
    large = [c for name in _CURVES if (c := _curve(name, history))]
    small = [c for name in _SMALL_CURVES if (c := _curve(name, history, small=True))]
    pair = tag("div", *large, class_="pair") if large else None
    trio = tag("div", *small, class_="trio") if small else None
    return join(pair, trio) if pair or trio else None


def _curve(
    name: str, history: Sequence[Mapping[str, Any]], *, small: bool = False
) -> Markup | None:
    """One number over the steps, a line per split; None where no row has it."""
    scale = 100.0 if is_fraction(name) else 1.0
    series: dict[str, list[tuple[float, float]]] = {}
    for row in history:
        if isinstance(row.get(name), int | float):
            points = series.setdefault(str(row.get("split", "train")), [])
            points.append((float(row["step"]), scale * row[name]))
    if not series:
        return None
    words = title_of(name)
    small_words = words[:1].lower() + words[1:]  # "mean IoU"
    y_label = _UNITS.get(name, small_words + (" (%)" if is_fraction(name) else ""))
    if name == "loss" and any("accuracy" in row for row in history):
        y_label = "cross-entropy (nats)"
    return line_chart(
        series, title=words, x_label="step", y_label=y_label, colors=_SPLIT_COLORS, small=small
    )


def class_names_for(summary: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """One name per class: those given, and numbers where none is."""
    matrix = summary.get("confusion_matrix")
    per_class = summary.get("per_class") or {}
    count = len(matrix) if matrix is not None else len(per_class.get("support", ()))
    return [names[i] if i < len(names) else str(i) for i in range(count)]


def evaluation(summary: Mapping[str, Any], class_names: Sequence[str]) -> Markup | None:
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
    blocks = [b for b in (wide, pair, per_class, _all_numbers(summary)) if b]
    return tag("div", *blocks, class_="stack") if blocks else None


def _all_numbers(summary: Mapping[str, Any]) -> Markup | None:
    rows = [
        [tag("code", name), (shown(name, value), float(value))]
        for name, value in summary.items()
        if isinstance(value, int | float)
    ]
    if not rows:
        return None
    head = tag("summary", "All numbers")
    return tag("details", head, table(["Metric", "Value"], rows), class_="card")


def _card(title: str, *children: Any) -> Markup:
    return tag("div", tag("h3", title), *children, class_="card")


def mistakes_gallery(mistakes: Sequence[Mistake]) -> Markup | None:
    """Wrong predictions as pictures, the most confident first."""
    cells = []
    for mistake in sorted(mistakes, key=lambda m: -m.confidence):
        confidence = f"{100 * mistake.confidence:.1f}%"
        description = f"{mistake.true} taken for {mistake.predicted}"
        cells.append(
            tag(
                "div",
                tag(
                    "div", picture(to_uint8(mistake.image), description=description), class_="frame"
                ),
                tag(
                    "div",
                    "predicted ",
                    tag("b", mistake.predicted),
                    f" {confidence}",
                    class_="said",
                ),
                tag("div", "true ", tag("b", mistake.true)),
                tag("div", mistake.record, class_="record") if mistake.record else None,
            )
        )
    return tag("div", tag("div", *cells, class_="gallery"), class_="card") if cells else None


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
