"""Convolution and its two gradients in the one form that XLA's CPU backend has a fast routine for.

XLA rewrites a convolution with other dimension numbers into channels-last form, but only in a
program's outermost computation: what JAX's own gradients ask for is 5 to 100 times slower inside
`lax.scan`. Here the transpositions are written out, so that a loop costs nothing.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxcv.convolution.geometry import Geometry

CHANNELS_LAST = ("NHWC", "HWIO", "NHWC")


def forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H, W, C] and [h, w, C, D] -> [B, H', W', D]."""
    return lax.conv_general_dilated(
        x,
        kernel,
        geometry.strides,
        geometry.padding,
        rhs_dilation=geometry.dilation,
        dimension_numbers=CHANNELS_LAST,
        precision=geometry.precision,
    )


def input_gradient(gradient: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H', W', D] and [h, w, C, D] -> [B, H, W, C]: spread out by the stride, kernel turned."""
    padding = []
    for n, m, reach, stride, (before, _) in zip(
        geometry.size,
        geometry.output,
        geometry.reach,
        geometry.strides,
        geometry.padding,
        strict=True,
    ):
        low = reach - 1 - before
        padding.append((low, n + reach - 1 - low - ((m - 1) * stride + 1)))
    return lax.conv_general_dilated(
        gradient,
        turned(kernel),
        (1, 1),
        padding,
        lhs_dilation=geometry.strides,
        rhs_dilation=geometry.dilation,
        dimension_numbers=CHANNELS_LAST,
        precision=geometry.precision,
    )


def filter_gradient(x: jax.Array, gradient: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H, W, C] and [B, H', W', D] -> [h, w, C, D]: channels as batch, the batch as channels."""
    padding = []
    for n, m, reach, stride, (before, _) in zip(
        geometry.size,
        geometry.output,
        geometry.reach,
        geometry.strides,
        geometry.padding,
        strict=True,
    ):
        padding.append((before, (m - 1) * stride + reach - n - before))
    result = lax.conv_general_dilated(
        x.transpose(3, 1, 2, 0),
        gradient.transpose(1, 2, 0, 3),
        geometry.dilation,
        padding,
        rhs_dilation=geometry.strides,
        dimension_numbers=CHANNELS_LAST,
        precision=geometry.precision,
    )
    return result.transpose(1, 2, 0, 3)


def turned(kernel: jax.Array) -> jax.Array:
    """The kernel that carries gradients back: [h, w, C, D] -> [h, w, D, C], turned by 180 degrees."""
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
