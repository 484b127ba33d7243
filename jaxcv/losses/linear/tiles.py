"""The tile loop: what a linear softmax needs of a [N, C] matrix of logits that never exists.

For a row x and classes w_c, with row factors r (a scale, or 1 / |x|) and k_c = 1 / |w_c| or 1,

    s_c = r k_c <x, w_c> + b_c,      z_c = s_c, or what a margin makes of it for c != y.

The loop visits tiles of rows and classes, keeps four numbers a row (`Statistics`) and drops the
tile. The row's own class y is left out of all but `target`: its logit may carry a margin, and it
is added afterwards, where nothing cancels. The backward pass visits the tiles again:

    G_c = dz_c / ds_c (g_l exp(z_c - log_sum_exp) + g_t weight_c) for c != y,      G_y = g_s,
    dx = r G (k w),      A = (G k)^T (r x),      dw_c = A_c - k_c^2 w_c <w_c, A_c>,

with g_l, g_t, g_s the cotangents of log_sum_exp, total and target. All of G is made within a tile,
the target's column by comparing class numbers, so that no scatter and no second gradient of the
size of the classifier occurs. With K centres a class, r k <x, w> is the largest of K, and G goes to
that centre (in equal parts to equal ones). Over a device axis every device holds some of the
classes and some of the rows: rows are gathered, statistics combined, and the gradient of the rows
summed and scattered.

What happens on a tile is in `portable.py` and, as kernels for accelerators, in `experimental`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxcv.devices import first_row, gather, largest, total
from jaxcv.losses.linear import portable
from jaxcv.losses.linear.blocks import over_tiles, part, with_part
from jaxcv.losses.linear.plan import (
    Columns,
    Constants,
    Cotangents,
    Inputs,
    Plan,
    Rows,
    Running,
    Statistics,
)
from jaxcv.losses.linear.portable import centre_rows, inverse_lengths
from jaxcv.losses.similarity import EMPTY, log_of_sum


def target_scores(plan: Plan, inputs: Inputs, labels: jax.Array) -> jax.Array:
    """The score [N] of each gathered row with its own class, by one indexed row a row."""
    x, factors = gather(inputs.embeddings, plan.axis_name), gather(inputs.factors, plan.axis_name)
    here = labels >= 0
    row = jnp.maximum(labels, 0)
    w = inputs.classifier[row].astype(plan.wide)
    each = w if w.ndim == 3 else w[:, None]
    score = jnp.sum(x[:, None] * each, axis=-1) * factors[:, None]
    if plan.normalize:
        score = score * inverse_lengths(each, plan.wide)
    score = jnp.max(score, axis=-1)
    if inputs.bias is not None:
        score = score + inputs.bias[row].astype(plan.wide)
    return total(jnp.where(here, score, 0), plan.axis_name)


def own_rows(array: jax.Array, local_rows: int, axis_name: str | None) -> jax.Array:
    """The share of this device of an array over the rows of all devices."""
    return part(array, first_row(local_rows, axis_name), local_rows)


def plain_statistics(plan: Plan, inputs: Inputs, constants: Constants) -> Statistics:
    """The statistics [N] of the rows of all devices; differentiable where there is one tile."""
    axis_name = plan.axis_name
    target = target_scores(plan, inputs, constants.labels)
    every = Rows(
        gather(inputs.embeddings, axis_name),
        gather(inputs.factors, axis_name),
        constants.labels,
        target,
    )
    on_tile = _on_tile(plan).accumulated

    def classes(start: Any, width: int, running: Running) -> Running:
        columns = _columns(inputs, constants, start, width)

        def rows(row: Any, height: int, running: Running) -> Running:
            some, old = jax.tree.map(lambda a: part(a, row, height), (every, running))
            new = on_tile(plan, constants, some, columns, old)
            return jax.tree.map(lambda a, piece: with_part(a, piece, row), running, new)

        return over_tiles(target.shape[0], plan.row_block, rows, running)

    empty = jnp.full(target.shape, EMPTY, plan.wide)
    zero = jnp.zeros(target.shape, plan.wide)
    running = Running(empty, zero, zero, empty)
    running = over_tiles(inputs.classifier.shape[0], plan.class_block, classes, running)
    top = largest(running.peak, axis_name)
    exponentials = total(running.exponentials * jnp.exp(running.peak - top), axis_name)
    best = largest(running.best, axis_name) if plan.reshapes else top
    sums = total(running.total, axis_name) if plan.totals else running.total
    return Statistics(target, log_of_sum(exponentials, top), sums, top, best)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def tiled_statistics(plan: Plan, inputs: Inputs, constants: Constants) -> Statistics:
    """The statistics [n] of this device's rows, with the backward pass above."""
    return _forward(plan, inputs, constants)[0]


