"""Penalties on parameters: sums over the leaves of a pytree, with leaves left out by a mask."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxcv.losses.arguments import as_float
from jaxcv.losses.elementary import absolute


def l1_penalty(params: Any, mask: Any = None) -> jax.Array:
    """Sum of |w| over all weights of a pytree; the gradient is sign(w), 0 at 0.

    Args:
      params: A pytree of floating arrays.
      mask: A pytree of booleans with the structure of `params`, or of a prefix of it: False leaves
        the leaves below it out. None counts all. To spare biases and normalisation parameters, say
        `jax.tree.map(lambda w: w.ndim > 1, params)`.

    Returns:
      A float32 scalar; multiply it by the strength of the penalty and add it to the loss.

    Raises:
      ValueError: if the structure of `mask` does not fit, or a leaf of it is not a bool.

    Example:
      >>> l1_penalty({"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([5.0])},
      ...            mask={"kernel": True, "bias": False})
      Array(3., dtype=float32)
    """
    return _sum_over_leaves(absolute, params, mask)


def l2_penalty(params: Any, mask: Any = None) -> jax.Array:
    """Half the sum of w^2 over all weights of a pytree; the gradient is w itself.

    With the half, a strength times this penalty is under SGD the same as a weight decay of that
    strength. Arguments as in `l1_penalty`.
    """
    return 0.5 * _sum_over_leaves(jnp.square, params, mask)


def _sum_over_leaves(
    of_weight: Callable[[jax.Array], jax.Array], params: Any, mask: Any
) -> jax.Array:
    if mask is None:
        counted = jax.tree.leaves(params)
    else:
        try:
            nested = jax.tree.map(_counted_leaves, mask, params)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"mask has structure {jax.tree.structure(mask)}, but that of params "
                f"({jax.tree.structure(params)}) or a prefix of it is wanted, with a bool for "
                f"every leaf: {error}"
            ) from error
        counted = jax.tree.leaves(nested)
    sums = [jnp.sum(of_weight(as_float(leaf))) for leaf in counted]
    return sum(sums, start=jnp.zeros((), jnp.float32))


def _counted_leaves(counts: Any, subtree: Any) -> list[Any]:
    if not isinstance(counts, bool):
        raise TypeError(f"found a {type(counts).__name__}, {counts!r}")
    return jax.tree.leaves(subtree) if counts else []
