"""The few shapes of which the charts are made."""

from __future__ import annotations

from typing import Any, Literal

from jaxcv.report.markup import Markup, tag

Anchor = Literal["start", "middle", "end"]


def text(
    content: Any, x: float, y: float, *, anchor: Anchor = "middle", hint: str = "", **more: Any
) -> Markup:
    """Text whose baseline is at y; `hint` appears under the mouse pointer."""
    title = tag("title", hint) if hint else None
    return tag("text", title, content, x=float(x), y=float(y), text_anchor=anchor, **more)


def upright(content: Any, x: float, y: float, **more: Any) -> Markup:
    """Text that runs upwards from, or with `text_anchor="middle"` around, (x, y)."""
    return tag("text", content, transform=f"translate({x:.1f} {y:.1f}) rotate(-90)", **more)


def line(x1: float, y1: float, x2: float, y2: float, **more: Any) -> Markup:
    """A straight line."""
    return tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), **more)


def rectangle(
    x: float, y: float, width: float, height: float, *, hint: str = "", **more: Any
) -> Markup:
    """A rectangle by its upper left corner."""
    title = tag("title", hint) if hint else None
    size = {"width": float(width), "height": float(height)}
    return tag("rect", title, x=float(x), y=float(y), **size, **more)


def dot(x: float, y: float, radius: float, *, hint: str = "", **more: Any) -> Markup:
    """A disc."""
    title = tag("title", hint) if hint else None
    return tag("circle", title, cx=float(x), cy=float(y), r=radius, **more)