def _forward(plan: Plan, inputs: Inputs, constants: Constants) -> tuple[Statistics, Any]:
    every = plain_statistics(plan, inputs, constants)
    local = inputs.embeddings.shape[0]
    own = Statistics(*(own_rows(a, local, plan.axis_name) for a in every))
    return own, (inputs, constants, every.target, every.log_sum_exp)


def _backward(plan: Plan, residuals: Any, cotangents: Statistics) -> tuple[Inputs, None]:
    inputs, constants, target, log_sum_exp = residuals
    axis_name = plan.axis_name
    x, factors = gather(inputs.embeddings, axis_name), gather(inputs.factors, axis_name)
    arriving = Cotangents(
        gather(cotangents.target, axis_name),
        gather(cotangents.log_sum_exp, axis_name),
        gather(cotangents.total, axis_name),
    )
    every = Rows(x, factors, constants.labels, target, log_sum_exp, arriving)
    scaled = x * factors[:, None]
    on_tile = _on_tile(plan).score_cotangents

    def classes(start: Any, width: int, carry: Any) -> Any:
        to_x, to_w, to_bias = carry
        columns = _columns(inputs, constants, start, width)
        w = centre_rows(columns.classifier)

        def rows(row: Any, height: int, carry: Any) -> Any:
            to_x, sums, bias_sums = carry
            some = jax.tree.map(lambda a: part(a, row, height), every)
            narrow, to_bias = on_tile(plan, constants, some, columns)
            if bias_sums is not None:
                bias_sums = bias_sums + to_bias
            more = _product(plan, narrow, w)
            sums = sums + _product(plan, _turned(narrow), part(scaled, row, height))
            return with_part(to_x, part(to_x, row, height) + more, row), sums, bias_sums

        sums = jnp.zeros(w.shape, plan.wide)
        bias_sums = None if to_bias is None else jnp.zeros((width,), plan.wide)
        carry = over_tiles(x.shape[0], plan.row_block, rows, (to_x, sums, bias_sums))
        to_x, sums, bias_sums = carry
        if plan.normalize:
            sums = _across(sums, w.astype(plan.wide))
        piece = sums.reshape(columns.classifier.shape).astype(to_w.dtype)
        to_w = with_part(to_w, piece, start)
        if to_bias is not None:
            to_bias = with_part(to_bias, bias_sums.astype(to_bias.dtype), start)
        return to_x, to_w, to_bias

    to_bias = None if inputs.bias is None else jnp.zeros_like(inputs.bias)
    carry = (
        jnp.zeros(x.shape, plan.wide),
        jax.lax.empty(inputs.classifier.shape, inputs.classifier.dtype),
        to_bias,
    )
    carry = over_tiles(inputs.classifier.shape[0], plan.class_block, classes, carry)
    to_x, to_w, to_bias = carry
    if axis_name is not None:
        to_x = jax.lax.psum_scatter(to_x, axis_name, tiled=True)
    # s - b is linear in both x and its factor, so that one product serves both.
    to_factors = jnp.sum(inputs.embeddings * to_x, axis=-1).astype(inputs.factors.dtype)
    to_x = (to_x * inputs.factors[:, None]).astype(inputs.embeddings.dtype)
    return Inputs(to_x, to_factors, to_w, to_bias), None


tiled_statistics.defvjp(_forward, _backward)


def _on_tile(plan: Plan) -> Any:
    if plan.implementation == "portable":
        return portable
    from jaxcv.losses.linear.experimental import kernels  # the import of Pallas takes time

    return kernels


def _columns(inputs: Inputs, constants: Constants, start: Any, width: int) -> Columns:
    pieces = inputs.classifier, inputs.bias, constants.weights
    return Columns(start, *(part(a, start, width) for a in pieces))


def _across(gradient: jax.Array, w: jax.Array) -> jax.Array:
    """The part of a gradient [T, D] across rows w: along them, unit rows do not change."""
    along = jnp.sum(w * gradient, axis=-1, keepdims=True)
    inverse = inverse_lengths(w, w.dtype)[:, None]
    return gradient - w * (along * jnp.square(inverse))


def _turned(tile: jax.Array) -> jax.Array:
    """The transpose of a tile; on a CPU a copy, as its products are slow with a turned left side.

    256 by 256 by 1,024 took 3/5 of the time, copy included; an accelerator turns as it reads.
    """
    return jax.lax.optimization_barrier(tile.T) if jax.default_backend() == "cpu" else tile.T


def _product(plan: Plan, left: jax.Array, right: jax.Array) -> jax.Array:
    return jnp.matmul(
        left,
        right.astype(plan.dtype),
        precision=plan.precision,
        preferred_element_type=plan.wide,
    )
