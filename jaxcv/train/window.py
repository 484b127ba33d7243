"""Sums over the training steps between two rows of the log."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxcv.tasks import Task
from jaxcv.train.evaluation import add_metrics, scalars, widened
from jaxcv.train.step import StepMetrics

# Metrics of at most so many dispatches, and of at most so many bytes, wait on the devices.
_MOST_PENDING = 64
_MOST_BYTES = 16 * 2**20


class NonFiniteError(RuntimeError):
    """The loss or the gradient was not finite for too many steps in a row."""


class Window:
    """Collects the metrics of steps on the devices, and fetches those of many at a time.

    Args:
        task: turns summed metrics into numbers.
        max_skipped: non-finite updates in a row that end the run.
    """

    def __init__(self, task: Task, max_skipped: int) -> None:
        self._task, self._max_skipped = task, max_skipped
        self._pending: list[tuple[int, StepMetrics]] = []
        self._most_pending = 0
        self._clear()

    def _clear(self) -> None:
        self._total: Any = None
        self._norms: list[float] = []
        self._skipped = 0

    def add(self, step: int, metrics: StepMetrics) -> None:
        """Takes the metrics of a dispatch whose last step was `step`; waits for the one before.

        Raises:
            NonFiniteError: naming the step at which the updates skipped in a row reached the limit.
        """
        if not self._most_pending:
            size = sum(x.nbytes for x in jax.tree.leaves(metrics))
            self._most_pending = max(1, min(_MOST_PENDING, _MOST_BYTES // size))
        if len(self._pending) >= self._most_pending:
            self._count_pending()
        elif self._pending:
            # One dispatch ahead of the devices is enough, and no more batches than that are in memory.
            jax.block_until_ready(self._pending[-1][1].loss_sum)
        self._pending.append((step, metrics))

    def _count_pending(self) -> None:
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        fetched = [_with_step_axis(m) for m in jax.device_get([m for _, m in pending])]
        metrics = jax.tree.map(lambda *parts: np.concatenate(parts), *fetched)
        steps = np.concatenate(
            [
                np.arange(last - len(m.skipped_in_a_row) + 1, last + 1)
                for (last, _), m in zip(pending, fetched, strict=True)
            ]
        )
        in_a_row = metrics.skipped_in_a_row
        self._skipped += int((in_a_row > 0).sum())
        if in_a_row.max() >= self._max_skipped:
            step = steps[np.argmax(in_a_row >= self._max_skipped)]
            raise NonFiniteError(
                f"the loss or the gradient was not finite in {self._max_skipped} steps in a row, the last "
                f"of them step {step}; weights and checkpoints are those of before. Try a lower "
                "learning rate or gradient clipping (--optimizer.clip-norm 1)"
            )
        finite = in_a_row == 0
        if finite.any():
            # A skipped step's sums are not finite: it is counted, but not averaged.
            sums = (metrics.loss_sum, metrics.weight_sum, metrics.task)
            sums = jax.tree.map(lambda x: widened(x[finite]).sum(0), sums)
            self._total = add_metrics(self._total, sums)
            self._norms.extend(metrics.gradient_norm[finite].tolist())

    def row(self) -> dict[str, float]:
        """Gives the means over all steps since the last row, and starts anew."""
        self._count_pending()
        row: dict[str, float] = {"skipped": self._skipped}
        if self._total is not None:
            loss_sum, weight_sum, task_metrics = self._total
            row |= scalars(self._task.summary(task_metrics))
            row["loss"] = float(loss_sum / max(weight_sum, 1e-12))
            row["gradient_norm"] = float(np.mean(self._norms))
        self._clear()
        return row


def _with_step_axis(metrics: StepMetrics) -> StepMetrics:
    """Gives the metrics of a dispatch of one step the leading axis that those of several have."""
    if np.ndim(metrics.skipped_in_a_row):
        return metrics
    return jax.tree.map(lambda x: np.asarray(x)[None], metrics)
