"""Tone curves: the value of a pixel and its channel's histogram decide the new value.

Every function takes `[..., H, W, C]`, uint8 in [0, 255] or floating point in [0, 1], with any
number of channels, each on its own, and returns the input's shape and dtype (the rule is in
`pixels`). They are Pillow's ImageOps of the same names.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxcv.arguments import check_range
from jaxcv.image.pixels import from_unit, to_unit


def to_levels(image: ArrayLike) -> jax.Array:
    """Returns the image as int32 levels from 0 to 255; floating point is rounded to them."""
    return jnp.round(jnp.clip(to_unit(image), 0.0, 1.0) * 255).astype(jnp.int32)


def invert(image: ArrayLike) -> jax.Array:
    """Returns the negative of the image: white minus it."""
    return from_unit(1.0 - to_unit(image), jnp.asarray(image).dtype)


def solarize(image: ArrayLike, threshold: ArrayLike) -> jax.Array:
    """Returns the image with every value from `threshold` up replaced by its negative.

    Args:
      image: `[..., H, W, C]`.
      threshold: on the scale [0, 1] for every dtype; above 1 nothing changes.

    Raises:
      ValueError: a negative threshold.
    """
    check_range("threshold", threshold, 0.0)
    values = to_unit(image)
    kept = values < jnp.asarray(threshold, jnp.float32)
    return from_unit(jnp.where(kept, values, 1.0 - values), jnp.asarray(image).dtype)


def posterize(image: ArrayLike, bits: ArrayLike) -> jax.Array:
    """Returns the image with only the `bits` highest bits of each of its 256 levels kept.

    Args:
      image: `[..., H, W, C]`; floating point is rounded to the 256 levels first.
      bits: whole number from 0 to 8; 8 is the identity on uint8.

    Raises:
      ValueError: bits outside [0, 8].
    """
    check_range("bits", bits, 0, 8)
    kept = jnp.left_shift(255, 8 - jnp.asarray(bits, jnp.int32)) & 255
    return from_unit((to_levels(image) & kept) / 255, jnp.asarray(image).dtype)


def autocontrast(image: ArrayLike) -> jax.Array:
    """Returns the image with each channel stretched so that it spans the range from 0 to 1.

    A channel of one value only is left as it is.
    """
    values = to_unit(image)
    low = jnp.min(values, axis=(-3, -2), keepdims=True)
    spread = jnp.max(values, axis=(-3, -2), keepdims=True) - low
    flat = spread == 0
    stretched = (values - low) / jnp.where(flat, 1.0, spread)
    return from_unit(jnp.where(flat, values, stretched), jnp.asarray(image).dtype)


def equalize(image: ArrayLike) -> jax.Array:
    """Returns the image with each channel's histogram of 256 levels made as flat as it can be.

    With n(v) the number of pixels at level v and s = (H W - n(highest level present)) // 255, level
    v becomes (s // 2 + sum over u < v of n(u)) // s: Pillow's integer arithmetic. Where s = 0 (few
    pixels, or nearly all of them at the top) the channel is left as it is.

    Args:
      image: `[..., H, W, C]`; floating point is rounded to the 256 levels first.
    """
    dtype = jnp.asarray(image).dtype
    levels = to_levels(image)
    *lead, height, width, channels = levels.shape
    # One histogram per image and channel: [M, H W] with M the product of all other axes.
    rows = jnp.moveaxis(levels, -1, -3).reshape(-1, height * width)
    rows = jax.vmap(_equalize_levels)(rows)
    rows = jnp.moveaxis(rows.reshape(*lead, channels, height, width), -3, -1)
    return from_unit(rows / 255, dtype)


def _equalize_levels(levels: jax.Array) -> jax.Array:
    """Returns the equalised levels of one channel, `[N]` int32 to `[N]` int32."""
    histogram = jnp.zeros(256, jnp.int32).at[levels].add(1, mode="promise_in_bounds")
    step = (levels.shape[0] - histogram[jnp.max(levels)]) // 255
    below = jnp.cumsum(histogram) - histogram
    divisor = jnp.maximum(step, 1)
    table = jnp.minimum((divisor // 2 + below) // divisor, 255)
    return jnp.where(step == 0, levels, table[levels])
