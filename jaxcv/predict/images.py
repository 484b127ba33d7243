"""Predictions for image files: found, decoded as in training, and named."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcv.data import Batches
from jaxcv.data.files import SUFFIXES, FileSource
from jaxcv.train.feed import StreamFeed
from jaxcv.train.run import Run, SetupError
from jaxcv.train.state import Variables
from jaxcv.train.step import make_predict_step


def find_images(patterns: Sequence[str]) -> list[str]:
    """Gives the image files that files, folders (searched through) and globs name, in order.

    Raises:
        SetupError: for a pattern that names no image.
    """
    found: list[str] = []
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            files = sorted(
                os.fspath(p)
                for p in path.rglob("*")
                if p.suffix.lower() in SUFFIXES and p.is_file()
            )
        elif path.is_file():
            files = [pattern]
        else:
            files = sorted(f for f in glob.glob(pattern, recursive=True) if Path(f).is_file())
        if not files:
            raise SetupError(f"{pattern} names no image file")
        found.extend(files)
    return list(dict.fromkeys(found))


def predict_files(run: Run, variables: Variables, files: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Gives a row per file, in order: {"file", "prediction", ...}; "error" where it is no image.

    Args:
        run: its data set says how images are decoded and fitted to the model.
        variables: what the model applies.
        files: paths.
    """
    experiment = run.experiment
    height, width, _ = run.train_source[0]["image"].shape
    source = FileSource(
        Path(),
        files,
        np.zeros(len(files), np.int32),
        run.train_source.class_names,
        run.image_reader.with_size((height, width)),
    )
    size = min(len(files), experiment.eval_batch_size)
    batches = Batches(
        source,
        size,
        shuffle=False,
        multiple_of=run.device_map.count,
        on_bad_record="skip",
        max_bad_records=len(files),
    )
    predict = StreamFeed(batches, run.device_map).bind(
        make_predict_step(experiment.model, experiment.task, experiment.preprocess),
        run.layout.variables,
    )
    for step in range(len(batches)):
        predictions = {name: np.asarray(x) for name, x in predict(variables, step).items()}
        for row, file in enumerate(files[step * size : (step + 1) * size]):
            if file in batches.bad_records:
                yield {"file": file, "error": batches.bad_records[file]}
            else:
                values = {name: array[row] for name, array in predictions.items()}
                yield {"file": file, **named(values, source.class_names)}


def named(values: dict[str, np.ndarray], class_names: tuple[str, ...]) -> dict[str, Any]:
    """Puts class names to one example's predictions: plain values that JSON can hold."""
    row: dict[str, Any] = {name: value.tolist() for name, value in values.items()}
    if class_names and "probabilities" in row:
        row["prediction"] = class_names[row["prediction"]]
        row["probabilities"] = dict(zip(class_names, row["probabilities"], strict=True))
    return row
