"""Sigmoid cross-entropy: every logit is a yes-or-no question of its own."""

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_non_negative, check_range
from jaxcv.losses.arguments import as_float, check_same_shape


def sigmoid_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    positive_weight: float | jax.Array | None = None,
    label_smoothing: float | jax.Array = 0.0,
    ignore_label: int | None = None,
) -> jax.Array:
    """Cross-entropy of independent yes-or-no labels, one value per logit.

        loss = -w y log(sigmoid(z)) - (1 - y) log(1 - sigmoid(z))

    The gradient in z is (w y + 1 - y) sigmoid(z) - w y; for w = 1, sigmoid(z) - y. For one value
    per image of a multi-label problem, take the sum or the mean over the last axis.

    Args:
      logits: [...] floating, for example [B, C] for C attributes of an image.
      labels: [...] of the same shape, in [0, 1]: integers, booleans or floats.
      positive_weight: w >= 0, a scalar or [C] (anything that broadcasts to the logits): above 1 it
        favours recall. The number of negatives over that of positives balances a rare attribute.
      label_smoothing: a in [0, 1]: y becomes (1 - a) y + a / 2.
      ignore_label: Labels of this value give loss 0 and gradient 0.

    Returns:
      [...] float32, of the shape of the logits.

    Raises:
      ValueError: for shapes or settings that do not fit.

    Example:
      >>> sigmoid_cross_entropy(jnp.zeros(2), jnp.array([1, 0]), positive_weight=3.0)
      Array([2.0794415, 0.6931472], dtype=float32)
    """
    z, y, ignored = binary_operands(logits, labels, ignore_label)
    check_range("label_smoothing", label_smoothing, 0.0, 1.0)
    positive = (1.0 - label_smoothing) * y + 0.5 * label_smoothing
    negative = 1.0 - positive
    if positive_weight is not None:
        check_non_negative("positive_weight", positive_weight)
        positive = positive * broadcast_to_logits("positive_weight", positive_weight, z)
    loss = two_sided_cross_entropy(z, positive, negative)
    return loss if ignored is None else jnp.where(ignored, 0.0, loss)


@jax.custom_jvp
def two_sided_cross_entropy(
    logits: jax.Array, positive: jax.Array, negative: jax.Array
) -> jax.Array:
    """The core: -positive log(sigmoid(z)) - negative log(1 - sigmoid(z)), any weights >= 0.

    Its derivative in z is stated: negative sigmoid(z) - positive sigmoid(-z).
    """
    # softplus(+-z) = max(+-z, 0) + log1p(exp(-|z|)): nothing overflows and nothing cancels.
    tail = jnp.log1p(jnp.exp(-jnp.abs(logits)))
    return positive * (jnp.maximum(-logits, 0.0) + tail) + negative * (
        jnp.maximum(logits, 0.0) + tail
    )


two_sided_cross_entropy.defjvps(
    lambda d, _, z, positive, negative: (
        d * (negative * jax.nn.sigmoid(z) - positive * jax.nn.sigmoid(-z))
    ),
    lambda d, _, z, positive, negative: d * jax.nn.softplus(-z),
    lambda d, _, z, positive, negative: d * jax.nn.softplus(z),
)


def binary_operands(
    logits: jax.Array, labels: jax.Array, ignore_label: int | None
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Checked operands of a binary loss: logits and labels in float32, and where to ignore.

    Ignored entries get logit 0 and label 0, so that what is computed there is finite.
    """
    check_same_shape("labels", labels, "logits", logits)
    z = as_float(logits)
    if not jnp.issubdtype(jnp.result_type(logits), jnp.floating):
        raise ValueError(
            f"logits have dtype {jnp.result_type(logits)}, but a floating dtype is wanted."
        )
    ignored = None if ignore_label is None else jnp.asarray(labels) == ignore_label
    y = jnp.asarray(labels).astype(z.dtype)
    if ignored is not None:
        z, y = jnp.where(ignored, 0.0, z), jnp.where(ignored, 0.0, y)
    return z, y, ignored


def broadcast_to_logits(name: str, value: float | jax.Array, logits: jax.Array) -> jax.Array:
    """`value` in the dtype of the logits, checked to broadcast to their shape."""
    array = jnp.asarray(value, dtype=logits.dtype)
    try:
        wide = jnp.broadcast_shapes(array.shape, logits.shape)
    except ValueError:
        wide = ()
    if wide != logits.shape:
        raise ValueError(
            f"{name} has shape {list(array.shape)}, but one that broadcasts to that of the logits, "
            f"{list(logits.shape)}, is wanted."
        )
    return array
