"""Elementary functions whose gradients are finite, and right, at the places where JAX's are not."""

import jax
import jax.numpy as jnp


def absolute(x: jax.Array) -> jax.Array:
    """|x| with gradient sign(x), 0 at 0 (that of `jnp.abs` is 1 there, as of jax 0.10)."""
    return x * jax.lax.stop_gradient(jnp.sign(x))
