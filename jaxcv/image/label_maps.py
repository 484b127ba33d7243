"""Label maps under a geometric transform: classes by the nearest pixel, floats by interpolation.

Both follow the rule of `warp`: for the centre of every output pixel the inverse of the matrix tells the
point of the input that it shows, and a point outside [0, W) x [0, H] shows nothing.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxcv.image.pixels import Size
from jaxcv.image.random_crop import RandomCrop, RandomResizedCrop, RandomScaleCrop
from jaxcv.image.random_geometry import (
    RandomHorizontalFlip,
    RandomTranslation,
    RandomVerticalFlip,
)
from jaxcv.image.warping import inverse_matrix, warp

# Transforms whose matrix leaves rows rows and columns columns, so that the two can be found apart: some
# 25 times as fast on a CPU.
_KEEPS_AXES = (
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomScaleCrop,
    RandomTranslation,
    RandomVerticalFlip,
)

# Weights that add up to 1 do so but for rounding.
_WHOLE = 1.0 - 1e-4


def move_class_map(
    transform: Any, matrix: jax.Array, label: jax.Array, size: Size, ignore_label: int
) -> jax.Array:
    """Returns the label map that a transform makes of one of whole numbers.

    Args:
      transform: the geometric transform.
      matrix: `[3, 3]`, its matrix.
      label: integers `[H, W]` or `[H, W, C]`.
      size: (height, width) of the result.
      ignore_label: label of pixels that show nothing.

    Returns:
      `[height, width]` or `[height, width, C]` in the dtype of `label`.
    """
    label, shape = label.reshape(*label.shape[:2], -1), (*size, *label.shape[2:])
    if type(transform) not in _KEEPS_AXES:
        moved = warp(label, matrix, size, interpolation="nearest", fill=ignore_label)
        return moved.reshape(shape)
    points, inside = _axis_points(matrix, (label.shape[0], label.shape[1]), size)
    for axis, places in enumerate(points):
        index = jnp.floor(places).astype(jnp.int32)
        label = jnp.take(label, index, axis=axis, mode="clip")
    ignored = jnp.asarray(ignore_label, label.dtype)
    return jnp.where(inside[..., None], label, ignored).reshape(shape)


def move_float_map(
    transform: Any, matrix: jax.Array, label: jax.Array, valid: jax.Array, size: Size
) -> tuple[jax.Array, jax.Array]:
    """Returns the map of floats that a transform makes of one, and where it has a value.

    Bilinear; and with the wider filter where the transform scales its image down with `antialias`, so
    that a target picture is scaled as the image is. A pixel has a value where it shows a point of the
    map and all pixels that it is interpolated from have one; elsewhere it is 0.

    Args:
      transform: the geometric transform.
      matrix: `[3, 3]`, its matrix.
      label: floats `[H, W]` or `[H, W, C]`.
      valid: bool `[H, W]`.
      size: (height, width) of the result.

    Returns:
      `[height, width]` or `[height, width, C]` in the dtype of `label`, and bool `[height, width]`.
    """
    weight = valid[..., None].astype(jnp.float32)
    values = label.reshape(*valid.shape, -1).astype(jnp.float32)
    values = jnp.concatenate([jnp.where(valid[..., None], values, 0.0), weight], axis=-1)
    if type(transform) in _KEEPS_AXES:
        rows, columns = _axis_weights(transform, matrix, (valid.shape[0], valid.shape[1]), size)
        # Full precision: a TPU's default product rounds to bfloat16.
        exact = jax.lax.Precision.HIGHEST
        values = jnp.einsum("yh,hwc->ywc", rows, values, precision=exact)
        values = jnp.einsum("xw,ywc->yxc", columns, values, precision=exact)
    else:
        values = warp(values, matrix, size, interpolation="bilinear", fill=0.0)
    valid = values[..., -1] > _WHOLE
    values = jnp.where(valid[..., None], values[..., :-1], 0.0)
    return values.reshape(*size, *label.shape[2:]).astype(label.dtype), valid


def _axis_points(
    matrix: jax.Array, source: Size, size: Size
) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    """Which y `[height]` and x `[width]` of the input are shown, and whether they are in it."""
    inverse, _ = inverse_matrix(matrix)
    y = inverse[1, 1] * (jnp.arange(size[0], dtype=jnp.float32) + 0.5) + inverse[1, 2]
    x = inverse[0, 0] * (jnp.arange(size[1], dtype=jnp.float32) + 0.5) + inverse[0, 2]
    rows, columns = ((p >= 0) & (p < side) for p, side in zip((y, x), source))
    return (y, x), rows[:, None] & columns[None, :]


def _axis_weights(transform: Any, matrix: jax.Array, source: Size, size: Size) -> list[jax.Array]:
    """Weights `[height, H]` and `[width, W]` of the input's rows and columns; 0 outside of it."""
    points, _ = _axis_points(matrix, source, size)
    nearest = getattr(transform, "method", "bilinear") == "nearest"
    antialias = getattr(transform, "antialias", False) and not nearest
    weights = []
    for axis, (places, length) in enumerate(zip(points, source)):
        # Output pixels per input pixel: y has the matrix's second row.
        scale = jnp.abs(matrix[1 - axis, 1 - axis])
        width = jnp.maximum(1.0, 1.0 / scale) if antialias else 1.0
        centers = jnp.arange(length, dtype=jnp.float32) + 0.5
        weight = jnp.maximum(0.0, 1.0 - jnp.abs(places[:, None] - centers) / width)
        total = weight.sum(
            axis=1, keepdims=True
        )  # less than 1 at the border, whose pixels count more
        shown = ((places >= 0) & (places < length))[:, None]
        weights.append(jnp.where(shown, weight / jnp.where(total > 0, total, 1.0), 0.0))
    return weights
