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
size of the classifier occurs. Over a device axis every device holds some of the classes and some of
the rows: rows are gathered, statistics combined, and the gradient of the rows summed and scattered.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxcv.losses.devices import first_row, gather, largest, total
from jaxcv.losses.linear.blocks import over_tiles, part, with_part
from jaxcv.losses.linear.plan import Constants, Inputs, Plan, Statistics
from jaxcv.losses.similarity import EMPTY, SHORTEST, log_of_sum


def inverse_lengths(rows: jax.Array, dtype: Any) -> jax.Array:
    """1 / |row|, [T] from [T, D]; 0 for a zero row."""
    squared = jnp.sum(jnp.square(rows.astype(dtype)), axis=-1)
    usable = squared > SHORTEST**2
    return jnp.where(usable, jax.lax.rsqrt(jnp.where(usable, squared, 1)), 0)


def tile_scores(
    plan: Plan, x: jax.Array, factors: jax.Array, w: jax.Array, bias: jax.Array | None
) -> jax.Array:
    """Scores s [R, T] of rows x [R, D] and classes w [T, D]."""
    scores = jnp.matmul(
        x.astype(plan.dtype),
        w.astype(plan.dtype).T,
        precision=plan.precision,
        preferred_element_type=plan.wide,
    )
    scores = scores * factors[:, None]
    if plan.normalize:
        # A product with the lengths, not of unit rows: half precision rounds nothing anew.
        scores = scores * inverse_lengths(w, plan.wide)
    return scores if bias is None else scores + bias.astype(plan.wide)


def target_scores(plan: Plan, inputs: Inputs, labels: jax.Array) -> jax.Array:
    """The score [N] of each gathered row with its own class, by one indexed row a row."""
    x, factors = gather(inputs.embeddings, plan.axis_name), gather(inputs.factors, plan.axis_name)
    here = labels >= 0
    row = jnp.maximum(labels, 0)
    w = inputs.classifier[row].astype(plan.wide)
    score = jnp.sum(x * w, axis=-1) * factors
    if plan.normalize:
        score = score * inverse_lengths(w, plan.wide)
    if inputs.bias is not None:
        score = score + inputs.bias[row].astype(plan.wide)
    return total(jnp.where(here, score, 0), plan.axis_name)


def own_rows(array: jax.Array, local_rows: int, axis_name: str | None) -> jax.Array:
    """The share of this device of an array over the rows of all devices."""
    return part(array, first_row(local_rows, axis_name), local_rows)


class _Tile(NamedTuple):
    scores: jax.Array  # [R, T]
    logits: jax.Array  # -inf for a row's own class and for padding
    is_target: jax.Array
    outside: jax.Array  # own class or padding
    pull: Callable[[jax.Array], jax.Array]  # from the cotangent of logits to that of scores


def _tile(
    plan: Plan,
    constants: Constants,
    x: jax.Array,
    factors: jax.Array,
    labels: jax.Array,
    target: jax.Array,
    w: jax.Array,
    bias: jax.Array | None,
    start: Any,
) -> _Tile:
    scores = tile_scores(plan, x, factors, w, bias)
    numbers = start + jnp.arange(w.shape[0], dtype=jnp.int32)
    is_target = numbers == labels[:, None]
    outside = is_target | (numbers >= constants.limit) if plan.padded else is_target
    logits, pull = scores, lambda cotangent: cotangent
    if plan.margin is not None:
        margin, fixed = plan.margin, jax.lax.stop_gradient(target)
        logits, vjp = jax.vjp(lambda s: margin.negative_logits(s, fixed, constants.state), scores)
        pull = lambda cotangent: vjp(cotangent)[0]  # noqa: E731
    return _Tile(scores, jnp.where(outside, -jnp.inf, logits), is_target, outside, pull)


def plain_statistics(plan: Plan, inputs: Inputs, constants: Constants) -> Statistics:
    """The statistics [N] of the rows of all devices; differentiable where there is one tile."""
    axis_name = plan.axis_name
    x, factors = gather(inputs.embeddings, axis_name), gather(inputs.factors, axis_name)
    target = target_scores(plan, inputs, constants.labels)
    empty = jnp.full(target.shape, EMPTY, plan.wide)
    zero = jnp.zeros(target.shape, plan.wide)

    def classes(start: Any, width: int, carry: Any) -> Any:
        w, bias, weights = (
            part(a, start, width) for a in (inputs.classifier, inputs.bias, constants.weights)
        )

        def rows(row: Any, height: int, carry: Any) -> Any:
            x_, factors_, labels_, target_ = (
                part(a, row, height) for a in (x, factors, constants.labels, target)
            )
            tile = _tile(plan, constants, x_, factors_, labels_, target_, w, bias, start)
            old = jax.tree.map(lambda a: part(a, row, height), carry)
            new = _accumulated(plan, tile, weights, *old)
            return jax.tree.map(lambda a, piece: with_part(a, piece, row), carry, new)

        return over_tiles(x.shape[0], plan.row_block, rows, carry)

    carry = (empty, zero, zero, empty)
    carry = over_tiles(inputs.classifier.shape[0], plan.class_block, classes, carry)
    peak, exponentials, sums, best = carry
    top = largest(peak, axis_name)
    exponentials = total(exponentials * jnp.exp(peak - top), axis_name)
    best = largest(best, axis_name) if plan.reshapes else top
    sums = total(sums, axis_name) if plan.totals else sums
    return Statistics(target, log_of_sum(exponentials, top), sums, best)


