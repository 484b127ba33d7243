"""Losses that are a function f of the surprisal -log p of the true class, whatever the labels.

    loss = sum_c w_c y_c f(-log p_c),    p = softmax(logits)

With class indices only the label's term exists, and its gradient is f' times softmax(z) - y, which
`softmax_core` states. All f here have f(0) = 0, so that an ignored example, whose surprisal is 0,
costs nothing.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxcv.losses.arguments import as_float, check_class_weights, check_labels, is_integer
from jaxcv.losses.softmax import scaled_logits, softmax_cross_entropy


def loss_of_surprisal(
    function: Callable[[jax.Array], jax.Array],
    logits: jax.Array,
    labels: jax.Array,
    *,
    class_weights: jax.Array | None = None,
    ignore_label: int | None = None,
    where: jax.Array | None = None,
) -> jax.Array:
    """The loss sum_c w_c y_c f(-log p_c) of every example.

    Args:
      function: f, elementwise, with f(0) = 0.
      logits: [..., C] floating.
      labels: Integers [...] or distributions over the classes [..., C].
      class_weights: [C], not normalised.
      ignore_label: Integer labels of this value give loss 0 and gradient 0.
      where: Booleans that broadcast to [..., C]; False takes a class out of the softmax.

    Returns:
      [...] in at least float32.
    """
    check_labels(labels, logits, dense=True)
    num_classes = logits.shape[-1]
    if class_weights is not None:
        check_class_weights("class_weights", class_weights, num_classes)
        class_weights = as_float(class_weights)
    if is_integer(labels):
        loss = function(
            softmax_cross_entropy(logits, labels, ignore_label=ignore_label, where=where)
        )
        if class_weights is None:
            return loss
        return loss * class_weights[jnp.clip(labels, 0, num_classes - 1)]
    if ignore_label is not None:
        raise ValueError(
            f"ignore_label is {ignore_label}, but labels are dense; it applies to integer labels "
            "only. Mask the loss of an example that is to be ignored."
        )
    terms = as_float(labels) * function(surprise_of_classes(logits, where))
    return jnp.sum(terms if class_weights is None else terms * class_weights, axis=-1)


def surprise_of_classes(
    logits: jax.Array, where: jax.Array | None = None, *, masked: float = 0.0
) -> jax.Array:
    """-log softmax(logits) [..., C] in at least float32; `masked` for classes that are masked."""
    z = scaled_logits(logits, where=where)
    valid = jnp.logical_not(jnp.isneginf(z))
    peak = jax.lax.stop_gradient(jnp.max(z, axis=-1, keepdims=True))
    peak = jnp.where(jnp.isneginf(peak), 0.0, peak)
    distance = peak - jnp.where(valid, z, 0.0)
    total = jnp.sum(jnp.where(valid, jnp.exp(-distance), 0.0), axis=-1, keepdims=True)
    return jnp.where(valid, jnp.log(jnp.where(total == 0, 1.0, total)) + distance, masked)
