"""Consistency of views: the formula, views augmented each in its own way, alike on any device count."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv import losses
from jaxcv.data import Synthetic
from jaxcv.image import Mixup, RandomTranslation
from jaxcv.models import MLP
from jaxcv.tasks import Classification, Consistency, CrossEntropy, Segmentation
from jaxcv.train import (
    Adam,
    Experiment,
    Optimizer,
    Runtime,
    SetupError,
    open_run,
    open_workdir,
    train,
)
from jaxcv.train.batch import repeat_rows
from jaxcv.train.checkpoint import leaf_digests

pytestmark = pytest.mark.usefixtures("quick_compilation")

C = 3
EXPERIMENT = Experiment(
    data=Synthetic(num_examples=24, num_test_examples=8, image_size=8, channels=1, num_classes=C),
    model=MLP(num_classes=C, hidden=(8,)),
    task=Classification(num_classes=C, objective=Consistency(compared=2, weight=4.0), top_k=2),
    optimizer=Optimizer(learning_rate=0.01, algorithm=Adam()),
    batch_size=16,
    steps=20,
    augment=(RandomTranslation(fraction=(0.3, 0.3)),),
    eval_batch_size=8,
    eval_every=20,
    checkpoint_every=10,
    log_every=1,
)


def test_a_loss_is_the_formula():
    logits = np.random.default_rng(0).normal(size=(6, C)).astype(np.float32)
    # Two images in three views each; the second is padding.
    batch = {"label": jnp.array([1, 1, 1, 0, 0, 0]), "mask": jnp.arange(6) < 3}
    objective = Consistency(objective=CrossEntropy(label_smoothing=0.1), weight=5.0)
    assert objective.views == 3
    task = Classification(num_classes=C, objective=objective)
    values, weights, _ = jax.jit(task.loss)(logits, batch)

    @jax.jit
    def formula(logits, labels):
        own = losses.softmax_cross_entropy(logits, labels, label_smoothing=0.1)
        return jnp.mean(own) + 5 * losses.jensen_shannon_consistency(logits[:, None])[0]

    wanted = float(formula(logits[:3], batch["label"][:3]))
    assert np.sum(values) / np.sum(weights) == pytest.approx(wanted, rel=1e-5)
    assert weights.tolist() == [1, 1, 1, 0, 0, 0]
    assert np.all(values[3:] == 0)


def test_views_are_neighbours():
    rows = repeat_rows({"record": jnp.array([4, 7]), "mask": jnp.array([True, False])}, 2)
    assert rows["record"].tolist() == [4, 4, 7, 7]
    assert rows["mask"].tolist() == [True, True, False, False]


def rows_of(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["split"] == "train"]


def test_a_run_learns_and_goes_on_to_the_same_bytes(tmp_path):
    runtime, whole, cut = Runtime(devices=1), tmp_path / "whole", tmp_path / "cut"
    train(EXPERIMENT, whole, runtime)
    shutil.copytree(whole, cut, ignore=shutil.ignore_patterns("20", "metrics.jsonl"))
    train(EXPERIMENT, cut, runtime)
    (_, first), (_, second) = (open_workdir(folder, runtime) for folder in (whole, cut))
    assert leaf_digests(first) == leaf_digests(second)
    rows = rows_of(whole)
    assert rows[0]["count"] == 32
    assert np.mean([row["loss"] for row in rows[-3:]]) < np.mean([row["loss"] for row in rows[:3]])


def test_views_differ_and_are_those_of_one_device(tmp_path):
    found = {}
    for count in (1, 8):
        folder = tmp_path / str(count)
        short = dataclasses.replace(EXPERIMENT, steps=2, eval_every=2, checkpoint_every=2)
        train(short, folder, Runtime(devices=count))
        found[count] = (open_workdir(folder, Runtime(devices=1))[1].params, rows_of(folder))
    for one, eight in zip(*(jax.tree.leaves(found[count][0]) for count in (1, 8)), strict=True):
        np.testing.assert_allclose(one, eight, rtol=1e-4, atol=1e-6)
    one, eight = (found[count][1][0] for count in (1, 8))
    assert one["loss"] == pytest.approx(eight["loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mix": Mixup()}, "2 views of each image, which are neighbours; leave mix out"),
        (
            {"task": Segmentation(num_classes=C, objective=Consistency())},
            "but the task wants",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(changes, message):
    with pytest.raises(SetupError, match=message):
        open_run(dataclasses.replace(EXPERIMENT, **changes), Runtime(devices=1))


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="at least 2 views"):
        Consistency(compared=1)
    with pytest.raises(ValueError, match="weight is -1"):
        Consistency(weight=-1.0)
