"""The step: one function, whatever the devices, the mapping and the batch's remainder."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcv.image import CutMix, Mixup, Normalize, RandomHorizontalFlip, RandomTranslation
from jaxcv.models import BatchNorm
from jaxcv.tasks import BinaryClassification, Classification, CrossEntropy, MeanAbsolute, Regression
from jaxcv.train import AXIS, DeviceMap, create_state, make_eval_step, make_train_step
from jaxcv.train.step import make_predict_step

pytestmark = pytest.mark.usefixtures("quick_compilation")

CLASSES = 3


class TinyNet(nn.Module):
    """A convolution, BatchNorm over all devices, and a classifier."""

    num_classes: int = CLASSES
    dtype: str = "float32"

    @nn.compact
    def __call__(self, images, *, train=False, mask=None):
        x = nn.Conv(4, (3, 3), dtype=self.dtype)(images)
        axis_name = None if self.is_initializing() else AXIS
        x = BatchNorm(axis_name=axis_name)(x, train=train, mask=mask)
        x = nn.relu(x).mean((1, 2))
        return nn.Dense(self.num_classes)(x).astype(jnp.float32)


class Linear(nn.Module):
    """logits = flattened image @ W, and nothing else."""

    num_classes: int = CLASSES

    @nn.compact
    def __call__(self, images, *, train=False, mask=None):
        x = images.reshape(images.shape[0], -1)
        return nn.Dense(self.num_classes, use_bias=False, name="dense")(x)


def make_batches(count, rows, seed=0):
    rng = np.random.default_rng(seed)
    return [
        {
            "image": rng.integers(0, 256, (rows, 8, 8, 1), np.uint8),
            "label": rng.integers(0, CLASSES, rows).astype(np.int32),
            "mask": np.ones(rows, bool),
        }
        for _ in range(count)
    ]


def padded(array, rows):
    """Appends zeros (mask False) up to `rows`."""
    return np.concatenate([array, np.zeros((rows - len(array), *array.shape[1:]), array.dtype)])


def run_steps(
    batches, devices=1, strategy="shard_map", model=None, task=None, optimizer=None, **options
):
    """Runs a step per batch; gives the last state and each step's metrics."""
    model, task = model or TinyNet(), task or Classification(num_classes=CLASSES, top_k=2)
    optimizer = optimizer or optax.sgd(0.1, momentum=0.9)
    device_map = DeviceMap(jax.devices()[:devices], strategy)
    ema = options.get("ema_decay") is not None
    state = create_state(model, optimizer, (8, 8, 1), seed=0, ema=ema)
    step = make_train_step(model, task, optimizer, **options)
    mapped = device_map.map(step, (None, 0), donate=(0,))
    state, collected = device_map.replicate(state), []
    for batch in batches:
        rows = device_map.padded(len(batch["mask"]))
        batch = {name: padded(array, rows) for name, array in batch.items()}
        state, metrics = mapped(state, device_map.split(batch))
        collected.append(jax.device_get(metrics))
    return jax.device_get(state), collected


AUGMENTED = {
    "augment": (RandomTranslation(fraction=(0.2, 0.2)), RandomHorizontalFlip()),
    "preprocess": (Normalize(),),
    "ema_decay": 0.9,
}


@pytest.fixture(scope="module")
def one_device():
    return run_steps(make_batches(5, rows=13), **AUGMENTED)


