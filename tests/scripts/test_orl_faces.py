"""scripts/orl_faces.py: its heads differ in the head alone, its figures are what they say."""

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from jaxcv.data import Arrays
from jaxcv.tasks import FaceRecognition
from jaxcv.train import Runtime, open_run

PATH = Path(__file__).parents[2] / "scripts" / "orl_faces.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("orl_faces", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def people(size, count=40, pictures=10):
    """Random pictures [N, H, W]; none is set aside, since there is a test set."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (count * pictures, *size)).astype(np.uint8)
    label = np.repeat(np.arange(count), pictures)
    return Arrays(images=image, labels=label, test_images=image[:1], test_labels=label[:1])


def test_every_head_fits_the_preset(script, monkeypatch):
    monkeypatch.setattr(script, "SMALL", people((32, 28)))
    for head in script.HEADS:
        experiment = script.with_head(head, seed=3)
        assert experiment.seed == experiment.data.seed == 3
        # One evaluation, of the last weights.
        assert experiment.eval_every == experiment.steps
        run = open_run(experiment, Runtime(devices=1))
        assert (len(run.train_source), len(run.test_source)) == (300, 100)
        if head != "triplet":
            assert isinstance(experiment.task, FaceRecognition)
            first = script.with_head("CosFace", seed=3)
            margin = experiment.task.margin
            assert dataclasses.replace(first.task, margin=margin) == experiment.task
            assert first.optimizer == experiment.optimizer
    preset = script.faces_orl.experiment()
    assert script.with_head("CosFace", 0).task == preset.task


def test_baselines_on_pictures_of_two_people(script, monkeypatch):
    """Random pictures cannot be told apart; those of a person that are alike all can."""
    monkeypatch.setattr(script, "FULL_SIZE", people((12, 10)))
    figures = script.verify_by_eigenfaces(False, 0)
    assert set(figures) == {"equal_error_rate", "true_accept_rate_at_far_0.01"}
    assert 0.4 < figures["equal_error_rate"] < 0.6
    data = script.FULL_SIZE
    rng = np.random.default_rng(1)
    pattern = rng.integers(40, 216, (40, 12, 10))[data.labels]
    alike = np.clip(pattern + rng.normal(0, 10, pattern.shape), 0, 255).astype(np.uint8)
    monkeypatch.setattr(script, "FULL_SIZE", dataclasses.replace(data, images=alike))
    assert script.verify_by_eigenfaces(False, 0)["equal_error_rate"] == 0
    assert script.identify_by_eigenfaces(True, 0) == {"rank_1": 1.0}


def test_rank_1_by_hand(script):
    gallery = np.array([[1.0, 0.0], [0.0, 1.0]])
    probes = np.array([[2.0, 0.1], [0.1, 3.0], [1.0, 0.9]])
    assert script.rank_1(probes, np.array([7, 8, 8]), gallery, np.array([7, 8])) == {
        "rank_1": pytest.approx(2 / 3)
    }


def test_table_has_mean_and_deviation_in_per_cent(script):
    rows = {"one": [{"rank_1": 0.9}, {"rank_1": 1.0}], "other": [{"rank_1": 0.5}]}
    assert script.table(rows, {"rank_1": "rank 1 %"}) == [
        "| | rank 1 % |",
        "|---|---|",
        "| one | 95.00 ± 7.07 |",  # of 90 and 100: sqrt(50)
        "| other | 50.00 ± 0.00 |",
    ]
