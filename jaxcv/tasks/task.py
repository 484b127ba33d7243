"""The contract between the training step and a task."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import jax

Batch = dict[str, jax.Array]


@runtime_checkable
class Task(Protocol):
    """A frozen dataclass with these methods; a new task is one new file, and nothing to register."""

    def output_count(self) -> int:
        """Gives the length of the last axis of the model's output."""
        ...

    def class_count(self) -> int | None:
        """Gives the number of classes of the labels, or None where they are no classes."""
        ...

    def loss(self, outputs: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Gives (values [B], weights [B]), float32, both 0 where `batch["mask"]` is False.

        The objective is sum(values) / sum(weights) over the global batch.
        """
        ...

    def metrics(self, outputs: jax.Array, batch: Batch) -> Any:
        """Gives a pytree of sums and counts, which adds up over batches and devices."""
        ...

    def summary(self, metrics: Any) -> dict[str, Any]:
        """Turns summed metrics, on the host, into named numbers; always with "loss"."""
        ...

    def predict(self, outputs: jax.Array) -> dict[str, jax.Array]:
        """Gives arrays with leading axis B: what `jaxcv predict` writes for each example."""
        ...
