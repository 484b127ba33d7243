"""A 1x1 convolution without padding, and its gradients, as matrix products."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxcv.convolution.geometry import Geometry


def fits(geometry: Geometry) -> bool:
    """Whether each output sees one pixel of the input, and none of them padding."""
    return geometry.kernel == (1, 1) and geometry.padding == ((0, 0), (0, 0))


def forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H, W, C] and [1, 1, C, D] -> [B, H', W', D]."""
    return _product(_seen(x, geometry), kernel[0, 0], geometry)


def input_gradient(gradient: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H', W', D] and [1, 1, C, D] -> [B, H, W, C]; pixels between the strides get 0."""
    result = _product(gradient, kernel[0, 0].T, geometry)
    if geometry.strides == (1, 1):
        return result
    spread = [(0, 0, 0)] * 4
    for axis, (n, m, stride) in enumerate(
        zip(geometry.size, geometry.output, geometry.strides, strict=True), start=1
    ):
        spread[axis] = (0, n - (m - 1) * stride - 1, stride - 1)
    return lax.pad(result, jnp.zeros((), result.dtype), spread)


def filter_gradient(x: jax.Array, gradient: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H, W, C] and [B, H', W', D] -> [1, 1, C, D]."""
    seen = _seen(x, geometry)
    rows = lax.dot_general(
        seen.reshape(-1, seen.shape[-1]),
        gradient.reshape(-1, gradient.shape[-1]),
        (((0,), (0,)), ((), ())),
        precision=geometry.precision,
    )
    return rows[None, None]


def _seen(x: jax.Array, geometry: Geometry) -> jax.Array:
    i, j = geometry.strides
    return x if (i, j) == (1, 1) else x[:, ::i, ::j]


def _product(x: jax.Array, matrix: jax.Array, geometry: Geometry) -> jax.Array:
    flat = jnp.matmul(x.reshape(-1, x.shape[-1]), matrix, precision=geometry.precision)
    return flat.reshape(*x.shape[:-1], matrix.shape[-1])
