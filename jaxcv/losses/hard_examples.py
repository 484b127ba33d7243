"""Selects the hardest losses in each image: hard example mining with fixed shapes."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def hardest(values: jax.Array, valid: jax.Array, number: jax.Array) -> jax.Array:
    """Which entries are among the `number` highest of a row's valid ones; ties at the limit all are.

    Args:
        values: [B, P].
        valid: [B, P] bool.
        number: [B] int32, how many; 0 or less takes none.

    Returns:
        [B, P] bool, constant to differentiation.

    Example:
        >>> values, valid = jnp.array([[3.0, 1.0, 2.0, 9.0]]), jnp.array([[1, 1, 1, 0]], bool)
        >>> hardest(values, valid, jnp.array([2])).tolist()
        [[True, False, True, False]]
    """
    ranked = jnp.where(valid, jax.lax.stop_gradient(values), -jnp.inf)
    last = jnp.clip(ranked.shape[1] - number, 0, ranked.shape[1] - 1)
    limit = jnp.take_along_axis(jnp.sort(ranked, axis=1), last[:, None], axis=1)
    return valid & (ranked >= limit) & (number > 0)[:, None]
