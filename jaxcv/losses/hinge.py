"""Hinge losses: no cost once the truth leads by a margin."""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_choice, check_non_negative
from jaxcv.losses.arguments import as_float, check_labels, nan_for_unknown_labels
from jaxcv.losses.sigmoid import binary_operands

Rivals = Literal["worst", "all"]
"""Which classes are compared with the label's: see `multiclass_hinge_loss`."""


def hinge_loss(
    logits: jax.Array, labels: jax.Array, *, margin: float = 1.0, squared: bool = False
) -> jax.Array:
    """Hinge loss of yes-or-no labels, max(margin - t z, 0) with t = 2 y - 1, one value per logit.

    Args:
      logits: [...] floating scores, positive for yes.
      labels: [...] 0 or 1 (not -1 and 1).
      margin: >= 0.
      squared: Whether to square, for a continuous gradient.

    Returns:
      [...] float32.

    Raises:
      ValueError: for shapes or settings that do not fit.

    Example:
      >>> hinge_loss(jnp.array([0.25, 0.25]), jnp.array([1, 0]))
      Array([0.75, 1.25], dtype=float32)
    """
    check_non_negative("margin", margin)
    z, y, _ = binary_operands(logits, labels, None)
    return _hinge(margin - (2.0 * y - 1.0) * z, squared)


def multiclass_hinge_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    margin: float = 1.0,
    rivals: Rivals = "worst",
    squared: bool = False,
) -> jax.Array:
    """Hinge loss over classes: the label's score must exceed the rivals' by the margin.

    * `rivals="worst"` (Crammer and Singer 2001; optax): the largest of max(margin + z_c - z_y, 0)
      over c != y.
    * `rivals="all"` (Weston and Watkins 1999): the sum over c != y of the same. PyTorch's
      `multi_margin_loss` is this divided by the number of classes.

    Args:
      logits: [..., C] floating scores, finite.
      labels: Integers [...].
      margin: >= 0.
      rivals: See above.
      squared: Whether to square each violation.

    Returns:
      [...] float32.

    Raises:
      ValueError: for shapes or settings that do not fit.

    Example:
      >>> multiclass_hinge_loss(jnp.array([[2.0, 1.5, 1.25]]), jnp.array([0]), rivals="all")
      Array([0.75], dtype=float32)
    """
    check_labels(labels, logits)
    check_non_negative("margin", margin)
    check_choice("rivals", rivals, ("worst", "all"))
    z = as_float(logits)
    is_label = jax.lax.broadcasted_iota(jnp.int32, z.shape, z.ndim - 1) == labels[..., None]
    score = jnp.sum(jnp.where(is_label, z, 0.0), axis=-1, keepdims=True)
    # The label itself is no rival: its violation is set to 0, which neither sum nor maximum feels.
    violations = jnp.where(is_label, 0.0, _hinge(margin + z - score, squared))
    loss = jnp.sum(violations, axis=-1) if rivals == "all" else jnp.max(violations, axis=-1)
    return nan_for_unknown_labels(loss, labels, z.shape[-1])


def _hinge(violation: jax.Array, squared: bool) -> jax.Array:
    positive = jnp.where(violation > 0, violation, 0.0)
    return jnp.square(positive) if squared else positive
