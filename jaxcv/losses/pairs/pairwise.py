"""Losses on all pairs of a labelled batch: contrastive, lifted, multi-similarity, circle, ranked
list.

The rules for batches, masks, devices and the scaling of values are those of `comparison`. Those on
distances take embeddings as they are: give them `l2_normalize(embeddings)` for the unit sphere.
"""

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_non_negative, check_positive, check_range
from jaxcv.devices import gather
from jaxcv.losses.arguments import as_float, check_same_shape, check_shape
from jaxcv.losses.pairs.comparison import Comparison, compare
from jaxcv.losses.similarity import (
    embedding_norm,
    l2_normalize,
    log_sum_exp,
    pairwise_cosine,
    pairwise_distance,
    pairwise_squared_distance,
)


def contrastive_loss(
    first: jax.Array, second: jax.Array, same: jax.Array, *, margin: float = 1.0
) -> jax.Array:
    """Contrastive loss of given pairs (Hadsell et al. 2006, equation 4).

    With d the Euclidean distance: d^2 / 2 for a pair of one kind, max(margin - d, 0)^2 / 2
    otherwise.

    Args:
      first: [B, D] embeddings.
      second: [B, D] embeddings.
      same: [B], True where the two belong together.
      margin: Distance > 0 beyond which strangers are left alone.

    Returns:
      [B] float32.

    Raises:
      ValueError: for shapes that differ or a margin <= 0.

    Example:
      >>> a, b = jnp.zeros((2, 1)), jnp.array([[0.5], [0.5]])
      >>> contrastive_loss(a, b, jnp.array([True, False]))
      Array([0.125, 0.125], dtype=float32)
    """
    check_shape("first", first, ("B", "D"))
    check_same_shape("second", second, "first", first)
    check_shape("same", same, first.shape[:1])
    check_positive("margin", margin)
    difference = as_float(first) - as_float(second)
    squared = jnp.sum(jnp.square(difference), axis=-1)
    apart = jnp.square(jnp.maximum(margin - embedding_norm(difference), 0))
    return jnp.where(jnp.asarray(same).astype(bool), squared, apart) / 2


def batch_contrastive_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    margin: float = 1.0,
    mask: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """`contrastive_loss` of all pairs of a batch, averaged over the pairs.

    Args:
      embeddings: [B, D] floating.
      labels: [B] integers.
      margin: As in `contrastive_loss`.
      mask: [B], False for rows that do not exist.
      axis_name: The device axis over which the batch is spread.

    Returns:
      [B] float32; their mean over valid rows is the mean over pairs.

    Raises:
      ValueError: for shapes and dtypes that do not fit, a margin <= 0, an unbound axis.
    """
    check_positive("margin", margin)
    c = compare(embeddings, labels, mask, axis_name)
    squared = pairwise_squared_distance(c.anchors, c.others)
    apart = jnp.square(jnp.maximum(margin - pairwise_distance(c.anchors, c.others), 0))
    terms = jnp.where(c.positive, squared, jnp.where(c.negative, apart, 0)) / 2
    return c.average(jnp.sum(terms, axis=1), jnp.sum(c.positive | c.negative, axis=1))


def lifted_structure_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    margin: float = 1.0,
    mask: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Lifted structured loss (Song et al. 2016, arXiv:1511.06452, equation 4).

    For every positive pair (i, j) with Euclidean distances d:

        J = d_ij + log(sum_{k not like i} exp(margin - d_ik) + sum_{l not like j} exp(margin -
        d_jl))

    and the loss is the mean over positive pairs of max(J, 0)^2 / 2.

    Args and returns as in `batch_contrastive_loss`; the mean over valid rows is that over pairs.
    """
    check_non_negative("margin", margin)
    c = compare(embeddings, labels, mask, axis_name)
    distance = pairwise_distance(c.anchors, c.others)
    near = log_sum_exp(margin - distance, c.negative)
    pair = distance + jnp.logaddexp(near[:, None], gather(near, axis_name))
    terms = jnp.where(c.positive, jnp.square(jnp.maximum(pair, 0)) / 2, 0)
    return c.average(jnp.sum(terms, axis=1), jnp.sum(c.positive, axis=1))


def multi_similarity_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    positive_scale: float = 2.0,
    negative_scale: float = 50.0,
    threshold: float = 0.5,
    mining_margin: float | None = 0.1,
    mask: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Multi-similarity loss (Wang et al. 2019, arXiv:1904.06627, equations 9-15).

    With cosines s of an anchor to its positives P and negatives N, after mining:

        log(1 + sum_P exp(-a (s - t))) / a + log(1 + sum_N exp(b (s - t))) / b

    Mining keeps the positives with s < max over negatives + margin and the negatives with
    s > min over positives - margin; an anchor without positives or without negatives keeps none.

    Args:
      embeddings: [B, D] floating, of any length.
      labels: [B] integers.
      positive_scale: a > 0.
      negative_scale: b > 0.
      threshold: t in [-1, 1].
      mining_margin: None to use all pairs.
      mask: [B], False for rows that do not exist.
      axis_name: The device axis over which the batch is spread.

    Returns:
      [B] float32, to be averaged over valid rows.

    Raises:
      ValueError: for shapes, dtypes or settings that do not fit, an unbound axis.
    """
    check_positive("positive_scale", positive_scale)
    check_positive("negative_scale", negative_scale)
    check_range("threshold", threshold, -1.0, 1.0)
    c = compare(embeddings, labels, mask, axis_name)
    cosine = pairwise_cosine(c.anchors, c.others)
    positive, negative = c.positive, c.negative
    if mining_margin is not None:
        hardest_positive = jnp.min(jnp.where(positive, cosine, jnp.inf), axis=1, keepdims=True)
        hardest_negative = jnp.max(jnp.where(negative, cosine, -jnp.inf), axis=1, keepdims=True)
        positive &= cosine - mining_margin < hardest_negative
        negative &= cosine + mining_margin > hardest_positive
    pull = log_sum_exp(-positive_scale * (cosine - threshold), positive)
    push = log_sum_exp(negative_scale * (cosine - threshold), negative)
    return jax.nn.softplus(pull) / positive_scale + jax.nn.softplus(push) / negative_scale


