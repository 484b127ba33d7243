"""A run whose objective has every kind of state, resumed from its checkpoint."""

import dataclasses

import numpy as np
import pytest

from jaxcv.data import Synthetic
from jaxcv.models import MLP
from jaxcv.tasks import (
    LDAM,
    ClassBalanced,
    Classification,
    CrossEntropy,
    EarlyLearning,
    EqualizedFocal,
    Seesaw,
    Sum,
)
from jaxcv.train import Adam, Checkpoints, Experiment, Optimizer, Runtime, open_workdir, train
from jaxcv.train.checks import SetupError

pytestmark = pytest.mark.usefixtures("quick_compilation")

EXPERIMENT = Experiment(
    data=Synthetic(num_examples=20, num_test_examples=8, image_size=6, channels=1, num_classes=3),
    model=MLP(num_classes=3, hidden=(4,)),
    task=Classification(
        num_classes=3,
        objective=Sum(
            (ClassBalanced(objective=LDAM(), beta=0.9, start_epoch=1), 1.0),
            (EarlyLearning(), 0.5),
            (EqualizedFocal(), 0.1),
            (Seesaw(), 0.2),
        ),
    ),
    optimizer=Optimizer(learning_rate=0.01, algorithm=Adam()),
    batch_size=8,
    steps=6,
    eval_batch_size=8,
    eval_every=3,
)


def test_a_run_with_state_resumes_to_the_same_bytes_and_counts_no_class_again(
    tmp_path, monkeypatch
):
    sources = []
    init_state = Classification.init_state

    def spied(self, data=None):
        sources.append(data.source)
        return init_state(self, data)

    monkeypatch.setattr(Classification, "init_state", spied)
    two = Runtime(devices=2)
    train(EXPERIMENT, tmp_path / "whole", two)
    assert sources[-1] is not None
    train(dataclasses.replace(EXPERIMENT), tmp_path / "run", two)
    checkpoints = tmp_path / "run" / "checkpoints"
    (checkpoints / "6").rename(tmp_path / "gone")
    sources.clear()
    results = train(EXPERIMENT, tmp_path / "run", two)
    assert sources
    assert set(sources) == {None}
    ends = [Checkpoints(tmp_path / run / "checkpoints").verify(6) for run in ("whole", "run")]
    assert ends[0]["leaves"] == ends[1]["leaves"]
    assert np.isfinite(results["test"]["loss"])

    run, state = open_workdir(tmp_path / "run", two)
    assert run.experiment == EXPERIMENT
    (counts, _), table, _, seen = state.task_state
    labels = np.asarray(run.train_source.labels)
    np.testing.assert_array_equal(counts, np.bincount(labels, minlength=3))
    assert table.shape == (20, 3)
    assert np.asarray(table).any(-1).all()  # 6 steps of 8 rows see every record.
    assert np.asarray(seen).sum() == 6 * 8


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((1.0, 2.0), r"class_weights has shape \[2\], but \[3\] is wanted"),
        (
            (1.0, -1.0, 2.0),
            r"class_weights\[1\] is -1.0, but a weight must be finite and at least 0",
        ),
        ((1.0, 1.0, float("nan")), r"class_weights\[2\] is nan, but a weight must be finite"),
        ((float("inf"), 1.0, 1.0), r"class_weights\[0\] is inf"),
        ((0.0, 0.0, 0.0), "class_weights are all 0, so that nothing would be learned"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_anything_is_written(
    tmp_path, weights, message
):
    task = Classification(num_classes=3, objective=CrossEntropy(class_weights=weights))
    with pytest.raises(SetupError, match=message):
        train(dataclasses.replace(EXPERIMENT, task=task), tmp_path / "run")
    assert not (tmp_path / "run").exists()
