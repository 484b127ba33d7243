"""Image files for a trained model: found, decoded as in training, and predicted in batches."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jaxcv.data import Batches
from jaxcv.data.files import FileSource
from jaxcv.data.finding import (
    file_suffix,
    find_files,
    is_picture,
    is_system,
    other_kind,
)
from jaxcv.data.formats import SUFFIXES
from jaxcv.data.passed_over import PassedOver
from jaxcv.names import normal_name, printable
from jaxcv.train.feed import StreamFeed
from jaxcv.train.run import Run, SetupError
from jaxcv.train.state import Variables
from jaxcv.train.step import make_predict_step


def find_images(patterns: Sequence[str]) -> list[str]:
    """Returns the image files that files, folders (searched through) and globs name, in order.

    What counts as a picture in a folder is told by `jaxcv.data.finding`, and so is what is passed over
    in silence or with a line in the log. A file that is named itself is taken whatever it holds, one
    that a glob matches only if it has the suffix or the first bytes of a picture. Each file comes once.

    Raises:
        SetupError: for a pattern that names no image.
    """
    found: dict[str, str] = {}
    empty: list[str] = []
    for pattern in patterns:
        passed_over = PassedOver()
        files = _named(pattern, passed_over)
        if not files and not is_system(os.path.basename(os.path.abspath(pattern))):
            special = os.path.exists(pattern) and not os.path.isdir(pattern)
            what = "is no regular file" if special else "names no image file"
            raise SetupError(f"{pattern} {what}{passed_over.hint()}")
        if not files:
            empty.append(pattern)
        for file in files:
            first = found.setdefault(os.path.realpath(file), file)
            if os.path.abspath(first) != os.path.abspath(file):
                passed_over.add("linked twice", file)
        passed_over.say(pattern)
    if empty and not found:
        raise SetupError(f"{empty[0]} names no image file")
    return list(found.values())


def _named(pattern: str, passed_over: PassedOver) -> list[str]:
    """The image files that one pattern names; what is passed over is noted."""
    if os.path.exists(pattern):
        return _in_folder(pattern, passed_over) if os.path.isdir(pattern) else _regular(pattern)
    found = []
    literal = set(Path(pattern).parts)
    for path in sorted(glob.glob(pattern, recursive=True)):
        name = os.path.basename(path)
        if any(is_system(part) for part in Path(path).parts if part not in literal):
            continue
        if not os.path.lexists(path):  # A circle of links ends somewhere.
            continue
        if os.path.isdir(path):
            # With ** its files are matched themselves.
            found += [] if "**" in pattern else _in_folder(path, passed_over)
        elif not os.path.isfile(path):
            passed_over.add("no regular file", path)
        elif file_suffix(name) in SUFFIXES or is_picture(path):
            found.append(path)
        else:
            passed_over.add(other_kind(file_suffix(name)), path)
    return found


def _regular(path: str) -> list[str]:
    taken = os.path.isfile(path) and not is_system(os.path.basename(path))
    return [path] if taken else []


def _in_folder(folder: str, passed_over: PassedOver) -> list[str]:
    if is_system(os.path.basename(os.path.abspath(folder))):
        return []
    found = find_files(folder)
    passed_over.update(found.passed_over)
    root = Path(folder)
    return [os.fspath(root / file) for file in found.files]


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
    source = FileSource(
        Path(),
        files,
        np.zeros(len(files), np.int32),
        run.class_names,
        run.sized_image_reader,
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
    """File names without suffix; where some are alike but for case or Unicode form, the later ones get a
    number.

    Example:
        >>> unique_stems(["a/1.png", "b/1.png", "b/1_2.png", "b/1.jpg"])
        ['1', '1_3', '1_2', '1_4']
    """
    # What is no UTF-8, or would need escapes, is none of the names of the files written.
    stems = [printable(Path(file).stem).replace("\\", "_") for file in files]
    own = {_key(stem) for stem in stems}
    taken: set[str] = set()
    unique = []
    for stem in stems:
        name, number = stem, 2
        while _key(name) in taken or (name != stem and _key(name) in own):
            name, number = f"{stem}_{number}", number + 1
        taken.add(_key(name))
        unique.append(name)
    return unique


def _key(stem: str) -> str:
    """Equal for names that some file systems take for one."""
    return normal_name(stem).lower()
