"""Softmax cross-entropy for every kind of label: indices or distributions, smoothed, weighted.

Two smoothings of a label y over K classes go by one name; both are here, under names of their own:

* "all_classes" (Szegedy et al. 2016, arXiv:1512.00567, section 7; also PyTorch, Keras and optax):
  q = (1 - a) y + a / K. The true class keeps 1 - a + a / K.
* "other_classes" (big_vision): q = (1 - a) y + a (1 - y) / (K - 1). The true class keeps 1 - a.

Class weights multiply each *term* of the loss sum_c w_c q_c (-log p_c): without smoothing, an
example's loss is multiplied by the weight of its class; with smoothing, the mass that went to class
c carries the weight of class c. PyTorch's `cross_entropy(reduction="none")` is the same. The weights
are not normalised; for PyTorch's weighted mean, divide by the sum of `class_weights[labels]`.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_choice, check_non_negative, check_positive, check_range
from jaxcv.losses.arguments import (
    as_float,
    check_class_weights,
    check_labels,
    check_same_shape,
    is_integer,
)
from jaxcv.losses.softmax_core import Target, cross_entropy_of_target

Smoothing = Literal["all_classes", "other_classes"]
"""Over which classes the smoothed mass is spread: see the module's docstring."""


def softmax_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    label_smoothing: float | jax.Array = 0.0,
    smoothing: Smoothing = "all_classes",
    class_weights: jax.Array | None = None,
    ignore_label: int | None = None,
    temperature: float | jax.Array = 1.0,
    z_loss: float | jax.Array = 0.0,
    where: jax.Array | None = None,
) -> jax.Array:
    """Cross-entropy between labels and the softmax of logits, one value per example.

    With p = softmax(z), z = logits / temperature, and the smoothed target q:

        loss = sum_c w_c q_c (-log p_c) + z_loss * logsumexp(z)^2

    Labels must lie in [0, C) or equal `ignore_label`; any other gives NaN, in value and gradient,
    rather than the loss of a class that nobody named.

    Args:
      logits: [..., C] floating. Half precision is computed in float32; the gradient comes back in
        the dtype of the logits. Entries of -inf are treated as masked.
      labels: Integers [...] (class indices) or floats [..., C] (distributions over the classes).
      label_smoothing: The mass a in [0, 1] moved away from the label.
      smoothing: To which classes the mass goes, see the module. Masked classes get none.
      class_weights: [C], one weight w per class, on each term of the sum: see the module.
      ignore_label: Integer labels of this value give loss 0 and gradient 0, whatever the logits.
      temperature: Divides the logits; > 0; may be a traced scalar and is differentiable.
      z_loss: Weight >= 0 of the squared log-normaliser (Chowdhery et al. 2022, arXiv:2204.02311,
        section 5), which keeps logits near zero. Class weights do not apply to it.
      where: Booleans that broadcast to [..., C]; False takes a class out of the softmax, as a logit
        of -inf does. A label on such a class has infinite loss. An example with every class masked
        has loss 0 and gradient 0.

    Returns:
      [...] float32 (float64 for float64 logits), no reduction; see `masked_mean`.

    Raises:
      ValueError: for shapes, dtypes or settings that do not fit.

    Example:
      >>> softmax_cross_entropy(jnp.zeros((2, 4)), jnp.array([3, -1]), ignore_label=-1)
      Array([1.3862944, 0.       ], dtype=float32)
    """
    check_labels(labels, logits, dense=True)
    check_range("label_smoothing", label_smoothing, 0.0, 1.0)
    check_choice("smoothing", smoothing, ("all_classes", "other_classes"))
    check_positive("temperature", temperature)
    check_non_negative("z_loss", z_loss)
    if class_weights is not None:
        check_class_weights("class_weights", class_weights, logits.shape[-1])
        class_weights = as_float(class_weights)
    if ignore_label is not None and not is_integer(labels):
        raise ValueError(
            f"ignore_label is {ignore_label}, but labels are dense ({jnp.result_type(labels)}); it "
            "applies to integer labels only. Mask the loss of an example that is to be ignored."
        )
    z = scaled_logits(logits, temperature, where)
    keep, share = _smoothed(z, label_smoothing, smoothing)
    target = _target(z, jnp.asarray(labels), keep, share, class_weights, ignore_label)
    loss, log_normalizer = cross_entropy_of_target(z, target)
    if not _is_static(z_loss, 0.0):
        loss = loss + z_loss * jnp.square(log_normalizer)
    return loss


def scaled_logits(
    logits: jax.Array, temperature: float | jax.Array = 1.0, where: jax.Array | None = None
) -> jax.Array:
    """Logits [..., C] in at least float32, divided by the temperature, -inf where masked."""
    z = as_float(logits)
    if not _is_static(temperature, 1.0):
        z = z / temperature
    if where is None:
        return z
    if jnp.result_type(where) != jnp.bool_:
        raise ValueError(f"where has dtype {jnp.result_type(where)}, but bool is wanted.")
    try:
        where = jnp.broadcast_to(where, z.shape)
    except ValueError:
        check_same_shape("where", where, "logits", logits)
    return jnp.where(where, z, -jnp.inf)


def _target(
    logits: jax.Array,
    labels: jax.Array,
    keep: Any,
    share: jax.Array | None,
    weights: jax.Array | None,
    ignore_label: int | None,
) -> Target:
    """The target w_c (keep * y_c + share) of either kind of labels."""
    share_weights = None if share is None else weights
    if not is_integer(labels):
        dense = as_float(labels).astype(logits.dtype)
        dense = dense if share is None else jnp.expand_dims(keep, -1) * dense
        dense = dense if weights is None else dense * weights
        return Target(dense=dense, share=share, share_weights=share_weights)
    labels = labels.astype(jnp.int32)
    known = (labels >= 0) & (labels < logits.shape[-1])
    ignored = None
    if ignore_label is not None:
        ignored = labels == ignore_label
        known = known | ignored
    weight = 1.0 if weights is None else weights[jnp.clip(labels, 0, logits.shape[-1] - 1)]
    spike = jnp.where(known, keep * weight, jnp.nan).astype(logits.dtype)
    return Target(None, labels, spike, share, share_weights, ignored)


def _smoothed(
    logits: jax.Array, label_smoothing: float | jax.Array, smoothing: Smoothing
) -> tuple[Any, jax.Array | None]:
    """(keep, share), [...] each: the smoothed target is keep * y_c + share; (1, None) for y_c."""
    if _is_static(label_smoothing, 0.0):
        return 1.0, None
    # How many classes there are depends on the example, if some are masked.
    valid = jnp.logical_not(jnp.isneginf(logits))
    count = jnp.sum(jnp.where(valid, 1.0, 0.0), axis=-1, dtype=logits.dtype)
    if smoothing == "all_classes":
        share = label_smoothing / jnp.maximum(count, 1)
        return jnp.full_like(share, 1.0 - label_smoothing), share
    # A class that has no others keeps everything.
    share = jnp.where(count > 1, label_smoothing / jnp.maximum(count - 1, 1), 0.0)
    return jnp.where(count > 1, 1.0 - label_smoothing - share, 1.0), share


def _is_static(value: Any, wanted: float) -> bool:
    """Whether `value` is known at trace time and equal to `wanted`."""
    return not isinstance(value, jax.core.Tracer) and jnp.ndim(value) == 0 and value == wanted
