"""What a run leaves behind: rows, checkpoints, evaluations, in the order that makes each kill harmless."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import jax

from jaxcv.train.checkpoint import Checkpoints
from jaxcv.train.config_file import write_config
from jaxcv.train.evaluation import Evaluate, evaluate_state, scalars
from jaxcv.train.experiment import EarlyStopping
from jaxcv.train.logging import MetricLog, ProgressLine, Row
from jaxcv.train.run import Run
from jaxcv.train.state import TrainState
from jaxcv.train.stopping import RunLock, saving_before_errors
from jaxcv.train.task import Headline
from jaxcv.train.window import REMEDY, NonFiniteError, Window

Results = dict[str, dict[str, Any]]


@dataclass(kw_only=True)
class Recorder:
    """Logs, saves and evaluates the steps of a run.

    The rows of a checkpoint have reached the medium before it counts; the rows of its evaluation, before
    it says that it is evaluated. So wherever the run was killed, the next one knows what is left to do.

    As a context manager it closes the log and the progress line at the end, and on an error saves first.

    Attributes:
        run: the run.
        workdir: its work directory.
        lock: its right to write.
        checkpoints: where it saves.
        log: of its rows.
        progress: what is shown.
        window: the metrics since the last row.
        evaluate_variables: see `make_evaluator`.
        bad_records: those of the feed, which grow.
        results: of the last evaluation.
        stopping: whether it was the last one, by the experiment's `early_stopping`.
    """

    run: Run
    workdir: Path
    lock: RunLock
    checkpoints: Checkpoints
    log: MetricLog
    progress: ProgressLine
    window: Window
    evaluate_variables: Evaluate
    bad_records: Any
    results: Results = field(default_factory=dict)
    stopping: bool = False

    def __post_init__(self) -> None:
        self._rate = self.run.experiment.optimizer.rate(self.run.total_steps)
        self.window.on_first_skip = self._say_first_skip
        self._stack = ExitStack()
        self._start: int | None = None

    def __enter__(self) -> Recorder:
        for thing in (self.progress, self.log):
            self._stack.callback(thing.close)
        self._stack.enter_context(saving_before_errors(self._save_reached))
        self._stack.push(self._log_divergence)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return self._stack.__exit__(kind, error, traceback)

    def reach(self, step: int, state: TrainState, *, evaluating: bool) -> None:
        """Notes how far the run is.

        Args:
            step: updates made.
            state: after them.
            evaluating: whether this step is to be evaluated.
        """
        if self._start is None:
            self._start = self._reported = step
        self._step, self._state, self._evaluated = step, state, not evaluating

    def add(self, metrics: Any) -> None:
        """Takes the packed metrics of the dispatch that has reached this step."""
        self.window.add(self._step, metrics)
        self.progress.step(self._step, metrics)

    def report(self, step: int) -> None:
        """Logs and shows a row of the steps since the last one."""
        if jax.process_count() == 1:  # several would have to ask one another, which takes time
            self.lock.check()
        row = self.window.row()
        row["learning_rate"] = float(self._rate(step - 1 - self.window.skipped))
        row["bad_records"] = len(self.bad_records)
        self.log.write(step, "train", {**row, **self.progress.speed()})
        self.progress.show(row)
        self._reported = step

    def save(self) -> None:
        """Saves this step. A call for all processes."""
        with self.progress.paused():
            self.lock.check()
            self.log.sync()
            if jax.process_index() == 0 and not (self.workdir / "config.json").exists():
                write_config(self.workdir / "config.json", self.run.experiment)  # deleted meanwhile
            metrics = metrics_at(self._step, self.log.rows)
            self.checkpoints.save(self._step, self._state, metrics, evaluated=self._evaluated)

    def evaluate(self, *, saved: bool) -> None:
        """Evaluates this step, logs and shows the numbers, and records them in its checkpoint.

        Args:
            saved: whether there is one; where there is none, and the run stops early here, it is made.
        """
        with self.progress.paused():
            self.results = evaluate_state(self.evaluate_variables, self._state)
            self.lock.check()
            self._log_results()
            self.log.sync()
            self._evaluated = True
            self.stopping = stops_early(self.run.experiment.early_stopping, self.log.rows)
            if saved:
                self.checkpoints.record(self._step, metrics_at(self._step, self.log.rows))
        if self.stopping:
            self.save()  # where it is not saved yet
            self.progress.say(
                f"step {self._step}  stopped early by {self.run.experiment.early_stopping}"
            )

    def _log_results(self) -> None:
        headlines = self.run.experiment.task.headlines
        for split, summary in self.results.items():
            self.log.write(self._step, split, scalars(summary))
            self.progress.say(f"step {self._step}  {split}  {shown(scalars(summary), headlines)}")

    def _say_first_skip(self, step: int) -> None:
        """Says that the update of a step was skipped, and what may be done."""
        rate = float(self._rate(step - 1 - self.window.skipped))
        self.progress.say(
            f"step {step}  this update was skipped: the loss or the gradient is not finite (learning rate "
            f"{rate:.3g}). The run stops after {self.run.experiment.max_skipped} in a row; {REMEDY}"
        )

    def _log_divergence(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Logs the updates that end the run, so that its log and report say why."""
        if isinstance(error, NonFiniteError):
            row = {"skipped": self.window.skipped_since_row, "loss": math.nan}
            self.log.write(self._step, "train", row)

    def _save_reached(self) -> None:
        """Saves this step after an error, where there is something new and the error has left it whole."""
        given_away = any(leaf.is_deleted() for leaf in jax.tree.leaves(self._state))
        if given_away or self._step == self._start:
            return
        if self._step > self._reported:
            self.report(self._step)
        self.save()


def stops_early(rule: EarlyStopping, rows: list[Row]) -> bool:
    """Whether the logged evaluations say that the run is over: so a resumed run stops alike.

    Raises:
        ValueError: where no evaluation has the rule's metric.
    """
    if rule.patience is None:
        return False
    split, _, name = rule.metric.partition("/")
    evaluated = [row for row in rows if row["split"] == split]
    if evaluated and name not in evaluated[-1]:
        raise ValueError(
            f"early_stopping.metric is {rule.metric!r}, but the evaluation has "
            f"{sorted(set(evaluated[-1]) - {'step', 'split'})}"
        )
    best, waited = math.inf, 0
    for row in evaluated:
        value = row[name] if rule.mode == "min" else -row[name]
        waited += 1
        if value < best - rule.min_change:  # False for NaN: it is never an improvement
            best, waited = value, 0
    return waited >= rule.patience


def metrics_at(step: int, rows: list[Row]) -> dict[str, float]:
    """The numbers logged at a step, as "split/name"."""
    return {
        f"{row['split']}/{name}": value
        for row in rows
        if row["step"] == step
        for name, value in row.items()
        if isinstance(value, int | float) and name != "step"
    }


def shown(values: dict[str, float], headlines: Sequence[Headline]) -> str:
    """A line of the headlines among the values."""
    return "  ".join(f"{h.name} {values[h.name]:.4g}" for h in headlines if h.name in values)
