"""The contract between the training step and a task."""

from __future__ import annotations

import abc
from typing import Any

import jax
import numpy as np

Batch = dict[str, jax.Array]


class Task(abc.ABC):
    """What a model's outputs mean: a frozen dataclass that gives the abstract methods a body.

    A new task is one new file, and nothing to register. The other methods have a default that most
    tasks keep. All but `summary` and
    `aggregate`, which run on the host, are called inside the mapped axis `AXIS`.
    """

    # The label of what counts for nothing, such as pixels of no class; None where there is none.
    ignore_label: int | None = None
    # What a record has besides its image.
    annotations: tuple[str, ...] = ("label",)
    # The sum of weights by which that of values is divided is at least this.
    least_weight: float = 1e-12

    @abc.abstractmethod
    def class_count(self) -> int | None:
        """Gives the number of classes of the training labels, or None where they are no classes."""

    @abc.abstractmethod
    def check_outputs(self, outputs: Any, images: jax.ShapeDtypeStruct) -> None:
        """Raises ValueError, with what to change, where a model's outputs do not fit the task.

        Args:
            outputs: what the model gives in evaluation, as `jax.ShapeDtypeStruct`s.
            images: [B,H,W,C], what it was given.
        """

    @abc.abstractmethod
    def loss(self, outputs: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Gives (values [B], weights [B]), float32, both 0 where `batch["mask"]` is False.

        The objective is sum(values) / max(sum(weights), `least_weight`) over the global batch.
        """

    @abc.abstractmethod
    def metrics(self, outputs: Any, batch: Batch) -> Any:
        """Gives a pytree of sums and counts, which adds up over batches and devices."""

    @abc.abstractmethod
    def summary(self, metrics: Any) -> dict[str, Any]:
        """Turns summed metrics, on the host, into named numbers."""

    @abc.abstractmethod
    def predict(self, outputs: Any) -> dict[str, jax.Array]:
        """Gives arrays with leading axis B: what `jaxcv predict` writes for each example."""

    def init_state(self) -> Any:
        """Gives what `head` carries from step to step, such as a margin's statistics: a pytree."""
        return ()

    def head(self, outputs: Any, batch: Batch, state: Any, key: jax.Array) -> tuple[Any, Any]:
        """Gives the outputs that `loss` and `metrics` of a training step read, and the next state.

        Args:
            outputs: of the model, in training.
            batch: this device's rows.
            state: from `init_state`, or of the step before.
            key: PRNG key of this step and device.
        """
        return outputs, state

    def examples(self, outputs: Any, batch: Batch) -> dict[str, jax.Array]:
        """Gives arrays with leading axis B that the evaluation wants of every example, not summed.

        Embeddings, say, or detections; {} where sums are enough.
        """
        return {}

    def aggregate(self, examples: dict[str, np.ndarray]) -> dict[str, Any]:
        """Turns the `examples` of all N test records, [N, ...] in order, into named numbers."""
        return {}


def check_logits(outputs: Any, images: jax.ShapeDtypeStruct, count: int) -> None:
    """Raises ValueError unless the outputs are logits [B, count]."""
    shape = getattr(outputs, "shape", None)
    if shape is None:
        raise ValueError(
            f"the model gives {type(outputs).__name__}, but the task wants logits [B, {count}]"
        )
    if shape != (images.shape[0], count):
        raise ValueError(
            f"the model gives outputs of shape [B, {', '.join(map(str, shape[1:]))}], but the task wants "
            f"[B, {count}]; say --model.num-classes {count}"
        )
