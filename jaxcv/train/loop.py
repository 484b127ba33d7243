"""The training loop: read from top to bottom, a run from its first step to its last."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxcv.errors import Interrupted
from jaxcv.train.agreement import check_agreement, from_first, on_first, settings_of
from jaxcv.train.checkpoint import Checkpoints
from jaxcv.train.config_file import to_json, write_config
from jaxcv.train.environment import write_environment
from jaxcv.train.evaluation import (
    check_deciding_metrics,
    evaluate_state,
    make_evaluator,
    scalars,
)
from jaxcv.train.experiment import EarlyStopping, Experiment, Runtime
from jaxcv.train.feed import Feed, ResidentFeed
from jaxcv.train.fitting import fit_to_data
from jaxcv.train.logging import MetricLog, ProgressLine, Row, rows_until
from jaxcv.train.run import Run, open_run
from jaxcv.train.run_card import keep_run_card
from jaxcv.train.state import TrainState
from jaxcv.train.step import make_train_step
from jaxcv.train.task import Headline
from jaxcv.train.window import Packing, Window

Results = dict[str, dict[str, Any]]

# What the steps of one dispatch may compute: seconds on a CPU.
_DISPATCH_OPERATIONS = 10**11
# From this length on, what a dispatch costs the host adds up to more than a compilation.
_LONG_RUN = 20_000


def train(experiment: Experiment, workdir: str | Path, runtime: Runtime | None = None) -> Results:
    """Trains, evaluates, logs and saves; where the work directory holds a part of the run, goes on.

    Args:
        experiment: what to train.
        workdir: one directory per run: config.json, metrics.jsonl, tensorboard/, checkpoints/.
        runtime: how to use the machine.

    Returns:
        The summary of the last evaluation: {"test": {...}} and, with averaged weights, "test_ema".

    Raises:
        ValueError: before anything is written, where the experiment does not fit together, the data,
            the machine, or the work directory.
        NonFiniteError: after `max_skipped` non-finite updates in a row.
        Interrupted: on SIGTERM or SIGINT, after saving at the next step boundary.

    Example:
        >>> from jaxcv.configs import digits_lenet
        >>> train(digits_lenet.experiment(), "runs/digits")  # doctest: +SKIP
    """
    # Everything is opened and checked before the first byte is written.
    workdir = Path(workdir)
    check_agreement(settings_of(experiment, runtime or Runtime()))
    run = open_run(experiment, runtime, workdir)
    check_agreement(to_json(run.data))
    experiment = run.experiment  # with what is settled when a run starts
    feed, evaluate = run.train_feed(), make_evaluator(run)
    checkpoints = Checkpoints(workdir / "checkpoints", experiment.keep)
    begun = from_first((workdir / "config.json").exists())
    if begun:
        on_first(lambda: keep_identity(workdir, run))

    # The newest whole checkpoint, or step 0. The step alone says where the data go on.
    newest = checkpoints.newest_whole()
    if newest is None:
        state = fit_to_data(run, run.create_state())
    else:
        state = checkpoints.restore(run.create_state(to_restore=True), newest)
    step, total_steps = int(state.step), run.total_steps
    if step >= total_steps or stops_early(experiment.early_stopping, rows_until(workdir, step)):
        return evaluate_state(evaluate, state)
    check_deciding_metrics(experiment, evaluate, state)
    if not begun:
        on_first(lambda: keep_identity(workdir, run))
    write_environment(workdir)
    log = MetricLog(workdir, step)

    # From here on the devices are busy, and the host only reports.
    eval_every = experiment.eval_every or max(run.data.train.count // experiment.batch_size, 1)
    checkpoint_every = experiment.checkpoint_every or eval_every
    intervals = (experiment.log_every, eval_every, checkpoint_every)
    pack = Packing()
    advance = make_advance(run, feed, steps_per_dispatch(run, feed, state, intervals), pack)
    window = Window(experiment.task, experiment.max_skipped, pack, int(state.skipped))
    rate = experiment.optimizer.rate(total_steps)
    progress = ProgressLine(total_steps, step, experiment.batch_size, experiment.task.headlines)
    results: Results = {}

    def report(step: int) -> None:
        row = window.row()
        row["learning_rate"] = float(rate(step - 1 - window.skipped))
        row["bad_records"] = len(feed.batches.bad_records)
        log.write(step, "train", {**row, **progress.speed()})
        progress.show(row)

    reporting = False
    with closing_all(progress, log), signals_deferred() as received:
        while step < total_steps:
            boundary = next_multiple(step, *intervals)
            state, metrics, count = advance(state, step, min(boundary, total_steps) - step)
            if reporting:  # of the steps before, now that the devices have the next to make
                report(step)
            step += count
            window.add(step, metrics)
            progress.step(step, metrics)

            last = step == total_steps
            evaluating = last or step % eval_every == 0
            stop_signal = agreed_signal(received, step % experiment.log_every == 0)
            saving = last or step % checkpoint_every == 0 or stop_signal is not None
            reporting = step % experiment.log_every == 0
            if not evaluating and not saving:
                continue  # the row waits until the devices have their next dispatch

            report(step)
            reporting = False
            with progress.paused():
                if evaluating:
                    results = evaluate_state(evaluate, state)
                    log_results(step, results, experiment.task.headlines, log, progress)
                stopping = evaluating and stops_early(experiment.early_stopping, log.rows)
                if saving or stopping:
                    checkpoints.save(step, state, metrics_at(step, log.rows))
            if stop_signal is not None:
                raise Interrupted(stop_signal, step)
            if stopping:
                progress.say(f"step {step}  stopped early by {experiment.early_stopping}")
                break
    return results


def keep_identity(workdir: Path, run: Run) -> None:
    """Writes config.json and run.json, or compares those that are there with the run.

    Raises:
        ValueError: it is the directory of another experiment, or the data have changed since.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    write_config(workdir / "config.json", run.experiment)
    keep_run_card(workdir, run.data, accept=run.runtime.data_changed == "accept")


