"""Neighbourhoods and noise: Gaussian blur, sharpness, Gaussian noise.

Every function takes `[..., H, W, C]`, uint8 in [0, 255] or floating point in [0, 1], with any
number of channels, and returns the input's shape and dtype (the rule is in `pixels`).
"""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxcv.arguments import check_range
from jaxcv.image.color import blend
from jaxcv.image.pixels import from_unit, is_static, to_unit


def gaussian_noise(key: jax.Array, image: ArrayLike, sigma: ArrayLike) -> jax.Array:
    """Returns the image plus independent normal noise on every value, clipped to the range.

    Args:
      key: PRNG key.
      image: `[..., H, W, C]`.
      sigma: standard deviation on the scale [0, 1] for every dtype.

    Raises:
      ValueError: a negative sigma.
    """
    check_range("sigma", sigma, 0.0)
    values = to_unit(image)
    noise = jax.random.normal(key, values.shape, jnp.float32) * jnp.asarray(sigma, jnp.float32)
    return from_unit(values + noise, jnp.asarray(image).dtype)


def gaussian_blur(image: ArrayLike, sigma: ArrayLike, *, radius: int | None = None) -> jax.Array:
    """Returns the image convolved with a Gaussian, the border pixel repeated outside.

    The kernel exp(-k^2 / (2 sigma^2)), |k| <= radius, sums to 1 and runs along columns, then rows.

    Args:
      image: `[..., H, W, C]`.
      sigma: standard deviation in pixels; 0 is the identity. It may be traced if `radius` is given.
      radius: pixels that the kernel reaches on each side; None for 3 sigma, rounded up.

    Raises:
      ValueError: a negative sigma or radius, or a traced sigma without a radius.
    """
    check_range("sigma", sigma, 0.0)
    if radius is None:
        if not is_static(sigma):
            raise ValueError(
                "gaussian_blur with a traced sigma needs radius=, which sets the kernel's shape; "
                "3 times the largest sigma is enough"
            )
        radius = math.ceil(3 * sigma)
    check_range("radius", radius, 0)
    values = to_unit(image)
    kernel = gaussian_kernel(sigma, radius)
    for axis in (-3, -2):
        values = _correlate(values, kernel, axis)
    return from_unit(values, jnp.asarray(image).dtype)


def gaussian_kernel(sigma: ArrayLike, radius: int) -> jax.Array:
    """Returns the `[2 radius + 1]` weights of a Gaussian; all on the centre for sigma = 0."""
    sigma = jnp.asarray(sigma, jnp.float32)
    offset = jnp.arange(-radius, radius + 1, dtype=jnp.float32)
    # Below 0.01 pixels the neighbours' weights are 0 in float32; the bound keeps sigma = 0 finite.
    return jax.nn.softmax(-0.5 * jnp.square(offset / jnp.maximum(sigma, 0.01)))


def _correlate(values: jax.Array, kernel: jax.Array, axis: int) -> jax.Array:
    """Returns `values` correlated with `kernel` along `axis`, the border repeated.

    A sum of shifted slices: on a CPU it runs several times faster than a depthwise convolution.
    """
    radius, length = kernel.shape[0] // 2, values.shape[axis]
    widths = [(0, 0)] * values.ndim
    widths[axis] = (radius, radius)
    padded = jnp.pad(values, widths, mode="edge")
    total = jnp.zeros_like(values)
    for i in range(kernel.shape[0]):
        total += kernel[i] * jax.lax.slice_in_dim(padded, i, i + length, axis=axis % values.ndim)
    return total


def adjust_sharpness(image: ArrayLike, factor: ArrayLike) -> jax.Array:
    """Returns the image blended with a smoothed version of it, `factor` >= 0.

    Smoothing is by the 3 x 3 kernel of ones with 5 in the middle, over 13; the outermost pixels
    stay as they are. Factor 0 is smooth, 1 the identity, 2 sharpened: Pillow's
    ImageEnhance.Sharpness.

    Raises:
      ValueError: a negative factor.
    """
    check_range("factor", factor, 0.0)
    values = to_unit(image)
    dtype = jnp.asarray(image).dtype
    height, width = values.shape[-3:-1]
    if height < 3 or width < 3:  # nothing but border
        return from_unit(values, dtype)
    ones = jnp.ones(3, jnp.float32)
    smooth = (_correlate(_correlate(values, ones, -3), ones, -2) + 4.0 * values) / 13.0
    row = jnp.arange(height)[:, None, None]
    column = jnp.arange(width)[None, :, None]
    border = (row == 0) | (row == height - 1) | (column == 0) | (column == width - 1)
    return from_unit(blend(jnp.where(border, values, smooth), values, factor), dtype)
