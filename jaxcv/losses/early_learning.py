"""Early-learning regularisation: hold on to predictions made before wrong labels were learnt."""

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_non_negative, check_range
from jaxcv.losses.arguments import as_float, check_labels, check_same_shape
from jaxcv.losses.softmax import softmax_cross_entropy
from jaxcv.losses.surprisal import surprise_of_classes


def early_learning_loss(
    logits: jax.Array,
    labels: jax.Array,
    targets: jax.Array,
    *,
    strength: float | jax.Array = 3.0,
    floor: float | jax.Array = 1e-4,
) -> jax.Array:
    """Cross-entropy plus early-learning regularisation (Liu et al. 2020, arXiv:2007.00151).

        loss = -log p_y + strength log(1 - <p, t>)

    t is the running average of the model's own predictions for this example; the second term falls
    as p stays close to it. Keep one row per training example, [N, C], in the training state:

        targets = update_early_learning_targets(table[index], logits)
        loss = early_learning_loss(logits, labels, targets)
        table = table.at[index].set(targets)

    Args:
      logits: [..., C] floating.
      labels: Integers [...] or distributions [..., C].
      targets: [..., C] running averages t, with sums of at most 1; no gradient flows through them.
      strength: >= 0; the paper's 3 for CIFAR-10, 7 for CIFAR-100.
      floor: 1 - <p, t> counts as at least this, in (0, 1].

    Returns:
      [...] float32; the second term is negative.

    Raises:
      ValueError: for shapes or settings that do not fit.
    """
    check_labels(labels, logits, dense=True)
    check_same_shape("targets", targets, "logits", logits)
    check_non_negative("strength", strength)
    check_range("floor", floor, 0.0, 1.0, open_low=True)
    p = jnp.exp(-surprise_of_classes(logits, masked=jnp.inf))
    agreement = jnp.sum(p * jax.lax.stop_gradient(as_float(targets)), axis=-1)
    regularizer = jnp.log(jnp.maximum(1.0 - agreement, floor))
    return softmax_cross_entropy(logits, labels) + strength * regularizer


def update_early_learning_targets(
    targets: jax.Array, logits: jax.Array, *, momentum: float | jax.Array = 0.7
) -> jax.Array:
    """The running average momentum * targets + (1 - momentum) * softmax(logits), [..., C] float32.

    Start from zeros. No gradient flows through it.

    Raises:
      ValueError: if the shapes differ or the momentum is outside [0, 1].
    """
    check_same_shape("targets", targets, "logits", logits)
    check_range("momentum", momentum, 0.0, 1.0)
    p = jnp.exp(-surprise_of_classes(jax.lax.stop_gradient(logits), masked=jnp.inf))
    return momentum * as_float(targets) + (1.0 - momentum) * p
