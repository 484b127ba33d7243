"""Images of a test of detection: true objects beside detections, and training images with boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxcv.report.charts.box_pictures import BoxMark, Color, Line, boxes_pictures, line_keys
from jaxcv.report.charts.class_bars import color_keys
from jaxcv.report.markup import Markup, tag
from jaxcv.report.pictures import to_uint8

PANEL = 530
"""Longer side of a panel in CSS pixels."""

FOUND: Color = (22, 163, 74)
RIGHT: Color = (59, 130, 246)
WRONG: Color = (249, 115, 22)
IGNORED: Color = (148, 163, 184)

_MANY = 15  # boxes of a picture beyond which only errors are labelled
_FEW_CLASSES = 12  # up to which a legend tells them apart
_SAMPLE = 300


@dataclass(frozen=True, kw_only=True)
class DetectedImage:
    """An image, its true objects, and what was detected. Boxes are in pixels of this image.

    Attributes:
        image: [H, W, C] uint8.
        boxes: [M, 4] (x0, y0, x1, y1) of true objects.
        classes: [M] theirs.
        found: [M] bool, objects with a right detection.
        ignored: [M] bool, objects that need not be found.
        detected_boxes: [D, 4].
        detected_scores: [D].
        detected_classes: [D].
        right, wrong: [D] bool; neither for detections of ignored objects.
        f1: Within this image, in [0, 1].
        record: Name of the record, to find it again.
    """

    image: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    found: np.ndarray
    ignored: np.ndarray
    detected_boxes: np.ndarray
    detected_scores: np.ndarray
    detected_classes: np.ndarray
    right: np.ndarray
    wrong: np.ndarray
    f1: float
    record: str = ""


def detection_panels(
    images: Sequence[DetectedImage], class_names: Sequence[str], score_threshold: float
) -> Markup | None:
    """Truth beside detections for each image."""
    if not images:
        return None
    keys = line_keys(_used_kinds(images))
    rows = [_row(each, class_names) for each in images]
    note = tag(
        "p",
        f"Detections with a score of {score_threshold:.2f} or more. Among more than {_MANY} boxes only "
        "errors have a label, and no label hides another; all names appear under the mouse pointer.",
        class_="note",
    )
    return tag("div", tag("div", *keys, class_="legend"), note, *rows, class_="card")


def _used_kinds(images: Sequence[DetectedImage]) -> list[tuple[str, Color, Line]]:
    kinds: list[tuple[str, Color, Line]] = [
        ("true object, found", FOUND, "solid"),
        ("true object, missed", WRONG, "dashed"),
        ("right detection", RIGHT, "solid"),
        ("wrong detection", WRONG, "dashed"),
    ]
    if any(each.ignored.any() for each in images):
        kinds.append(("need not be found, and detections of it", IGNORED, "dotted"))
    return kinds


def _row(each: DetectedImage, class_names: Sequence[str]) -> Markup:
    image = to_uint8(each.image)
    truth = _marks(
        each.boxes,
        [class_names[c] for c in each.classes],
        good=each.found,
        bad=~each.found & ~each.ignored,
        color=FOUND,
        words=("found", "missed", "need not be found"),
    )
    detections = _marks(
        each.detected_boxes,
        [f"{class_names[c]} {s:.2f}" for c, s in zip(each.detected_classes, each.detected_scores)],
        good=each.right,
        bad=each.wrong,
        color=RIGHT,
        words=("right", "wrong", "counts neither way"),
    )
    found, missed = int(each.found.sum()), int((~each.found & ~each.ignored).sum())
    right, wrong = int(each.right.sum()), int(each.wrong.sum())
    layers = (
        (truth, f"truth: {found} found, {missed} missed"),
        (detections, f"detections: {right} right, {wrong} wrong"),
    )
    pictures = [
        tag("div", picture, tag("div", words))
        for picture, (_, words) in zip(boxes_pictures(image, layers, side=PANEL), layers)
    ]
    return tag(
        "div",
        tag("div", tag("b", f"F1 {100 * each.f1:.1f}%"), f" – {missed} missed, {wrong} wrong"),
        tag("div", each.record, class_="record") if each.record else None,
        tag("div", *pictures, class_="panels two-panels"),
        class_="panel-row",
    )


def _marks(
    boxes: np.ndarray,
    names: Sequence[str],
    *,
    good: np.ndarray,
    bad: np.ndarray,
    color: Color,
    words: tuple[str, str, str],
) -> list[BoxMark]:
    """Boxes that are good are whole, bad ones dashed, others dotted; among many only bad have names."""
    marks = []
    for k, name in enumerate(names):
        kind = 0 if good[k] else 1 if bad[k] else 2
        looks: tuple[tuple[Color, Line], ...]
        looks = ((color, "solid"), (WRONG, "dashed"), (IGNORED, "dotted"))
        x0, y0, x1, y1 = (float(v) for v in boxes[k])
        marks.append(
            BoxMark(
                box=(x0, y0, x1, y1),
                color=looks[kind][0],
                line=looks[kind][1],
                label=name if len(names) <= _MANY or kind == 1 else "",
                hint=f"{name}, {words[kind]}",
            )
        )
    return marks


def box_samples(
    images: np.ndarray,
    boxes: np.ndarray,
    classes: np.ndarray,
    class_names: Sequence[str],
    palette: np.ndarray,
    *,
    ignored: np.ndarray | None = None,
) -> Markup:
    """Augmented training images with the boxes that the model is to find.

    Args:
        images: [N, H, W, C] of any number type.
        boxes: [N, M, 4] in pixels of these images.
        classes: [N, M]; -1 where there is none.
        class_names: [C].
        palette: [C, 3] uint8.
        ignored: [N, M] bool, objects that need not be found: their boxes are dotted.
    """
    boxes, classes = np.asarray(boxes, np.float64), np.asarray(classes)
    ignored = np.zeros(classes.shape, bool) if ignored is None else np.asarray(ignored)
    few = (classes >= 0).sum(-1) <= _MANY
    cells = []
    for n, image in enumerate(to_uint8(np.asarray(images))):
        marks = []
        for m in np.flatnonzero(classes[n] >= 0):
            c = int(classes[n, m])
            red, green, blue = (int(part) for part in palette[c])
            x0, y0, x1, y1 = (float(v) for v in boxes[n, m])
            marks.append(
                BoxMark(
                    box=(x0, y0, x1, y1),
                    color=(red, green, blue),
                    line="dotted" if ignored[n, m] else "solid",
                    label=class_names[c] if few[n] and len(class_names) > _FEW_CLASSES else "",
                    hint=class_names[c],
                )
            )
        words = f"augmented image with {len(marks)} objects"
        cells.append(tag("div", *boxes_pictures(image, [(marks, words)], side=_SAMPLE)))
    keys = color_keys(list(zip(class_names, palette))) if len(class_names) <= _FEW_CLASSES else []
    legend = tag("div", *keys, class_="legend") if keys else None
    return tag("div", legend, tag("div", *cells, class_="gallery maps"), class_="card")
