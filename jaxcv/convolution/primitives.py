"""Convolution and its two gradients as JAX primitives: one lowering a platform, every derivative.

The three are bilinear, and the derivative of each is made of the other two, so that forward and reverse
mode and any order of both stay within them. On a CPU they lower as `cpu` says; anywhere else as
`jax.lax.conv_general_dilated` and its transposes do. The platform is the one a program is compiled for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxcv.convolution import canonical, cpu
from jaxcv.convolution.geometry import Geometry

Function = Callable[..., jax.Array]


def _stock_input_gradient(gradient: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    x = jax.ShapeDtypeStruct((gradient.shape[0], *geometry.size, kernel.shape[2]), gradient.dtype)
    transpose = jax.linear_transpose(lambda x: canonical.forward(x, kernel, geometry), x)
    return transpose(gradient)[0]


def _stock_filter_gradient(x: jax.Array, gradient: jax.Array, geometry: Geometry) -> jax.Array:
    kernel = jax.ShapeDtypeStruct((*geometry.kernel, x.shape[3], gradient.shape[3]), x.dtype)
    transpose = jax.linear_transpose(lambda kernel: canonical.forward(x, kernel, geometry), kernel)
    return transpose(gradient)[0]


def _primitive(name: str, stock: Function, on_cpu: Function) -> Primitive:
    """A primitive of two arrays and a geometry; `stock` says what it computes."""
    primitive = Primitive(name)

    @functools.lru_cache
    def compiled(geometry: Geometry) -> Function:
        return jax.jit(functools.partial(primitive.bind, geometry=geometry))

    @primitive.def_impl
    def eager(first: jax.Array, second: jax.Array, *, geometry: Geometry) -> jax.Array:
        return compiled(geometry)(first, second)

    @primitive.def_abstract_eval
    def abstract(first: Any, second: Any, *, geometry: Geometry) -> Any:
        computed = jax.make_jaxpr(functools.partial(stock, geometry=geometry))(first, second)
        return computed.out_avals[0]

    for platform, function in ((None, stock), ("cpu", on_cpu)):
        rule = mlir.lower_fun(function, multiple_results=False)
        mlir.register_lowering(primitive, rule, platform=platform)

    def jvp_first(tangent: Any, first: Any, second: Any, *, geometry: Geometry) -> Any:
        return primitive.bind(tangent, second, geometry=geometry)

    def jvp_second(tangent: Any, first: Any, second: Any, *, geometry: Geometry) -> Any:
        return primitive.bind(first, tangent, geometry=geometry)

    ad.defjvp(primitive, jvp_first, jvp_second)
    return primitive


_forward = _primitive("jaxcv_convolution", canonical.forward, cpu.forward)
_input_gradient = _primitive(
    "jaxcv_convolution_input_gradient", _stock_input_gradient, cpu.input_gradient
)
_filter_gradient = _primitive(
    "jaxcv_convolution_filter_gradient", _stock_filter_gradient, cpu.filter_gradient
)


def forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H, W, C] and [h, w, C, D] -> [B, H', W', D]."""
    return _forward.bind(x, kernel, geometry=geometry)


def input_gradient(gradient: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H', W', D] and [h, w, C, D] -> [B, H, W, C]."""
    return _input_gradient.bind(gradient, kernel, geometry=geometry)


def filter_gradient(x: jax.Array, gradient: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H, W, C] and [B, H', W', D] -> [h, w, C, D]."""
    return _filter_gradient.bind(x, gradient, geometry=geometry)


def _transposes(primitive: Primitive, to_first: Function, to_second: Function) -> None:
    """Says how a cotangent goes back: `to_first(cotangent, second)`, `to_second(cotangent, first)`."""

    def transpose(cotangent: Any, first: Any, second: Any, *, geometry: Geometry) -> Any:
        if ad.is_undefined_primal(first):
            if type(cotangent) is ad.Zero:
                return ad.Zero(first.aval), None
            return to_first(cotangent, second, geometry), None
        if type(cotangent) is ad.Zero:
            return None, ad.Zero(second.aval)
        return None, to_second(cotangent, first, geometry)

    ad.primitive_transposes[primitive] = transpose


_transposes(
    _forward,
    input_gradient,
    lambda cotangent, x, geometry: filter_gradient(x, cotangent, geometry),
)
_transposes(
    _input_gradient,
    forward,
    lambda cotangent, gradient, geometry: filter_gradient(cotangent, gradient, geometry),
)
_transposes(
    _filter_gradient,
    lambda cotangent, gradient, geometry: input_gradient(gradient, cotangent, geometry),
    lambda cotangent, x, geometry: forward(x, cotangent, geometry),
)


def _batching(primitive: Primitive, stock: Function, of_rows: Function | None = None) -> None:
    """Says how to map: with `of_rows`, over the first argument alone, by more rows in the batch."""

    def batched(arrays: Any, axes: Any, *, geometry: Geometry) -> Any:
        first, second = arrays
        if of_rows is None or axes[1] is not None:
            function = functools.partial(stock, geometry=geometry)
            return jax.vmap(function, in_axes=tuple(axes))(first, second), 0
        first = jnp.moveaxis(first, axes[0], 0)
        y = of_rows(lax.collapse(first, 0, 2), second, geometry)
        return y.reshape(*first.shape[:2], *y.shape[1:]), 0

    batching.primitive_batchers[primitive] = batched


_batching(_forward, canonical.forward, forward)
_batching(_input_gradient, _stock_input_gradient, input_gradient)
_batching(_filter_gradient, _stock_filter_gradient)
