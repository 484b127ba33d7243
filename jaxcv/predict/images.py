"""Image files for a trained model: found, decoded as in training, and predicted in batches."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

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


@dataclass(frozen=True, kw_only=True)
class ImagePrediction:
    """What a task predicts for one image file.

    Attributes:
        file: its path.
        arrays: one example's part of the task's `predict`, by name.
        error: why there are none; None where there are.
    """

    file: str
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    error: str | None = None


def predict_images(
    run: Run, variables: Variables, files: Sequence[str]
) -> Iterator[ImagePrediction]:
    """Predicts image files in batches, in order; what is no image has an error instead.

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
        predictions = experiment.task.restored(
            {name: np.asarray(x) for name, x in predict(variables, step).items()}
        )
        for row, file in enumerate(files[step * size : (step + 1) * size]):
            if file in batches.bad_records:
                yield ImagePrediction(file=file, error=batches.bad_records[file])
            else:
                arrays = {name: array[row] for name, array in predictions.items()}
                yield ImagePrediction(file=file, arrays=arrays)


def unique_stems(files: Sequence[str]) -> list[str]:
    """File names without suffix; where some are alike but for case, the later ones get a number.

    Example:
        >>> unique_stems(["a/1.png", "b/1.png", "b/1_2.png", "b/1.jpg"])
        ['1', '1_3', '1_2', '1_4']
    """
    stems = [Path(file).stem for file in files]
    own = {stem.lower() for stem in stems}
    taken: set[str] = set()
    unique = []
    for stem in stems:
        name, number = stem, 2
        while name.lower() in taken or (name != stem and name.lower() in own):
            name, number = f"{stem}_{number}", number + 1
        taken.add(name.lower())
        unique.append(name)
    return unique
