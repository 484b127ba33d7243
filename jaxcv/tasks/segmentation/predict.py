"""Segmentation of image files by a trained run: index maps and overlays at each image's own size.

The model sees an image at the scale at which it was trained, as the data set's `size` and `fit` say:

- `stretch` and `pad`: exactly as `fit_image` brings a record to the size; what was padded is cut off;
- `crop`: scaled so that it covers the size, as in training, but not cut: nothing of it is lost;
- no `size`: as it is.

The probabilities are then scaled to the image's own size, bilinearly, and the best class of every
pixel is taken there. So an image of the data set's own shape gets what an evaluation gives it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from jaxcv.atomic import replacing
from jaxcv.data import fit_image
from jaxcv.data.fit import placement
from jaxcv.drawing.index_maps import overlay, write_index_map
from jaxcv.drawing.palettes import class_palette
from jaxcv.image import to_float
from jaxcv.predict.images import unique_stems
from jaxcv.tasks.segmentation.inference import Inference, Predictor
from jaxcv.train.batch import preprocess_batch
from jaxcv.train.run import Run
from jaxcv.train.state import Variables

_BLOCK = 2**23  # numbers that are scaled at a time
_PARTS = {"index_maps": ".png", "overlays": ".jpg"}


def segment_files(
    run: Run,
    variables: Variables,
    files: Sequence[str],
    folder: str | Path,
    inference: Inference | None = None,
) -> Iterator[dict[str, Any]]:
    """Segments image files, and gives a row for each, in order.

    `folder/index_maps/STEM.png` holds the class of every pixel, as a palette PNG whose indices they are
    (16-bit grey for more than 256 classes); `folder/overlays/STEM.jpg` is the image with the colours
    of the classes over it. Both have the size of the image, upright by its EXIF orientation.

    Args:
        run: its data set says at what scale the model sees images.
        variables: what the model applies.
        files: paths.
        folder: made where it does not exist; files of the same names in it are replaced.
        inference: how the model is applied; its sizes are at the model's scale. None: once, to the
            whole image.

    Returns:
        An iterator of `{"file", "index_map", "overlay", "height", "width", "confidence", "fractions"}`: the
        paths written, the mean probability of the chosen classes, and each class's fraction of the
        pixels; or of `{"file", "error"}` for a file that cannot be read or is too small.

    Raises:
        ValueError: At once, for an inference that makes no sense.
    """
    predict = (inference or Inference()).predictor(_applied(run, variables))
    folder = Path(folder)
    for part in _PARTS:
        (folder / part).mkdir(parents=True, exist_ok=True)
    return _rows(run, predict, files, folder)


def _rows(
    run: Run, predict: Predictor, files: Sequence[str], folder: Path
) -> Iterator[dict[str, Any]]:
    names = run.class_names
    palette = class_palette(names, run.experiment.data)
    for file, stem in zip(files, unique_stems(files), strict=True):
        try:
            image = run.image_reader.read_whole(file)
            index_map, confidence = segment_image(run, predict, image)
        except (ValueError, OSError) as error:
            yield {"file": file, "error": str(error)}
            continue
        paths = [folder / part / f"{stem}{suffix}" for part, suffix in _PARTS.items()]
        if index_map.dtype == np.uint8:
            write_index_map(paths[0], index_map, palette)
        else:
            with replacing(paths[0]) as part:
                Image.fromarray(index_map.astype(np.uint16)).save(part)
        with replacing(paths[1]) as part:
            Image.fromarray(overlay(image, index_map, palette)).save(part, quality=92)
        counts = np.bincount(index_map.ravel(), minlength=len(names))
        yield {
            "file": file,
            "index_map": os.fspath(paths[0]),
            "overlay": os.fspath(paths[1]),
            "height": index_map.shape[0],
            "width": index_map.shape[1],
            "confidence": float(confidence.mean()),
            "fractions": dict(zip(names, (counts / index_map.size).tolist(), strict=True)),
        }


def segment_image(run: Run, predict: Predictor, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The class of every pixel of an image [H, W, C] uint8, and its probability, [H, W] each.

    Args:
        run: its data set says at what scale the model sees images.
        predict: see `jaxcv.tasks.segmentation.inference`.
        image: of any size.
    """
    size, reader = image.shape[:2], run.image_reader
    target, fit = reader.target, reader.fit
    window = (slice(None), slice(None))
    if target is None or target == size:
        fitted = image
    elif fit == "crop":
        scale = max(target[0] / size[0], target[1] / size[1])
        # Not below the target: rounding must not make the image too small for it.
        covering = tuple(max(t, round(scale * n)) for t, n in zip(target, size))
        fitted = fit_image(image, (covering[0], covering[1]), "stretch")
    else:
        fitted = fit_image(image, target, fit)
        window = placement((size[0], size[1]), target, fit).window
    probabilities = np.asarray(predict(to_float(fitted)[None]))[0]
    return best_classes(probabilities[window], (size[0], size[1]))


def best_classes(probabilities: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Scales probabilities [h, w, C] bilinearly to (H, W) and takes the best class of each pixel.

    Some rows at a time: all probabilities of a photograph of 12 megapixels would need gigabytes.

    Returns:
        `(index map [H, W] uint8, or int32 for more than 256 classes; its probability [H, W] float32)`.

    Example:
        >>> best_classes(np.array([[[1.0, 0.0], [0.0, 1.0]]]), (1, 4))[0].tolist()
        [[0, 0, 1, 1]]
    """
    C = probabilities.shape[-1]
    (top, bottom, down), (left, right, across) = (
        _between(length, new) for length, new in zip(probabilities.shape[:2], size)
    )
    index_map = np.empty(size, np.uint8 if C <= 256 else np.int32)
    confidence = np.empty(size, np.float32)
    step = max(1, _BLOCK // (size[1] * C))
    across = across[None, :, None]
    for start in range(0, size[0], step):
        rows = slice(start, start + step)
        weight = down[rows, None, None]
        block = probabilities[top[rows]] * (1 - weight) + probabilities[bottom[rows]] * weight
        block = block[:, left] * (1 - across) + block[:, right] * across
        index_map[rows] = block.argmax(-1)
        confidence[rows] = block.max(-1)
    return index_map, confidence


def _between(length: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two of `length` pixels that each of `new` lies between, and the weight of the second."""
    points = np.clip((np.arange(new) + 0.5) * (length / new) - 0.5, 0, length - 1)
    low = np.floor(points).astype(np.int64)
    return low, np.minimum(low + 1, length - 1), (points - low).astype(np.float32)


def _applied(run: Run, variables: Variables) -> Any:
    """`images -> outputs` of the run's model, on one device, preprocessing included."""
    experiment = run.experiment
    placed = jax.device_put(jax.device_get(variables), run.device_map.devices[0])

    def apply(images: jax.Array) -> Any:
        batch = preprocess_batch({"image": images}, experiment.preprocess)
        return experiment.model.apply(placed, batch["image"], train=False)

    return apply
