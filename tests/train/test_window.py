"""The row of the log: its loss is the objective that the steps minimised, whatever their weights."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.models import MLP
from jaxcv.tasks import Classification
from jaxcv.train import (
    SGD,
    DeviceMap,
    Optimizer,
    create_state,
    make_train_step,
)
from jaxcv.train.window import Packing, Window

SHAPE, CLASSES, ROWS = (2, 2, 1), 3, 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counted(Classification):
    """Losses divided by the examples of class 0, or by `least_weight` where there are fewer."""

    least_weight: float = 1.0

    def loss(self, outputs, batch, state=(), key=None):
        values, weights, state = super().loss(outputs, batch, state, key)
        return values, weights * (batch["label"] == 0), state


def steps_and_row(task, batches):
    """What each step reports, by its own numbers, and the row of the window over all of them."""
    optimizer = Optimizer(learning_rate=0.1, algorithm=SGD()).transformation(10)
    model, device_map = MLP(num_classes=CLASSES, hidden=()), DeviceMap(jax.devices()[:2])
    pack = Packing()
    step = device_map.map(make_train_step(model, task, optimizer), (None, 0))
    state = device_map.replicate(create_state(model, optimizer, SHAPE, seed=0))
    window = Window(task, max_skipped=1, pack=pack)
    found = []
    for number, batch in enumerate(batches):
        state, metrics = step(state, device_map.split(batch))
        found.append(jax.device_get(metrics))
        window.add(number, jax.jit(pack)(metrics))
    return found, window.row()


def batch(labels, seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (ROWS, *SHAPE), np.uint8)
    return {"image": images, "label": np.int32(labels), "mask": np.ones(ROWS, bool)}


@pytest.mark.parametrize("least_weight", [1.0, 2.5, 1e-12])
@pytest.mark.parametrize("labels", [[1, 1, 2, 2], [0, 1, 2, 1], [0, 0, 0, 1]])
def test_the_loss_of_one_step_is_what_it_minimised(least_weight, labels):
    task = Counted(num_classes=CLASSES, least_weight=least_weight)
    (step,), row = steps_and_row(task, [batch(labels)])
    assert step.weight_sum == labels.count(0)
    minimised = step.loss_sum / np.maximum(step.weight_sum, np.float32(least_weight))
    assert row["loss"] == pytest.approx(float(minimised), rel=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_steps_without_weight_do_not_make_the_loss_grow(steps):
    """Steps of log 3 each at weight 0, whose objective is 4 log 3: the row says that of any number."""
    task = Counted(num_classes=CLASSES)
    empty = {**batch([1, 1, 2, 2]), "image": np.zeros((ROWS, *SHAPE), np.uint8)}
    found, row = steps_and_row(task, [empty] * steps)
    objectives = [float(m.loss_sum) for m in found]
    assert objectives[0] == pytest.approx(4 * np.log(3), rel=1e-5)
    assert row["loss"] == pytest.approx(np.mean(objectives), rel=1e-6)


def test_objectives_are_averaged_by_what_they_were_divided_by():
    task = Counted(num_classes=CLASSES)
    batches = [batch([0, 0, 0, 1], 1), batch([1, 1, 2, 2], 2), batch([0, 1, 0, 2], 3)]
    found, row = steps_and_row(task, batches)
    objectives = [float(m.loss_sum / d) for m, d in zip(found, (3, 1, 2), strict=True)]
    assert row["loss"] == pytest.approx(np.average(objectives, weights=(3, 1, 2)), rel=1e-6)


def test_with_weights_in_every_step_it_is_sum_over_sum():
    task = Classification(num_classes=CLASSES)
    batches = [batch([0, 1, 2, 1], 1), {**batch([1, 2, 0, 0], 2), "mask": jnp.arange(ROWS) < 3}]
    found, row = steps_and_row(task, batches)
    assert [int(m.weight_sum) for m in found] == [4, 3]
    assert row["loss"] == pytest.approx(sum(float(m.loss_sum) for m in found) / 7, rel=1e-6)


def test_a_step_of_padding_alone_counts_for_nothing():
    nobody = {**batch([0, 1, 2, 1]), "mask": np.zeros(ROWS, bool)}
    somebody = batch([0, 1, 2, 1])
    task = Classification(num_classes=CLASSES)
    assert steps_and_row(task, [nobody])[1]["loss"] == 0
    found, row = steps_and_row(task, [nobody, somebody])
    assert row["loss"] == pytest.approx(float(found[1].loss_sum) / 4, rel=1e-6)


def test_values_without_any_weight_are_divided_by_nothing():
    """A loss per positive of batches without one: no step of 1e12 times the gradient, and loss 0."""
    task = Counted(num_classes=CLASSES, least_weight=Classification.least_weight)
    empty = batch([1, 1, 2, 2])
    (step,), row = steps_and_row(task, [empty])
    assert step.weight_sum == step.denominator == step.loss_sum == step.gradient_norm == 0
    assert row["loss"] == row["gradient_norm"] == row["skipped"] == 0
    full = batch([0, 1, 0, 2], 3)
    found, row = steps_and_row(task, [empty, full, empty])
    alone, _ = steps_and_row(task, [full])
    assert [float(m.gradient_norm) for m in found] == [0, float(alone[0].gradient_norm), 0]
    assert row["loss"] == pytest.approx(float(alone[0].loss_sum) / 2, rel=1e-6)
