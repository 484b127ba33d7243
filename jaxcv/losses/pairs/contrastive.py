"""Softmax losses over a batch: NT-Xent, supervised contrastive, N-pairs.

The rules for batches, masks, devices and the scaling of values are those of `comparison`. For
self-supervised learning from two views of N images, give both as one batch: embeddings [2N, D] and
labels [0..N-1, 0..N-1].
"""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_choice, check_positive
from jaxcv.devices import first_row, gather
from jaxcv.losses.arguments import check_same_shape, check_shape
from jaxcv.losses.pairs.comparison import compare, valid_rows
from jaxcv.losses.similarity import log_sum_exp, pairwise_cosine, pairwise_dot


def ntxent_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    temperature: float | jax.Array = 0.07,
    mask: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Normalised temperature-scaled cross-entropy (Chen et al. 2020, arXiv:2002.05709, equation 1).

    Every positive pair (i, p) is a softmax between that positive and the negatives of i, cosines
    over the temperature as logits: -log(exp(s_ip) / (exp(s_ip) + sum_n exp(s_in))). With two
    examples a label this is SimCLR's loss; with more, other positives stand outside the softmax
    (as in optax).

    Args:
      embeddings: [B, D] floating, of any length.
      labels: [B] integers.
      temperature: > 0. SimCLR: 0.1 to 0.5.
      mask: [B], False for rows that do not exist.
      axis_name: The device axis over which the batch is spread.

    Returns:
      [B] float32; their mean over valid rows is the mean over positive pairs.

    Raises:
      ValueError: for shapes and dtypes that do not fit, a temperature <= 0, an unbound axis.

    Example:
      >>> views = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
      >>> ntxent_loss(views, jnp.array([0, 1, 0, 1]), temperature=1.0)  # log(1 + 2 / e)
      Array([0.5514447, 0.5514447, 0.5514447, 0.5514447], dtype=float32)
    """
    check_positive("temperature", temperature)
    c = compare(embeddings, labels, mask, axis_name)
    logits = pairwise_cosine(c.anchors, c.others) / temperature
    others = log_sum_exp(logits, c.negative)
    terms = jnp.where(c.positive, jax.nn.softplus(others[:, None] - logits), 0)
    return c.average(jnp.sum(terms, axis=1), jnp.sum(c.positive, axis=1))


def supervised_contrastive_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    temperature: float | jax.Array = 0.1,
    average: Literal["outside", "inside"] = "outside",
    mask: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Supervised contrastive loss (Khosla et al. 2020, arXiv:2004.11362, equations 2 and 3).

    A softmax of an anchor over all other rows, positives included, cosines over the temperature as
    logits; q_p are its probabilities of the positives P:

        "outside": -mean over P of log q_p (the paper's choice)
        "inside":  -log(mean over P of q_p)

    Args:
      embeddings: [B, D] floating, of any length.
      labels: [B] integers.
      temperature: > 0. The paper's 0.1.
      average: Where the mean over positives stands.
      mask: [B], False for rows that do not exist.
      axis_name: The device axis over which the batch is spread.

    Returns:
      [B] float32; the mean over valid rows is that over the anchors with positives.

    Raises:
      ValueError: for shapes, dtypes or settings that do not fit, an unbound axis.
    """
    check_positive("temperature", temperature)
    check_choice("average", average, ("outside", "inside"))
    c = compare(embeddings, labels, mask, axis_name)
    logits = pairwise_cosine(c.anchors, c.others) / temperature
    normalizer = log_sum_exp(logits, c.positive | c.negative)
    count = jnp.sum(c.positive, axis=1)
    some = count > 0
    if average == "outside":
        mean = jnp.sum(jnp.where(c.positive, logits, 0), axis=1) / jnp.maximum(count, 1)
    else:
        mean = log_sum_exp(logits, c.positive) - jnp.log(jnp.maximum(count, 1))
    return c.average(jnp.where(some, normalizer - mean, 0), some)


def n_pairs_loss(
    anchors: jax.Array,
    positives: jax.Array,
    labels: jax.Array | None = None,
    *,
    mask: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Multi-class N-pair loss (Sohn 2016, equation 9): one positive, the other pairs' as negatives.

        log(1 + sum_{j != i} exp(f_i . g_j - f_i . g_i))

    on dot products; the paper adds an L2 penalty on the embeddings instead of normalising them.

    Args:
      anchors: [B, D] floating, f.
      positives: [B, D] floating, g: row i belongs to anchor i.
      labels: [B] integers; pairs with the label of the anchor are no negatives. None: all differ.
      mask: [B], False for pairs that do not exist.
      axis_name: The device axis over which the batch is spread.

    Returns:
      [B] float32, to be averaged over valid rows.

    Raises:
      ValueError: for shapes and dtypes that do not fit, an unbound axis.
    """
    check_shape("anchors", anchors, ("B", "D"))
    check_same_shape("positives", positives, "anchors", anchors)
    rows = jnp.arange(anchors.shape[0]) + first_row(anchors.shape[0], axis_name)
    labels = rows if labels is None else labels
    anchors, valid = valid_rows(anchors, labels, mask)
    positives, _ = valid_rows(positives, labels, mask)
    products = pairwise_dot(anchors, gather(positives, axis_name))
    own = jnp.sum(anchors * positives, axis=-1)
    negative = (labels[:, None] != gather(labels, axis_name)) & gather(valid, axis_name)
    loss = jax.nn.softplus(log_sum_exp(products, negative) - own)
    return jnp.where(valid, loss, 0)