def log_results(
    step: int,
    results: Results,
    headlines: Sequence[Headline],
    log: MetricLog,
    progress: ProgressLine,
) -> None:
    """Logs and shows the numbers of an evaluation."""
    for split, summary in results.items():
        log.write(step, split, scalars(summary))
        progress.say(f"step {step}  {split}  {shown(scalars(summary), headlines)}")


def steps_per_dispatch(run: Run, feed: Feed, state: TrainState, intervals: tuple[int, ...]) -> int:
    """How many steps a dispatch makes, where they are made in order: the runtime's number or a good one.

    A good number divides all intervals, so that a resumed run makes the dispatches of an uninterrupted
    one; it makes no dispatch so long that signals go unheard; and it spares a short run the compilation
    of a second program for the steps that are left over.
    """
    if run.runtime.steps_per_dispatch is not None:
        return run.runtime.steps_per_dispatch
    if not isinstance(feed, ResidentFeed):
        return 1
    height, width, _ = run.image_shape
    weights = sum(x.size for x in jax.tree.leaves(state.params))
    # Were every weight used at every pixel, forward and backward.
    operations = 6 * feed.batches.rows * height * width * weights
    longest = max(1, _DISPATCH_OPERATIONS // operations)
    together = math.gcd(*intervals)
    if run.total_steps < _LONG_RUN:
        together = math.gcd(together, run.total_steps)
    return max(n for n in range(1, min(together, longest) + 1) if together % n == 0)


def make_advance(
    run: Run, feed: Feed, many_count: int, pack: Packing
) -> Callable[[TrainState, int, int], tuple[TrainState, Any, int]]:
    """Builds `advance(state, step, at_most) -> (state, packed metrics, steps made)`: one dispatch."""
    experiment = run.experiment
    train_step = make_train_step(
        experiment.model,
        experiment.task,
        run.optimizer,
        augment=experiment.augment,
        mix=experiment.mix,
        preprocess=experiment.preprocess,
        l1=experiment.l1,
        l2=experiment.l2,
        ema_decay=experiment.ema_decay,
        accumulation=experiment.accumulation,
        sharded=run.sharded,
    )

    def packed_step(state: TrainState, batch: dict[str, jax.Array]) -> tuple[TrainState, Any]:
        state, metrics = train_step(state, batch)
        return state, pack(metrics)

    one = feed.bind(packed_step, run.layout, out=(run.layout, None), donate=True)
    many = feed.bind_many(packed_step, many_count, run.layout) if many_count > 1 else None

    def advance(state: TrainState, step: int, at_most: int) -> tuple[TrainState, Any, int]:
        if many is not None and at_most >= many_count:
            return *many(state, step), many_count
        return *one(state, step), 1

    return advance


def next_multiple(step: int, *intervals: int) -> int:
    """The least number above `step` that is a multiple of one of the intervals."""
    return min((step // interval + 1) * interval for interval in intervals)


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


@contextmanager
def signals_deferred() -> Iterator[list[int]]:
    """Within, SIGTERM and SIGINT are noted in the list instead of ending the process.

    A second SIGINT ends it at once. Outside the main thread signals stay as they are.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    try:
        previous = {n: signal.signal(n, note) for n in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # Python allows handlers in the main thread alone.
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def agreed_signal(received: list[int], at_log_row: bool) -> int | None:
    """The signal on which all processes stop at this step, or None.

    One process decides for itself at any step. Several ask one another, which takes time, so only
    where a row is logged: one that stopped alone would leave the others waiting for ever.
    """
    mine = received[0] if received else 0
    if jax.process_count() == 1:
        return mine or None
    if not at_log_row:
        return None
    return int(multihost_utils.process_allgather(np.int32(mine)).max()) or None


@contextmanager
def closing_all(*things: Any) -> Iterator[None]:
    """Closes each at the end, whatever happened."""
    try:
        yield
    finally:
        for thing in things:
            thing.close()
