"""Sums over the training steps between two rows of the log."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxcv.tasks import Task
from jaxcv.train.evaluation import add_metrics, scalars
from jaxcv.train.step import StepMetrics


class NonFiniteError(RuntimeError):
    """The loss or the gradient was not finite for too many steps in a row."""


class Window:
    """Collects the metrics of steps, one dispatch behind the devices, so that neither waits.

    Args:
        task: turns summed metrics into numbers.
        max_skipped: non-finite updates in a row that end the run.
    """

    def __init__(self, task: Task, max_skipped: int) -> None:
        self._task, self._max_skipped = task, max_skipped
        self._pending: tuple[int, StepMetrics] | None = None
        self._clear()

    def _clear(self) -> None:
        self._total: Any = None
        self._norms: list[float] = []
        self._skipped = 0

    def add(self, step: int, metrics: StepMetrics) -> None:
        """Takes the metrics of a dispatch whose last step was `step`; counts those of the one before.

        Raises:
            NonFiniteError: naming the step at which the updates skipped in a row reached the limit.
        """
        self._count_pending()
        self._pending = (step, metrics)

    def _count_pending(self) -> None:
        if self._pending is None:
            return
        (last_step, metrics), self._pending = self._pending, None
        metrics = jax.device_get(metrics)
        if metrics.skipped_in_a_row.ndim == 0:  # One step a dispatch: give it the axis of several.
            metrics = jax.tree.map(lambda x: np.asarray(x)[None], metrics)
        in_a_row = metrics.skipped_in_a_row
        self._skipped += int((in_a_row > 0).sum())
        if in_a_row.max() >= self._max_skipped:
            step = last_step - len(in_a_row) + 1 + int(np.argmax(in_a_row >= self._max_skipped))
            raise NonFiniteError(
                f"the loss or the gradient was not finite in {self._max_skipped} steps in a row, the last "
                f"of them step {step}; weights and checkpoints are those of before. Try a lower "
                "learning rate or gradient clipping (--optimizer.clip-norm 1)"
            )
        finite = in_a_row == 0
        if finite.any():
            # A skipped step's sums are not finite: it is counted, but not averaged.
            sums = (metrics.loss_sum, metrics.weight_sum, metrics.task)
            sums = jax.tree.map(lambda x: x[finite].sum(0), sums)
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
