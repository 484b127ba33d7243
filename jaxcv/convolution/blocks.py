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

from jaxcv.convolution import canonical
from jaxcv.convolution.geometry import Geometry

_LARGEST = 8
_GAIN, _GAIN_FILTER = 1.3, 1.2  # below these the model errs either way
_LANES, _LANES_FILTER = 12, 4


def best_factor(geometry: Geometry, channels: int, width: int) -> int:
    """How many output columns to take together forwards; 1 where that does not pay."""
    return _best(geometry, channels, width, _LANES, _GAIN)


def best_filter_factor(geometry: Geometry, channels: int, width: int) -> int:
    """How many to take together in the filter's gradient, where wide vectors gain less."""
    return _best(geometry, channels, width, _LANES_FILTER, _GAIN_FILTER)


def _best(geometry: Geometry, channels: int, width: int, lanes: int, gain: float) -> int:
    """The factor of the least cost, or 1 where it is not cheaper by `gain`.

    The model of the time per useful multiplication is `inflation * (1 + lanes / bC) (1 + lanes / bD)`,
    fitted to measurements on processors with 8 and 16 lanes to a vector.
    """
    if geometry.dilation != (1, 1):
        return 1

    def cost(factor: int) -> float:
        filled = (1 + lanes / (factor * channels)) * (1 + lanes / (factor * width))
        # One column alone is the convolution as it is, without zeros.
        return filled if factor == 1 else inflation(geometry, factor) * filled

    factors = [b for b in range(1, _LARGEST + 1) if geometry.output[1] % b == 0]
    best = min(factors, key=cost)
    return best if cost(best) * gain < cost(1) else 1


def inflation(geometry: Geometry, factor: int) -> float:
    """Multiplications with `factor` columns together, over those without."""
    return _blocks_seen(geometry, factor) * factor * geometry.strides[1] / geometry.kernel[1]


def forward(x: jax.Array, kernel: jax.Array, geometry: Geometry, factor: int) -> jax.Array:
    """[B, H, W, C] and [h, w, C, D] -> [B, H', W', D]; `factor` divides W', and dilation is 1."""
    blocks, blocked = _blocks(x, geometry, factor)
    y = canonical.forward(blocks, _shifted(kernel, geometry, factor), blocked)
    return y.reshape(x.shape[0], *geometry.output, kernel.shape[3])


def filter_gradient(
    x: jax.Array, gradient: jax.Array, geometry: Geometry, factor: int
) -> jax.Array:
    """[B, H, W, C] and [B, H', W', D] -> [h, w, C, D]; `factor` divides W', and dilation is 1."""
    blocks, blocked = _blocks(x, geometry, factor)
    gradients = gradient.reshape(x.shape[0], *blocked.output, factor * gradient.shape[3])
    kernel = jax.ShapeDtypeStruct((*geometry.kernel, x.shape[3], gradient.shape[3]), x.dtype)
    back = jax.linear_transpose(lambda kernel: _shifted(kernel, geometry, factor), kernel)
    return back(canonical.filter_gradient(blocks, gradients, blocked))[0]


def _blocks(x: jax.Array, geometry: Geometry, factor: int) -> tuple[jax.Array, Geometry]:
    """[B, H, W, C] -> [B, H, blocks, bC], and the convolution of the blocks, padding included."""
    B, H, W, C = x.shape
    span = factor * geometry.strides[1]  # input columns from one block of outputs to the next
    seen = _blocks_seen(geometry, factor)
    count = geometry.output[1] // factor - 1 + seen
    left = geometry.padding[1][0]
    right = count * span - W - left
    x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (0, 0, 0), (left, right, 0), (0, 0, 0)))
    blocked = dataclasses.replace(
        geometry,
        size=(H, count),
        kernel=(geometry.kernel[0], seen),
        strides=(geometry.strides[0], 1),
        padding=(geometry.padding[0], (0, 0)),
    )
    return x.reshape(B, H, count, span * C), blocked


def _shifted(kernel: jax.Array, geometry: Geometry, factor: int) -> jax.Array:
    """[h, w, C, D] -> [h, blocks seen, bC, bD]: a copy an output column of a block, zeros elsewhere."""
    h, w, C, D = kernel.shape
    stride, seen = geometry.strides[1], _blocks_seen(geometry, factor)
    span = factor * stride
    copies = [
        jnp.pad(kernel, ((0, 0), (at, seen * span - w - at), (0, 0), (0, 0)))
        for at in range(0, span, stride)
    ]
    return jnp.stack(copies, 3).reshape(h, seen, span * C, factor * D)


def _blocks_seen(geometry: Geometry, factor: int) -> int:
    """Blocks of input columns that one block of output columns sees."""
    stride = geometry.strides[1]
    return math.ceil(((factor - 1) * stride + geometry.kernel[1]) / (factor * stride))
