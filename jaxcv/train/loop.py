"""The training loop: read from top to bottom, a run from its first step to its last."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from jaxcv.atomic import remove_leftovers
from jaxcv.signals import NotedSignals
from jaxcv.train.agreement import check_agreement, from_first, on_first, settings_of
from jaxcv.train.checkpoint import Checkpoints
from jaxcv.train.config_file import to_json, write_config
from jaxcv.train.environment import write_environment
from jaxcv.train.evaluation import check_deciding_metrics, evaluate_state, make_evaluator
from jaxcv.train.experiment import Experiment, Runtime
from jaxcv.train.feed import Feed, ResidentFeed
from jaxcv.train.fitting import fit_to_data
from jaxcv.train.logging import MetricLog, ProgressLine, rows_until
from jaxcv.train.recorder import Recorder, Results, stops_early
from jaxcv.train.run import Run, open_run
from jaxcv.train.run_card import keep_run_card
from jaxcv.train.state import TrainState
from jaxcv.train.step import make_train_step
from jaxcv.train.stopping import RunLock, agreed_stop, stopped
from jaxcv.train.window import Packing, Window
from jaxcv.train.workdir import check_workdir

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
        LockError: another process trains in the work directory, or it was deleted meanwhile.
        NonFiniteError: after `max_skipped` non-finite updates in a row.
        Interrupted: on SIGTERM, SIGINT or SIGHUP, or when nobody reads what is shown any more, after
            saving at the next step boundary.
        OutputError: when nothing can be shown any more, likewise.

    Example:
        >>> from jaxcv.configs import digits_lenet
        >>> train(digits_lenet.experiment(), "runs/digits")  # doctest: +SKIP
    """
    workdir = Path(workdir)
    on_first(lambda: check_workdir(workdir, experiment.data))
    with NotedSignals() as signals, RunLock(workdir) as lock:
        # Everything is opened and checked before the first byte is written.
        check_agreement(settings_of(experiment, runtime or Runtime()))
        run = open_run(experiment, runtime, workdir)
        check_agreement(to_json(run.data))
        experiment = run.experiment  # with what is settled when a run starts
        feed, evaluate = run.train_feed(), make_evaluator(run)
        state = None
        if not from_first((workdir / "config.json").exists()):
            state = run.create_state()
            check_deciding_metrics(experiment, evaluate, state)

        # Which run this is: the directory says so, or this is its start.
        lock.take()
        run_digest = on_first(lambda: keep_identity(workdir, run))
        checkpoints = Checkpoints(workdir / "checkpoints", experiment.keep, run_digest=run_digest)
        if jax.process_index() == 0:
            remove_leftovers(workdir)
            checkpoints.clean()

        # The newest whole checkpoint, or step 0. The step alone says where the data go on.
        newest = checkpoints.newest_whole()
        if newest is None:
            state = fit_to_data(run, state or run.create_state())
        else:
            state = checkpoints.restore(run.create_state(to_restore=True), newest)
        step, total_steps = int(state.step), run.total_steps
        evaluated = newest is None or checkpoints.is_evaluated(newest)
        stopping = stops_early(experiment.early_stopping, rows_until(workdir, step))
        if evaluated and (step >= total_steps or stopping):
            return evaluate_state(evaluate, state)

        # From here on the devices are busy, and the host only reports.
        eval_every = experiment.eval_every or max(run.data.train.count // experiment.batch_size, 1)
        checkpoint_every = experiment.checkpoint_every or eval_every
        intervals = (experiment.log_every, eval_every, checkpoint_every)
        checkpoints.check_free(step, checkpoint_every, total_steps)
        write_environment(workdir)
        pack = Packing()
        advance = make_advance(run, feed, steps_per_dispatch(run, feed, state, intervals), pack)
        recorder = Recorder(
            run=run,
            workdir=workdir,
            lock=lock,
            checkpoints=checkpoints,
            log=MetricLog(workdir, step, evaluated=evaluated),
            progress=ProgressLine(
                total_steps, step, experiment.batch_size, experiment.task.headlines
            ),
            window=Window(experiment.task, experiment.max_skipped, pack, int(state.skipped)),
            evaluate_variables=evaluate,
            bad_records=feed.batches.bad_records,
        )
        recorder.reach(step, state, evaluating=not evaluated)
        with recorder:
            if not evaluated:  # the run ended between a checkpoint and its evaluation
                recorder.evaluate(saved=True)
            reporting = False
            while step < total_steps and not recorder.stopping:
                boundary = next_multiple(step, *intervals)
                before = step
                state, metrics, count = advance(state, step, min(boundary, total_steps) - step)
                step += count
                last = step == total_steps
                evaluating = last or step % eval_every == 0
                recorder.reach(step, state, evaluating=evaluating)
                signals.defer()  # now that there is something to save
                if reporting:  # of the steps before, now that the devices have the next to make
                    recorder.report(before)
                recorder.add(metrics)

                reporting = step % experiment.log_every == 0
                stop = agreed_stop(signals.received, recorder.progress.failure, reporting)
                saving = last or stop or step % checkpoint_every == 0
                if not evaluating and not saving:
                    continue  # the row waits until the devices have their next dispatch

                # Saved first: what goes wrong in the evaluation costs no step.
                recorder.report(step)
                reporting = False
                if saving:
                    recorder.save()
                if stop:
                    raise stopped(stop, step)
                if evaluating:
                    recorder.evaluate(saved=bool(saving))
            # What has arrived since the last step began.
            stop = agreed_stop(signals.received, recorder.progress.failure, at_log_row=True)
            if stop:
                raise stopped(stop, step)
    return recorder.results


def keep_identity(workdir: Path, run: Run) -> str:
    """Writes config.json and run.json, or compares those that are there with the run; returns its digest.

    Raises:
        ValueError: it is the directory of another experiment, or the data have changed since.
    """
    write_config(workdir / "config.json", run.experiment)
    return keep_run_card(workdir, run.data, accept=run.runtime.data_changed == "accept").run


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
