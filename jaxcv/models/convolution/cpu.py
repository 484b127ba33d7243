"""Which lowering each convolution gets on a CPU."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxcv.models.convolution import blocks, canonical, pointwise, winograd
from jaxcv.models.convolution.geometry import Geometry

_WIDE = 48
_MOST_BYTES = 2**29


def forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H, W, C] and [h, w, C, D] -> [B, H', W', D], computed in float32."""
    dtype = x.dtype
    x, kernel = x.astype(jnp.float32), kernel.astype(jnp.float32)
    return _forward(x, kernel, geometry).astype(dtype)


def input_gradient(gradient: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H', W', D] and [h, w, C, D] -> [B, H, W, C], computed in float32."""
    dtype = gradient.dtype
    gradient, kernel = gradient.astype(jnp.float32), kernel.astype(jnp.float32)
    if pointwise.fits(geometry):
        result = pointwise.input_gradient(gradient, kernel, geometry)
    elif geometry.dense:
        result = _forward(gradient, canonical.turned(kernel), geometry.mirrored)
    else:
        result = canonical.input_gradient(gradient, kernel, geometry)
    return result.astype(dtype)


def filter_gradient(x: jax.Array, gradient: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H, W, C] and [B, H', W', D] -> [h, w, C, D], computed in float32."""
    dtype = x.dtype
    x, gradient = x.astype(jnp.float32), gradient.astype(jnp.float32)
    if pointwise.fits(geometry):
        result = pointwise.filter_gradient(x, gradient, geometry)
    elif _wide(geometry, x.shape[0], x.shape[-1], gradient.shape[-1]):
        result = winograd.filter_gradient(x, gradient, geometry)
    else:
        result = canonical.filter_gradient(x, gradient, geometry)
    return result.astype(dtype)


def _forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    channels, width = kernel.shape[2:]
    if pointwise.fits(geometry):
        return pointwise.forward(x, kernel, geometry)
    if _wide(geometry, x.shape[0], channels, width):
        return winograd.forward(x, kernel, geometry)
    factor = blocks.best_factor(geometry, channels, width)
    if factor > 1:
        return blocks.forward(x, kernel, geometry, factor)
    return canonical.forward(x, kernel, geometry)


def _wide(geometry: Geometry, batch: int, channels: int, width: int) -> bool:
    """Whether Winograd's products outweigh its transforms."""
    if not winograd.fits(geometry) or geometry.precision is not None:
        return False
    rows, columns = geometry.output
    planes = 16 * batch * ((rows + 1) // 2) * ((columns + 1) // 2) * (channels + width) * 4
    return channels * width / (channels + width) >= _WIDE and planes <= _MOST_BYTES
