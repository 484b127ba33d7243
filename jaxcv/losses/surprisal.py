"""Losses that are a function f of the surprisal -log p of the true class, whatever the labels.

    loss = sum_c w_c y_c f(-log p_c),    p = softmax(logits)

With class indices only the label's term exists, and its gradient is f' times softmax(z) - y, which
`softmax_core` states. All f here have f(0) = 0, so that an ignored example, whose surprisal is 0,
costs nothing.

A class that is masked has p = 0. A label there, as an index or as mass of a distribution, costs what
f tends to, which may be infinite; its gradient is the limit of f' times softmax(z) - y and finite.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxcv.losses.arguments import as_float, check_class_weights, check_labels, is_integer
from jaxcv.losses.softmax import scaled_logits, softmax_cross_entropy

# Stands for an infinite surprisal where derivatives are taken: its exponential is 0 in float64 too.
_ENDLESS = 1e30
# A loss of an endless surprisal beyond this has no bound.
_UNBOUNDED = 1e15


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
        surprisal = softmax_cross_entropy(logits, labels, ignore_label=ignore_label, where=where)
        loss = function(at_most_endless(surprisal))
        if class_weights is not None:
            loss = loss * class_weights[jnp.clip(labels, 0, num_classes - 1)]
        return _infinite_where_endless(loss, surprisal)
    if ignore_label is not None:
        raise ValueError(
            f"ignore_label is {ignore_label}, but labels are dense; it applies to integer labels "
            "only. Mask the loss of an example that is to be ignored."
        )
    surprisal = endless_where_masked(logits, where)
    labels = as_float(labels)
    terms = labels * function(surprisal)
    if class_weights is not None:
        terms = terms * class_weights
    # Nothing of a class that is masked without mass on it, nor where every class is masked.
    masked = surprisal >= _ENDLESS
    terms = jnp.where(
        masked & ((labels == 0) | jnp.all(masked, axis=-1, keepdims=True)),
        0.0,
        _infinite_where_endless(terms, surprisal),
    )
    return jnp.sum(terms, axis=-1)


def surprise_of_classes(
    logits: jax.Array, where: jax.Array | None = None, *, masked: float = 0.0
) -> jax.Array:
    """-log softmax(logits) [..., C] in at least float32; `masked` for classes that are masked."""
    surprisal = endless_where_masked(logits, where)
    return jnp.where(surprisal >= _ENDLESS, masked, surprisal)


def endless_where_masked(logits: jax.Array, where: jax.Array | None = None) -> jax.Array:
    """-log softmax(logits) [..., C] in at least float32; 1e30 for classes that are masked.

    Its derivatives are those of the logarithm everywhere, also in a logit of -inf.
    """
    z = scaled_logits(logits, where=where)
    peak = jax.lax.stop_gradient(jnp.max(z, axis=-1, keepdims=True))
    peak = jnp.where(jnp.isneginf(peak), 0.0, peak)
    distance = at_most_endless(peak - z)
    total = jnp.sum(jnp.exp(-distance), axis=-1, keepdims=True)
    return at_most_endless(jnp.log(jnp.where(total == 0, 1.0, total)) + distance)


@jax.custom_jvp
def at_most_endless(surprisal: jax.Array) -> jax.Array:
    """The surprisal, 1e30 where it is infinite; as for its derivatives, itself."""
    return jnp.minimum(surprisal, _ENDLESS)


at_most_endless.defjvps(lambda d, _, surprisal: d)


def _infinite_where_endless(loss: jax.Array, surprisal: jax.Array) -> jax.Array:
    """A loss of an endless surprisal, infinite if it has no bound; the derivatives stay."""
    return loss + jnp.where((surprisal >= _ENDLESS) & (loss > _UNBOUNDED), jnp.inf, 0.0)
