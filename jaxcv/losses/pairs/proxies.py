"""Losses against learned class representatives: proxy-NCA, proxy-anchor, centre loss."""

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_positive, check_range
from jaxcv.devices import largest, total
from jaxcv.losses.arguments import as_float, check_shape
from jaxcv.losses.pairs.comparison import valid_rows
from jaxcv.losses.similarity import (
    l2_normalize,
    log_of_sum,
    log_sum_exp,
    pairwise_cosine,
    pairwise_squared_distance,
)


def proxy_nca_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    proxies: jax.Array,
    *,
    scale: float = 1.0,
    include_positive: bool = False,
    mask: jax.Array | None = None,
) -> jax.Array:
    """Proxy-NCA (Movshovitz-Attias et al. 2017, arXiv:1703.07464, equation 7).

    With squared distances d on the unit sphere: scale d_y + log sum_{c != y} exp(-scale d_c). With
    the positive in the sum it is a softmax cross-entropy (Proxy-NCA++, Teh et al. 2020,
    arXiv:2004.01113, whose temperature is 1 / scale = 1 / 9); without, it may be negative.

    Args:
      embeddings: [B, D] floating, of any length.
      labels: [B] integers in [0, C); others give NaN.
      proxies: [C, D], one a class, of any length.
      scale: > 0.
      include_positive: Whether the sum has the true class too.
      mask: [B], False for rows that do not exist.

    Returns:
      [B] float32.

    Raises:
      ValueError: for shapes, dtypes or settings that do not fit.
    """
    check_positive("scale", scale)
    embeddings, valid = valid_rows(embeddings, labels, mask)
    check_shape("proxies", proxies, ("C", embeddings.shape[1]))
    logits = -scale * pairwise_squared_distance(l2_normalize(embeddings), l2_normalize(proxies))
    is_target = labels[:, None] == jnp.arange(proxies.shape[0])
    target = jnp.sum(jnp.where(is_target, logits, 0), axis=1)
    normalizer = log_sum_exp(logits, ~is_target | include_positive)
    return _per_row(normalizer - target, labels, valid, proxies.shape[0])


