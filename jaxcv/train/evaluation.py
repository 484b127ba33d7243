"""Exact evaluation: every record once, whatever the batch size and the number of devices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxcv.devices import AXIS
from jaxcv.train.run import Run
from jaxcv.train.state import TrainState, Variables
from jaxcv.train.step import make_eval_step, make_predict_step

Summary = dict[str, Any]


def make_evaluator(run: Run) -> Callable[[Variables], Summary]:
    """Builds `evaluate(variables) -> summary` over the test records; compiled once, used often."""
    experiment = run.experiment
    task = experiment.task
    evaluate_batch = run.test_feed().bind(
        make_eval_step(experiment.model, task, experiment.preprocess), run.layout.variables
    )
    steps = len(run.test_batches())

    def evaluate(variables: Variables) -> Summary:
        total, parts = None, []
        pending: Any = evaluate_batch(variables, 0)
        for step in range(1, steps + 1):
            # The next batch is under way before this one's sums are fetched.
            (metrics, arrays), pending = (
                pending,
                evaluate_batch(variables, step) if step < steps else None,
            )
            total = add_metrics(total, metrics)
            parts.append(jax.device_get(arrays))
        return {**task.summary(total), **task.aggregate(join_batches(parts))}

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


def evaluate_state(evaluate: Callable[[Variables], Summary], state: TrainState) -> Summary:
    """Evaluates the raw weights as "test" and, where there are any, the averaged ones as "test_ema"."""
    results = {"test": evaluate(state.variables)}
    if state.ema is not None:
        results["test_ema"] = evaluate(state.ema)
    return results


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
