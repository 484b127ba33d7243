"""Files that a table, a list or an annotation names: inside their folder, and each taken for one thing."""

import os
import pathlib
import re
from collections.abc import Hashable, Sequence

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,4})?", re.ASCII | re.IGNORECASE)


def file_keys(paths: Sequence[str | os.PathLike[str]]) -> list[Hashable]:
    """Keys that are equal where paths name one file, however they are spelt.

    `x.png`, `./x.png`, `a/../x.png`, a link to it, and `X.PNG` where the file system does not tell
    cases apart, have one key.

    Args:
      paths: [N]; a file that is not there goes by its absolute path.

    Returns:
      [N] keys, to compare with each other within this process.
    """
    return [_file_key(path) for path in paths]


def _file_key(path: str | os.PathLike[str]) -> Hashable:
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: a character that no path has
        return os.path.abspath(path)
    # Some network file systems number nothing.
    return (found.st_dev, found.st_ino) if found.st_ino else os.path.realpath(path)


def first_twice(keys: Sequence[Hashable]) -> tuple[int, int] | None:
    """Positions of the first key that was there before: (earlier, later); None where all differ.

    Example:
      >>> first_twice(["a", "b", "a"])
      (0, 2)
    """
    seen: dict[Hashable, int] = {}
    for place, key in enumerate(keys):
        earlier = seen.setdefault(key, place)
        if earlier != place:
            return earlier, place
    return None


def first_outside(folder: str | os.PathLike[str], paths: Sequence[pathlib.Path]) -> int | None:
    """Position of the first path that leads out of a folder; None where all stay inside.

    Paths may lead out by `..`, by being absolute, or by a link; what counts is where they end. The folder
    itself may be a link. Nothing is opened.

    Args:
      folder: where they are to stay.
      paths: [N], absolute or relative to the working directory, as `folder`.
    """
    inside = os.path.join(os.path.normcase(os.path.realpath(folder)), "")
    real: dict[str, str] = {}  # of the folders: thousands of files have one
    for place, path in enumerate(paths):
        text = os.fspath(path)
        if "\0" in text:  # no file at all, as will be said when it is looked for
            continue
        parent, name = os.path.split(text)
        if parent not in real:
            real[parent] = os.path.realpath(parent)
        found = os.path.join(real[parent], name)
        if name == ".." or os.path.islink(found):
            found = os.path.realpath(found)
        if not os.path.normcase(found).startswith(inside):
            return place
    return None


def plain_number(text: str) -> float | None:
    """A finite number as people and programs write one, else None.

    Stricter than `float`, which also reads `nan`, `inf`, `1_000` and the digits of other scripts.

    Example:
      >>> plain_number(" 1.5e2 "), plain_number("1_5"), plain_number("--1"), plain_number("1e999")
      (150.0, None, None, None)
    """
    stripped = text.strip()
    value = float(stripped) if _NUMBER.fullmatch(stripped) else float("inf")
    return value if abs(value) < float("inf") else None