@pytest.mark.parametrize(
    ("devices", "strategy"),
    [
        (4, "shard_map"),
        (8, "pmap"),
        *(
            pytest.param(devices, strategy, marks=pytest.mark.slow)
            for devices, strategy in [
                (1, "pmap"), (2, "pmap"), (4, "pmap"), (2, "shard_map"), (8, "shard_map"),
            ]
        ),
    ],
)  # fmt: skip
def test_device_count_and_strategy_do_not_change_the_result(one_device, devices, strategy):
    # 13 rows: the last device's shard is uneven on 2, 4 and 8 devices, and empty on none but 8.
    state, metrics = run_steps(make_batches(5, rows=13), devices, strategy, **AUGMENTED)
    wanted_state, wanted_metrics = one_device
    for found, wanted in zip(metrics, wanted_metrics, strict=True):
        np.testing.assert_allclose(found.loss_sum, wanted.loss_sum, rtol=1e-5)
        np.testing.assert_allclose(found.gradient_norm, wanted.gradient_norm, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(found.weight_sum, 13)
        np.testing.assert_array_equal(found.task.confusion, wanted.task.confusion)
    chex.assert_trees_all_close(state.params, wanted_state.params, rtol=1e-5, atol=1e-5)
    chex.assert_trees_all_close(state.model_state, wanted_state.model_state, rtol=1e-5, atol=1e-5)
    chex.assert_trees_all_close(state.ema, wanted_state.ema, rtol=1e-5, atol=1e-5)


def test_gradient_is_the_closed_form_over_the_global_batch():
    # For logits X W and mean cross-entropy, dL/dW = X^T (softmax(X W) - Y) / N.
    (batch,) = make_batches(1, rows=6)
    state = create_state(Linear(), optax.sgd(1.0), (8, 8, 1), seed=0)
    weights = np.asarray(state.params["dense"]["kernel"], np.float64)
    inputs = batch["image"].reshape(6, -1) / 255.0
    logits = inputs @ weights
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    gradient = inputs.T @ (softmax - np.eye(CLASSES)[batch["label"]]) / 6
    after, _ = run_steps([batch], devices=4, model=Linear(), optimizer=optax.sgd(1.0))
    np.testing.assert_allclose(
        after.params["dense"]["kernel"], weights - gradient, rtol=1e-5, atol=1e-6
    )


def test_what_padding_rows_hold_does_not_matter():
    batches = make_batches(2, rows=8)
    for batch in batches:
        batch["mask"][5:] = False
    changed = [{k: v.copy() for k, v in batch.items()} for batch in batches]
    for batch in changed:
        batch["image"][5:] = 255 - batch["image"][5:]
        batch["label"][5:] = (batch["label"][5:] + 1) % CLASSES
    one, two = run_steps(batches, devices=2), run_steps(changed, devices=2)
    chex.assert_trees_all_equal(one[0].params, two[0].params)
    chex.assert_trees_all_equal(one[0].model_state, two[0].model_state)
    assert one[1][0].weight_sum == 5


def test_accumulation_equals_the_undivided_batch():
    batches = make_batches(3, rows=16)
    batches[1]["mask"][3:9] = False  # micro-batches of unequal weight
    whole, whole_metrics = run_steps(batches, devices=2, model=Linear())
    parts, parts_metrics = run_steps(batches, devices=2, model=Linear(), accumulation=4)
    chex.assert_trees_all_close(whole.params, parts.params, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        [m.loss_sum for m in whole_metrics], [m.loss_sum for m in parts_metrics], rtol=1e-5
    )


def test_penalties_are_added_once_whatever_the_device_count():
    (batch,) = make_batches(1, rows=8)
    plain, _ = run_steps([batch], model=Linear(), optimizer=optax.sgd(1.0))
    start = create_state(Linear(), optax.sgd(1.0), (8, 8, 1), seed=0).params
    penalised, _ = run_steps(
        [batch], devices=4, model=Linear(), optimizer=optax.sgd(1.0), l1=0.01, l2=0.1
    )
    wanted = jax.tree.map(lambda p, w: p - 0.01 * jnp.sign(w) - 0.1 * w, plain.params, start)
    chex.assert_trees_all_close(penalised.params, wanted, rtol=1e-5, atol=1e-6)


def test_moving_average_of_weights_is_the_recurrence():
    batches = make_batches(3, rows=4)
    first = create_state(TinyNet(), optax.sgd(0.1, momentum=0.9), (8, 8, 1), seed=0).params
    average = first
    for count in (1, 2, 3):
        state, _ = run_steps(batches[:count], ema_decay=0.75)
        average = jax.tree.map(lambda a, p: 0.75 * a + 0.25 * p, average, state.params)
    chex.assert_trees_all_close(state.ema["params"], average, rtol=1e-5, atol=1e-6)
    assert set(state.ema) == {"params", "batch_stats"}


class Exploding(nn.Module):
    """Gives NaN for an image whose first pixel is 255."""

    @nn.compact
    def __call__(self, images, *, train=False, mask=None):
        x = nn.Dense(CLASSES)(images.reshape(images.shape[0], -1))
        x = BatchNorm()(x, train=train, mask=mask)
        return jnp.where(images[:, 0, 0] >= 1.0, jnp.nan, x)


@pytest.mark.parametrize("devices", [1, 4])
def test_non_finite_step_changes_nothing_but_the_counters(devices):
    batches = make_batches(4, rows=8)
    for batch in batches:
        batch["image"][:, 0, 0] = 0
    batches[1]["image"][2, 0, 0] = batches[2]["image"][7, 0, 0] = 255  # one row on one device
    options = {"model": Exploding(), "ema_decay": 0.5, "optimizer": optax.adam(0.1)}
    bad, metrics = run_steps(batches, devices, **options)
    assert [int(m.skipped_in_a_row) for m in metrics] == [0, 1, 2, 0]
    assert (int(bad.step), int(bad.skipped), int(bad.skipped_in_a_row)) == (4, 2, 0)
    good, _ = run_steps([batches[0], batches[3]], devices, **options)
    for name in ("params", "model_state", "opt_state", "ema"):
        chex.assert_trees_all_equal(getattr(bad, name), getattr(good, name))


@pytest.mark.slow
@pytest.mark.parametrize("mix", [Mixup(alpha=1.0), CutMix(alpha=1.0)])
def test_mixing_does_not_depend_on_the_device_count(mix):
    one, _ = run_steps(make_batches(3, rows=8), 1, mix=mix)
    four, _ = run_steps(make_batches(3, rows=8), 4, mix=mix)
    plain, _ = run_steps(make_batches(3, rows=8), 1)
    chex.assert_trees_all_close(one.params, four.params, rtol=1e-5, atol=1e-5)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(one.params, plain.params, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("task", "outputs"),
    [
        (BinaryClassification(), 1),
        (Regression(), 1),
        (Regression(objective=MeanAbsolute()), 1),
        (
            Classification(
                num_classes=3,
                objective=CrossEntropy(class_weights=(1.0, 2.0, 0.5), label_smoothing=0.1),
            ),
            3,
        ),
    ],
)
def test_every_task_learns_through_the_same_step(task, outputs):
    batches = make_batches(1, rows=8) * 30
    for batch in batches:
        batch["label"] = np.arange(8, dtype=np.int32) % 2
    _, metrics = run_steps(
        batches, 2, model=TinyNet(num_classes=outputs), task=task, optimizer=optax.adam(0.05)
    )
    assert metrics[-1].loss_sum < 0.7 * metrics[0].loss_sum
    assert np.isfinite(task.summary(metrics[-1].task)["loss"])


def test_bfloat16_compute_keeps_float32_weights_and_learns():
    batches = make_batches(1, rows=8) * 20
    state, metrics = run_steps(batches, 2, model=TinyNet(dtype="bfloat16"))
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {np.dtype("float32")}
    assert metrics[-1].loss_sum < metrics[0].loss_sum


def test_step_compiles_once_moves_nothing_to_the_host_and_reuses_the_state():
    optimizer = optax.sgd(0.1)
    model, task = TinyNet(), Classification(num_classes=CLASSES)
    device_map = DeviceMap(jax.devices()[:2])
    step = chex.assert_max_traces(make_train_step(model, task, optimizer), n=1)
    mapped = device_map.map(step, (None, 0), donate=(0,))
    state = device_map.replicate(create_state(model, optimizer, (8, 8, 1), seed=0))
    for batch in make_batches(3, rows=8):
        batch = device_map.split(batch)
        with jax.transfer_guard("disallow"):
            before, (state, _) = state, mapped(state, batch)
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before.params))
    chex.clear_trace_counter()


@pytest.mark.parametrize("strategy", ["shard_map", "pmap"])
def test_eval_and_predict_see_every_row_once(strategy):
    (batch,) = make_batches(1, rows=16)
    batch["mask"][11:] = False
    model, task = Linear(), Classification(num_classes=CLASSES)
    variables = create_state(model, optax.sgd(0.1), (8, 8, 1), seed=0).variables
    device_map = DeviceMap(jax.devices()[:8], strategy)
    split, whole = device_map.split(batch), device_map.replicate(variables)
    metrics, _ = device_map.map(make_eval_step(model, task), (None, 0))(whole, split)
    predictions = device_map.map(make_predict_step(model, task), (None, 0))(whole, split)
    logits = np.asarray(model.apply(variables, batch["image"] / 255.0))
    np.testing.assert_array_equal(predictions["prediction"], logits.argmax(-1))
    assert int(metrics.count) == 11
    assert int(metrics.correct) == (logits.argmax(-1) == batch["label"])[:11].sum()
