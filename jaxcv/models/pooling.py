"""Pooling over space."""

import jax
import jax.numpy as jnp


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """Maximum of each 2x2 block; an odd last row or column is dropped.

    Written as the maximum of four strided slices: the gradient of `lax.reduce_window` is a serial
    scatter on CPU, many times slower. Where several entries of a block are the maximum, the
    gradient is shared among them.

    Args:
        x: [B, H, W, C] with H, W >= 2.

    Returns:
        [B, H // 2, W // 2, C].
    """
    H, W = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    top = jnp.maximum(x[:, 0:H:2, 0:W:2], x[:, 0:H:2, 1:W:2])
    bottom = jnp.maximum(x[:, 1:H:2, 0:W:2], x[:, 1:H:2, 1:W:2])
    return jnp.maximum(top, bottom)


def global_average_pool(x: jax.Array) -> jax.Array:
    """Mean over space, taken in float32: [B, H, W, C] -> [B, C] float32."""
    return jnp.mean(x, axis=(1, 2), dtype=jnp.float32)
