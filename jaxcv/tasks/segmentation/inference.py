"""Segmentation of images at their own size: whole, in windows, at several scales, flipped.

A predictor is a function `images [B, H, W, C] -> probabilities [B, H, W, num_classes]` float32. The
functions here make one from a model, or from another predictor, and so combine freely:

    predict = softmax_predictor(lambda images: model.apply(variables, images))
    predict = sliding_window(flip_averaged(predict), (512, 1024), overlap=0.25)
    index_map, confidence = segment(multi_scale(predict, (0.75, 1.0, 1.25)), image)

`Inference` holds the same choices as plain values, for a command line. Averages are of
probabilities, not of logits, so that no single view of a pixel can outvote the others.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv.image import resize
from jaxcv.tasks.segmentation.outputs import main_logits

Predictor = Callable[[jax.Array], jax.Array]
Size = tuple[int, int]

Blend = Literal["gaussian", "uniform"]
"""How much a pixel of a window counts: by a Gaussian about the window's centre with a deviation of an
eighth of its side, since a network sees least at the border (Isensee et al. 2021, nnU-Net,
doi:10.1038/s41592-020-01008-z, methods); or all alike."""


@dataclass(frozen=True, kw_only=True)
class Inference:
    """How to go from an image of any size to the class of each of its pixels.

    Attributes:
        size: scale the image to (height, width) and the probabilities back; None keeps its size.
        window: (height, width) of windows that cover the image; None takes it whole.
        overlap: fraction of a window that its neighbour covers too, in [0, 1).
        blend: see `Blend`.
        scales: factors at which the image is looked at, averaged.
        flip: also look at the mirror image.
        batch_size: windows at a time.

    Example:
        >>> predict = Inference(window=(4, 4), flip=True).predictor(lambda images: images)
        >>> predict(jnp.ones((1, 5, 9, 2)))[0, 4, 8].tolist()
        [0.5, 0.5]
    """

    size: Size | None = None
    window: Size | None = None
    overlap: float = 0.5
    blend: Blend = "gaussian"
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    batch_size: int = 4

    def predictor(self, apply: Callable[[jax.Array], Any]) -> Predictor:
        """Gives a predictor at the image's own size.

        Args:
            apply: images [B, H, W, C], as the model takes them, to its outputs in evaluation.
        """
        predict = softmax_predictor(apply)
        if self.flip:
            predict = flip_averaged(predict)
        if self.window is not None:
            predict = sliding_window(
                predict,
                self.window,
                overlap=self.overlap,
                blend=self.blend,
                batch_size=self.batch_size,
            )
        if self.scales != (1.0,):
            predict = multi_scale(predict, self.scales)
        return predict if self.size is None else resized(predict, self.size)


def segment(predict: Predictor, image: np.ndarray | jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """The class of every pixel of one image [H, W, C], and its probability.

    Returns:
        `(index map [H, W] uint8, or int32 for more than 255 classes; confidence [H, W] float32)`.
    """
    probabilities = np.asarray(predict(jnp.asarray(image)[None]))[0]
    dtype = np.uint8 if probabilities.shape[-1] <= 255 else np.int32
    return probabilities.argmax(-1).astype(dtype), probabilities.max(-1)


def softmax_predictor(apply: Callable[[jax.Array], Any]) -> Predictor:
    """A predictor from a model that gives logits [B, H, W, C], or a dict with `logits` in it."""

    @jax.jit
    def predict(images: jax.Array) -> jax.Array:
        return jax.nn.softmax(main_logits(apply(images)).astype(jnp.float32), axis=-1)

    return predict


def flip_averaged(predict: Predictor) -> Predictor:
    """The mean of what a predictor says of the images and, mirrored back, of their mirror images."""

    def averaged(images: jax.Array) -> jax.Array:
        return (predict(images) + jnp.flip(predict(jnp.flip(images, 2)), 2)) / 2

    return averaged


def resized(predict: Predictor, size: Size) -> Predictor:
    """Scales images to `size`, predicts, and scales the probabilities back, bilinearly."""

    def at_size(images: jax.Array) -> jax.Array:
        probabilities = predict(resize(images, size))
        return resize(probabilities, (images.shape[1], images.shape[2]))

    return at_size


def multi_scale(predict: Predictor, scales: Sequence[float]) -> Predictor:
    """The mean of what a predictor says of the images enlarged or reduced by each scale.

    Every pair of a scale and an image size is a shape that the model is compiled for; windows within
    the scales (`multi_scale(sliding_window(...), ...)`) keep it to one.

    Raises:
        ValueError: For no scale, or one that is not positive.
    """
    if not scales or min(scales) <= 0:
        raise ValueError(f"scales are {tuple(scales)}, but positive numbers are wanted.")

    def averaged(images: jax.Array) -> jax.Array:
        total: Any = 0.0
        for scale in scales:
            height, width = (max(1, round(scale * length)) for length in images.shape[1:3])
            total = total + resized(predict, (height, width))(images)
        return total / len(scales)

    return averaged


def sliding_window(
    predict: Predictor,
    window: Size,
    *,
    overlap: float = 0.5,
    blend: Blend = "gaussian",
    batch_size: int = 4,
) -> Predictor:
    """Cuts images into overlapping windows, predicts those, and blends what they say.

    Windows lie evenly and cover every pixel; the model sees batches of one shape, whatever the size
    of the images, and is compiled once. An image smaller than a window is enlarged by repeating its
    last row and column, and the result cut back. The blending happens on the host, so that only a
    batch of windows has to fit on the device.

    Args:
        predict: compiled by whoever made it; `softmax_predictor` does.
        window: (height, width).
        overlap: least fraction of a window that its neighbour covers too, in [0, 1).
        blend: see `Blend`.
        batch_size: windows at a time.

    Raises:
        ValueError: For a setting that makes no sense.
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap is {overlap}, but a fraction in [0, 1) is wanted.")
    if min(window) < 1 or batch_size < 1:
        raise ValueError(f"window {window} and batch_size {batch_size} must be positive.")
    weights = blend_weights(window, blend)

    def windowed(images: jax.Array) -> jax.Array:
        array = np.asarray(images)
        size = array.shape[1:3]
        array = _at_least(array, window)
        corners = list(
            itertools.product(
                range(len(array)),
                window_starts(array.shape[1], window[0], overlap),
                window_starts(array.shape[2], window[1], overlap),
            )
        )
        total: Any = None
        for start in range(0, len(corners), batch_size):
            chosen = corners[start : start + batch_size]
            # The last batch is filled up with its first window: one shape, one compilation.
            filled = chosen + chosen[:1] * (batch_size - len(chosen))
            cut = [array[b, y : y + window[0], x : x + window[1]] for b, y, x in filled]
            parts = np.asarray(predict(jnp.asarray(np.stack(cut))))
            if total is None:
                total = np.zeros((*array.shape[:3], parts.shape[-1]), np.float32)
                weight_sum = np.zeros(array.shape[:3], np.float32)
            for (b, y, x), part in zip(chosen, parts):
                place = (b, slice(y, y + window[0]), slice(x, x + window[1]))
                total[place] += weights[..., None] * part
                weight_sum[place] += weights
        total /= weight_sum[..., None]
        return jnp.asarray(total[:, : size[0], : size[1]])

    return windowed


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """Where windows begin along an axis: as few as overlap by that share, evenly, from end to end.

    Example:
        >>> window_starts(10, 4, 0.5)
        [0, 2, 4, 6]
        >>> window_starts(4, 4, 0.5)
        [0]
    """
    step = max(1, int(window * (1 - overlap)))
    count = -(-(length - window) // step) + 1
    return [round(i * (length - window) / max(count - 1, 1)) for i in range(count)]


def blend_weights(window: Size, blend: Blend) -> np.ndarray:
    """[height, width] float32 > 0: how much each pixel of a window counts, see `Blend`."""
    if blend not in get_args(Blend):
        raise ValueError(f"blend is {blend!r}, but one of {get_args(Blend)} is wanted.")
    if blend == "uniform":
        return np.ones(window, np.float32)
    axes = [(np.arange(n) - (n - 1) / 2) / (n / 8) for n in window]
    rows, columns = (np.exp(-np.square(x) / 2) for x in axes)
    return np.outer(rows, columns).astype(np.float32)


def _at_least(images: np.ndarray, window: Size) -> np.ndarray:
    missing = [max(0, w - n) for w, n in zip(window, images.shape[1:3])]
    if not any(missing):
        return images
    return np.pad(images, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
