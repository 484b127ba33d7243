"""Writes heavy.txt: the tests that `make test-fast` leaves out because they take long.

    python -m pytest -n 2 -m 'not slow' --durations=0 --durations-min=0.4 > durations.log
    python -m tests.heavy durations.log

A test of several cases counts with all of them, set-up included.
"""

import collections
import re
import sys
from pathlib import Path

LIST = Path(__file__).with_name("heavy.txt")
SECONDS = 0.6


def heavy_tests(log: str) -> list[str]:
    """The tests, as FILE::FUNCTION, whose lines in a log of durations add up to `SECONDS`.

    Example:
        >>> heavy_tests("0.50s call  tests/a.py::test_x[1]\\n0.20s setup tests/a.py::test_x[2]\\n")
        ['tests/a.py::test_x']
    """
    seconds: collections.Counter[str] = collections.Counter()
    for line in re.finditer(r"^([\d.]+)s (?:call|setup|teardown) +([^\[\n]+)", log, re.MULTILINE):
        seconds[line[2].strip()] += float(line[1])
    return sorted(test for test, total in seconds.items() if total >= SECONDS)


def read_list() -> frozenset[str]:
    """What the file lists."""
    return frozenset(LIST.read_text().split())


if __name__ == "__main__":
    LIST.write_text("\n".join(heavy_tests(Path(sys.argv[1]).read_text())) + "\n")
