"""Images with boxes over them: the picture once, the boxes as lines that stay sharp."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jaxcv.drawing.boxes import largest_first, place_labels, readable_on, strip_size
from jaxcv.report.charts import svg
from jaxcv.report.charts.class_bars import hex_color
from jaxcv.report.markup import Markup, join, tag
from jaxcv.report.pictures import photo_url

Color = tuple[int, int, int]
Line = Literal["solid", "dashed", "dotted"]

_FONT = 11.0
_DASHES: dict[Line, str | None] = {"solid": None, "dashed": "6 4", "dotted": "1.5 3"}


@dataclass(frozen=True, kw_only=True)
class BoxMark:
    """A box to be drawn.

    Attributes:
        box: (x0, y0, x1, y1) in pixels of the image.
        color: Of its line and of the strip of its label.
        line: Whole or broken, so that kinds differ also without colour.
        label: Stands at the box; "" for none.
        hint: Appears under the mouse pointer.
    """

    box: tuple[float, float, float, float]
    color: Color
    line: Line = "solid"
    label: str = ""
    hint: str = ""


def boxes_pictures(
    image: np.ndarray, layers: Sequence[tuple[Sequence[BoxMark], str]], *, side: int
) -> list[Markup]:
    """An `svg` element for each layer: the image, which is stored once, and boxes with labels over it.

    Args:
        image: [H, W, C] or [H, W] uint8.
        layers: For each picture its boxes and a description for those who do not see it. Small boxes
            are drawn over large ones. Where labels would hide each other, those of earlier boxes stay.
        side: Longer side in CSS pixels.
    """
    H, W = image.shape[:2]
    scale = side / max(H, W)
    size = (W * scale, H * scale)
    shared = len(layers) > 1
    name = f"image-{hashlib.sha256(image.tobytes()).hexdigest()[:12]}-{side}"
    first = tag(
        "image",
        href=photo_url(image, side=side),
        width=size[0],
        height=size[1],
        preserveAspectRatio="none",
        id=name if shared else None,
        class_="pixels" if scale > 1.5 else None,
    )
    grounds = [first, *[tag("use", href=f"#{name}")] * (len(layers) - 1)]
    return [
        tag(
            "svg",
            ground,
            *_drawn(marks, scale, size),
            viewBox=f"0 0 {size[0]:.1f} {size[1]:.1f}",
            class_="boxes",
            role="img",
            aria_label=description,
        )
        for ground, (marks, description) in zip(grounds, layers, strict=True)
    ]


def _drawn(marks: Sequence[BoxMark], scale: float, size: tuple[float, float]) -> list[Markup]:
    boxes = np.array([mark.box for mark in marks], np.float64).reshape(-1, 4) * scale
    named = [k for k, mark in enumerate(marks) if mark.label]
    strips = [strip_size(marks[k].label, _FONT) for k in named]
    places = place_labels([boxes[k] for k in named], strips, size)
    labels = [
        _label(marks[k], place, strip)
        for k, place, strip in zip(named, places, strips, strict=True)
        if place is not None
    ]
    return [*[_outline(boxes[k], marks[k]) for k in largest_first(boxes)], *reversed(labels)]


def _outline(box: np.ndarray, mark: BoxMark) -> Markup:
    """A line with a dark one beneath, so that it shows on ground of its own colour."""
    x0, y0, x1, y1 = (float(v) for v in box)
    corner = (x0, y0, max(x1 - x0, 0.5), max(y1 - y0, 0.5))
    dash = _DASHES[mark.line]
    return join(
        svg.rectangle(*corner, class_="beneath", stroke_dasharray=dash),
        svg.rectangle(*corner, hint=mark.hint, stroke=hex_color(mark.color), stroke_dasharray=dash),
    )


def _label(mark: BoxMark, place: tuple[float, float], size: tuple[float, float]) -> Markup:
    x, y = place
    width, height = size
    text = tag(
        "text",
        mark.label,
        x=x + 3,
        y=y + height / 2 + 0.36 * _FONT,
        style=f"fill:{hex_color(readable_on(mark.color))}",
        font_size=_FONT,
        textLength=width - 6,  # fonts differ: the name fits its strip in all of them
        lengthAdjust="spacingAndGlyphs",
    )
    strip = svg.rectangle(x, y, width, height, style=f"fill:{hex_color(mark.color)};stroke:none")
    return tag("g", strip, text, class_="strip")


def line_keys(keys: Sequence[tuple[str, Color, Line]]) -> list[Markup]:
    """A short stroke and a name for each (name, colour, line)."""
    return [
        tag(
            "span",
            tag(
                "svg",
                svg.rectangle(
                    2, 2, 20, 10, stroke=hex_color(color), stroke_dasharray=_DASHES[line]
                ),
                viewBox="0 0 24 14",
                class_="boxes",
            ),
            name,
            class_="key",
        )
        for name, color, line in keys
    ]
