"""Convolutions of few channels, with neighbouring columns taken as channels.

A convolution from 3 channels to 6 is a product of matrices 75 deep and 6 wide: too narrow for a
processor's vectors. Taking `b` output columns together makes it one from 3b channels to 6b, by a
kernel that holds the original b times, each a stride further right, and zeros elsewhere. In channels-last
arrays neighbouring columns lie side by side, so that only the small kernel is ever copied. The zeros
cost some multiplications, by `inflation`; wide vectors gain more where channels are few.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxcv.models.convolution import canonical
from jaxcv.models.convolution.geometry import Geometry

_LARGEST = 8
_GAIN = 1.1


def best_factor(geometry: Geometry, channels: int, width: int) -> int:
    """How many output columns to take together; 1 where that does not pay.

    The model of the time per useful multiplication is `inflation * (1 + 12 / bC) (1 + 12 / bD)`, fitted
    to measurements on a Zen 3 processor with 8 lanes to a vector.
    """
    if geometry.dilation != (1, 1):
        return 1

    def cost(factor: int) -> float:
        lanes = (1 + 12 / (factor * channels)) * (1 + 12 / (factor * width))
        return inflation(geometry, factor) * lanes

    factors = [b for b in range(1, _LARGEST + 1) if geometry.output[1] % b == 0]
    best = min(factors, key=cost)
    return best if cost(best) * _GAIN < cost(1) else 1


def inflation(geometry: Geometry, factor: int) -> float:
    """Multiplications with `factor` columns together, over those without."""
    return _blocks_seen(geometry, factor) * factor * geometry.strides[1] / geometry.kernel[1]


def forward(x: jax.Array, kernel: jax.Array, geometry: Geometry, factor: int) -> jax.Array:
    """[B, H, W, C] and [h, w, C, D] -> [B, H', W', D]; `factor` divides W', and dilation is 1."""
    B, H, _, C = x.shape
    h, w, _, D = kernel.shape
    span = factor * geometry.strides[1]  # input columns from one block of outputs to the next
    seen = _blocks_seen(geometry, factor)
    rows, columns = geometry.output
    needed = (columns // factor - 1 + seen) * span
    left = geometry.padding[1][0]
    right = needed - x.shape[2] - left
    x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (0, 0, 0), (left, right, 0), (0, 0, 0)))
    shifted = [
        jnp.pad(kernel, ((0, 0), (at, seen * span - w - at), (0, 0), (0, 0)))
        for at in range(0, span, geometry.strides[1])
    ]
    blocked = dataclasses.replace(
        geometry,
        size=(H, needed // span),
        kernel=(h, seen),
        strides=(geometry.strides[0], 1),
        padding=(geometry.padding[0], (0, 0)),
    )
    y = canonical.forward(
        x.reshape(B, H, needed // span, span * C),
        jnp.stack(shifted, 3).reshape(h, seen, span * C, factor * D),
        blocked,
    )
    return y.reshape(B, rows, columns, D)


def _blocks_seen(geometry: Geometry, factor: int) -> int:
    """Blocks of input columns that one block of output columns sees."""
    stride = geometry.strides[1]
    return math.ceil(((factor - 1) * stride + geometry.kernel[1]) / (factor * stride))
