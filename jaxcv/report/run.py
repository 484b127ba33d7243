"""From a work directory to its report: evaluates, collects mistakes and samples, writes the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv.devices import AXIS
from jaxcv.json_file import read_json
from jaxcv.report.page import write_report
from jaxcv.report.presentation import presentation_of
from jaxcv.train import (
    Checkpoints,
    Experiment,
    Run,
    Runtime,
    TrainState,
    Which,
    evaluate_state,
    make_evaluator,
    open_workdir,
)
from jaxcv.train.batch import augment_batch, mix_batch
from jaxcv.train.config_file import to_json
from jaxcv.train.divergence import divergence, skipped_updates
from jaxcv.train.logging import read_rows, rows_until
from jaxcv.train.setup_warnings import class_warnings

_SAMPLES = 24


def report_run(
    workdir: str | Path,
    runtime: Runtime | None = None,
    step: Which = "last",
    results: dict[str, dict[str, Any]] | None = None,
    experiment: Experiment | None = None,
) -> Path:
    """Writes `report.html` into the work directory of a run.

    Args:
        workdir: written by `jaxcv.train.train`.
        runtime: how to use the machine for the evaluation.
        step: which checkpoint: its step, "last", or "best" by the experiment's `keep.best`.
        results: what `train` or `evaluate_state` gave for that checkpoint, to spare evaluating again.
        experiment: what was trained; None reads it from config.json, which cannot hold arrays.

    Returns:
        The path of the report.

    Raises:
        ValueError: where the directory holds no checkpoint, or a damaged one.
    """
    workdir = Path(workdir)
    run, state = open_workdir(workdir, runtime, step, experiment)
    results = results or evaluate_state(make_evaluator(run), state)
    environment = workdir / "environment.json"
    presentation = presentation_of(run.experiment.task)
    sections = presentation.sections(run, state, results["test"])
    history = rows_until(workdir, int(state.step))
    # What came after the newest checkpoint may be why there is no newer one.
    logged = read_rows(workdir / "metrics.jsonl") if step == "last" else history
    task = run.experiment.task
    doubts = class_warnings(run.data, counts_objects="boxes" in task.annotations)
    samples = presentation.samples(run, augmented_samples(run, state, _SAMPLES))
    path = workdir / "report.html"
    if jax.process_index() > 0:  # All processes compute, the first writes.
        return path
    return write_report(
        path,
        title=f"{_model_name(run.experiment.model)} on {_data_name(run.experiment.data)}",
        subtitle=(
            f"Step {int(state.step):,} of {run.total_steps:,}, {run.data.train.count:,} training and "
            f"{len(run.test_source):,} test records{_best(workdir, run)}"
        ),
        banners=[text for text in (divergence(logged), skipped_updates(logged), *doubts) if text],
        history=history,
        summary=results["test"],
        class_names=run.class_names,
        task_sections=sections,
        headlines=task.headlines,
        samples=samples,
        config=to_json(run.experiment),
        environment=read_json(environment) if environment.exists() else None,
    )


def _best(workdir: Path, run: Run) -> str:
    """Where the best checkpoint is, if a metric chooses it."""
    keep = run.experiment.keep
    step = None if keep.best is None else Checkpoints(workdir / "checkpoints", keep).best_step()
    return "" if step is None else f"; best by {keep.best}: step {step:,}"


def _model_name(model: Any) -> str:
    """The name of a model and, in brackets, of what it is made of."""
    inner = getattr(model, "backbone", None)
    name = type(model).__name__
    return name if inner is None else f"{name}({_model_name(inner)})"


def _data_name(data: Any) -> str:
    """The name of a data set, or of the one that it is a part of."""
    known = getattr(data, "name", None) or getattr(data, "root", None)
    if known is None and hasattr(data, "data"):
        return _data_name(data.data)
    return str(known or type(data).__name__)


def augmented_samples(run: Run, state: TrainState, count: int) -> dict[str, np.ndarray]:
    """A training batch as the model meets it, before normalisation: `count` rows or fewer.

    Images [N,H,W,C], and what belongs to them: labels, maps or boxes, which have followed.
    """
    experiment = run.experiment
    task = experiment.task
    rows = {
        name: jnp.asarray(array[None, :count]) for name, array in run.train_batches()[0].items()
    }
    augment_key, mix_key = jax.random.split(state.key)

    def augmented(batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        batch = augment_batch(
            augment_key,
            batch,
            experiment.augment,
            rules=task.annotation_rules,
        )
        return mix_batch(mix_key, batch, experiment.mix, task)

    # The rows of one device, with the axis that the step's own functions ask for.
    batch = jax.vmap(augmented, axis_name=AXIS)(rows)
    return {name: np.asarray(array[0]) for name, array in batch.items()}
