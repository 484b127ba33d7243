"""What objectives on classes do to logits and labels before a loss sees them.

Logits are [B, ..., C], labels [B, ...] integers or [B, ..., C] distributions: of whole images, or of
pixels. `IGNORED` labels count for nothing.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv.losses.arguments import is_integer
from jaxcv.tasks.objective import IGNORED


def class_scores(logits: jax.Array) -> jax.Array:
    """Logits for a softmax: a single logit z, of yes against no, becomes (0, z)."""
    if logits.shape[-1] > 1:
        return logits
    return jnp.concatenate([jnp.zeros_like(logits), logits], axis=-1)


def ignored_label(labels: jax.Array) -> int | None:
    """The `ignore_label` of a loss: distributions have none."""
    return IGNORED if is_integer(labels) else None


def known_labels(labels: jax.Array) -> jax.Array:
    """The labels with 0 for what is ignored, for losses that ignore nothing themselves."""
    return jnp.where(labels == IGNORED, 0, labels) if is_integer(labels) else labels


def yes_or_no(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Labels of the shape of the logits, for a sigmoid on each: the class against all others.

    Args:
        logits: [B, ..., C], or [B, ..., 1] for yes (label 1) against no (label 0).
        labels: as above; with a single logit also floats [B, ...] in [0, 1].

    Returns:
        [B, ..., C] float32; 0 for all classes where the label is ignored.
    """
    if labels.ndim == logits.ndim:
        return labels.astype(jnp.float32)
    if logits.shape[-1] == 1:
        return known_labels(labels).astype(jnp.float32)[..., None]
    return jax.nn.one_hot(labels, logits.shape[-1])


def weights_of(class_weights: tuple[float, ...]) -> Any:
    """A factor per class, [C], or None for (); of NumPy, so that losses can read it while traced.

    Raises:
        ValueError: one is negative or not finite, or all are 0.
    """
    for number, weight in enumerate(class_weights):
        if not 0 <= weight < math.inf:
            raise ValueError(
                f"class_weights[{number}] is {weight}, but a weight must be finite and at least 0: with a "
                "negative one the model would learn to be wrong; 0 leaves a class out"
            )
    if class_weights and not any(class_weights):
        raise ValueError(
            "class_weights are all 0, so that nothing would be learned; one must be above 0"
        )
    return np.array(class_weights, np.float32) if class_weights else None
