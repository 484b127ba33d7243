"""Regression losses: distances between predicted and true numbers, one value per example.

The first `batch_ndim` axes count examples; the rest are the components of one example, of which the
loss takes the mean (the Euclidean distance: the length). With the default of one batch axis, [B],
[B, D] and [B, H, W, C] all give [B]; inside `jax.vmap`, say `batch_ndim=0`.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_positive
from jaxcv.losses.arguments import as_float, check_same_shape
from jaxcv.losses.elementary import absolute


def mean_squared_error(
    predictions: jax.Array, targets: jax.Array, *, batch_ndim: int = 1
) -> jax.Array:
    """Mean over components of (prediction - target)^2; the gradient is 2 (p - t) / D.

    Args:
      predictions: [B, ...] numbers.
      targets: [B, ...] of the same shape.
      batch_ndim: How many leading axes count examples.

    Returns:
      [B] float32.

    Example:
      >>> mean_squared_error(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 4.0]]))
      Array([2.5], dtype=float32)
    """
    return _mean_over_components(jnp.square, predictions, targets, batch_ndim)


def mean_absolute_error(
    predictions: jax.Array, targets: jax.Array, *, batch_ndim: int = 1
) -> jax.Array:
    """Mean over components of |prediction - target|; gradient 0 where they are equal.

    Args and returns as in `mean_squared_error`.
    """
    return _mean_over_components(absolute, predictions, targets, batch_ndim)


def huber(
    predictions: jax.Array,
    targets: jax.Array,
    *,
    delta: float | jax.Array = 1.0,
    batch_ndim: int = 1,
) -> jax.Array:
    """Mean over components of Huber's loss (Huber 1964): quadratic near zero, linear far away.

    With the error e: e^2 / 2 where |e| <= delta, else delta (|e| - delta / 2). The gradient is e
    clipped to +-delta. Divide by delta for the "smooth L1" of detection.

    Args and returns as in `mean_squared_error`; `delta` > 0 is in the units of the targets.
    """
    check_positive("delta", delta)

    def of_error(error: jax.Array) -> jax.Array:
        # |e| = q + l with q = min(|e|, delta): no branch overflows where it is not taken.
        size = jnp.abs(error)
        quadratic = jnp.minimum(size, delta)
        return 0.5 * jnp.square(quadratic) + delta * (size - quadratic)

    return _mean_over_components(of_error, predictions, targets, batch_ndim)


def log_cosh(predictions: jax.Array, targets: jax.Array, *, batch_ndim: int = 1) -> jax.Array:
    """Mean over components of log(cosh(prediction - target)); the gradient is tanh(error) / D.

    About e^2 / 2 for small errors and |e| - log 2 for large ones; smooth everywhere.
    Args and returns as in `mean_squared_error`.
    """

    def of_error(error: jax.Array) -> jax.Array:
        size = jnp.abs(error)
        # log cosh e = |e| + log1p(exp(-2 |e|)) - log 2 cancels near 0, where with t = tanh(|e| / 2)
        # cosh e = (1 + t^2) / (1 - t^2) keeps every digit.
        near = jnp.minimum(size, 1.0)
        half_tanh_squared = jnp.square(jnp.tanh(near / 2))
        small = jnp.log1p(half_tanh_squared) - jnp.log1p(-half_tanh_squared)
        far = jnp.maximum(size, 1.0)
        large = far + jnp.log1p(jnp.exp(-2 * far)) - math.log(2.0)
        return jnp.where(size < 1.0, small, large)

    return _mean_over_components(of_error, predictions, targets, batch_ndim)


def euclidean_distance(
    predictions: jax.Array, targets: jax.Array, *, batch_ndim: int = 1
) -> jax.Array:
    """Length of the difference, sqrt(sum of squares).

    The gradient is the unit vector of the difference, and 0 where there is none. Scaled by the
    largest component, so that nothing overflows.
    Args and returns as in `mean_squared_error`.
    """
    error = _flat_error(predictions, targets, batch_ndim)
    scale = jax.lax.stop_gradient(jnp.max(jnp.abs(error), axis=-1, initial=0.0))
    apart = scale > 0
    safe_scale = jnp.where(apart, scale, 1.0)
    unit = error / safe_scale[..., None]
    squares = jnp.sum(jnp.square(jnp.where(apart[..., None], unit, 0.0)), axis=-1)
    # scale is a constant of the forward pass: sqrt(scale^2 * squares) = scale * sqrt(squares).
    return jnp.where(apart, safe_scale * jnp.sqrt(jnp.where(apart, squares, 1.0)), 0.0)


def _mean_over_components(
    of_error: Callable[[jax.Array], jax.Array],
    predictions: jax.Array,
    targets: jax.Array,
    batch_ndim: int,
) -> jax.Array:
    error = _flat_error(predictions, targets, batch_ndim)
    return jnp.sum(of_error(error), axis=-1) / max(error.shape[-1], 1)


def _flat_error(predictions: jax.Array, targets: jax.Array, batch_ndim: int) -> jax.Array:
    """The difference, predictions - targets, as [batch..., D] in at least float32."""
    check_same_shape("predictions", predictions, "targets", targets)
    shape = jnp.shape(predictions)
    if not 0 <= batch_ndim <= len(shape):
        raise ValueError(
            f"batch_ndim is {batch_ndim}, but predictions have {len(shape)} axes "
            f"(shape {list(shape)}); a value from 0 to {len(shape)} is wanted."
        )
    error = as_float(predictions) - as_float(targets)
    return error.reshape((*shape[:batch_ndim], math.prod(shape[batch_ndim:])))
