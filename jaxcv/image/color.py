"""Brightness, contrast, saturation and hue.

Every function takes `[..., H, W, C]`, uint8 in [0, 255] or floating point in [0, 1], and returns
the input's shape and dtype (the rule is in `pixels`). Leading axes are images of their own. Factors
may be Python numbers, which are checked, or traced scalars. Grey images (C = 1) work everywhere;
saturation, hue and `grayscale` leave them as they are, since they have no colour to change.

The enhancements follow Pillow's ImageEnhance: a blend of the image with a degenerate version of it,
degenerate + factor (image - degenerate), so that factor 1 is the identity, 0 the degenerate image,
and more than 1 an exaggeration.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxcv.arguments import check_range
from jaxcv.image.pixels import from_unit, to_unit

COLOR = (1, 3)
"""The channel counts for which brightness as the eye sees it is defined."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey: ITU-R BT.601, as in Pillow and OpenCV."""


def luma(values: jax.Array) -> jax.Array:
    """Returns the grey level `[..., 1]` of float values `[..., C]`, C = 1 or 3."""
    if values.shape[-1] == 1:
        return values
    red, green, blue = (values[..., i : i + 1] * LUMA[i] for i in range(3))
    return red + green + blue


def blend(degenerate: jax.Array, values: jax.Array, factor: ArrayLike) -> jax.Array:
    """Returns degenerate + factor (values - degenerate), all in float32."""
    return degenerate + jnp.asarray(factor, jnp.float32) * (values - degenerate)


def _check_factor(factor: ArrayLike) -> None:
    check_range("factor", factor, 0.0)


def adjust_brightness(image: ArrayLike, factor: ArrayLike) -> jax.Array:
    """Returns the image times `factor` >= 0: a blend with black.

    Raises:
      ValueError: a negative factor.
    """
    _check_factor(factor)
    values = to_unit(image)
    return from_unit(blend(jnp.zeros_like(values), values, factor), jnp.asarray(image).dtype)


def adjust_contrast(image: ArrayLike, factor: ArrayLike) -> jax.Array:
    """Returns the image blended with its mean grey level, `factor` >= 0.

    Raises:
      ValueError: a negative factor, or a channel count other than 1 or 3.
    """
    _check_factor(factor)
    values = to_unit(image, channels=COLOR)
    mean = jnp.mean(luma(values), axis=(-3, -2), keepdims=True)
    return from_unit(blend(mean, values, factor), jnp.asarray(image).dtype)


def adjust_saturation(image: ArrayLike, factor: ArrayLike) -> jax.Array:
    """Returns the image blended with its grey version, `factor` >= 0; identity for C = 1.

    Raises:
      ValueError: a negative factor, or a channel count other than 1 or 3.
    """
    _check_factor(factor)
    values = to_unit(image, channels=COLOR)
    return from_unit(blend(luma(values), values, factor), jnp.asarray(image).dtype)


def grayscale(image: ArrayLike) -> jax.Array:
    """Returns the grey version of an image, 0.299 R + 0.587 G + 0.114 B, with C kept.

    Raises:
      ValueError: a channel count other than 1 or 3.
    """
    values = to_unit(image, channels=COLOR)
    return from_unit(
        jnp.broadcast_to(luma(values), values.shape),
        jnp.asarray(image).dtype,
    )


def adjust_hue(image: ArrayLike, delta: ArrayLike) -> jax.Array:
    """Returns the image with its hue turned by `delta`; identity for C = 1.

    In the HSV model (A. R. Smith, SIGGRAPH 1978): value and saturation stay, the hue is a circle of
    circumference 1, red at 0, green at 1/3, blue at 2/3.

    Args:
      image: `[..., H, W, C]`, C = 1 or 3.
      delta: in [-1/2, 1/2].

    Raises:
      ValueError: a delta outside the range, or a channel count other than 1 or 3.
    """
    check_range("delta", delta, -0.5, 0.5)
    values = to_unit(image, channels=COLOR)
    dtype = jnp.asarray(image).dtype
    if values.shape[-1] == 1:
        return from_unit(values, dtype)
    sector = hue_sector(values)[..., None] + 6.0 * jnp.asarray(delta, jnp.float32)
    value = jnp.max(values, axis=-1, keepdims=True)
    chroma = value - jnp.min(values, axis=-1, keepdims=True)
    # A channel is lowest within one sector of its complement and highest within one of itself:
    # with k = distance along the circle, out = value - chroma * clip(min(k, 4 - k), 0, 1).
    k = jnp.asarray((5.0, 3.0, 1.0)) + sector
    k = k - 6.0 * jnp.floor(k / 6.0)  # jnp.mod would be a call of fmod for each value on a CPU
    turned = value - chroma * jnp.clip(jnp.minimum(k, 4.0 - k), 0.0, 1.0)
    return from_unit(turned, dtype)


def hue_sector(values: jax.Array) -> jax.Array:
    """Returns the hue of float RGB `[..., 3]`, six times the circle, in [-1, 5]; grey is 0."""
    red, green, blue = values[..., 0], values[..., 1], values[..., 2]
    high = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = high - jnp.minimum(jnp.minimum(red, green), blue)
    colored = chroma > 0
    safe = jnp.where(colored, chroma, 1.0)
    sector = jnp.where(
        high == red,
        (green - blue) / safe,
        jnp.where(high == green, (blue - red) / safe + 2.0, (red - green) / safe + 4.0),
    )
    return jnp.where(colored, sector, 0.0)
