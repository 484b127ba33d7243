"""The contract between the training step and a task."""

from __future__ import annotations

from typing import Any, Protocol

import jax

Batch = dict[str, jax.Array]


class Task(Protocol):
    """A frozen dataclass with these methods; a new task is one new file, and nothing to register."""

    @property
    def num_outputs(self) -> int:
        """Length of the model's last axis."""
        ...

    @property
    def num_classes(self) -> int | None:
        """Number of classes in the data, or None where labels are no classes."""
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
