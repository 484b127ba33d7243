"""JSON as its standard has it, and reading files that somebody may have cut short, edited or replaced."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

# A configuration has some ten levels. How many Python itself reads depends on its version.
_DEEPEST = 100


class JSONFileError(ValueError):
    """A file that does not hold JSON. The message names it and says what it holds."""


def json_text(value: Any, indent: int | None = None) -> str:
    """A value as JSON, which knows no NaN and no infinity: null stands in their place.

    Example:
        >>> json_text({"loss": float("nan"), "counts": [1, 2]})
        '{"loss": null, "counts": [1, 2]}'
    """
    return json.dumps(_without_non_finite(value), indent=indent, allow_nan=False)


def _without_non_finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _without_non_finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_non_finite(item) for item in value]
    return value


def read_json(path: Path) -> Any:
    """The value that a JSON file holds.

    Raises:
        FileNotFoundError: there is no such file.
        JSONFileError: anything else is wrong with it.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise JSONFileError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise JSONFileError(
            f"{path} is no text: byte {error.start} is not UTF-8, so the file is damaged"
        ) from None
    return parse_json(text, str(path))


def _check_depth(value: Any) -> None:
    """Raises RecursionError where a function that calls itself for each level might."""
    level = [value]
    for _ in range(_DEEPEST):
        containers = [each for each in level if isinstance(each, dict | list)]
        if not containers:
            return
        level = [
            x for each in containers for x in (each.values() if isinstance(each, dict) else each)
        ]
    raise RecursionError


def parse_json(text: str, name: str) -> Any:
    """The value that a text holds.

    Args:
        text: JSON.
        name: what a message calls it.

    Raises:
        JSONFileError: it is not JSON, or nested too deeply to be read.
    """
    if not text.strip("\0 \t\r\n"):
        raise JSONFileError(f"{name} is empty: it was cut short while it was written")
    try:
        value = json.loads(text)
        _check_depth(value)
        return value
    except json.JSONDecodeError as error:
        closing = {"{": "}", "[": "]"}.get(text.strip()[0], "")
        cut = "" if text.rstrip().endswith(closing) else "; was it cut short while it was written?"
        raise JSONFileError(
            f"{name} is not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}{cut}"
        ) from None
    except RecursionError:
        raise JSONFileError(f"{name} is no file of jaxcv's: it is nested too deeply") from None
    except ValueError as error:  # such as an integer of too many digits
        raise JSONFileError(f"{name} is not valid JSON: {error}") from None
