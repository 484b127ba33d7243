"""The pixel rule of this package, and the checks that guard it.

An image is `[..., H, W, C]`: uint8 in [0, 255] or floating point in [0, 1]. **The output has the
input's dtype.** Arithmetic is done in float32 on the scale [0, 1], whatever the input; the result
is clipped to [0, 1] and, for uint8, multiplied by 255 and rounded. A chain of operations that must
not round in between starts with `to_float`.

Geometry alone (crop, flip, pad, resize, warp) also takes other dtypes, such as an int32 label map:
it moves pixels by their own values, and rounds where it has to interpolate integers.

Every check reads shapes, dtypes and Python numbers, which are known while JAX traces: a wrong
argument is a `ValueError` at trace time, and a right one costs nothing at run time.
"""

from collections.abc import Sequence
from typing import TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

Size = tuple[int, int]
"""(height, width) in pixels."""


def is_static(value: object) -> TypeGuard[float]:
    """Whether `value` is a plain number, which can be checked while tracing."""
    return isinstance(value, int | float | np.number)


def size_of(image: jax.Array) -> Size:
    """Returns the (height, width) of an image `[..., H, W, C]`."""
    height, width = image.shape[-3:-1]
    return height, width


def check_rank(image: ArrayLike) -> jax.Array:
    """Returns `image` as an array, having checked that it is `[..., H, W, C]`, of any dtype.

    Raises:
      ValueError: fewer than three axes, or an axis of length 0.
    """
    image = jnp.asarray(image)
    if image.ndim < 3:
        raise ValueError(
            f"an image needs the axes [..., H, W, C], but this one has shape {image.shape}; "
            "give a grey image its channel axis with image[..., None]"
        )
    if 0 in image.shape[-3:]:
        raise ValueError(f"an image of shape {image.shape} has no pixels")
    return image


def check_image(image: ArrayLike, *, channels: Sequence[int] | None = None) -> jax.Array:
    """Returns `image` as an array, having checked that it keeps the pixel rule.

    Args:
      image: `[..., H, W, C]`, uint8 or floating point.
      channels: the values of C that the operation is defined for; None for any.

    Raises:
      ValueError: wrong rank, dtype or number of channels.
    """
    image = check_rank(image)
    if image.dtype != jnp.uint8 and not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(
            f"an image is uint8 in [0, 255] or floating point in [0, 1], but this one is "
            f"{image.dtype}; convert it first"
        )
    if channels is not None and image.shape[-1] not in channels:
        raise ValueError(
            f"this operation is defined for {' or '.join(map(str, channels))} channels, but the "
            f"image has shape {image.shape}, so {image.shape[-1]}; is the channel axis last?"
        )
    return image


def check_single(image: ArrayLike) -> jax.Array:
    """Returns one image `[H, W, C]` as an array, for transforms that draw once per image.

    Raises:
      ValueError: the rank is not 3.
    """
    image = check_rank(image)
    if image.ndim != 3:
        raise ValueError(
            f"a random transform takes one image [H, W, C], but this one has shape {image.shape}; "
            "for a batch, jax.vmap(transform)(jax.random.split(key, len(images)), images)"
        )
    return image


def to_float(image: ArrayLike) -> jax.Array:
    """Returns the image as floating point in [0, 1].

    uint8 is divided by 255 and becomes float32; floating point is returned as it is.

    Args:
      image: `[..., H, W, C]`, uint8 or floating point.
    """
    image = check_image(image)
    return image.astype(jnp.float32) / 255 if image.dtype == jnp.uint8 else image


def to_unit(image: ArrayLike, *, channels: Sequence[int] | None = None) -> jax.Array:
    """Checks an image and returns it as float32 in [0, 1], ready for arithmetic."""
    return to_float(check_image(image, channels=channels)).astype(jnp.float32)


def from_unit(values: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Clips float32 `values` to [0, 1] and returns them in `dtype`, uint8 rounded on [0, 255]."""
    values = jnp.clip(values, 0.0, 1.0)
    return jnp.round(values * 255).astype(dtype) if dtype == jnp.uint8 else values.astype(dtype)


def from_float32(values: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Returns float32 `values`, on the scale of `dtype`, in `dtype`; integers are rounded."""
    if jnp.issubdtype(dtype, jnp.floating):
        return values.astype(dtype)
    if dtype == jnp.bool_:
        return values >= 0.5
    limits = jnp.iinfo(dtype)
    return jnp.clip(jnp.round(values), limits.min, limits.max).astype(dtype)


def pixel_value(level: float, dtype: jnp.dtype) -> float:
    """Returns the grey level `level` in [0, 1] on the scale of `dtype`: uint8 times 255."""
    return float(round(level * 255)) if dtype == jnp.uint8 else level


def check_fill(fill: float, dtype: jnp.dtype) -> jax.Array:
    """Returns `fill`, given in the image's own units, as a scalar of its dtype.

    Raises:
      ValueError: an integer image cannot hold the value.
    """
    if is_static(fill) and jnp.issubdtype(dtype, jnp.integer):
        limits = jnp.iinfo(dtype)
        if fill != round(fill) or not limits.min <= fill <= limits.max:
            raise ValueError(
                f"fill={fill} is no value of a {dtype} image; fill is given in the image's own "
                f"units, here whole numbers from {limits.min} to {limits.max}"
            )
    return jnp.asarray(fill, dtype)


def check_size(size: int | Size) -> Size:
    """Returns (height, width); one number stands for a square.

    Raises:
      ValueError: not one or two positive whole numbers.
    """
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(side, int | np.integer) and side > 0 for side in pair):
        raise ValueError(
            f"size={size!r} is not a size; give one positive whole number for a square, or "
            "(height, width)"
        )
    return int(pair[0]), int(pair[1])


def check_level(value: float) -> None:
    """Raises ValueError if `value` is not a grey level in [0, 1]."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(
            f"fill={value} is outside [0, 1]; a transform takes grey levels on that scale for any "
            "dtype, so 128 of 255 is 0.5"
        )
