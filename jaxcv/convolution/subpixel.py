"""The input gradient of a strided convolution without the zeros that a stride spreads between.

Rows of the input that lie alike between two outputs see the same taps of the kernel: with stride s there
are s such sets of rows, and as many of columns. Each pair of sets has its gradient by a dense convolution
with its taps alone, and the s*s results are laid side by side (as pixels are in Shi et al. 2016,
arXiv:1609.05158).
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax

from jaxcv.convolution.canonical import CHANNELS_LAST, turned
from jaxcv.convolution.geometry import Geometry


@dataclass(frozen=True)
class _Phase:
    """Rows (or columns) `phase`, `phase + stride`, ...: their taps, and how the gradient is padded."""

    taps: slice
    padding: tuple[int, int]


def fits(geometry: Geometry) -> bool:
    """Whether there is a stride, no dilation, and a tap for every row and column."""
    strided = geometry.strides != (1, 1) and geometry.dilation == (1, 1)
    return strided and all(
        stride <= taps for stride, taps in zip(geometry.strides, geometry.kernel, strict=True)
    )


def input_gradient(gradient: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H', W', D] and [h, w, C, D] -> [B, H, W, C]."""
    by_row, by_column = (_phases(geometry, axis) for axis in range(2))
    rows = []
    for row in by_row:
        columns = [
            lax.conv_general_dilated(
                gradient,
                turned(kernel[row.taps, column.taps]),
                (1, 1),
                (row.padding, column.padding),
                dimension_numbers=CHANNELS_LAST,
                precision=geometry.precision,
            )
            for column in by_column
        ]
        rows.append(jnp.stack(columns, axis=3))
    y = jnp.stack(rows, axis=2)  # [B, rows, stride, columns, stride, C]
    B, down, i, across, j, C = y.shape
    H, W = geometry.size
    return y.reshape(B, down * i, across * j, C)[:, :H, :W]


def _phases(geometry: Geometry, axis: int) -> list[_Phase]:
    stride, size = geometry.strides[axis], geometry.size[axis]
    before, taps = geometry.padding[axis][0], geometry.kernel[axis]
    rows = -(-size // stride)  # of each phase; the last ones may lie beyond the input
    result = []
    for phase in range(stride):
        # Row `stride * i + phase` meets tap t in output `i + (phase + before - t) / stride`.
        first = (phase + before) % stride
        last = first + (taps - 1 - first) // stride * stride
        nearest, farthest = ((phase + before - t) // stride for t in (first, last))
        padding = (-farthest, rows - 1 + nearest - (geometry.output[axis] - 1))
        result.append(_Phase(slice(first, None, stride), padding))
    return result
