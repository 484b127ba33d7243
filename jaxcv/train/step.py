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

from jaxcv import losses
from jaxcv.devices import AXIS
from jaxcv.image import Mixing
from jaxcv.train.batch import (
    Augmentation,
    Batch,
    Preprocessing,
    augment_batch,
    mix_batch,
    preprocess_batch,
    repeat_rows,
)
from jaxcv.train.gradients import global_norm, sum_over_devices
from jaxcv.train.state import TrainState, Variables
from jaxcv.train.task import Task

# (loss sum, weight sum, task metrics)
Sums = tuple[jax.Array, jax.Array, Any]
# What model and task carry from step to step.
Carried = tuple[Variables, Any]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, "StepMetrics"]]


@struct.dataclass
class StepMetrics:
    """What one step reports, summed over the global batch.

    Attributes:
        loss_sum, weight_sum: [] sums of the task's values and weights.
        denominator: [] what `loss_sum` is divided by, `weight_sum` or the task's `least_weight` if that
            is more. The quotient is the objective without regularisation.
        gradient_norm: [] global L2 norm of the gradient, before clipping.
        skipped_in_a_row: [] int32, non-finite updates skipped up to and including this step.
        task: the task's own sums.
    """

    loss_sum: jax.Array
    weight_sum: jax.Array
    denominator: jax.Array
    gradient_norm: jax.Array
    skipped_in_a_row: jax.Array
    task: Any


