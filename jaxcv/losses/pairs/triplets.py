"""Triplet losses: given triplets, and triplets mined from a labelled batch.

The rules for batches, masks, devices and the scaling of values are those of `comparison`.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_choice, check_non_negative
from jaxcv.losses.arguments import as_float, check_same_shape, check_shape
from jaxcv.losses.pairs.comparison import Comparison, compare
from jaxcv.losses.similarity import (
    embedding_norm,
    l2_normalize,
    pairwise_cosine,
    pairwise_distance,
    pairwise_squared_distance,
)

Distance = Literal["euclidean", "squared_euclidean", "cosine"]
"""Length of the difference, its square, or 1 - cosine."""

Mining = Literal["all", "violating", "hard", "semi_hard"]
"""Which triplets (anchor, positive, negative) of a batch count.

* "all": every valid one.
* "violating": every one with a loss above 0; the mean is over these (Hermans et al. 2017,
  arXiv:1703.07737, "batch all, non-zero").
* "hard": for each anchor its farthest positive with its nearest negative (ibid., "batch hard").
* "semi_hard": for each positive pair the nearest negative farther than the positive, or, if all are
  nearer, the farthest negative (Schroff et al. 2015, arXiv:1503.03832).
"""

ANCHORS_AT_ONCE = 8
"""How many anchors' triplets, B^2 each, are formed at a time."""


def triplet_loss(
    anchors: jax.Array,
    positives: jax.Array,
    negatives: jax.Array,
    *,
    margin: float | Literal["soft"] = 1.0,
    distance: Distance = "euclidean",
    swap: bool = False,
) -> jax.Array:
    """max(d(a, p) - d(a, n) + margin, 0) of given triplets.

    Args:
      anchors: [B, D] floating.
      positives: [B, D].
      negatives: [B, D].
      margin: >= 0, or "soft" for softplus(d(a, p) - d(a, n)) (Hermans et al. 2017).
      distance: See `Distance`.
      swap: Whether d(p, n) replaces d(a, n) where it is smaller (Balntas et al. 2016).

    Returns:
      [B] float32.

    Raises:
      ValueError: for shapes or settings that do not fit.

    Example:
      >>> a, p, n = jnp.array([[0.0]]), jnp.array([[1.0]]), jnp.array([[1.5]])
      >>> triplet_loss(a, p, n, margin=1.0)
      Array([0.5], dtype=float32)
    """
    check_shape("anchors", anchors, ("B", "D"))
    check_same_shape("positives", positives, "anchors", anchors)
    check_same_shape("negatives", negatives, "anchors", anchors)
    _check(margin, distance)
    far = _distance(anchors, negatives, distance)
    if swap:
        far = jnp.minimum(far, _distance(positives, negatives, distance))
    return _hinge(_distance(anchors, positives, distance) - far, margin)


