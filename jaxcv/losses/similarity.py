"""Lengths, cosines and distances of embeddings: exact near zero, with finite gradients everywhere.

x / |x| and |x| have no derivative at 0, and the usual formulas give NaN there. Here the gradient
at 0 is defined as 0, so that a zero row (padding, a dead embedding) neither moves nor poisons
anything.
"""

import jax
import jax.numpy as jnp

from jaxcv.losses.arguments import as_float, check_shape

SHORTEST = 1e-12
"""Rows shorter than this are treated as zero rows by `l2_normalize`."""

EMPTY = -1e30
"""The log of an empty sum: finite, so that sums and differences of it stay numbers."""


def square_root(x: jax.Array) -> jax.Array:
    """The square root of x >= 0 with gradient 0, instead of infinity, at 0; negative x gives 0."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)


def embedding_norm(x: jax.Array, axis: int = -1) -> jax.Array:
    """Euclidean length along an axis, at least float32, with gradient 0 at zero rows."""
    return square_root(jnp.sum(jnp.square(as_float(x)), axis=axis))


def l2_normalize(x: jax.Array, axis: int = -1) -> jax.Array:
    """Divides by the Euclidean length; a zero row stays zero and has gradient zero.

    Args:
      x: [..., D] floating.
      axis: The axis whose length becomes 1.

    Returns:
      [..., D], at least float32.

    Example:
      >>> l2_normalize(jnp.array([[3.0, 4.0], [0.0, 0.0]]))
      Array([[0.6, 0.8],
             [0. , 0. ]], dtype=float32)
    """
    x = as_float(x)
    squared = jnp.sum(jnp.square(x), axis=axis, keepdims=True)
    usable = squared > SHORTEST**2
    return x * jnp.where(usable, jax.lax.rsqrt(jnp.where(usable, squared, 1)), 0)


def pairwise_cosine(first: jax.Array, second: jax.Array) -> jax.Array:
    """Cosines of all pairs of rows, [N, D] and [M, D] to [N, M]; 0 for zero rows."""
    return pairwise_dot(l2_normalize(first), l2_normalize(second))


def pairwise_dot(first: jax.Array, second: jax.Array) -> jax.Array:
    """Dot products of all pairs of rows, [N, D] and [M, D] to [N, M], at full precision.

    Accelerators round float32 factors by default; a similarity of 0.999 would then be known to
    three digits only. These matrices are small beside the network that made the embeddings.
    """
    return jnp.matmul(as_float(first), as_float(second).T, precision=jax.lax.Precision.HIGHEST)


def pairwise_distance(first: jax.Array, second: jax.Array) -> jax.Array:
    """Euclidean distances of all pairs of rows, [N, D] and [M, D] to [N, M]; gradient 0 at 0."""
    return square_root(pairwise_squared_distance(first, second))


def pairwise_squared_distance(first: jax.Array, second: jax.Array) -> jax.Array:
    """Squared Euclidean distances of all pairs of rows, [N, D] and [M, D] to [N, M].

    Differences are squared directly - |a|^2 + |b|^2 - 2ab loses all digits for close points - in
    one pass that stores nothing of size [N, M, D]; the derivative is stated as matrix products.
    """
    check_shape("first", first, ("N", "D"))
    check_shape("second", second, ("M", jnp.shape(first)[1]))
    return _squared_distance(as_float(first), as_float(second))


@jax.custom_jvp
def _squared_distance(first: jax.Array, second: jax.Array) -> jax.Array:
    return jnp.sum(jnp.square(first[:, None, :] - second[None, :, :]), axis=-1)


@_squared_distance.defjvp
def _squared_distance_jvp(
    primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    first, second = primals
    first_dot, second_dot = tangents
    # d |a - b|^2 = 2 (a - b) . (da - db), multiplied out.
    change = (
        jnp.sum(first * first_dot, axis=-1)[:, None]
        + jnp.sum(second * second_dot, axis=-1)[None, :]
        - pairwise_dot(first_dot, second)
        - pairwise_dot(first, second_dot)
    )
    return _squared_distance(first, second), 2 * change


def log_sum_exp(x: jax.Array, where: jax.Array, axis: int = -1) -> jax.Array:
    """log(sum(exp(x))) over the chosen entries of an axis; `EMPTY` where none is chosen."""
    top = jax.lax.stop_gradient(jnp.max(jnp.where(where, x, EMPTY), axis=axis, keepdims=True))
    exps = jnp.where(where, jnp.exp(jnp.where(where, x - top, 0)), 0)
    return log_of_sum(jnp.sum(exps, axis=axis), jnp.squeeze(top, axis))


def log_of_sum(scaled_sum: jax.Array, top: jax.Array) -> jax.Array:
    """log(scaled_sum * exp(top)), `EMPTY` where the sum is 0."""
    some = scaled_sum > 0
    return jnp.where(some, jnp.log(jnp.where(some, scaled_sum, 1)) + top, EMPTY)
