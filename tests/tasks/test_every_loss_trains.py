"""The page of the losses says of each how it trains, or why it does not; and what it says is so."""

import inspect
import re
from pathlib import Path

import pytest

from jaxcv import losses, tasks

PAGE = Path(losses.__file__).with_name("README.md").read_text()
SECTION = PAGE.split("## What trains by them")[1].split("\n## ")[0]
ROWS = [
    (re.findall(r"`(\w+)`", cells[0]), cells[1])
    for cells in (line.strip("| ").split(" | ") for line in SECTION.splitlines() if "| `" in line)
]


def test_each_loss_is_in_the_table_once():
    named = [name for names, _ in ROWS for name in names]
    assert sorted(named) == sorted(losses.__all__)


@pytest.mark.parametrize(("names", "how"), ROWS, ids=[names[0] for names, _ in ROWS])
def test_what_trains_by_a_loss_calls_it(names, how):
    if not how.startswith("`"):
        assert len(how.split()) >= 4  # A reason.
        return
    for objective in re.findall(r"`([A-Z]\w*)`", how):
        source = inspect.getsource(getattr(tasks, objective))
        for name in names:
            if inspect.isfunction(getattr(losses, name)):
                assert re.search(rf"losses\.{name}\b", source), f"{objective} does not call {name}"
