"""Equalised focal loss, and the state that tells it which classes are outweighed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_non_negative, check_positive
from jaxcv.losses.arguments import as_float, check_class_weights
from jaxcv.losses.focal import sigmoid_focal_loss
from jaxcv.losses.sigmoid import binary_operands


class GradientBalance(NamedTuple):
    """Accumulated sizes of the gradients that each class got: state of `equalized_focal_loss`."""

    positive: jax.Array  # [C], from examples of the class
    negative: jax.Array  # [C], from all others

    def ratio(self) -> jax.Array:
        """The ratio positive / negative, at most 1: [C]; 1 before anything was seen."""
        seen = self.negative > 0
        ratio = self.positive / jnp.where(seen, self.negative, 1.0)
        return jnp.where(seen, jnp.minimum(ratio, 1.0), 1.0)


def initial_gradient_balance(num_classes: int) -> GradientBalance:
    """The state before training."""
    return GradientBalance(jnp.zeros(num_classes), jnp.zeros(num_classes))


def update_gradient_balance(
    state: GradientBalance, logits: jax.Array, labels: jax.Array
) -> GradientBalance:
    """Adds the sizes |sigmoid(z) - y| of a batch's gradients, [..., C], to the state.

    Over several devices, sum what is added: the difference to the old state.
    """
    z, y, _ = binary_operands(logits, labels, None)
    check_class_weights("state.positive", state.positive, z.shape[-1])
    size = jax.lax.stop_gradient(jnp.abs(jax.nn.sigmoid(z) - y))
    axes = tuple(range(z.ndim - 1))
    return GradientBalance(
        positive=state.positive + jnp.sum(size * y, axis=axes),
        negative=state.negative + jnp.sum(size * (1.0 - y), axis=axes),
    )


def equalized_focal_loss(
    logits: jax.Array,
    labels: jax.Array,
    balance: jax.Array,
    *,
    gamma: float | jax.Array = 2.0,
    scale: float | jax.Array = 8.0,
    alpha: float | jax.Array | None = 0.25,
) -> jax.Array:
    """Equalised focal loss (Li et al. 2022, arXiv:2201.02593), one value per logit.

    `sigmoid_focal_loss` with an exponent per class, gamma_c = gamma + scale (1 - balance_c), times
    gamma_c / gamma: classes whose negatives outweigh their positives are focused more, and keep
    their fraction of the loss. With balance 1 it is the focal loss.

    Args:
      logits: [..., C] floating.
      labels: [..., C] in [0, 1].
      balance: [C] in [0, 1], `GradientBalance.ratio()`; no gradient flows through it.
      gamma: > 0, the exponent of a balanced class.
      scale: >= 0.
      alpha: Weight of the positives in [0, 1], against 1 - alpha; None for 1 and 1.

    Returns:
      [..., C] float32.

    Raises:
      ValueError: for shapes or settings that do not fit.
    """
    z, y, _ = binary_operands(logits, labels, None)
    check_class_weights("balance", balance, z.shape[-1])
    check_positive("gamma", gamma)
    check_non_negative("scale", scale)
    balance = jax.lax.stop_gradient(as_float(balance))
    exponent = gamma + scale * (1.0 - balance)
    return sigmoid_focal_loss(z, y, gamma=exponent, alpha=alpha) * exponent / gamma
