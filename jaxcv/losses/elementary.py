"""Elementary functions whose gradients are finite, and right, at the places where JAX's are not."""

import jax
import jax.numpy as jnp


def absolute(x: jax.Array) -> jax.Array:
    """|x| with gradient sign(x), 0 at 0 (that of `jnp.abs` is 1 there, as of jax 0.10)."""
    return x * jax.lax.stop_gradient(jnp.sign(x))


@jax.custom_jvp
def expm1(x: jax.Array) -> jax.Array:
    """exp(x) - 1 with derivative exp(x).

    JAX takes expm1(x) + 1 for the derivative, which is 0 in float32 from x = -17 on.
    """
    return jnp.expm1(x)


expm1.defjvps(lambda d, _, x: d * jnp.exp(x))


def power(base: jax.Array, exponent: float | jax.Array) -> jax.Array:
    """base^exponent for base >= 0 and exponent >= 0, with gradient 0 at base 0.

    For exponents below 1 the slope at 0 is infinite, and NaN times the factor that vanishes there,
    where the limit of the product is 0: losses that multiply by a power take this one.
    """
    positive = base > jnp.finfo(base.dtype).tiny
    at_zero = jnp.where(jnp.asarray(exponent) == 0, 1.0, 0.0).astype(base.dtype)
    return jnp.where(positive, jnp.where(positive, base, 1.0) ** exponent, at_zero)


def floored_log(x: jax.Array) -> jax.Array:
    """log(x) for x >= 0 with log(0) taken to be that of the smallest normal number, -87.3.

    The gradient is 1 / x, and 0 below that number.
    """
    return jnp.log(jnp.maximum(x, jnp.finfo(x.dtype).tiny))
