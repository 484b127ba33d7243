"""Which lowering each convolution gets on a CPU."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxcv.convolution import blocks, canonical, onednn, pointwise, subpixel, winograd
from jaxcv.convolution.geometry import Geometry

# Least CD / (C + D) for Winograd, whose products grow as CD and whose transforms as C + D. On two Zen 5
# cores, batch 64, in milliseconds beside XLA: forward 64->64 at 32x32 9.3 : 13.9, 128->128 at 16x16
# 7.1 : 10.6, 256->256 at 8x8 6.7 : 10.5, 24->64 at 31x31 6.1 : 5.1; filter gradients 22 : 18, 11.9 : 14.5,
# 9.3 : 11.7 and, 64->256 at 15x15, 9.8 : 11.1.
_WIDE, _WIDE_FILTER = 32, 48

# The same beside oneDNN, over the part of Winograd's tiles that lies in the output: 256->256 at 14x14 24 by
# Winograd and 28 by oneDNN, 128->128 at 16x16 10.6 : 8.9; filter gradients of 256->256 27 : 30 and, at 7x7,
# 9 to 10 : 7.1, of 384->384 at 8x8 18.5 : 22.5.
_WIDE_ONEDNN, _WIDE_FILTER_ONEDNN = 100, 140

# Channels from which the sub-pixel form pays: with 3, a 7x7 filter of stride 2 takes twice XLA's time.
_THIN = 8


def forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H, W, C] and [h, w, C, D] -> [B, H', W', D], computed in float32."""
    dtype = x.dtype
    x, kernel = x.astype(jnp.float32), kernel.astype(jnp.float32)
    return _forward(x, kernel, geometry).astype(dtype)


def input_gradient(gradient: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H', W', D] and [h, w, C, D] -> [B, H, W, C], computed in float32."""
    dtype = gradient.dtype
    gradient, kernel = gradient.astype(jnp.float32), kernel.astype(jnp.float32)
    channels, width = kernel.shape[2:]
    if _by_onednn(geometry, channels, width, _WIDE_ONEDNN) and not _spread(geometry):
        result = onednn.input_gradient(gradient, kernel, geometry)
    elif pointwise.fits(geometry):
        result = pointwise.input_gradient(gradient, kernel, geometry)
    elif geometry.dense and _wide(geometry.mirrored, width, channels, _WIDE):
        result = winograd.input_gradient(gradient, kernel, geometry)
    elif geometry.dense:
        result = _forward(gradient, canonical.turned(kernel), geometry.mirrored)
    elif subpixel.fits(geometry) and channels >= _THIN:
        result = subpixel.input_gradient(gradient, kernel, geometry)
    else:
        result = canonical.input_gradient(gradient, kernel, geometry)
    return result.astype(dtype)


def filter_gradient(x: jax.Array, gradient: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H, W, C] and [B, H', W', D] -> [h, w, C, D], computed in float32."""
    dtype = x.dtype
    x, gradient = x.astype(jnp.float32), gradient.astype(jnp.float32)
    if _by_onednn(geometry, x.shape[-1], gradient.shape[-1], _WIDE_FILTER_ONEDNN):
        result = onednn.filter_gradient(x, gradient, geometry)
    elif pointwise.fits(geometry):
        result = pointwise.filter_gradient(x, gradient, geometry)
    elif _wide(geometry, x.shape[-1], gradient.shape[-1], _WIDE_FILTER):
        result = winograd.filter_gradient(x, gradient, geometry)
    else:
        factor = blocks.best_filter_factor(geometry, x.shape[-1], gradient.shape[-1])
        if factor > 1:
            result = blocks.filter_gradient(x, gradient, geometry, factor)
        else:
            result = canonical.filter_gradient(x, gradient, geometry)
    return result.astype(dtype)


def _forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    channels, width = kernel.shape[2:]
    if _by_onednn(geometry, channels, width, _WIDE_ONEDNN):
        return onednn.forward(x, kernel, geometry)
    if pointwise.fits(geometry) and geometry.strides == (1, 1):  # else XLA's is 1.3 times as fast
        return pointwise.forward(x, kernel, geometry)
    if _wide(geometry, channels, width, _WIDE):
        return winograd.forward(x, kernel, geometry)
    factor = blocks.best_factor(geometry, channels, width)
    if factor > 1:
        return blocks.forward(x, kernel, geometry, factor)
    return canonical.forward(x, kernel, geometry)


def _by_onednn(geometry: Geometry, channels: int, width: int, least: int) -> bool:
    if not (onednn.loaded() and onednn.fits(geometry)):
        return False
    return not _wide(geometry, channels, width, least / winograd.filled(geometry))


def _spread(geometry: Geometry) -> bool:
    """Whether the input's gradient is a product of matrices and zeros between, which XLA writes faster."""
    return pointwise.fits(geometry) and geometry.strides != (1, 1)


def _wide(geometry: Geometry, channels: int, width: int, least: float) -> bool:
    fits = winograd.fits(geometry) and geometry.precision is None
    return fits and channels * width >= least * (channels + width)
