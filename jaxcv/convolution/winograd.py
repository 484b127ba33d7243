"""3x3 convolutions with 16 multiplications for 36: Lavin & Gray 2016, arXiv:1509.09308, F(2x2, 3x3).

The input is cut into tiles of 4x4 that overlap by 2. Tiles and kernel are transformed by sums and
differences into 16 planes each; a matrix product a plane, and the 16 products are transformed back
into 2x2 outputs. The constants are 1 and 1/2, so that rounding stays near that of the sum as written:
about 3 times its error in float32 (larger tiles save more and lose digits, so they are not used).
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxcv.convolution.geometry import Geometry

Rows = list[jax.Array]
Planes = list[jax.Array]

_CACHE = 16 * 2**20
"""Bytes of planes worked on at a time. With all of a batch at once the planes, four times as large as
what they are made of, are written to memory and read back, which costs more than is saved; with few
the products are too small for more than one core. Where the transformed kernel is large, twice its size,
since each part reads all of it."""


def fits(geometry: Geometry) -> bool:
    """Whether the convolution is 3x3 of stride and dilation 1, with no negative padding."""
    padded = all(0 <= pad <= 2 for side in geometry.padding for pad in side)
    return geometry.kernel == (3, 3) and geometry.dense and padded


def filled(geometry: Geometry) -> float:
    """The part of the tiles' outputs that is wanted: 1 where rows and columns are even."""
    rows, columns = geometry.output
    return rows * columns / (4 * _half(rows) * _half(columns))


def forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H, W, C] and [3, 3, C, D] -> [B, H', W', D]."""
    return _convolved(x, _transformed_kernel(kernel), 0, geometry)


def input_gradient(gradient: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H', W', D] and [3, 3, C, D] -> [B, H, W, C]."""
    planes = _transformed_kernel(kernel)
    # Turning the kernel by 180 degrees exchanges the outer planes and leaves the inner ones.
    turned = [planes[4 * i + j] for i in (3, 1, 2, 0) for j in (3, 1, 2, 0)]
    return _convolved(gradient, turned, 1, geometry.mirrored)


def filter_gradient(x: jax.Array, gradient: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H, W, C] and [B, H', W', D] -> [3, 3, C, D]: the transposed map, plane by plane."""

    def part(x: jax.Array, gradient: jax.Array) -> Planes:
        inputs = _transformed_input(x, geometry)
        gradients = _transformed_gradient(gradient, geometry)
        return [_product(a, b, (0, 0)) for a, b in zip(inputs, gradients, strict=True)]

    xs, gradients = _parts(x, gradient.shape[3], geometry), _parts(gradient, x.shape[3], geometry)
    if len(xs) == 1:
        products = part(xs[0], gradients[0])
    else:
        zeros = [jnp.zeros((x.shape[3], gradient.shape[3]), x.dtype)] * 16
        products, _ = lax.scan(
            lambda sums, pair: (jax.tree.map(jnp.add, sums, part(*pair)), None),
            zeros,
            (xs, gradients),
        )
    by_row = [_kernel_back(products[j::4]) for j in range(4)]
    return jnp.stack([jnp.stack(_kernel_back([row[i] for row in by_row])) for i in range(3)])


def _convolved(x: jax.Array, weights: Planes, contracted: int, geometry: Geometry) -> jax.Array:
    """[B, H, W, C] and 16 planes, `contracted` their axis of C -> [B, H', W', D]."""

    def part(x: jax.Array) -> jax.Array:
        planes = _transformed_input(x, geometry)
        products = [_product(a, b, (1, contracted)) for a, b in zip(planes, weights, strict=True)]
        y = _transformed_back(lax.optimization_barrier(products), x.shape[0], geometry)
        return lax.optimization_barrier(y)  # else it is written to its place by one core

    parts = _parts(x, weights[0].shape[1 - contracted], geometry)
    y = part(parts[0])[None] if len(parts) == 1 else lax.map(part, parts)
    return y.reshape(-1, *y.shape[2:])[: x.shape[0]]


def _product(a: jax.Array, b: jax.Array, axes: tuple[int, int]) -> jax.Array:
    """The matrix product over an axis of each. One a plane: stacked they would be copied first."""
    return lax.dot_general(a, b, ((axes[:1], axes[1:]), ((), ())))


def _parts(x: jax.Array, others: int, geometry: Geometry) -> jax.Array:
    """The batch in parts whose planes stay in the cache: [B, H, W, C] -> [parts, n, H, W, C].

    The last part is filled up with zeros, where no number of parts near the best divides the batch.
    `others` are the channels of the planes beside those of x.
    """
    rows, columns = geometry.output
    image = 16 * 4 * _half(rows) * _half(columns) * (x.shape[3] + others)
    weights = 16 * 4 * x.shape[3] * others
    least = min(math.ceil(x.shape[0] * image / max(_CACHE, 2 * weights)), x.shape[0])
    count = next((n for n in range(least, 2 * least) if x.shape[0] % n == 0), least)
    n = math.ceil(x.shape[0] / count)
    count = math.ceil(x.shape[0] / n)
    if count * n > x.shape[0]:
        x = jnp.pad(x, ((0, count * n - x.shape[0]), (0, 0), (0, 0), (0, 0)))
    return x.reshape(count, n, *x.shape[1:])


def _transformed_input(x: jax.Array, geometry: Geometry) -> Planes:
    """[B, H, W, C] -> 16 of [B * tiles, C]."""
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
    return _flat(planes)


def _transformed_gradient(gradient: jax.Array, geometry: Geometry) -> Planes:
    """[B, H', W', D] -> 16 of [B * tiles, D]."""
    rows, columns = geometry.output
    if rows % 2 or columns % 2:
        gradient = jnp.pad(gradient, ((0, 0), (0, rows % 2), (0, columns % 2), (0, 0)))
    by_row = _spread([gradient[:, i::2] for i in range(2)])
    return _flat(
        [plane for row in by_row for plane in _spread([row[:, :, j::2] for j in range(2)])]
    )


def _flat(planes: Rows) -> Planes:
    """[B, tiles, tiles, C] -> [B * tiles, C], each computed before it is multiplied."""
    return lax.optimization_barrier([plane.reshape(-1, plane.shape[-1]) for plane in planes])


def _transformed_back(products: Planes, images: int, geometry: Geometry) -> jax.Array:
    """16 of [images * tiles, D] -> [images, H', W', D]."""
    rows, columns = geometry.output
    tiles = [p.reshape(images, _half(rows), _half(columns), -1) for p in products]
    by_column = [_back(tiles[j::4]) for j in range(4)]
    pixels = [jnp.stack(_back([column[i] for column in by_column]), axis=3) for i in range(2)]
    y = jnp.stack(pixels, axis=2)  # [images, tiles, 2, tiles, 2, D]
    y = y.reshape(images, 2 * _half(rows), 2 * _half(columns), -1)
    return y[:, :rows, :columns]


def _transformed_kernel(kernel: jax.Array) -> Planes:
    """[3, 3, C, D] -> 16 of [C, D]."""
    by_column = [_kernel_sums([kernel[i, j] for i in range(3)]) for j in range(3)]
    planes = [
        plane for i in range(4) for plane in _kernel_sums([by_column[j][i] for j in range(3)])
    ]
    return lax.optimization_barrier(planes)


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
