"""3x3 convolutions with 16 multiplications for 36: Lavin & Gray 2016, arXiv:1509.09308, F(2x2, 3x3).

The input is cut into tiles of 4x4 that overlap by 2. Tiles and kernel are transformed by sums and
differences into 16 planes each; a matrix product a plane, and the 16 products are transformed back
into 2x2 outputs. The constants are 1 and 1/2, so that rounding stays near that of the sum as written:
about 3 times its error in float32 (larger tiles save more and lose digits, so they are not used).
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxcv.models.convolution import canonical
from jaxcv.models.convolution.geometry import Geometry

Rows = list[jax.Array]


def fits(geometry: Geometry) -> bool:
    """Whether the convolution is 3x3 of stride and dilation 1, with no negative padding."""
    padded = all(0 <= pad <= 2 for side in geometry.padding for pad in side)
    return geometry.kernel == (3, 3) and geometry.dense and padded


def forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H, W, C] and [3, 3, C, D] -> [B, H', W', D]."""
    planes = _transformed_input(x, geometry)
    weights = _transformed_kernel(kernel)
    product = jnp.einsum("atc,acd->atd", planes, weights)
    rows, columns = geometry.output
    tiles = product.reshape(4, 4, x.shape[0], _half(rows), _half(columns), -1)
    top, bottom = _back(list(tiles))
    pixels = [jnp.stack(_back(list(row)), axis=3) for row in (top, bottom)]
    y = jnp.stack(pixels, axis=2)  # [B, tiles, 2, tiles, 2, D]
    y = y.reshape(x.shape[0], 2 * _half(rows), 2 * _half(columns), -1)
    return y[:, :rows, :columns]


def input_gradient(gradient: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H', W', D] and [3, 3, C, D] -> [B, H, W, C]."""
    return forward(gradient, canonical.turned(kernel), geometry.mirrored)


def filter_gradient(x: jax.Array, gradient: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H, W, C] and [B, H', W', D] -> [3, 3, C, D]: the transposed map, plane by plane."""
    planes = _transformed_input(x, geometry)
    rows, columns = geometry.output
    odd = ((0, 0), (0, rows % 2), (0, columns % 2), (0, 0))
    gradient = jnp.pad(gradient, odd) if rows % 2 or columns % 2 else gradient
    pixels = [[gradient[:, i::2, j::2] for j in range(2)] for i in range(2)]
    columns_of = [_spread([row[j] for row in pixels]) for j in range(2)]
    spread = [plane for i in range(4) for plane in _spread([columns_of[j][i] for j in range(2)])]
    flat = jnp.stack(spread).reshape(16, -1, gradient.shape[-1])
    product = jnp.einsum("atc,atd->acd", *lax.optimization_barrier((planes, flat)))
    taps = product.reshape(4, 4, *product.shape[1:])
    by_row = _kernel_back(list(taps))
    return jnp.stack([jnp.stack(_kernel_back(list(row))) for row in by_row])


def _transformed_input(x: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H, W, C] -> [16, B * tiles, C]."""
    padding = [(0, 0, 0)]
    for n, m, (before, _) in zip(geometry.size, geometry.output, geometry.padding, strict=True):
        padding.append((before, 2 * _half(m) + 2 - n - before, 0))
    x = lax.pad(x, jnp.zeros((), x.dtype), (*padding, (0, 0, 0)))
    down, across = 2 * _half(geometry.output[0]), 2 * _half(geometry.output[1])
    rows = _differences([x[:, i : i + down : 2] for i in range(4)])
    planes = [
        plane
        for row in rows
        for plane in _differences([row[:, :, j : j + across : 2] for j in range(4)])
    ]
    return lax.optimization_barrier(jnp.stack(planes).reshape(16, -1, x.shape[-1]))


def _transformed_kernel(kernel: jax.Array) -> jax.Array:
    """[3, 3, C, D] -> [16, C, D]."""
    by_column = [_kernel_sums([kernel[i, j] for i in range(3)]) for j in range(3)]
    planes = [
        plane for i in range(4) for plane in _kernel_sums([by_column[j][i] for j in range(3)])
    ]
    return lax.optimization_barrier(jnp.stack(planes))


# The three matrices of the method and their transposes, along one axis.


def _differences(d: Rows) -> Rows:
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _kernel_sums(g: Rows) -> Rows:
    outer, inner = 0.5 * (g[0] + g[2]), 0.5 * g[1]
    return [g[0], outer + inner, outer - inner, g[2]]


def _kernel_back(m: Rows) -> Rows:
    plus, minus = 0.5 * (m[1] + m[2]), 0.5 * (m[1] - m[2])
    return [m[0] + plus, minus, plus + m[3]]


def _back(m: Rows) -> Rows:
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _spread(y: Rows) -> Rows:
    return [y[0], y[0] + y[1], y[0] - y[1], -y[1]]


def _half(n: int) -> int:
    return (n + 1) // 2
