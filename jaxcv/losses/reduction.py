"""The one mean of the library: over the examples that count."""

import jax
import jax.numpy as jnp

from jaxcv.losses.arguments import as_float, check_same_shape


def masked_mean(values: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """Mean of values over the examples that count: sum(values * weights) / sum(weights).

    An entry of weight 0 (or False) contributes nothing, in value and in gradient, even where its
    value is NaN or infinite. If no entry counts, the mean is 0.

    Over several devices the mean of means is not the mean: sum numerator and denominator over the
    devices first, as the training step does.

    Args:
      values: Any shape, for example the per-example losses [B].
      weights: Booleans or non-negative numbers of the same shape; None counts every entry once.

    Returns:
      A float32 scalar (float64 for float64 values).

    Raises:
      ValueError: if the shapes differ.

    Example:
      >>> masked_mean(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([True, True, False]))
      Array(2., dtype=float32)
    """
    values = as_float(values)
    if weights is None:
        return jnp.sum(values) / max(values.size, 1)
    check_same_shape("weights", weights, "values", values)
    weights = jnp.asarray(weights).astype(values.dtype)
    total = jnp.sum(weights)
    weighted = jnp.sum(jnp.where(weights == 0, 0.0, values) * weights)
    return jnp.where(total == 0, 0.0, weighted / jnp.where(total == 0, 1.0, total))
