"""One tile in plain JAX: its scores, what it adds to the statistics, what it sends back."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxcv.losses.linear.plan import Columns, Constants, Plan, Rows, Running
from jaxcv.losses.similarity import SHORTEST


def inverse_lengths(rows: jax.Array, dtype: Any) -> jax.Array:
    """1 / |row|, [...] from [..., D]; 0 for a zero row."""
    squared = jnp.sum(jnp.square(rows.astype(dtype)), axis=-1)
    usable = squared > SHORTEST**2
    return jnp.where(usable, jax.lax.rsqrt(jnp.where(usable, squared, 1)), 0)


def centre_rows(w: jax.Array) -> jax.Array:
    """[T, D] as it is; [T, K, D], K centres a class, as [T K, D]."""
    return w.reshape(-1, w.shape[-1])


def tile_scores(
    plan: Plan, x: jax.Array, factors: jax.Array, w: jax.Array, bias: jax.Array | None
) -> jax.Array:
    """Scores s [R, T] of rows x [R, D] and classes w [T, D], or [T, K, D] by the best centre."""
    scores = _best_centre(_centre_scores(plan, x, factors, w), w)
    return scores if bias is None else scores + bias.astype(plan.wide)


def _centre_scores(plan: Plan, x: jax.Array, factors: jax.Array, w: jax.Array) -> jax.Array:
    """Scores [R, T K] of each centre, without bias."""
    w = centre_rows(w)
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
    return scores


def _best_centre(scores: jax.Array, w: jax.Array) -> jax.Array:
    if w.ndim == 2:
        return scores
    return jnp.max(scores.reshape(-1, *w.shape[:2]), axis=-1)


class _Tile(NamedTuple):
    scores: jax.Array  # [R, T]
    logits: jax.Array  # -inf for a row's own class and for padding
    is_target: jax.Array
    outside: jax.Array  # own class or padding
    to_scores: Callable[[jax.Array], jax.Array]  # from the cotangent of logits
    to_centres: Callable[[jax.Array], jax.Array]  # [R, T K] from the cotangent of scores


def _tile(plan: Plan, constants: Constants, rows: Rows, columns: Columns) -> _Tile:
    w = columns.classifier
    scores = _centre_scores(plan, rows.embeddings, rows.factors, w)
    to_scores = to_centres = lambda cotangent: cotangent
    if w.ndim == 3:
        scores, pull_centres = jax.vjp(lambda s: _best_centre(s, w), scores)
        to_centres = lambda cotangent: pull_centres(cotangent)[0]  # noqa: E731
    if columns.bias is not None:
        scores = scores + columns.bias.astype(plan.wide)
    numbers = columns.start + jnp.arange(w.shape[0], dtype=jnp.int32)
    is_target = numbers == rows.labels[:, None]
    outside = is_target | (numbers >= constants.limit) if plan.padded else is_target
    logits = scores
    if plan.margin is not None:
        margin, fixed = plan.margin, jax.lax.stop_gradient(rows.target)
        logits, pull = jax.vjp(lambda s: margin.negative_logits(s, fixed, constants.state), scores)
        to_scores = lambda cotangent: pull(cotangent)[0]  # noqa: E731
    logits = jnp.where(outside, -jnp.inf, logits)
    return _Tile(scores, logits, is_target, outside, to_scores, to_centres)


def accumulated(
    plan: Plan, constants: Constants, rows: Rows, columns: Columns, running: Running
) -> Running:
    """What is carried, one tile on."""
    tile = _tile(plan, constants, rows, columns)
    peak, exponentials, sums, best = running
    top = jax.lax.stop_gradient(jnp.maximum(peak, jnp.max(tile.logits, axis=-1)))
    exponentials = exponentials * jnp.exp(peak - top)
    exponentials = exponentials + jnp.sum(jnp.exp(tile.logits - top[:, None]), axis=-1)
    if plan.totals:
        each = tile.logits
        if columns.weights is not None:
            each = each * columns.weights.astype(plan.wide)
        sums = sums + jnp.sum(jnp.where(tile.outside, 0, each), axis=-1)
    if plan.reshapes:
        scores = jax.lax.stop_gradient(jnp.where(tile.outside, -jnp.inf, tile.scores))
        best = jnp.maximum(best, jnp.max(scores, axis=-1))
    return Running(top, exponentials, sums, best)


def score_cotangents(
    plan: Plan, constants: Constants, rows: Rows, columns: Columns
) -> tuple[jax.Array, jax.Array | None]:
    """G k [R, T K] in the dtype of products, and the sum [T] of G over the rows for a bias."""
    tile = _tile(plan, constants, rows, columns)
    arriving, log_sum_exp = rows.arriving, rows.log_sum_exp
    assert arriving is not None
    assert log_sum_exp is not None
    to_logits = jnp.exp(tile.logits - log_sum_exp[:, None]) * arriving.log_sum_exp[:, None]
    if plan.totals:
        each = 1.0 if columns.weights is None else columns.weights.astype(plan.wide)
        to_logits = to_logits + jnp.where(tile.outside, 0, arriving.total[:, None] * each)
    to_scores = jnp.where(tile.is_target, arriving.target[:, None], tile.to_scores(to_logits))
    to_bias = None if columns.bias is None else jnp.sum(to_scores, axis=0)
    to_centres = tile.to_centres(to_scores)
    if plan.normalize:
        to_centres = to_centres * inverse_lengths(centre_rows(columns.classifier), plan.wide)
    return to_centres.astype(plan.dtype), to_bias
