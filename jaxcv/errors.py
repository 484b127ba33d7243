"""Errors that a person is to read, and the words that help to write them."""

import difflib
import logging
import os
import signal
import traceback
from collections.abc import Collection, Sequence
from pathlib import Path

from jaxcv.names import printable


class UsageError(ValueError):
    """A command line that cannot be understood."""


class Interrupted(Exception):  # noqa: N818 - a request, not an error
    """A signal ended a run early, after a checkpoint was saved.

    Attributes:
        signal_number: which signal.
    """

    def __init__(self, signal_number: int, step: int) -> None:
        name = signal.Signals(signal_number).name
        super().__init__(f"{name}: saved step {step}; the same command goes on from there")
        self.signal_number = signal_number


class OutputError(OSError):
    """What a run shows cannot be written any more; a checkpoint was saved."""

    def __init__(self, number: int, step: int) -> None:
        super().__init__(
            number, f"{os.strerror(number)}: nothing can be shown any more; saved step {step}"
        )

    def __str__(self) -> str:
        return str(self.strerror)


def nearest(word: str, known: Collection[str], what: str) -> str:
    """Gives `word` if it is known.

    Raises:
        UsageError: otherwise, naming what is nearest to it.
    """
    if word in known:
        return word
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
    raise UsageError(f"there is no {what} {word!r}; {hint}")


def one_line(error: BaseException) -> str:
    """The message of an error without its line breaks, and `printable`; a file before what is wrong."""
    text = str(error)
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        names = [error.filename, *([] if error.filename2 is None else [error.filename2])]
        text = f"{' and '.join(map(str, names))}: {error.strerror}"
    return printable(" ".join(text.split())) or type(error).__name__


def line_in(path: Path, error: BaseException) -> int | None:
    """The innermost line of a Python file that led to an error; None where none did."""
    name = str(path.absolute())
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == name]
    return lines[-1] if lines else None


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names for a sentence: the first few, and how many more there are.

    Example:
        >>> listed(["ant", "bee", "cat"], most=2)
        'ant, bee and 1 more'
    """
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def show_log() -> None:
    """Shows warnings of the log on the terminal, `printable`: they quote names and texts of files."""
    handler = logging.StreamHandler()
    handler.setFormatter(_PrintableFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class _PrintableFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep="\n\t")
