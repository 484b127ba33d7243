"""The list of heavy tests names tests that exist, and is made from a log as it says."""

import ast
import doctest
from pathlib import Path

from tests import heavy

ROOT = Path(__file__).parents[1]


def test_every_heavy_test_exists():
    defined = {}
    for test in heavy.read_list():
        file, _, name = test.partition("::")
        if file not in defined:
            tree = ast.parse((ROOT / file).read_text())
            defined[file] = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
        assert name in defined[file], f"{test} is gone; run python -m tests.heavy"


def test_the_list_is_made_from_durations():
    assert doctest.testmod(heavy).attempted > 0
    assert doctest.testmod(heavy).failed == 0
    assert heavy.heavy_tests("0.59s call     tests/a.py::test_x\n") == []