def proxy_anchor_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    proxies: jax.Array,
    *,
    margin: float = 0.1,
    scale: float = 32.0,
    mask: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Proxy-anchor loss (Kim et al. 2020, arXiv:2003.13911, equation 4): proxies look at the batch.

    With cosines s between proxies and examples, C+ the classes present in the batch:

        mean over C+ of log(1 + sum_{x in c} exp(-scale (s - margin)))
        + mean over C of log(1 + sum_{x not in c} exp(scale (s + margin)))

    A class's first term is shared out equally among its examples, the second among all.

    Args:
      embeddings: [B, D] floating, of any length.
      labels: [B] integers in [0, C); others give NaN.
      proxies: [C, D], one a class, of any length, the same on all devices.
      margin: In [0, 1].
      scale: > 0.
      mask: [B], False for rows that do not exist.
      axis_name: The device axis over which the batch is spread.

    Returns:
      [B] float32; their mean over valid rows is the loss.

    Raises:
      ValueError: for shapes, dtypes or settings that do not fit, an unbound axis.
    """
    check_range("margin", margin, 0.0, 1.0)
    check_positive("scale", scale)
    embeddings, valid = valid_rows(embeddings, labels, mask)
    check_shape("proxies", proxies, ("C", embeddings.shape[1]))
    cosine = pairwise_cosine(embeddings, proxies)
    same = labels[:, None] == jnp.arange(proxies.shape[0])
    positive, negative = same & valid[:, None], ~same & valid[:, None]
    pull = _log_sum_exp_over_batch(-scale * (cosine - margin), positive, axis_name)
    push = _log_sum_exp_over_batch(scale * (cosine + margin), negative, axis_name)

    examples = total(jnp.sum(positive, axis=0), axis_name)  # [C], of each class
    present = jnp.maximum(jnp.sum(examples > 0), 1)
    rows = total(jnp.sum(valid), axis_name)
    fraction = rows / (present * jnp.maximum(examples, 1))
    pulled = jnp.sum(jnp.where(positive, fraction * jax.nn.softplus(pull), 0), axis=1)
    return _per_row(pulled + jnp.mean(jax.nn.softplus(push)), labels, valid, proxies.shape[0])


def center_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    centers: jax.Array,
    *,
    mask: jax.Array | None = None,
) -> jax.Array:
    """Half the squared distance to the centre of the class (Wen et al. 2016, equation 2).

    To be added to a softmax loss. The centres are moved by `updated_centers`, not by the gradient:
    pass `jax.lax.stop_gradient(centers)` if they are among the parameters.

    Args:
      embeddings: [B, D] floating.
      labels: [B] integers in [0, C); others give NaN.
      centers: [C, D].
      mask: [B], False for rows that do not exist.

    Returns:
      [B] float32.

    Raises:
      ValueError: for shapes and dtypes that do not fit.

    Example:
      >>> center_loss(jnp.array([[3.0, 4.0]]), jnp.array([1]), jnp.zeros((2, 2)))
      Array([12.5], dtype=float32)
    """
    embeddings, valid = valid_rows(embeddings, labels, mask)
    check_shape("centers", centers, ("C", embeddings.shape[1]))
    num_classes = centers.shape[0]
    difference = embeddings - as_float(centers)[jnp.clip(labels, 0, num_classes - 1)]
    loss = jnp.sum(jnp.square(difference), axis=-1) / 2
    return _per_row(loss, labels, valid, num_classes)


def updated_centers(
    centers: jax.Array,
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    rate: float = 0.5,
    mask: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Moves the centres towards the batch (Wen et al. 2016, equation 4).

    Centre c moves by rate * sum_{i in c} (x_i - c) / (1 + number of i in c).

    Args:
      centers: [C, D], the same on all devices.
      embeddings: [B, D] floating; constants to differentiation.
      labels: [B] integers in [0, C); others are dropped.
      rate: The paper's alpha, in [0, 1].
      mask: [B], False for rows that do not exist.
      axis_name: The device axis over which the batch is spread.

    Returns:
      [C, D] in the dtype of `centers`, equal on all devices.

    Raises:
      ValueError: for shapes, dtypes or settings that do not fit, an unbound axis.
    """
    check_range("rate", rate, 0.0, 1.0)
    embeddings, valid = valid_rows(jax.lax.stop_gradient(embeddings), labels, mask)
    check_shape("centers", centers, ("C", embeddings.shape[1]))
    num_classes = centers.shape[0]
    rows = jnp.where(valid & (labels >= 0), labels, num_classes)  # Beyond the end: dropped.
    sums = jnp.zeros(centers.shape, embeddings.dtype).at[rows].add(embeddings, mode="drop")
    counts = jnp.zeros(num_classes, embeddings.dtype).at[rows].add(1, mode="drop")
    sums, counts = total(sums, axis_name), total(counts, axis_name)[:, None]
    moved = as_float(centers) + rate * (sums - counts * as_float(centers)) / (1 + counts)
    return moved.astype(centers.dtype)


def _per_row(values: jax.Array, labels: jax.Array, valid: jax.Array, num_classes: int) -> jax.Array:
    """0 for rows that do not exist, NaN for labels that name no class."""
    in_range = (labels >= 0) & (labels < num_classes)
    return jnp.where(valid, jnp.where(in_range, values, jnp.nan), 0)


def _log_sum_exp_over_batch(x: jax.Array, where: jax.Array, axis_name: str | None) -> jax.Array:
    """Logsumexp over the rows of all devices, [b, C] to [C]."""
    top = largest(jnp.max(jnp.where(where, x, -jnp.inf), axis=0), axis_name)
    top = jnp.where(jnp.isfinite(top), top, 0)
    exps = jnp.where(where, jnp.exp(jnp.where(where, x - top, 0)), 0)
    return log_of_sum(total(jnp.sum(exps, axis=0), axis_name), top)
