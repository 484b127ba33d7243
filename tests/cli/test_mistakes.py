"""What people get wrong, and what they are told: a table to be read, each row of it tried.

`did` is typed after `jaxcv` in a folder that holds `pictures/` (two classes), `one_class/`, and
`experiment.py`, which trains a small network on the first. `says` is part of the answer: one line, and
never a traceback. Nothing is written but where a run did start.
"""

import json
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from jaxcv.cli.main import main
from jaxcv.train.divergence import divergence, skipped_updates
from jaxcv.train.logging import ProgressLine, read_rows

EXPERIMENT = """
from jaxcv.data import Folder
from jaxcv.models import MLP
from jaxcv.tasks import Classification
from jaxcv.train import Experiment, Optimizer

def experiment():
    return Experiment(
        data=Folder(root="pictures", size=4, test_fraction=0.25),
        model=MLP(num_classes=2, hidden=()),
        task=Classification(num_classes=2),
        optimizer=Optimizer(learning_rate=0.1),
        batch_size=4,
        steps=4,
    )
"""


def write_pictures(folder, count, seed=0):
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).save(folder / f"{number}.png")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The folder in which people type."""
    world = tmp_path_factory.mktemp("world")
    for name in ("ant", "bee"):
        write_pictures(world / "pictures" / name, 8)
    write_pictures(world / "one_class" / "ant", 8)
    (world / "experiment.py").write_text(EXPERIMENT)
    return world


@pytest.fixture(autouse=True)
def in_world(world, monkeypatch, quick_compilation):
    monkeypatch.chdir(world)


def answer(capfd, *words):
    """(exit status, all that is said) of a command."""
    try:
        status = main([str(word) for word in words])
    except SystemExit as end:
        status = end.code
    said = capfd.readouterr()
    return status, said.out + said.err


TRAIN = ("train", "experiment.py", "--devices", "1", "--workdir")


# A learning rate far too high.


def refuse_constant(name):
    raise ValueError(f"{name} is no JSON")


def test_a_run_that_diverges_says_so_at_the_first_skip_and_fails(capfd, tmp_path):
    words = (*TRAIN, tmp_path / "run", "--optimizer.learning-rate", "1e38", "--steps", "6")
    status, said = answer(capfd, *words, "--log-every", "2", "--eval-every", "6")
    assert status == 1
    lines = said.splitlines()
    first = next(i for i, line in enumerate(lines) if "this update was skipped" in line)
    assert lines[first].startswith("step 2  ")
    assert "--optimizer.learning-rate" in lines[first]
    assert not any(line.startswith("step 2/6") for line in lines[:first])
    assert any("step 6/6  no loss: all 2 updates were skipped" in line for line in lines)
    assert "the run diverged: all of the last 2 updates were skipped" in lines[-1]
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse_constant)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "The run diverged: all of the last 2 updates were skipped" in page
    assert "5 updates were skipped between steps 2 and 6" in page
    # It stays failed when it is asked for again.
    assert answer(capfd, *words, "--log-every", "2", "--eval-every", "6")[0] == 1


def test_a_run_that_is_stopped_for_divergence_reports_what_it_had(capfd, tmp_path):
    words = ("--optimizer.learning-rate", "1e38", "--steps", "40", "--max-skipped", "3")
    status, said = answer(capfd, *TRAIN, tmp_path / "run", *words, "--eval-every", "3")
    assert status == 1
    assert "in 3 steps in a row, the last of them step 4" in said
    assert read_rows(tmp_path / "run" / "metrics.jsonl")[-1]["skipped"] == 3
    page = (tmp_path / "run" / "report.html").read_text()
    assert "The run diverged: all of the last 3 updates were skipped" in page


def test_a_single_skip_is_shown_and_is_no_divergence():
    rows = [
        {"step": 50, "split": "train", "skipped": 1, "loss": 0.5},
        {"step": 50, "split": "test", "count": 9, "loss": 0.6},
    ]
    assert divergence(rows) == ""
    assert skipped_updates(rows).startswith("1 update was skipped up to step 50, since")
    assert skipped_updates(rows[1:]) == ""
    assert "test at step 50" in divergence([{**rows[1], "loss": float("nan")}])
    assert divergence([{**rows[1], "loss": float("nan"), "count": 0}]) == ""


# The first line.


def test_a_speed_that_is_not_known_is_not_shown(capfd):
    line = ProgressLine(total_steps=1, step=0, images_per_step=4)
    line.step(1, 0.0)
    line.show({"loss": 0.5})
    assert capfd.readouterr().err == "step 1/1  loss 0.5\n"
