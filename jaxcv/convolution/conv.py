"""Convolutions that are fast on a CPU too.

`convolution` takes the place of `jax.lax.conv_general_dilated`, to which it is equal but for rounding,
and `Conv` that of `flax.linen.Conv`, with the same parameters. On a CPU, 2-D channels-last
convolutions without groups are lowered by shape:

* 1x1, but forwards with a stride: products of matrices (`pointwise`);
* 3x3 of many channels, and their gradients: Winograd's algorithm (`winograd`);
* few channels: neighbouring columns taken as channels (`blocks`);
* input gradients of strided convolutions: a dense convolution for each phase of the stride (`subpixel`);
* every other, and every other gradient: the one form that XLA has a fast routine for (`canonical`),
  which it finds by itself only outside of loops.

Where a program asks for it (`onednn.load`, `jaxcv train --onednn`), oneDNN has those that it is faster at.

bfloat16 and float16 are computed in float32 there and rounded once. Everything else, and everything on
a GPU or TPU, is the stock lowering. Derivatives of every order, in both modes, and `vmap` work.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jaxcv.convolution import primitives
from jaxcv.convolution.canonical import CHANNELS_LAST
from jaxcv.convolution.geometry import Geometry

__all__ = ["Conv", "Geometry", "convolution"]

_DTYPES = (jnp.float32, jnp.bfloat16, jnp.float16)


def convolution(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    **options: Any,
) -> jax.Array:
    """Equal to `jax.lax.conv_general_dilated` but for rounding; see there for the arguments.

    A `precision` other than None keeps to the sum as written (no Winograd).

    Example:
        >>> x, kernel = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1))
        >>> y = convolution(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        >>> y[0, :, :, 0].tolist()
        [[9.0, 9.0], [9.0, 9.0]]
    """
    stock = functools.partial(
        lax.conv_general_dilated,
        lhs,
        rhs,
        window_strides,
        padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        batch_group_count=batch_group_count,
        precision=precision,
        preferred_element_type=preferred_element_type,
        **options,
    )
    plain = (
        lhs.ndim == 4
        and lhs.dtype in _DTYPES
        and lhs.dtype == rhs.dtype
        and feature_group_count == batch_group_count == 1
        and (lhs_dilation is None or tuple(lhs_dilation) == (1, 1))
        and preferred_element_type in (None, lhs.dtype)
        and all(value is None for value in options.values())
        and _channels_last(dimension_numbers, lhs.shape, rhs.shape)
        and lhs.shape[3] == rhs.shape[2]
        and not _typed_by_mesh(lhs)
        and not _typed_by_mesh(rhs)
    )
    if not plain:
        return stock()
    strides = tuple(window_strides)
    dilation = tuple(rhs_dilation) if rhs_dilation is not None else (1, 1)
    if isinstance(padding, str):
        reach = [(k - 1) * d + 1 for k, d in zip(rhs.shape[:2], dilation, strict=True)]
        padding = lax.padtype_to_pads(lhs.shape[1:3], reach, strides, padding)
    pads = tuple((int(low), int(high)) for low, high in padding)
    geometry = Geometry(lhs.shape[1:3], rhs.shape[:2], strides, pads, dilation, precision)
    if min(geometry.output) < 1 or 0 in (*lhs.shape, *rhs.shape):
        return stock()
    return primitives.forward(lhs, rhs, geometry)


Conv = functools.partial(nn.Conv, conv_general_dilated=convolution)
"""`flax.linen.Conv` by `convolution`."""


def _channels_last(numbers: Any, lhs: Sequence[int], rhs: Sequence[int]) -> bool:
    wanted = lax.conv_dimension_numbers(tuple(lhs), tuple(rhs), CHANNELS_LAST)
    return lax.conv_dimension_numbers(tuple(lhs), tuple(rhs), numbers) == wanted


def _typed_by_mesh(x: jax.Array) -> bool:
    """Whether JAX tracks in the array's type how it varies over, or is sharded by, a mesh."""
    kind = jax.typeof(x)
    manual = getattr(kind, "manual_axis_type", None)
    varying = getattr(manual, "varying", None) or getattr(kind, "vma", None)
    spec = getattr(getattr(kind, "sharding", None), "spec", None) or ()
    return bool(varying) or any(part is not None for part in spec)
