"""Data-dependent initialisation: a model that looks at training images before the first step.

A model takes part by two members, nothing to register:

    fit_examples: int                                  how many training images it wants; 0 for none
    fit_to_data(variables, images) -> variables        pure; images [N, H, W, C] as `preprocess` gives them

The images are the first records of the training data, in the data's own order and without
augmentation. A run is fitted once, at step 0; from then on what was fitted is in the checkpoints, so
that a resumed run has equal bytes and reads no record again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from jaxcv.data import RecordReader
from jaxcv.train.batch import preprocess_batch
from jaxcv.train.run import Run
from jaxcv.train.state import TrainState


def fit_to_data(run: Run, state: TrainState) -> TrainState:
    """The state at step 0 with the model fitted to the first training images, where it wants that.

    Args:
        run: whose model, training records and preprocessing.
        state: as `run.create_state()` gives it.
    """
    if not fit_count(run):
        return state
    return make_fit(run)(state, run.device_map.replicate(fitting_images(run)))


def fit_count(run: Run) -> int:
    """How many training images the model is fitted to; 0 where it does not ask for any."""
    return min(getattr(run.experiment.model, "fit_examples", 0), run.data.train.count)


def fitting_images(run: Run) -> np.ndarray:
    """The images [N, H, W, C] as the records hold them; one that cannot be read is left out."""
    experiment, count = run.experiment, fit_count(run)
    reader = RecordReader(
        run.train_source,
        num_classes=experiment.task.class_count(),
        ignore_label=experiment.task.ignore_label,
        on_bad_record=experiment.on_bad_record,
        max_bad_records=experiment.max_bad_records,
    )
    batch = reader.read(np.arange(count), np.ones(count, bool))
    return batch["image"][batch["mask"]]


def make_fit(run: Run) -> Callable[[TrainState, Any], TrainState]:
    """Builds `fit(state, images) -> state`, compiled; every device computes the same."""
    experiment = run.experiment

    def fit(state: TrainState, images: jax.Array) -> TrainState:
        images = preprocess_batch({"image": images}, experiment.preprocess)["image"]
        model: Any = experiment.model
        variables = model.fit_to_data(state.variables, images)
        ema = None if state.ema is None else variables
        others = {name: value for name, value in variables.items() if name != "params"}
        return replace(state, params=variables["params"], model_state=others, ema=ema)

    return jax.jit(fit, out_shardings=run.device_map.shardings(run.layout))
