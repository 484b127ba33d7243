"""HTML and SVG as values: text is escaped unless it is markup already."""

from __future__ import annotations

import html
from typing import Any

from jaxcv.names import printable

_VOID = frozenset({"br", "img", "meta"})


class Markup(str):
    """A string that is markup, and is put into other markup as it stands."""

    __slots__ = ()


def escape(value: Any) -> Markup:
    """Any value as text, `printable`; markup stays as it is.

    Example:
        >>> str(escape("<b> & co"))
        '&lt;b&gt; &amp; co'
    """
    return value if isinstance(value, Markup) else Markup(_text(value))


def _text(value: Any) -> str:
    return html.escape(printable(str(value), keep="\n\t"))


def join(*children: Any) -> Markup:
    """Markup and texts, one after another; None stands for nothing."""
    return Markup("".join(escape(child) for child in children if child is not None))


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """An element.

    Args:
        name: Name of the element.
        *children: Markup, or values to be escaped; None stands for nothing.
        **attributes: An underscore stands for a hyphen, one at the end for nothing (`class_`). None
            and False leave the attribute out, True gives it without a value; a float is rounded to
            two places.

    Example:
        >>> str(tag("p", "a < b", class_="note"))
        '<p class="note">a &lt; b</p>'
    """
    parts = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is None or value is False:
            continue
        if isinstance(value, float):
            value = f"{value:.2f}".rstrip("0").rstrip(".")
        parts.append(key if value is True else f'{key}="{_text(value)}"')
    start = f"<{' '.join(parts)}>"
    return Markup(start if name in _VOID else f"{start}{join(*children)}</{name}>")
