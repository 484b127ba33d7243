"""Cross-entropies reshaped by the probability of the truth: focal, poly-1, asymmetric."""

import math

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_non_negative, check_range
from jaxcv.losses.elementary import expm1, power
from jaxcv.losses.sigmoid import binary_operands
from jaxcv.losses.surprisal import loss_of_surprisal


def softmax_focal_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    gamma: float | jax.Array = 2.0,
    class_weights: jax.Array | None = None,
    ignore_label: int | None = None,
    where: jax.Array | None = None,
) -> jax.Array:
    """Focal loss over classes that exclude each other (Lin et al. 2017, arXiv:1708.02002, eq. 4).

        loss = sum_c w_c y_c (1 - p_c)^gamma (-log p_c),    p = softmax(z)

    gamma = 0 is the softmax cross-entropy. The gradient is finite for every gamma >= 0, also below
    1, where a plain power gives NaN for an example that is already certain.

    Args:
      logits: [..., C] floating.
      labels: Integers [...] or distributions over the classes [..., C].
      gamma: >= 0, how strongly easy examples are turned down.
      class_weights: [C], the paper's alpha, not normalised.
      ignore_label: Integer labels of this value give loss 0 and gradient 0.
      where: Booleans that broadcast to [..., C]; False takes a class out of the softmax.

    Returns:
      [...] float32.

    Raises:
      ValueError: for shapes or settings that do not fit.

    Example:
      >>> softmax_focal_loss(jnp.zeros((1, 2)), jnp.array([0]), gamma=1.0)  # log(2) / 2
      Array([0.3465736], dtype=float32)
    """
    check_non_negative("gamma", gamma)
    return loss_of_surprisal(
        lambda surprisal: power(-expm1(-surprisal), gamma) * surprisal,
        logits,
        labels,
        class_weights=class_weights,
        ignore_label=ignore_label,
        where=where,
    )


def poly1_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    epsilon: float | jax.Array = 2.0,
    class_weights: jax.Array | None = None,
    ignore_label: int | None = None,
    where: jax.Array | None = None,
) -> jax.Array:
    """Poly-1 loss: cross-entropy with the first term of its Taylor series in 1 - p turned up.

        loss = sum_c w_c y_c (-log p_c + epsilon (1 - p_c))

    Leng et al. 2022, arXiv:2204.12511. epsilon = 0 is the softmax cross-entropy; the paper
    tunes it per task and takes 2 for ImageNet. It may be negative, from -1 on. Other arguments and
    returns as in `softmax_focal_loss`.

    Example:
      >>> poly1_cross_entropy(jnp.zeros((1, 2)), jnp.array([0]), epsilon=1.0)  # log(2) + 1/2
      Array([1.1931472], dtype=float32)
    """
    check_range("epsilon", epsilon, -1.0, open_high=True)
    return loss_of_surprisal(
        lambda surprisal: surprisal - epsilon * expm1(-surprisal),
        logits,
        labels,
        class_weights=class_weights,
        ignore_label=ignore_label,
        where=where,
    )


def sigmoid_focal_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    gamma: float | jax.Array = 2.0,
    alpha: float | jax.Array | None = None,
    ignore_label: int | None = None,
) -> jax.Array:
    """Focal loss of yes-or-no labels, one value per logit (Lin et al. 2017, arXiv:1708.02002).

        loss = -a y (1 - p)^gamma log p - (1 - a) (1 - y) p^gamma log(1 - p),    p = sigmoid(z)

    In detection it is summed over anchors and classes and divided by the number of matched anchors.
    Powers are taken in log space: finite gradients for every gamma >= 0.

    Args:
      logits: [...] floating.
      labels: [...] of the same shape, in [0, 1].
      gamma: >= 0.
      alpha: Weight a of the positives in [0, 1], against 1 - a of the negatives (the paper's 0.25);
        None for 1 and 1.
      ignore_label: Labels of this value give loss 0 and gradient 0.

    Returns:
      [...] float32, of the shape of the logits.

    Raises:
      ValueError: for shapes or settings that do not fit.

    Example:
      >>> sigmoid_focal_loss(jnp.zeros(1), jnp.ones(1))  # log(2) / 4
      Array([0.1732868], dtype=float32)
    """
    check_non_negative("gamma", gamma)
    z, y, ignored = binary_operands(logits, labels, ignore_label)
    positive, negative = y, 1.0 - y
    if alpha is not None:
        check_range("alpha", alpha, 0.0, 1.0)
        positive, negative = alpha * positive, (1.0 - alpha) * negative
    miss, alarm = jax.nn.softplus(-z), jax.nn.softplus(z)  # -log p and -log(1 - p)
    loss = positive * jnp.exp(-gamma * alarm) * miss + negative * jnp.exp(-gamma * miss) * alarm
    return loss if ignored is None else jnp.where(ignored, 0.0, loss)


def asymmetric_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    gamma_positive: float | jax.Array = 1.0,
    gamma_negative: float | jax.Array = 4.0,
    shift: float = 0.05,
    ignore_label: int | None = None,
) -> jax.Array:
    """Asymmetric loss of multi-label images, one value per logit (Ridnik et al. 2020).

    arXiv:2009.14119, with p = sigmoid(z) and the shifted p_m = max(p - shift, 0):

        loss = -y (1 - p)^gamma_positive log p - (1 - y) p_m^gamma_negative log(1 - p_m)

    A negative whose probability is below the shift costs nothing, which also forgives some wrong
    labels. The gradient is that of the formula (the authors' code can hold the powers constant).
    With equal gammas and shift 0 it is `sigmoid_focal_loss`.

    Args:
      logits: [..., C] floating.
      labels: [..., C] in [0, 1].
      gamma_positive: >= 0.
      gamma_negative: >= 0.
      shift: In [0, 1).
      ignore_label: Labels of this value give loss 0 and gradient 0.

    Returns:
      [..., C] float32; sum or average over the last axis for one value per image.

    Raises:
      ValueError: for shapes or settings that do not fit.
    """
    check_non_negative("gamma_positive", gamma_positive)
    check_non_negative("gamma_negative", gamma_negative)
    check_range("shift", shift, 0.0, 1.0, open_high=True)
    z, y, ignored = binary_operands(logits, labels, ignore_label)
    miss, alarm = jax.nn.softplus(-z), jax.nn.softplus(z)  # -log p and -log(1 - p)
    positive = jnp.exp(-gamma_positive * alarm) * miss
    # -log(1 - p_m) = -log(min(1 - p + shift, 1)), in log space.
    shifted = alarm if shift == 0 else -jnp.minimum(jnp.logaddexp(-alarm, math.log(shift)), 0.0)
    negative = power(jnp.maximum(jax.nn.sigmoid(z) - shift, 0.0), gamma_negative) * shifted
    loss = y * positive + (1.0 - y) * negative
    return loss if ignored is None else jnp.where(ignored, 0.0, loss)