def _accumulated(
    plan: Plan,
    tile: _Tile,
    weights: jax.Array | None,
    peak: jax.Array,
    exponentials: jax.Array,
    sums: jax.Array,
    best: jax.Array,
) -> tuple[jax.Array, ...]:
    """The running maximum, sum of exponentials relative to it, total and best, one tile on."""
    top = jax.lax.stop_gradient(jnp.maximum(peak, jnp.max(tile.logits, axis=-1)))
    exponentials = exponentials * jnp.exp(peak - top)
    exponentials = exponentials + jnp.sum(jnp.exp(tile.logits - top[:, None]), axis=-1)
    if plan.totals:
        each = tile.logits if weights is None else tile.logits * weights.astype(plan.wide)
        sums = sums + jnp.sum(jnp.where(tile.outside, 0, each), axis=-1)
    if plan.reshapes:
        scores = jax.lax.stop_gradient(jnp.where(tile.outside, -jnp.inf, tile.scores))
        best = jnp.maximum(best, jnp.max(scores, axis=-1))
    return top, exponentials, sums, best


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def tiled_statistics(plan: Plan, inputs: Inputs, constants: Constants) -> Statistics:
    """The statistics [n] of this device's rows, with the backward pass above."""
    return _forward(plan, inputs, constants)[0]


def _forward(plan: Plan, inputs: Inputs, constants: Constants) -> tuple[Statistics, Any]:
    every = plain_statistics(plan, inputs, constants)
    local = inputs.embeddings.shape[0]
    own = Statistics(*(own_rows(a, local, plan.axis_name) for a in every))
    return own, (inputs, constants, every.target, every.log_sum_exp)


class _Cotangents(NamedTuple):
    """What arrives at a row [N] or a part of the rows, and what the tiles are compared with."""

    target: jax.Array
    log_sum_exp: jax.Array
    total: jax.Array


def _backward(plan: Plan, residuals: Any, cotangents: Statistics) -> tuple[Inputs, None]:
    inputs, constants, target, log_sum_exp = residuals
    axis_name = plan.axis_name
    x, factors = gather(inputs.embeddings, axis_name), gather(inputs.factors, axis_name)
    arriving = _Cotangents(
        gather(cotangents.target, axis_name),
        gather(cotangents.log_sum_exp, axis_name),
        gather(cotangents.total, axis_name),
    )
    by_row = (x, factors, constants.labels, target, log_sum_exp, arriving)

    def classes(start: Any, width: int, carry: Any) -> Any:
        to_x, to_w, to_bias = carry
        w, bias, weights = (
            part(a, start, width) for a in (inputs.classifier, inputs.bias, constants.weights)
        )

        def rows(row: Any, height: int, carry: Any) -> Any:
            to_x, sums, bias_sums = carry
            x_, factors_, labels_, target_, lse, arrived = jax.tree.map(
                lambda a: part(a, row, height), by_row
            )
            tile = _tile(plan, constants, x_, factors_, labels_, target_, w, bias, start)
            to_scores = _score_cotangents(plan, tile, lse, arrived, weights)
            if bias is not None:
                bias_sums = bias_sums + jnp.sum(to_scores, axis=0)
            if plan.normalize:
                to_scores = to_scores * inverse_lengths(w, plan.wide)
            narrow = to_scores.astype(plan.dtype)
            more = _product(plan, narrow, w)
            sums = sums + _product(plan, narrow.T, x_ * factors_[:, None])
            return with_part(to_x, part(to_x, row, height) + more, row), sums, bias_sums

        start_sums = jnp.zeros(w.shape, plan.wide), jnp.zeros(w.shape[:1], plan.wide)
        carry = over_tiles(x.shape[0], plan.row_block, rows, (to_x, *start_sums))
        to_x, sums, bias_sums = carry
        if plan.normalize:
            wide = w.astype(plan.wide)
            inverse = inverse_lengths(w, plan.wide)[:, None]
            along = jnp.sum(wide * sums, axis=-1, keepdims=True)
            sums = sums - wide * (along * jnp.square(inverse))
        to_w = with_part(to_w, sums.astype(to_w.dtype), start)
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


def _score_cotangents(
    plan: Plan,
    tile: _Tile,
    log_sum_exp: jax.Array,
    arrived: _Cotangents,
    weights: jax.Array | None,
) -> jax.Array:
    """G [R, T], see the head of this file."""
    to_logits = jnp.exp(tile.logits - log_sum_exp[:, None]) * arrived.log_sum_exp[:, None]
    if plan.totals:
        each = 1.0 if weights is None else weights.astype(plan.wide)
        to_logits = to_logits + jnp.where(tile.outside, 0, arrived.total[:, None] * each)
    return jnp.where(tile.is_target, arrived.target[:, None], tile.pull(to_logits))


def _product(plan: Plan, left: jax.Array, right: jax.Array) -> jax.Array:
    return jnp.matmul(
        left,
        right.astype(plan.dtype),
        precision=plan.precision,
        preferred_element_type=plan.wide,
    )
