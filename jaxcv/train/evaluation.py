"""Exact evaluation: every record once, whatever the batch size and the number of devices."""

from __future__ import annotations

import difflib
import math
from typing import Any, Protocol

import jax
import numpy as np

from jaxcv.devices import AXIS
from jaxcv.errors import listed
from jaxcv.train.checks import SetupError
from jaxcv.train.experiment import Experiment
from jaxcv.train.run import Run
from jaxcv.train.state import TrainState, Variables
from jaxcv.train.step import make_eval_step, make_predict_step

Summary = dict[str, Any]

# What a row of training metrics has beside the task's own numbers.
_OF_TRAINING = ("loss", "gradient_norm", "learning_rate", "skipped", "bad_records")


class Evaluate(Protocol):
    """What `make_evaluator` builds."""

    def __call__(
        self, variables: Variables, *, batches: int | None = None, aggregate: bool = True
    ) -> Summary:
        """The summary of the test records, or of the first `batches` of them.

        Args:
            variables: what the model applies.
            batches: how many; None takes all.
            aggregate: with the numbers that take all examples together, such as COCO's.
        """
        ...


def make_evaluator(run: Run) -> Evaluate:
    """Builds `evaluate(variables) -> summary` over the test records; compiled once, used often."""
    experiment = run.experiment
    task = experiment.task
    evaluate_batch = run.test_feed().bind(
        make_eval_step(experiment.model, task, experiment.preprocess), run.layout.variables
    )
    all_steps = len(run.test_batches())

    def evaluate(
        variables: Variables, *, batches: int | None = None, aggregate: bool = True
    ) -> Summary:
        total, parts = None, []
        steps = all_steps if batches is None else min(batches, all_steps)
        pending: Any = evaluate_batch(variables, 0)
        for step in range(1, steps + 1):
            # The next batch is under way before this one's sums are fetched.
            (metrics, arrays), pending = (
                pending,
                evaluate_batch(variables, step) if step < steps else None,
            )
            total = add_metrics(total, metrics)
            parts.append(jax.device_get(arrays))
        summary = task.summary(total)
        return {**summary, **task.aggregate(join_batches(parts))} if aggregate else summary

    return evaluate


def join_batches(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Joins the per-example arrays of all batches, [N, ...], without the rows whose `mask` is False."""
    return {
        name: np.concatenate([part[name][part["mask"]] for part in parts])
        for name in parts[0]
        if name != "mask"
    }


def collect_per_example(run: Run, variables: Variables) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The task's `per_example` arrays of the test records, [N, ...], and the record [N] of each row.

    Records that could not be read are not among them.
    """
    experiment = run.experiment
    evaluate_batch = run.test_feed().bind(
        make_eval_step(experiment.model, experiment.task, experiment.preprocess),
        run.layout.variables,
    )
    batches = run.test_batches()
    parts = [jax.device_get(evaluate_batch(variables, step)[1]) for step in range(len(batches))]
    records = [
        step * batches.batch_size + np.flatnonzero(part["mask"]) for step, part in enumerate(parts)
    ]
    return join_batches(parts), np.concatenate(records)


def add_metrics(total: Any, metrics: Any) -> Any:
    """Adds a batch's sums to the total on the host, in 64 bits: counts stay exact."""
    metrics = jax.tree.map(lambda x: np.asarray(x, wide(x.dtype)), jax.device_get(metrics))
    return metrics if total is None else jax.tree.map(np.add, total, metrics)


def wide(dtype: np.dtype) -> type[np.number]:
    """The type with 64 bits of a number's kind."""
    return np.int64 if dtype.kind in "biu" else np.float64


def evaluate_state(evaluate: Evaluate, state: TrainState, batches: int | None = None) -> Summary:
    """Evaluates the raw weights as "test" and, where there are any, the averaged ones as "test_ema".

    Args:
        evaluate: of `make_evaluator`.
        state: the weights.
        batches: of how many batches of test records; None takes all.
    """
    results = {"test": evaluate(state.variables, batches=batches)}
    if state.ema is not None:
        results["test_ema"] = evaluate(state.ema, batches=batches)
    return results


def check_deciding_metrics(experiment: Experiment, evaluate: Evaluate, state: TrainState) -> None:
    """Raises SetupError where a metric that is to choose checkpoints, or to stop the run, is never logged.

    One batch tells which there are. Where that one lacks something, as pairs of a person's pictures, all
    are evaluated before a metric is said to be unknown.
    """
    wanted = {"keep.best": experiment.keep.best}
    if experiment.early_stopping.patience is not None:
        wanted["early_stopping.metric"] = experiment.early_stopping.metric
    wanted = {setting: metric for setting, metric in wanted.items() if metric is not None}
    if not wanted:
        return
    summed = scalars(evaluate(state.variables, batches=1, aggregate=False))
    known = {f"train/{name}" for name in (*summed, *_OF_TRAINING)}
    for batches in (1, None):
        for split, summary in evaluate_state(evaluate, state, batches).items():
            known |= {f"{split}/{name}" for name in scalars(summary)}
        if known.issuperset(wanted.values()):
            return
    for setting, metric in wanted.items():
        if metric not in known:
            close = difflib.get_close_matches(str(metric), known, 1, 0.4)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise SetupError(
                f"{setting} is {metric!r}, which this run never logs; {hint}it logs "
                f"{listed(sorted(known), 8)}"
            )


def scalars(summary: Summary) -> dict[str, float]:
    """The numbers of a summary, without its lists and tables."""
    return {k: float(v) for k, v in summary.items() if isinstance(v, int | float | np.number)}


def predict_test(run: Run, variables: Variables) -> dict[str, np.ndarray]:
    """Predictions for every test record, in order: arrays with first axis N, annotations and the mask.

    Rows whose record could not be read have mask False.
    """
    experiment = run.experiment

    def predict_batch(variables: Variables, batch: dict[str, jax.Array]) -> Any:
        predictions = predict(variables, batch)
        kept = {name: batch[name] for name in (*experiment.task.annotations, "mask")}
        return {**predictions, **jax.lax.all_gather(kept, AXIS, tiled=True)}

    predict = make_predict_step(experiment.model, experiment.task, experiment.preprocess)
    call = run.test_feed().bind(predict_batch, run.layout.variables)
    batches = run.test_batches()
    size = batches.batch_size
    parts = [
        {name: np.asarray(array)[:size] for name, array in call(variables, step).items()}
        for step in range(math.ceil(len(run.test_source) / size))
    ]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    found = {name: array[: len(run.test_source)] for name, array in whole.items()}
    return experiment.task.restored(found)