def batch_triplet_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    mining: Mining = "hard",
    margin: float | Literal["soft"] = 0.2,
    distance: Distance = "euclidean",
    mask: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Triplet loss over the triplets of a batch that `mining` selects.

    Mining is done on values, not differentiated. Time is O(b B^2) on a device that holds b of B
    rows, O(b B) for "hard"; memory O(B^2): triplets exist for a few anchors at a time.

    Args:
      embeddings: [B, D] floating.
      labels: [B] integers.
      mining: See `Mining`.
      margin: >= 0, or "soft" for softplus(d(a, p) - d(a, n)).
      distance: See `Distance`.
      mask: [B], False for rows that do not exist.
      axis_name: The device axis over which the batch is spread.

    Returns:
      [B] float32; their mean over valid rows is the mean over the selected triplets.

    Raises:
      ValueError: for shapes, dtypes or settings that do not fit, an unbound axis.
    """
    check_choice("mining", mining, ("all", "violating", "hard", "semi_hard"))
    _check(margin, distance)
    c = compare(embeddings, labels, mask, axis_name)
    d = _pairwise_distance(c.anchors, c.others, distance)
    if mining == "hard":
        return _hard(c, d, margin)
    if mining == "semi_hard":
        return _semi_hard(c, d, margin)

    # Recomputed in the backward pass: otherwise something of size [b, B, B] would wait for it.
    @jax.checkpoint
    def of_anchor(row: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return _all_triplets(*row, margin, mining == "violating")

    sums, counts = jax.lax.map(of_anchor, (d, c.positive, c.negative), batch_size=ANCHORS_AT_ONCE)
    return c.average(sums, counts)


def _hard(c: Comparison, d: jax.Array, margin: float | Literal["soft"]) -> jax.Array:
    fixed = jax.lax.stop_gradient(d)
    farthest = jnp.argmax(jnp.where(c.positive, fixed, -jnp.inf), axis=1, keepdims=True)
    nearest = jnp.argmin(jnp.where(c.negative, fixed, jnp.inf), axis=1, keepdims=True)
    gap = jnp.take_along_axis(d, farthest, axis=1) - jnp.take_along_axis(d, nearest, axis=1)
    both = jnp.any(c.positive, axis=1) & jnp.any(c.negative, axis=1)
    return c.average(jnp.where(both, _hinge(gap[:, 0], margin), 0), both)


def _semi_hard(c: Comparison, d: jax.Array, margin: float | Literal["soft"]) -> jax.Array:
    def of_anchor(row: tuple[jax.Array, jax.Array]) -> jax.Array:
        d, negative = row
        farther = negative & (d > d[:, None])
        nearest = jnp.argmin(jnp.where(farther, d, jnp.inf), axis=1)
        farthest = jnp.argmax(jnp.where(negative, d, -jnp.inf))
        return jnp.where(jnp.any(farther, axis=1), nearest, farthest)

    rows = jax.lax.stop_gradient(d), c.negative
    chosen = jax.lax.map(of_anchor, rows, batch_size=ANCHORS_AT_ONCE)
    pairs = c.positive & jnp.any(c.negative, axis=1, keepdims=True)
    terms = jnp.where(pairs, _hinge(d - jnp.take_along_axis(d, chosen, axis=1), margin), 0)
    return c.average(jnp.sum(terms, axis=1), jnp.sum(pairs, axis=1))


def _all_triplets(
    d: jax.Array,
    positive: jax.Array,
    negative: jax.Array,
    margin: float | Literal["soft"],
    violating: bool,
) -> tuple[jax.Array, jax.Array]:
    """Of one anchor, with distances [B]: the sum over its triplets, and how many count."""
    triplets = positive[:, None] & negative
    losses = jnp.where(triplets, _hinge(d[:, None] - d, margin), 0)
    counted = triplets & (losses > 0) if violating else triplets
    return jnp.sum(losses), jnp.sum(counted.astype(d.dtype))


def _hinge(gap: jax.Array, margin: float | Literal["soft"]) -> jax.Array:
    return jax.nn.softplus(gap) if margin == "soft" else jax.nn.relu(gap + margin)


def _distance(first: jax.Array, second: jax.Array, distance: Distance) -> jax.Array:
    if distance == "cosine":
        return 1 - jnp.sum(l2_normalize(first) * l2_normalize(second), axis=-1)
    difference = as_float(first) - as_float(second)
    if distance == "euclidean":
        return embedding_norm(difference)
    return jnp.sum(jnp.square(difference), axis=-1)


def _pairwise_distance(first: jax.Array, second: jax.Array, distance: Distance) -> jax.Array:
    if distance == "cosine":
        return 1 - pairwise_cosine(first, second)
    if distance == "euclidean":
        return pairwise_distance(first, second)
    return pairwise_squared_distance(first, second)


def _check(margin: float | Literal["soft"], distance: str) -> None:
    check_choice("distance", distance, ("euclidean", "squared_euclidean", "cosine"))
    if isinstance(margin, str):
        check_choice("margin", margin, ("soft",))
    else:
        check_non_negative("margin", margin)
