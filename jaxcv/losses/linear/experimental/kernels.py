"""One tile as Pallas kernels: scores, exponentials and their sums stay on the chip.

The same work as in `portable.py`, split into smaller tiles that a GPU's or TPU's fast memory holds:
a program makes one of them from rows x [R, D] and classes w [T, D] and writes three numbers a row,
or the cotangents G in the dtype of the products. What XLA must write in float32 and read again - a
tile of scores - never leaves the chip. The two products with G are left to XLA, whose matrix
products are as fast as the machine.

One body serves both machines: Triton reads D in steps, Mosaic a whole row. Tiles are padded to
whole programs here, so that nothing is read or written beyond an array; that copies a tile at most.

Covered are float32 and bfloat16 (on GPUs float16 too), bias, normalised rows, smoothing, class
weights, padding, devices, and the margins whose other classes are a multiple of the cosine.

The kernels were run in interpret mode only, and compiled ahead of time: by Mosaic for TPU v5e and
v6e, by Triton for an H200 (sm_90: 8 warps without a spill - 4 spill -, 96 KiB of shared memory).
They were timed on neither machine, and for that reason nothing chooses them by itself.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.experimental.pallas import triton as plgpu

from jaxcv.losses.linear.plan import Columns, Constants, Plan, Rows, Running
from jaxcv.losses.linear.portable import inverse_lengths
from jaxcv.losses.similarity import EMPTY

PADDING = -2
"""The number of a class that is none; -1 is the label of a row without a class here."""

VMEM = 2**22
"""Bytes of x and w that a TPU program reads; there are two such buffers of at least 16 MiB."""


def interpreted() -> bool:
    """Whether kernels are run as plain JAX, step by step."""
    return jax.default_backend() == "cpu"


class _Blocks(NamedTuple):
    rows: int
    classes: int
    depth: int  # of D, at a time


def accumulated(
    plan: Plan, constants: Constants, rows: Rows, columns: Columns, running: Running
) -> Running:
    """As `portable.accumulated`."""
    blocks = _blocks(plan, rows, columns)
    height, width = rows.labels.shape[0], columns.classifier.shape[0]
    grid = _grid(blocks, height, width)
    per_tile = jax.ShapeDtypeStruct((grid[1], grid[0] * blocks.rows, 1), jnp.float32)
    out = pl.BlockSpec((None, blocks.rows, 1), lambda i, j: (j, i, 0))
    found = _call(plan, blocks, grid, _statistics_kernel, [per_tile] * 3, [out] * 3)(
        *_operands(plan, blocks, constants, rows, columns)
    )
    peaks, exponentials, totals = (a[:, :height, 0] for a in found)
    top = jnp.maximum(running.peak, jnp.max(peaks, axis=0))
    some = jnp.sum(exponentials * jnp.exp(peaks - top), axis=0)
    return Running(
        top,
        running.exponentials * jnp.exp(running.peak - top) + some,
        running.total + jnp.sum(totals, axis=0),
        running.best,
    )


def score_cotangents(
    plan: Plan, constants: Constants, rows: Rows, columns: Columns
) -> tuple[jax.Array, jax.Array | None]:
    """As `portable.score_cotangents`."""
    blocks = _blocks(plan, rows, columns)
    height, width = rows.labels.shape[0], columns.classifier.shape[0]
    grid = _grid(blocks, height, width)
    arriving, log_sum_exp = rows.arriving, rows.log_sum_exp
    assert arriving is not None
    assert log_sum_exp is not None
    slope = _slope(plan, constants)
    to_lse, to_total = arriving.log_sum_exp * slope, arriving.total * slope
    by_row = [
        _padded(a.astype(jnp.float32)[:, None], blocks.rows)
        for a in (log_sum_exp, to_lse, to_total, arriving.target)
    ]
    shape = grid[0] * blocks.rows, grid[1] * blocks.classes
    out_shapes = [
        jax.ShapeDtypeStruct(shape, plan.dtype),
        jax.ShapeDtypeStruct((grid[0], 1, shape[1]), jnp.float32),
    ]
    out_specs = [
        pl.BlockSpec((blocks.rows, blocks.classes), lambda i, j: (i, j)),
        pl.BlockSpec((None, 1, blocks.classes), lambda i, j: (i, 0, j)),
    ]
    call = _call(plan, blocks, grid, _cotangents_kernel, out_shapes, out_specs, len(by_row))
    narrow, to_bias = call(*_operands(plan, blocks, constants, rows, columns), *by_row)
    narrow = narrow[:height, :width]
    return narrow, None if columns.bias is None else jnp.sum(to_bias, axis=0)[0, :width]


def _logits(product: Callable[..., jax.Array], refs: Any) -> tuple[jax.Array, ...]:
    """Logits [R, T], where a row's own class is, and where that or padding."""
    x, w, labels, factors, numbers, lengths, bias = refs
    logits = product(x, w) * factors[...] * lengths[...] + bias[...]
    is_target = labels[...] == numbers[...]
    return logits, is_target, is_target | (numbers[...] == PADDING)


