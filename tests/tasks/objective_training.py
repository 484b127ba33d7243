"""Small problems on which an objective is trained: a linear model, by gradient descent in the open."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxcv.devices import AXIS
from jaxcv.train import Task, TrainingData

ROWS, FEATURES, CLASSES = 24, 4, 3
COUNTS = (30, 15, 5)
# The padding lies on all of some devices, on a part of others, and is as wrong as can be.
MASK = np.arange(ROWS) % 12 < 9


class Records:
    """Training records that say nothing but their labels, [N] or [N, H, W]."""

    def __init__(self, labels):
        self.all = labels
        if labels.ndim == 1:
            self.labels = labels

    def __len__(self):
        return len(self.all)

    def __getitem__(self, index):
        return {"label": self.all[index]}


@dataclass(frozen=True)
class Problem:
    """A batch of `ROWS`, of which `MASK` counts, and the records that it is from.

    Attributes:
        batch: `image` [R, ..., F], `label`, `mask`, `record`, `epoch`.
        outputs: number of outputs of the linear model.
        data: the records.
        shapes: the data as they are handed over when a checkpoint is restored.
    """

    batch: dict[str, Any]
    outputs: int
    data: TrainingData
    shapes: TrainingData


@functools.cache
def problem(outputs: int, classes: int | None, pixels: tuple[int, ...] = ()) -> Problem:
    """Labels that a linear model can nearly tell, of images or of each of their `pixels`."""
    rng = np.random.default_rng(0)
    shape = (ROWS, *pixels)
    image = rng.normal(size=(*shape, FEATURES)).astype(np.float32)
    if classes is None:
        labels = (image[..., 0] + 3 * (rng.random(shape) < 0.2)).astype(np.float32)
        records = Records(labels)
    else:
        labels = np.sort(rng.integers(0, classes, shape), axis=-1).astype(np.int32)
        image += 1.5 * np.eye(classes, FEATURES, dtype=np.float32)[labels]
        records = Records(np.repeat(np.arange(classes, dtype=np.int32), COUNTS[:classes]))
        if pixels:
            labels[rng.random(shape) < 0.1] = 255
            records = Records(np.broadcast_to(records.all[:, None, None], (len(records), *pixels)))
    image[~MASK] = 1e3
    record = rng.permutation(len(records))[:ROWS] if len(records) > ROWS else np.arange(ROWS)
    record[6] = record[0]  # A record that is twice in the batch.
    batch = {
        "image": image,
        "label": labels,
        "mask": MASK,
        "record": record.astype(np.int32),
        "epoch": np.ones(ROWS, np.int32),
    }
    known = {"num_examples": len(records), "num_classes": classes}
    return Problem(
        batch, outputs, TrainingData(source=records, **known), TrainingData(source=None, **known)
    )


def first_rows(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch without its padding."""
    return {name: array[MASK] for name, array in batch.items()}


def start(task: Task, chosen: Problem) -> dict[str, Any]:
    """The weights of the linear model, and the state of the task."""
    kernel = 0.1 * np.random.default_rng(1).normal(size=(FEATURES, chosen.outputs))
    state = jax.tree.map(np.asarray, task.init_state(chosen.data))
    return {"kernel": kernel.astype(np.float32), "task_state": state}


def ten_steps(task: Task, devices: int, learning_rate: float) -> Any:
    """Builds `(state, batch) -> (state, losses [10])` of ten steps of gradient descent on one batch."""

    def step(state, batch):
        def total(kernel):
            outputs = batch["image"] @ kernel
            key = jax.random.key(0)
            values, weights, task_state = task.loss(outputs, batch, state["task_state"], key)
            return jnp.sum(values), (jnp.sum(weights), task_state)

        (value, (weight, task_state)), slope = jax.value_and_grad(total, has_aux=True)(
            state["kernel"]
        )
        value, weight, slope = jax.lax.psum((value, weight, slope), AXIS)
        kernel = state["kernel"] - learning_rate * slope / weight
        return {"kernel": kernel, "task_state": task_state}, value / weight

    def steps(state, batch):
        return jax.lax.scan(lambda carry, _: step(carry, batch), state, length=10)

    mesh = Mesh(np.array(jax.devices()[:devices]), (AXIS,))
    return jax.jit(
        jax.shard_map(steps, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P(), check_vma=False)
    )
