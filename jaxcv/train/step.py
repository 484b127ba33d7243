"""The training step, per device and in the open: from a batch to the next state.

Every function that a `make_*` function here returns runs once per device, on that device's rows of the
global batch, inside a mapped axis named `AXIS`; `parallel.py` does the mapping. Sums over the global batch
are explicit `psum`s, so one device and eight compute the same numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxcv import image as image_ops
from jaxcv import losses
from jaxcv.tasks import Task
from jaxcv.train.state import TrainState, Variables

AXIS = "devices"

Batch = dict[str, jax.Array]
Augmentation = Callable[[jax.Array, jax.Array], jax.Array]
Mixing = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
Preprocessing = Callable[[jax.Array], jax.Array]
# (gradients, loss sum, weight sum, task metrics)
Sums = tuple[Any, jax.Array, jax.Array, Any]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, "StepMetrics"]]


@struct.dataclass
class StepMetrics:
    """What one step reports, summed over the global batch.

    Attributes:
        loss_sum, weight_sum: [] their ratio is the objective without regularisation.
        gradient_norm: [] global L2 norm of the gradient, before clipping.
        skipped_in_a_row: [] int32, non-finite updates skipped up to and including this step.
        task: the task's own sums.
    """

    loss_sum: jax.Array
    weight_sum: jax.Array
    gradient_norm: jax.Array
    skipped_in_a_row: jax.Array
    task: Any


def augment_batch(key: jax.Array, batch: Batch, augment: Sequence[Augmentation]) -> Batch:
    """Augments each image [H,W,C] under a key of its own.

    The key folds in the row's place in the *global* batch, so that an image is augmented alike
    whichever device it lands on.
    """
    if not augment:
        return batch
    rows = batch["image"].shape[0]
    row = jax.lax.axis_index(AXIS) * rows + jnp.arange(rows)
    keys = jax.vmap(lambda r: jax.random.fold_in(key, r))(row)
    images = jax.vmap(lambda k, x: image_ops.apply_sequence(augment, k, x))(keys, batch["image"])
    return {**batch, "image": images}


def mix_batch(key: jax.Array, batch: Batch, mix: Mixing | None, task: Task) -> Batch:
    """Mixup or CutMix: blends neighbouring rows; labels [B] become label distributions [B,C]."""
    if mix is None:
        return batch
    classes = task.class_count()
    assert classes is not None, "only labels that are classes can be mixed"
    labels = jax.nn.one_hot(batch["label"], classes)
    images, labels = mix(key, image_ops.to_float(batch["image"]), labels, batch["mask"])
    return {**batch, "image": images, "label": labels}


def preprocess_batch(batch: Batch, preprocess: Sequence[Preprocessing]) -> Batch:
    """Applies the deterministic transforms that training and evaluation share."""

    def one(image: jax.Array) -> jax.Array:
        for transform in preprocess:
            image = transform(image)
        return image_ops.to_float(image)

    return {**batch, "image": jax.vmap(one)(batch["image"])}


def make_device_sums(
    model: nn.Module, task: Task, accumulation: int = 1
) -> Callable[[TrainState, Batch, jax.Array], tuple[Sums, Variables]]:
    """Builds `device_sums(state, batch, key)`: one device's summands, and its new model state.

    The summands are those of gradient, loss, weight and metrics; added over the devices, and the
    gradient divided by the weight, they give the objective's gradient.

    Args:
        model: Linen module; see `jaxcv.models` for its call contract.
        task: gives meaning to the model's outputs.
        accumulation: micro-batches that a device's rows are cut into, one in memory at a time. Sums are
            added before dividing, so that the update equals the undivided batch's, BatchNorm aside.
    """

    def loss_sum(
        params: Any, model_state: Variables, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Variables, jax.Array, Any]]:
        outputs, updated_state = model.apply(
            {"params": params, **model_state},
            batch["image"],
            train=True,
            mask=batch["mask"],
            mutable=list(model_state),
            rngs={"dropout": key},
        )
        values, weights = task.loss(outputs, batch)
        metrics = task.metrics(outputs, batch)
        return jnp.sum(values), (dict(updated_state), jnp.sum(weights), metrics)

    gradient_of = jax.value_and_grad(loss_sum, has_aux=True)

    def whole(state: TrainState, batch: Batch, key: jax.Array) -> tuple[Sums, Variables]:
        (total, (model_state, weight, metrics)), gradients = gradient_of(
            state.params, state.model_state, batch, key
        )
        return (gradients, total, weight, metrics), model_state

    def accumulated(state: TrainState, batch: Batch, key: jax.Array) -> tuple[Sums, Variables]:
        def micro_step(carry: tuple[Any, Variables], item: tuple[Batch, jax.Array]) -> Any:
            gradients, model_state = carry
            micro_batch, index = item
            (total, (model_state, weight, metrics)), more = gradient_of(
                state.params, model_state, micro_batch, jax.random.fold_in(key, index)
            )
            return (jax.tree.map(jnp.add, gradients, more), model_state), (total, weight, metrics)

        micro_batches = jax.tree.map(
            lambda x: x.reshape(accumulation, x.shape[0] // accumulation, *x.shape[1:]), batch
        )
        start = (jax.tree.map(jnp.zeros_like, state.params), state.model_state)
        (gradients, model_state), stacked = jax.lax.scan(
            micro_step, start, (micro_batches, jnp.arange(accumulation))
        )
        return (gradients, *jax.tree.map(lambda x: x.sum(0), stacked)), model_state

    return whole if accumulation == 1 else accumulated


def make_train_step(
    model: nn.Module,
    task: Task,
    optimizer: optax.GradientTransformation,
    *,
    augment: Sequence[Augmentation] = (),
    mix: Mixing | None = None,
    preprocess: Sequence[Preprocessing] = (),
    l1: float = 0.0,
    l2: float = 0.0,
    ema_decay: float | None = None,
    accumulation: int = 1,
) -> TrainStep:
    """Builds `train_step(state, batch) -> (state, metrics)`, to be mapped over `AXIS`.

    The objective is sum(values) / sum(weights) over the global batch, where the task's loss gives values
    and weights per example, plus l1 * ||params||_1 + l2 * ||params||_2^2 / 2. A step whose loss or
    gradient is not finite leaves weights, optimiser, BatchNorm statistics and moving average as they
    were, and only counts.

    Args:
        model: Linen module; see `jaxcv.models` for its call contract.
        task: gives meaning to the model's outputs.
        optimizer: Optax transformation.
        augment: random transforms `(key, image) -> image`, applied in order.
        mix: Mixup or CutMix, or None.
        preprocess: deterministic transforms `(image) -> image`, applied after augmentation.
        l1: coefficient of the L1 penalty on all parameters.
        l2: coefficient of the L2 penalty on all parameters.
        ema_decay: decay of the moving average of the weights; None keeps none.
        accumulation: see `make_device_sums`.
    """
    device_sums = make_device_sums(model, task, accumulation)

    def penalty(params: Any) -> jax.Array:
        return l1 * losses.l1_penalty(params) + l2 * losses.l2_penalty(params)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, StepMetrics]:
        key = jax.random.fold_in(state.key, state.step)
        augment_key, mix_key, dropout_key = jax.random.split(key, 3)
        dropout_key = jax.random.fold_in(dropout_key, jax.lax.axis_index(AXIS))

        batch = augment_batch(augment_key, batch, augment)
        batch = mix_batch(mix_key, batch, mix, task)
        batch = preprocess_batch(batch, preprocess)

        sums, model_state = device_sums(state, batch, dropout_key)
        gradients, loss_sum, weight_sum, metrics = jax.lax.psum(sums, AXIS)

        penalty_value, penalty_gradients = jax.value_and_grad(penalty)(state.params)
        denominator = jnp.maximum(weight_sum, 1e-12)
        gradients = jax.tree.map(lambda g, p: g / denominator + p, gradients, penalty_gradients)
        gradient_norm = optax.global_norm(gradients)

        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = update_average(state.ema, {"params": params, **model_state}, ema_decay)

        finite = jnp.isfinite(loss_sum + penalty_value) & jnp.isfinite(gradient_norm)
        state = advance_state(
            state, finite, params=params, model_state=model_state, opt_state=opt_state, ema=ema
        )
        return state, StepMetrics(
            loss_sum=loss_sum,
            weight_sum=weight_sum,
            gradient_norm=gradient_norm,
            skipped_in_a_row=state.skipped_in_a_row,
            task=metrics,
        )

    return train_step


def advance_state(state: TrainState, finite: jax.Array, **updated: Any) -> TrainState:
    """Gives the next state: with the updated fields if the step was finite, else only counted."""
    kept = jax.tree.map(
        lambda new, old: jnp.where(finite, new, old),
        updated,
        {name: getattr(state, name) for name in updated},
    )
    skipped = 1 - finite.astype(jnp.int32)
    return dataclasses.replace(
        state,
        step=state.step + 1,
        skipped=state.skipped + skipped,
        skipped_in_a_row=(state.skipped_in_a_row + 1) * skipped,
        **kept,
    )


def update_average(
    average: Variables | None, variables: Variables, decay: float | None
) -> Variables | None:
    """Moves an exponential average towards `variables`: average * decay + variables * (1 - decay)."""
    if average is None or decay is None:
        return None
    return optax.incremental_update(variables, average, 1.0 - decay)


def make_eval_step(
    model: nn.Module, task: Task, preprocess: Sequence[Preprocessing] = ()
) -> Callable[[Variables, Batch], Any]:
    """Builds `eval_step(variables, batch) -> task metrics`, summed over the global batch."""

    def eval_step(variables: Variables, batch: Batch) -> Any:
        batch = preprocess_batch(batch, preprocess)
        outputs: Any = model.apply(variables, batch["image"], train=False)
        return jax.lax.psum(task.metrics(outputs, batch), AXIS)

    return eval_step


def make_predict_step(
    model: nn.Module, task: Task, preprocess: Sequence[Preprocessing] = ()
) -> Callable[[Variables, Batch], dict[str, jax.Array]]:
    """Builds `predict_step(variables, batch) -> predictions`, per example of the global batch."""

    def predict_step(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        batch = preprocess_batch(batch, preprocess)
        outputs: Any = model.apply(variables, batch["image"], train=False)
        return jax.lax.all_gather(task.predict(outputs), AXIS, tiled=True)

    return predict_step