def circle_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    margin: float = 0.25,
    scale: float = 256.0,
    constant_weights: bool = True,
    mask: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Circle loss on pairs (Sun et al. 2020, arXiv:2002.10857), averaged over anchors.

    With cosines s to the positives P and the negatives N of an anchor:

        log(1 + sum_N exp(g a_n (s_n - m)) sum_P exp(-g a_p (s_p - 1 + m)))
        a_n = max(s_n + m, 0),  a_p = max(1 + m - s_p, 0)

    The form with class centres is the margin `CircleMargin`.

    Args:
      embeddings: [B, D] floating, of any length.
      labels: [B] integers.
      margin: m in [0, 1]. The paper: 0.25 for faces, 0.4 for fine-grained retrieval.
      scale: g > 0. The paper: 256 and 80.
      constant_weights: Whether a_p and a_n are constants to differentiation, as in the paper's
        gradients.
      mask: [B], False for rows that do not exist.
      axis_name: The device axis over which the batch is spread.

    Returns:
      [B] float32; the mean over valid rows is that over the anchors with positives and negatives.

    Raises:
      ValueError: for shapes, dtypes or settings that do not fit, an unbound axis.
    """
    check_range("margin", margin, 0.0, 1.0)
    check_positive("scale", scale)
    c = compare(embeddings, labels, mask, axis_name)
    cosine = pairwise_cosine(c.anchors, c.others)
    weighing = jax.lax.stop_gradient(cosine) if constant_weights else cosine
    pull = -jnp.maximum(1 + margin - weighing, 0) * (cosine - 1 + margin)
    push = jnp.maximum(weighing + margin, 0) * (cosine - margin)
    exponent = log_sum_exp(scale * pull, c.positive) + log_sum_exp(scale * push, c.negative)
    return _over_anchors_with_both(c, jax.nn.softplus(exponent))


def ranked_list_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    boundary: float = 1.2,
    margin: float = 0.4,
    negative_temperature: float = 10.0,
    positive_temperature: float = 0.0,
    negative_weight: float = 0.5,
    mask: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Ranked list loss on the unit sphere (Wang et al. 2019, arXiv:1903.03238).

    Positives are pulled within distance boundary - margin, negatives pushed beyond the boundary. An
    anchor's loss is (1 - w) L_P + w L_N, each a weighted mean over the pairs on the wrong side:

        L_P: mean of d - (boundary - margin), weights exp(T_p (d - (boundary - margin)))
        L_N: mean of boundary - d,            weights exp(T_n (boundary - d))

    The weights are constants to differentiation, as in the paper.

    Args:
      embeddings: [B, D] floating; they are normalised here.
      labels: [B] integers.
      boundary: Largest wanted distance of negatives, > 0; distances lie in [0, 2].
      margin: Between the two boundaries, >= 0.
      negative_temperature: T_n >= 0; 0 weighs all negatives alike.
      positive_temperature: T_p >= 0.
      negative_weight: w in [0, 1].
      mask: [B], False for rows that do not exist.
      axis_name: The device axis over which the batch is spread.

    Returns:
      [B] float32, to be averaged over valid rows.

    Raises:
      ValueError: for shapes, dtypes or settings that do not fit, an unbound axis.
    """
    check_positive("boundary", boundary)
    check_non_negative("margin", margin)
    check_non_negative("negative_temperature", negative_temperature)
    check_non_negative("positive_temperature", positive_temperature)
    check_range("negative_weight", negative_weight, 0.0, 1.0)
    c = compare(embeddings, labels, mask, axis_name)
    distance = pairwise_distance(l2_normalize(c.anchors), l2_normalize(c.others))
    pull = _weighted_excess(distance - (boundary - margin), c.positive, positive_temperature)
    push = _weighted_excess(boundary - distance, c.negative, negative_temperature)
    return jnp.where(c.valid, (1 - negative_weight) * pull + negative_weight * push, 0)


def _weighted_excess(excess: jax.Array, where: jax.Array, temperature: float) -> jax.Array:
    """Mean of the positive excesses of a row, weighted by exp(temperature * excess)."""
    wrong = where & (excess > 0)
    exponents = jnp.where(wrong, temperature * jax.lax.stop_gradient(excess), -jnp.inf)
    exponents -= jnp.max(jnp.where(wrong, exponents, 0), axis=1, keepdims=True)
    weights = jnp.exp(exponents)
    normalizer = jnp.sum(weights, axis=1)
    weighted = jnp.sum(jnp.where(wrong, excess, 0) * weights, axis=1)
    return weighted / jnp.where(normalizer > 0, normalizer, 1)


def _over_anchors_with_both(c: Comparison, values: jax.Array) -> jax.Array:
    """Averages over the anchors that have positives and negatives; the others count 0."""
    both = jnp.any(c.positive, axis=1) & jnp.any(c.negative, axis=1)
    return c.average(jnp.where(both, values, 0), both)