def make_device_sums(
    model: nn.Module, task: Task, accumulation: int = 1
) -> Callable[[TrainState, Batch, jax.Array], tuple[Any, Sums, Carried]]:
    """Builds `device_sums(state, batch, key)`: one device's summands, and its new model and task state.

    The summands are those of the gradient, and of loss, weight and metrics; added over the devices,
    and the gradient divided by the weight, they give the objective's gradient.

    Args:
        model: Linen module; see `jaxcv.models` for its call contract.
        task: gives meaning to the model's outputs.
        accumulation: micro-batches that a device's rows are cut into, one in memory at a time. Sums are
            added before dividing, so that the update equals the whole batch's, BatchNorm aside.
    """

    def loss_sum(
        params: Any, carried: Carried, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Sums, Carried]]:
        model_state, task_state = carried
        outputs, updated_state = model.apply(
            {"params": params, **model_state},
            batch["image"],
            train=True,
            mask=batch["mask"],
            mutable=list(model_state),
            rngs={"dropout": key},
        )
        loss_key = jax.random.fold_in(key, 1)
        values, weights, metrics, task_state = task.loss_and_metrics(
            outputs, batch, task_state, loss_key
        )
        total = jnp.sum(values)
        sums = (total, jnp.sum(weights), metrics)
        return total, (sums, (dict(updated_state), task_state))

    gradient_of = jax.grad(loss_sum, has_aux=True)

    def whole(state: TrainState, batch: Batch, key: jax.Array) -> tuple[Any, Sums, Carried]:
        carried = (state.model_state, state.task_state)
        gradients, (sums, carried) = gradient_of(state.params, carried, batch, key)
        return gradients, sums, carried

    def accumulated(state: TrainState, batch: Batch, key: jax.Array) -> tuple[Any, Sums, Carried]:
        def micro_step(carry: tuple[Any, Carried], item: tuple[Batch, jax.Array]) -> Any:
            gradients, carried = carry
            micro_batch, index = item
            more, (sums, carried) = gradient_of(
                state.params, carried, micro_batch, jax.random.fold_in(key, index)
            )
            return (jax.tree.map(jnp.add, gradients, more), carried), sums

        micro_batches = jax.tree.map(
            lambda x: x.reshape(accumulation, x.shape[0] // accumulation, *x.shape[1:]), batch
        )
        carried = (state.model_state, state.task_state)
        start = (jax.tree.map(jnp.zeros_like, state.params), carried)
        (gradients, carried), stacked = jax.lax.scan(
            micro_step, start, (micro_batches, jnp.arange(accumulation))
        )
        return gradients, jax.tree.map(lambda x: x.sum(0), stacked), carried

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
    sharded: Any = None,
) -> TrainStep:
    """Builds `train_step(state, batch) -> (state, metrics)`, to be mapped over `AXIS`.

    The objective is sum(values) / sum(weights) over the global batch (at least the task's
    `least_weight`; 0 where that is 0), where the task's loss gives values and weights per example, plus
    l1 * ||params||_1 + l2 * ||params||_2^2 / 2. A step whose loss or gradient is not finite leaves
    weights, optimiser, BatchNorm statistics and moving average as they were, and only counts.

    Args:
        model: Linen module; see `jaxcv.models` for its call contract.
        task: gives meaning to the model's outputs.
        optimizer: Optax transformation.
        augment: random transforms `(key, image) -> image`, applied in order.
        mix: joins neighbouring rows, such as Mixup, CutMix or Mosaic; or None.
        preprocess: deterministic transforms `(image) -> image`, applied after augmentation.
        l1: coefficient of the L1 penalty on all parameters.
        l2: coefficient of the L2 penalty on all parameters.
        ema_decay: decay of the moving average of the weights; None keeps none.
        accumulation: see `make_device_sums`.
        sharded: pytree of bools like the parameters, True where each device holds rows of its own; None
            for nowhere.
    """
    device_sums = make_device_sums(model, task, accumulation)

    def penalty(params: Any) -> jax.Array:
        return l1 * losses.l1_penalty(params) + l2 * losses.l2_penalty(params)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, StepMetrics]:
        key = jax.random.fold_in(state.key, state.step)
        augment_key, mix_key, dropout_key = jax.random.split(key, 3)
        device_key = jax.random.fold_in(dropout_key, jax.lax.axis_index(AXIS))

        batch = repeat_rows(batch, task.views)
        batch = augment_batch(
            augment_key,
            batch,
            augment,
            rules=task.annotation_rules,
            # The same at every step, and no step's own.
            visit_key=jax.random.fold_in(state.key, jnp.uint32(2**32 - 1)),
        )
        batch = mix_batch(mix_key, batch, mix, task)
        # A teacher preprocesses in its own way; where nobody looks at it, XLA leaves the copy out.
        batch = preprocess_batch({**batch, "unprocessed_image": batch["image"]}, preprocess)

        gradients, sums, (model_state, task_state) = device_sums(state, batch, device_key)
        gradients = sum_over_devices(gradients, sharded)
        loss_sum, weight_sum, metrics = jax.lax.psum(sums, AXIS)

        denominator = jnp.maximum(weight_sum, task.least_weight)
        counts = denominator > 0
        loss_sum = jnp.where(counts, loss_sum, 0.0)
        divisor = jnp.where(counts, denominator, jnp.inf)
        gradients = jax.tree.map(lambda g: g / divisor, gradients)
        if l1 or l2:
            gradients = jax.tree.map(jnp.add, gradients, jax.grad(penalty)(state.params))
        gradient_norm = global_norm(gradients, sharded)

        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = update_average(state.ema, {"params": params, **model_state}, ema_decay)

        state = advance_state(
            state,
            jnp.isfinite(loss_sum) & jnp.isfinite(gradient_norm),
            params=params,
            model_state=model_state,
            task_state=task_state,
            opt_state=opt_state,
            ema=ema,
        )
        return state, StepMetrics(
            loss_sum=loss_sum,
            weight_sum=weight_sum,
            denominator=denominator,
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
) -> Callable[[Variables, Batch], tuple[Any, dict[str, jax.Array]]]:
    """Builds `eval_step(variables, batch) -> (metrics, per-example arrays)` of the global batch.

    Metrics are summed; the arrays, where the task has any, come with the batch's `mask`.
    """

    def eval_step(variables: Variables, batch: Batch) -> tuple[Any, dict[str, jax.Array]]:
        batch = preprocess_batch(batch, preprocess)
        outputs: Any = model.apply(variables, batch["image"], train=False)
        arrays = task.per_example(outputs, batch)
        if arrays:
            arrays = jax.lax.all_gather({**arrays, "mask": batch["mask"]}, AXIS, tiled=True)
        return jax.lax.psum(task.metrics(outputs, batch), AXIS), arrays

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
