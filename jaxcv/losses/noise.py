"""Losses that stand wrong labels: bounded in the label's probability, or fitted to the predictions.

With p = softmax(logits) and the label y. Cross-entropy has no upper bound, so that a wrong label
pulls the harder the surer the model is; these losses cap it, replace it or mix in another.
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_choice, check_non_negative, check_range
from jaxcv.losses.arguments import as_float, check_labels
from jaxcv.losses.elementary import expm1, power
from jaxcv.losses.softmax import softmax_cross_entropy
from jaxcv.losses.surprisal import (
    at_most_endless,
    endless_where_masked,
    loss_of_surprisal,
    surprise_of_classes,
)

Active = Literal["normalized_cross_entropy", "normalized_focal"]
Passive = Literal["mean_absolute_error", "reverse_cross_entropy"]
Bootstrap = Literal["soft", "hard"]

LOG_ZERO = math.log(1e-4)
"""What stands for log 0 in a reverse cross-entropy, -9.21: published code clips labels at 1e-4."""


def generalized_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    q: float | jax.Array = 0.7,
    ignore_label: int | None = None,
) -> jax.Array:
    """Generalised cross-entropy (Zhang and Sabuncu 2018, arXiv:1805.07836).

        loss = (1 - p_y^q) / q

    q -> 0 is the cross-entropy, q = 1 the absolute error 1 - p_y. Computed as -expm1(q log p) / q:
    the gradient fades as p_y -> 0, where a plain power gives NaN and clipping cuts it off.

    Args:
      logits: [..., C] floating.
      labels: Integers [...] or distributions [..., C], over which the loss is averaged.
      q: In [0, 1]; 0 is the cross-entropy itself.
      ignore_label: Integer labels of this value give loss 0 and gradient 0.

    Returns:
      [...] float32, at most 1 / q.

    Raises:
      ValueError: for shapes or settings that do not fit.

    Example:
      >>> generalized_cross_entropy(jnp.zeros((1, 4)), jnp.array([0]), q=0.5)  # (1 - 1/2) / (1/2)
      Array([1.], dtype=float32)
    """
    check_range("q", q, 0.0, 1.0)

    def of_surprisal(surprisal: jax.Array) -> jax.Array:
        curved = jnp.asarray(q) > 0
        safe_q = jnp.where(curved, q, 1.0)
        return jnp.where(curved, -expm1(-safe_q * surprisal) / safe_q, surprisal)

    return loss_of_surprisal(of_surprisal, logits, labels, ignore_label=ignore_label)


def softmax_absolute_error(
    logits: jax.Array, labels: jax.Array, *, ignore_label: int | None = None
) -> jax.Array:
    """Absolute error of the label's probability, 1 - p_y (Ghosh et al. 2017, arXiv:1712.09482).

    Half of the L1 distance between p and the one-hot label. Robust to symmetric label noise, and
    slow to train alone: its gradient vanishes for p_y near 0. Arguments and returns as in
    `generalized_cross_entropy`.
    """
    return loss_of_surprisal(
        lambda surprisal: -expm1(-surprisal), logits, labels, ignore_label=ignore_label
    )


def symmetric_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    alpha: float | jax.Array = 0.1,
    beta: float | jax.Array = 1.0,
    log_zero: float | jax.Array = LOG_ZERO,
    ignore_label: int | None = None,
) -> jax.Array:
    """Symmetric cross-entropy (Wang et al. 2019, arXiv:1908.06112).

        loss = alpha (-log p_y) + beta sum_k p_k (-log y_k),    log 0 := log_zero

    For a class index the second term, the reverse cross-entropy, is -log_zero (1 - p_y).

    Args:
      logits: [..., C] floating.
      labels: Integers [...].
      alpha: >= 0, weight of the cross-entropy; the paper's 0.1 for CIFAR-10, 6 for CIFAR-100.
      beta: >= 0, weight of the reverse cross-entropy.
      log_zero: < 0. The paper's text has -4, its code the default.
      ignore_label: Labels of this value give loss 0 and gradient 0.

    Returns:
      [...] float32.

    Raises:
      ValueError: for shapes or settings that do not fit.
    """
    check_labels(labels, logits)
    check_non_negative("alpha", alpha)
    check_non_negative("beta", beta)
    check_range("log_zero", log_zero, high=0.0, open_low=True, open_high=True)
    return loss_of_surprisal(
        lambda surprisal: alpha * surprisal + beta * log_zero * expm1(-surprisal),
        logits,
        labels,
        ignore_label=ignore_label,
    )


def normalized_cross_entropy(
    logits: jax.Array, labels: jax.Array, *, ignore_label: int | None = None
) -> jax.Array:
    """Normalised cross-entropy (Ma et al. 2020, arXiv:2006.13554), in [0, 1].

        loss = log p_y / sum_k log p_k

    Args:
      logits: [..., C] floating, at least two classes.
      labels: Integers [...].
      ignore_label: Labels of this value give loss 0 and gradient 0.

    Returns:
      [...] float32.

    Raises:
      ValueError: for shapes that do not fit.
    """
    return normalized_focal_loss(logits, labels, gamma=0.0, ignore_label=ignore_label)


def normalized_focal_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    gamma: float | jax.Array = 0.5,
    ignore_label: int | None = None,
) -> jax.Array:
    """Normalised focal loss (Ma et al. 2020, arXiv:2006.13554), in [0, 1].

        loss = f(p_y) / sum_k f(p_k),    f(p) = -(1 - p)^gamma log p

    Arguments and returns as in `normalized_cross_entropy`; gamma >= 0.
    """
    check_labels(labels, logits)
    check_non_negative("gamma", gamma)

    def focal(surprisal: jax.Array) -> jax.Array:
        return power(-expm1(-surprisal), gamma) * surprisal

    own = focal(at_most_endless(softmax_cross_entropy(logits, labels, ignore_label=ignore_label)))
    z, labels = as_float(logits), jnp.asarray(labels)
    if ignore_label is not None:
        z = jnp.where((labels == ignore_label)[..., None], 0.0, z)
    # A class that is masked is none of the sum, unless it is the label's: then the ratio is 1.
    counted = jnp.logical_not(jnp.isneginf(z)) | (jnp.arange(z.shape[-1]) == labels[..., None])
    total = jnp.sum(jnp.where(counted, focal(endless_where_masked(z)), 0.0), axis=-1)
    return own / jnp.where(total > 0, total, 1.0)


def active_passive_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    active: Active = "normalized_cross_entropy",
    passive: Passive = "reverse_cross_entropy",
    alpha: float | jax.Array = 1.0,
    beta: float | jax.Array = 1.0,
    gamma: float | jax.Array = 0.5,
    log_zero: float | jax.Array = LOG_ZERO,
    ignore_label: int | None = None,
) -> jax.Array:
    """A pair of robust losses, alpha active + beta passive (Ma et al. 2020, arXiv:2006.13554).

    The active one raises p_y, the passive one lowers the other probabilities. Both passive losses
    are multiples of 1 - p_y: the absolute error is that, the reverse cross-entropy -log_zero times.

    Args:
      logits: [..., C] floating, at least two classes.
      labels: Integers [...].
      active: "normalized_cross_entropy" or "normalized_focal".
      passive: "mean_absolute_error" or "reverse_cross_entropy".
      alpha: >= 0, weight of the active loss.
      beta: >= 0, weight of the passive loss.
      gamma: >= 0, exponent of "normalized_focal".
      log_zero: < 0, what stands for log 0 in the reverse cross-entropy.
      ignore_label: Labels of this value give loss 0 and gradient 0.

    Returns:
      [...] float32.

    Raises:
      ValueError: for shapes or settings that do not fit.
    """
    check_choice("active", active, ("normalized_cross_entropy", "normalized_focal"))
    check_choice("passive", passive, ("mean_absolute_error", "reverse_cross_entropy"))
    check_non_negative("alpha", alpha)
    check_non_negative("beta", beta)
    check_range("log_zero", log_zero, high=0.0, open_low=True, open_high=True)
    gamma = gamma if active == "normalized_focal" else 0.0
    raising = normalized_focal_loss(logits, labels, gamma=gamma, ignore_label=ignore_label)
    lowering = softmax_absolute_error(logits, labels, ignore_label=ignore_label)
    factor = 1.0 if passive == "mean_absolute_error" else -log_zero
    return alpha * raising + beta * factor * lowering


def bootstrapped_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    beta: float | jax.Array = 0.95,
    target: Bootstrap = "soft",
    ignore_label: int | None = None,
) -> jax.Array:
    """Bootstrapping (Reed et al. 2014, arXiv:1412.6596): labels mixed with predictions.

        soft: loss = -sum_k (beta y_k + (1 - beta) p_k) log p_k
        hard: the same with the one-hot most probable class in place of p_k in the bracket

    The soft loss is beta times the cross-entropy plus (1 - beta) times the entropy of the
    prediction, and is differentiated as such. The paper takes beta = 0.95 for soft, 0.8 for hard.

    Args:
      logits: [..., C] floating.
      labels: Integers [...].
      beta: In [0, 1]; 1 is the cross-entropy.
      target: "soft" or "hard".
      ignore_label: Labels of this value give loss 0 and gradient 0.

    Returns:
      [...] float32.

    Raises:
      ValueError: for shapes or settings that do not fit.
    """
    check_labels(labels, logits)
    check_range("beta", beta, 0.0, 1.0)
    check_choice("target", target, ("soft", "hard"))
    truth = softmax_cross_entropy(logits, labels, ignore_label=ignore_label)
    ignored = None if ignore_label is None else jnp.asarray(labels) == ignore_label
    z = as_float(logits)
    z = z if ignored is None else jnp.where(ignored[..., None], 0.0, z)
    if target == "soft":
        surprisal = surprise_of_classes(z)
        itself = jnp.sum(jnp.where(jnp.isneginf(z), 0.0, jnp.exp(-surprisal)) * surprisal, axis=-1)
    else:
        itself = softmax_cross_entropy(z, jnp.argmax(z, axis=-1).astype(jnp.int32))
    loss = beta * truth + (1.0 - beta) * itself
    return loss if ignored is None else jnp.where(ignored, 0.0, loss)