def _statistics_kernel(product: Callable[..., jax.Array], *refs: Any) -> None:
    *inputs, weights, peak, exponentials, total = refs
    logits, _, outside = _logits(product, inputs)
    top = jnp.max(jnp.where(outside, EMPTY, logits), axis=1, keepdims=True)
    each = jnp.where(outside, 0.0, jnp.exp(jnp.where(outside, 0.0, logits - top)))
    peak[...] = top
    exponentials[...] = jnp.sum(each, axis=1, keepdims=True)
    total[...] = jnp.sum(jnp.where(outside, 0.0, logits * weights[...]), axis=1, keepdims=True)


def _cotangents_kernel(product: Callable[..., jax.Array], *refs: Any) -> None:
    *inputs, weights, log_sum_exp, to_log_sum_exp, to_total, to_target, narrow, to_bias = refs
    logits, is_target, outside = _logits(product, inputs)
    lengths = inputs[5]
    each = jnp.exp(jnp.where(outside, 0.0, logits - log_sum_exp[...]))
    others = each * to_log_sum_exp[...] + weights[...] * to_total[...]
    to_scores = jnp.where(outside, 0.0, others)
    to_scores = jnp.where(is_target, to_target[...], to_scores)
    narrow[...] = (to_scores * lengths[...]).astype(narrow.dtype)
    to_bias[...] = jnp.sum(to_scores, axis=0, keepdims=True)


def _product(x: Any, w: Any, *, depth: int, precision: Any) -> jax.Array:
    """Scores x w^T [R, T] in float32, `depth` of D at a time."""

    def product(at: Any) -> jax.Array:
        return jax.lax.dot_general(
            x[:, at],
            w[:, at],
            (((1,), (1,)), ((), ())),
            precision=precision,
            preferred_element_type=jnp.float32,
        )

    if x.shape[1] == depth:
        return product(slice(None))
    zero = jnp.zeros((x.shape[0], w.shape[0]), jnp.float32)
    steps = x.shape[1] // depth
    return jax.lax.fori_loop(
        0, steps, lambda k, sums: sums + product(pl.ds(k * depth, depth)), zero
    )


def _operands(
    plan: Plan, blocks: _Blocks, constants: Constants, rows: Rows, columns: Columns
) -> tuple[jax.Array, ...]:
    """What both kernels read, in the order of `_logits`, and the weights; padded to programs."""
    w, wide = columns.classifier, jnp.float32
    ones = jnp.ones(w.shape[0], wide)
    numbers = columns.start + jnp.arange(w.shape[0], dtype=jnp.int32)
    numbers = jnp.where(numbers < constants.limit, numbers, PADDING)
    factors = rows.factors.astype(wide) * _slope(plan, constants)
    by_class = (
        inverse_lengths(w, wide) if plan.normalize else ones,
        0 * ones if columns.bias is None else columns.bias.astype(wide),
        ones if columns.weights is None else columns.weights.astype(wide),
    )
    return (
        *(
            _padded(_padded(a.astype(plan.dtype), size), blocks.depth, axis=1)
            for a, size in ((rows.embeddings, blocks.rows), (w, blocks.classes))
        ),
        _padded(rows.labels[:, None], blocks.rows, value=-1),
        _padded(factors[:, None], blocks.rows),
        _padded(numbers[None], blocks.classes, axis=1, value=PADDING),
        *(_padded(a[None], blocks.classes, axis=1) for a in by_class),
    )


