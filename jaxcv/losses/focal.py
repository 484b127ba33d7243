"""Cross-entropies reshaped by the probability of the truth: focal, poly-1, asymmetric.

The softmax losses are functions f(s) of the label's surprise s = -log p_y, whose gradient in the
logits, softmax(z) - y, is stated in `softmax_core`; theirs is f'(s) times it. All have f(0) = 0, so that
an ignored example, whose surprise is 0, costs nothing here either.
"""

import math

import jax
import jax.numpy as jnp

from jaxcv.losses.arguments import (
    as_float,
    check_class_weights,
    check_labels,
    check_non_negative,
    check_range,
    is_integer,
)
from jaxcv.losses.elementary import power
from jaxcv.losses.sigmoid import binary_operands
from jaxcv.losses.softmax import scaled_logits, softmax_cross_entropy


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

    gamma = 0 is the softmax cross-entropy. The gradient is finite for every gamma >= 0, also below 1,
    where a plain power gives NaN for an example that is already certain.

    Args:
      logits: [..., C] floating.
      labels: Integers [...] or distributions [..., C].
      gamma: >= 0, how strongly easy examples are turned down.
      class_weights: [C], the paper's alpha, not normalised.
      ignore_label: Integer labels of this value give loss 0 and gradient 0.
      where: Booleans that broadcast to [..., C]; False takes a class out.

    Returns:
      [...] float32.

    Raises:
      ValueError: for shapes or settings that do not fit.

    Example:
      >>> softmax_focal_loss(jnp.zeros((1, 2)), jnp.array([0]), gamma=1.0)  # log(2) / 2
      Array([0.34657359], dtype=float32)
    """
    check_non_negative("gamma", gamma)
    check_labels(labels, logits, dense=True)
    if is_integer(labels):
        surprise = softmax_cross_entropy(logits, labels, ignore_label=ignore_label, where=where)
        loss = power(-jnp.expm1(-surprise), gamma) * surprise
        return loss if class_weights is None else loss * weight_of_label(class_weights, logits, labels)
    check_no_ignore_label(ignore_label)
    surprise = surprise_of_classes(logits, where)
    terms = labels * power(-jnp.expm1(-surprise), gamma) * surprise
    if class_weights is not None:
        check_class_weights(class_weights, logits.shape[-1])
        terms = terms * class_weights
    return jnp.sum(terms, axis=-1)


def poly1_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    epsilon: float | jax.Array = 2.0,
    class_weights: jax.Array | None = None,
    ignore_label: int | None = None,
    where: jax.Array | None = None,
) -> jax.Array:
    """Poly-1 loss (Leng et al. 2022, arXiv:2204.12511, eq. 7): the first Taylor term of CE, turned up.

        loss = sum_c w_c y_c (-log p_c + epsilon (1 - p_c))

    epsilon = 0 is the softmax cross-entropy; the paper tunes it per task, from -1 to 8, and takes 2
    for ImageNet. Arguments and returns as in `softmax_focal_loss`.

    Example:
      >>> poly1_cross_entropy(jnp.zeros((1, 2)), jnp.array([0]), epsilon=1.0)  # log(2) + 1/2
      Array([1.1931472], dtype=float32)
    """
    check_range("epsilon", epsilon, -1.0, open_high=True)
    check_labels(labels, logits, dense=True)
    if is_integer(labels):
        surprise = softmax_cross_entropy(logits, labels, ignore_label=ignore_label, where=where)
        loss = surprise - epsilon * jnp.expm1(-surprise)
        return loss if class_weights is None else loss * weight_of_label(class_weights, logits, labels)
    check_no_ignore_label(ignore_label)
    surprise = surprise_of_classes(logits, where)
    terms = labels * (surprise - epsilon * jnp.expm1(-surprise))
    if class_weights is not None:
        check_class_weights(class_weights, logits.shape[-1])
        terms = terms * class_weights
    return jnp.sum(terms, axis=-1)


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

    arXiv:2009.14119, eq. 7, with p = sigmoid(z) and the shifted p_m = max(p - shift, 0):

        loss = -y (1 - p)^gamma_positive log p - (1 - y) p_m^gamma_negative log(1 - p_m)

    A negative whose probability is below the shift costs nothing, which also forgives some wrong
    labels. The gradient is that of the formula (the authors' code can hold the powers constant). With
    equal gammas and shift 0 it is `sigmoid_focal_loss`.

    Args:
      logits: [..., C] floating.
      labels: [..., C] in [0, 1].
      gamma_positive: >= 0.
      gamma_negative: >= 0.
      shift: In [0, 1).
      ignore_label: Labels of this value give loss 0 and gradient 0.

    Returns:
      [..., C] float32; sum or average over the last axis for one value per image.
    """
    check_non_negative("gamma_positive", gamma_positive)
    check_non_negative("gamma_negative", gamma_negative)
    check_range("shift", shift, 0.0, 1.0, open_high=True)
    z, y, ignored = binary_operands(logits, labels, ignore_label)
    miss, alarm = jax.nn.softplus(-z), jax.nn.softplus(z)
    positive = jnp.exp(-gamma_positive * alarm) * miss
    # -log(1 - p_m) = -log(min(1 - p + shift, 1)), in log space.
    shifted = alarm if shift == 0 else -jnp.minimum(jnp.logaddexp(-alarm, math.log(shift)), 0.0)
    negative = power(jnp.maximum(jax.nn.sigmoid(z) - shift, 0.0), gamma_negative) * shifted
    loss = y * positive + (1.0 - y) * negative
    return loss if ignored is None else jnp.where(ignored, 0.0, loss)


def surprise_of_classes(logits: jax.Array, where: jax.Array | None = None) -> jax.Array:
    """-log softmax(logits) [..., C] in at least float32; 0 for classes that are masked."""
    z = scaled_logits(logits, where=where)
    valid = jnp.logical_not(jnp.isneginf(z))
    peak = jax.lax.stop_gradient(jnp.max(z, axis=-1, keepdims=True))
    distance = jnp.where(valid, jnp.where(jnp.isneginf(peak), 0.0, peak) - z, jnp.inf)
    total = jnp.sum(jnp.exp(-distance), axis=-1, keepdims=True)
    surprise = jnp.log(jnp.where(total == 0, 1.0, total)) + jnp.where(valid, distance, 0.0)
    return jnp.where(valid, surprise, 0.0)


def weight_of_label(class_weights: jax.Array, logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The weight [...] of every example's class; labels outside the classes take the nearest's."""
    check_class_weights(class_weights, logits.shape[-1])
    return as_float(class_weights)[jnp.clip(labels, 0, logits.shape[-1] - 1)]


def check_no_ignore_label(ignore_label: int | None) -> None:
    """Raises ValueError if an ignore label is given with dense labels."""
    if ignore_label is not None:
        raise ValueError(
            f"ignore_label is {ignore_label}, but labels are dense; it applies to integer labels only."
        )
