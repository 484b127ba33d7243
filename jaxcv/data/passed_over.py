"""What is passed over while files are looked for: counted by reason, and said in one line."""

import functools
import logging
import os
from collections import Counter

from jaxcv.names import printable

logger = logging.getLogger(__name__)


class PassedOver:
    """How many files are passed over, by reason, and the first of each."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, reason: str, path: str, count: int = 1) -> None:
        """Notes files; `path` is the first of them."""
        self._counts[reason] += count
        self._first[reason] = min(path, self._first.get(reason, path))

    def update(self, other: "PassedOver") -> None:
        """Notes what another has noted."""
        for reason, count in other._counts.items():
            self.add(reason, other._first[reason], count)

    def __bool__(self) -> bool:
        return bool(self._counts)

    def __str__(self) -> str:
        """`3 files passed over: 2 .txt (a/x.txt), 1 no picture (a/y)`, or ""."""
        parts = [
            f"{count} {printable(reason)} ({printable(self._first[reason])})"
            for reason, count in sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        ]
        total = sum(self._counts.values())
        return f"{total} file{'s' * (total > 1)} passed over: {', '.join(parts)}" if parts else ""

    def hint(self) -> str:
        """The same at the end of an error message."""
        return f"; {self}" if self else ""

    def say(self, folder: str | os.PathLike[str]) -> None:
        """Writes one line to the log, once in a process, where anything was passed over."""
        if self:
            say_once(f"{printable(os.fspath(folder))}: {self}")


@functools.cache
def say_once(text: str) -> None:
    """Writes a line to the log, once in a process."""
    logger.warning("%s", text)