def _call(
    plan: Plan,
    blocks: _Blocks,
    grid: tuple[int, int],
    kernel: Callable[..., None],
    out_shape: list[jax.ShapeDtypeStruct],
    out_specs: list[pl.BlockSpec],
    more_by_row: int = 0,
) -> Callable[..., Any]:
    """The kernel over a grid of tiles of rows and tiles of classes, each by itself."""

    def call(x: jax.Array, w: jax.Array, *others: jax.Array) -> Any:
        width = x.shape[1]
        by_row = pl.BlockSpec((blocks.rows, 1), lambda i, j: (i, 0))
        by_class = pl.BlockSpec((1, blocks.classes), lambda i, j: (0, j))
        product = functools.partial(_product, depth=blocks.depth, precision=plan.precision)
        gpu = plan.implementation == "pallas_gpu"
        return pl.pallas_call(
            functools.partial(kernel, product),
            out_shape=out_shape,
            grid=grid,
            in_specs=[
                pl.BlockSpec((blocks.rows, width), lambda i, j: (i, 0)),
                pl.BlockSpec((blocks.classes, width), lambda i, j: (j, 0)),
                *[by_row] * 2,
                *[by_class] * 4,
                *[by_row] * more_by_row,
            ],
            out_specs=out_specs,
            compiler_params=plgpu.CompilerParams(num_warps=8, num_stages=3)
            if gpu
            else pltpu.CompilerParams(dimension_semantics=("parallel", "parallel")),
            interpret=interpreted(),
            name=kernel.__name__.strip("_"),
        )(x, w, *others)

    return call


def _blocks(plan: Plan, rows: Rows, columns: Columns) -> _Blocks:
    """The tile of one program."""
    height, width = rows.labels.shape[0], columns.classifier.shape[0]
    depth, size = rows.embeddings.shape[1], jnp.dtype(plan.dtype).itemsize
    if max(height * depth, width * depth, height * width) >= 2**30:
        raise ValueError(
            f"A tile has {height} rows and {width} classes of {depth} numbers, but a kernel counts "
            "to 2**30: give a smaller block_size."
        )
    if plan.implementation == "pallas_gpu":
        # Triton knows powers of two alone, 16 at least in a product.
        sizes = (height, 128), (width, 128), (depth, 128 // size)
        return _Blocks(*(min(most, max(16, pl.next_power_of_2(n))) for n, most in sizes))
    depth = _whole(depth, 128)
    most = max(128, VMEM // (2 * depth * size) // 128 * 128)
    return _Blocks(min(256, most, _whole(height, 16)), min(512, most, _whole(width, 128)), depth)


def _grid(blocks: _Blocks, height: int, width: int) -> tuple[int, int]:
    return pl.cdiv(height, blocks.rows), pl.cdiv(width, blocks.classes)


def _slope(plan: Plan, constants: Constants) -> jax.Array | float:
    """Logit per score of the other classes, for a margin that multiplies them."""
    if plan.margin is None:
        return 1.0
    one = jnp.ones((1, 1), jnp.float32)
    return plan.margin.negative_logits(one, one[0], constants.state)[0, 0]


def _whole(size: int, block: int) -> int:
    return pl.cdiv(size, block) * block


def _padded(array: jax.Array, block: int, axis: int = 0, value: Any = 0) -> jax.Array:
    """`array` with its axis filled up to a multiple of a block."""
    missing = -array.shape[axis] % block
    if not missing:
        return array
    widths = [(0, missing if i == axis else 0) for i in range(array.ndim)]
    return jnp.pad(array, widths, constant_values=value)
