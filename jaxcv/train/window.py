"""Sums over the training steps between two rows of the log."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv.train.evaluation import scalars, wide
from jaxcv.train.task import Task

# Metrics of at most so many dispatches, and of at most so many bytes, wait on the devices.
_MOST_PENDING = 64
_MOST_BYTES = 16 * 2**20


# What helps where updates are not finite.
REMEDY = (
    "try a lower learning rate (--optimizer.learning-rate) or clipping (--optimizer.clip-norm 1)"
)


class NonFiniteError(RuntimeError):
    """The loss or the gradient was not finite for too many steps in a row."""


class Packing:
    """Puts the arrays of a pytree into one vector per dtype, which cross to the host at less cost.

    Example:
        >>> pack = Packing()
        >>> vectors = jax.jit(pack)({"loss": jnp.ones(()), "counts": jnp.arange(3)})
        >>> pack.unpacked(jax.device_get(vectors))["counts"].tolist()
        [0, 1, 2]
    """

    def __init__(self) -> None:
        self._tree: Any = None
        self._leaves: list[tuple[str, slice, tuple[int, ...]]] = []

    def __call__(self, tree: Any) -> dict[str, jax.Array]:
        """{dtype: vector}. Within `jit`, what `unpacked` needs to know is noted while tracing."""
        leaves, self._tree = jax.tree.flatten(tree)
        self._leaves = []
        parts: dict[str, list[jax.Array]] = {}
        ends: dict[str, int] = {}
        for leaf in map(jnp.asarray, leaves):
            name = leaf.dtype.name
            start = ends.get(name, 0)
            ends[name] = start + leaf.size
            self._leaves.append((name, slice(start, start + leaf.size), leaf.shape))
            parts.setdefault(name, []).append(leaf.ravel())
        return {name: jnp.concatenate(vectors) for name, vectors in parts.items()}

    def unpacked(self, vectors: dict[str, np.ndarray]) -> Any:
        """The pytree again, of vectors [size], or of those of several steps [steps, size]."""
        steps = {name: vector.shape[:-1] for name, vector in vectors.items()}
        leaves = [
            vectors[name][..., part].reshape(steps[name] + shape)
            for name, part, shape in self._leaves
        ]
        return jax.tree.unflatten(self._tree, leaves)

    @property
    def places(self) -> Any:
        """The pytree with, for each leaf, (dtype, place in its vector, shape)."""
        return jax.tree.unflatten(self._tree, self._leaves)


class Window:
    """Collects the metrics of steps on the devices, and adds up those of many at a time on the host.

    Args:
        task: turns summed metrics into numbers.
        max_skipped: non-finite updates in a row that end the run.
        pack: has packed the `StepMetrics` that `add` takes.
        skipped: updates that were skipped before the first step.

    Attributes:
        on_first_skip: where set, is called once with the step of the next update that is skipped, as soon
            as that is known.
    """

    def __init__(self, task: Task, max_skipped: int, pack: Packing, skipped: int = 0) -> None:
        self._task, self._max_skipped, self._pack = task, max_skipped, pack
        self.skipped = skipped
        self.on_first_skip: Callable[[int], None] | None = None
        self._pending: list[tuple[int, dict[str, Any]]] = []
        self._most_pending = 0
        self._clear()

    def _clear(self) -> None:
        self._total: dict[str, np.ndarray] = {}
        self._finite = 0
        self._skipped_before = self.skipped

    def add(self, step: int, metrics: dict[str, Any]) -> None:
        """Takes the packed metrics of a dispatch whose last step was `step`; waits for the one before.

        Raises:
            NonFiniteError: naming the step at which the updates skipped in a row reached the limit.
        """
        if not self._most_pending:
            size = sum(x.nbytes for x in metrics.values())
            self._most_pending = max(1, min(_MOST_PENDING, _MOST_BYTES // size))
        if len(self._pending) >= self._most_pending:
            self._count_pending()
        elif self._pending:
            # One dispatch ahead of the devices is enough, and no more batches than that are in memory.
            before, metrics_before = self._pending[-1]
            jax.block_until_ready(metrics_before)
            if self.on_first_skip is not None:
                name, part, _ = self._pack.places.skipped_in_a_row
                self._notice(before, np.atleast_2d(metrics_before[name])[:, part].ravel())
        for vector in metrics.values():
            if isinstance(vector, jax.Array):  # so that it is here when it is asked for
                vector.copy_to_host_async()
        self._pending.append((step, metrics))

    def _notice(self, last_step: int, in_a_row: np.ndarray) -> None:
        """Says the first skip, once; `in_a_row` [steps] ends with `last_step`."""
        if self.on_first_skip is not None and in_a_row.any():
            say, self.on_first_skip = self.on_first_skip, None
            say(last_step + 1 - len(in_a_row) + int(np.argmax(in_a_row > 0)))

    def _count_pending(self) -> None:
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        # Vectors are added up, not the many small arrays in them, which would take ten times as long.
        vectors = {
            name: np.concatenate([np.atleast_2d(metrics[name]) for _, metrics in pending])
            for name in pending[0][1]
        }
        in_a_row = self._pack.unpacked(vectors).skipped_in_a_row
        self._notice(pending[-1][0], in_a_row)
        finite = in_a_row == 0
        count = int(finite.sum())
        self.skipped += len(finite) - count
        if in_a_row.max() >= self._max_skipped:
            last_step, _ = pending[-1]
            step = last_step + 1 - len(in_a_row) + int(np.argmax(in_a_row >= self._max_skipped))
            raise NonFiniteError(
                f"the loss or the gradient was not finite in {self._max_skipped} steps in a row, the last "
                f"of them step {step}; weights and checkpoints are those of before. {REMEDY.capitalize()}"
            )
        if not count:
            return
        self._finite += count
        for name, vector in vectors.items():
            # A skipped step's sums are not finite: it is counted, but not averaged.
            rows = vector if count == len(finite) else vector[finite]
            self._total[name] = self._total.get(name, 0) + rows.sum(0, dtype=wide(rows.dtype))

    @property
    def skipped_since_row(self) -> int:
        """Updates that were skipped since the last row, of those that are counted."""
        return self.skipped - self._skipped_before

    def row(self) -> dict[str, float]:
        """Means over all steps since the last row, the loss NaN where all were skipped; starts anew."""
        self._count_pending()
        row: dict[str, float] = {"skipped": self.skipped_since_row}
        if row["skipped"] and not self._finite:
            row["loss"] = math.nan
        if self._finite:
            total = self._pack.unpacked(self._total)
            row |= scalars(self._task.summary(total.task))
            # The objectives of the steps, averaged in proportion to what each was divided by: for one
            # step the number that it minimised, for steps with weights the same as sum over sum. A lower
            # bound on the sum of weights instead would make a window without any grow with its length.
            empty = (
                total.denominator == 0
            )  # Nothing counted in any step, and nothing was minimised.
            row["loss"] = 0.0 if empty else float(total.loss_sum / total.denominator)
            row["gradient_norm"] = float(total.gradient_norm / self._finite)
        self._clear()
        return row
