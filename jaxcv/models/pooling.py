"""Pooling over space."""

import functools

import jax
import jax.numpy as jnp
from jax import lax


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """Maximum of each 2x2 block; an odd last row or column is dropped.

    Written as the maximum of slices: the gradient of `lax.reduce_window` is a serial scatter on CPU,
    many times slower. A TPU has an instruction for it, and its compiler expects slices to take twice as
    long (docs/tpu.md): there it is `lax.reduce_window`. Where several entries of a block are the maximum,
    slices share the gradient, and `reduce_window` hands it to the first.

    Args:
        x: [B, H, W, C] with H, W >= 2.

    Returns:
        [B, H // 2, W // 2, C].
    """
    if jax.default_backend() == "tpu":
        return _of_windows(x, size=2, stride=2)
    # Slices of a reshaped array, rows before columns, since that of a strided slice takes twice as long.
    B, H, W, C = x.shape
    blocks = x[:, : H // 2 * 2, : W // 2 * 2].reshape(B, H // 2, 2, W // 2, 2, C)
    rows = jnp.maximum(blocks[:, :, 0], blocks[:, :, 1])
    return jnp.maximum(rows[:, :, :, 0], rows[:, :, :, 1])


def max_pool(x: jax.Array, size: int, stride: int, padding: int = 0) -> jax.Array:
    """Maximum of each `size` x `size` window.

    As `flax.linen.max_pool` with `padding` positions of minus infinity on each side, but written as
    the maximum of slices, as `max_pool_2x2` is and for the same reason: 3x3 windows at stride 2 take 0.4
    times as long with their gradient on a CPU. On a TPU, too, it is as there.

    Args:
        x: [B, H, W, C] float.
        size: of the window.
        stride: from one window to the next.
        padding: less than `size`.

    Returns:
        [B, (H + 2 padding - size) // stride + 1, (W + 2 padding - size) // stride + 1, C].

    Example:
        >>> max_pool(jnp.arange(5.0).reshape(1, 1, 5, 1), 3, 2, padding=1)[0, 0, :, 0].tolist()
        [1.0, 3.0, 4.0]
    """
    if jax.default_backend() == "tpu":
        return _of_windows(x, size, stride, padding)
    for axis in (2, 1):  # rows first, then columns
        count = (x.shape[axis] + 2 * padding - size) // stride + 1
        needed = (count - 1) * stride + size
        pads = [(0, 0, 0)] * 4
        pads[axis] = (padding, needed - padding - x.shape[axis], 0)
        padded = lax.pad(x, jnp.asarray(-jnp.inf, x.dtype), pads)
        stop = (count - 1) * stride + 1
        windows = [lax.slice_in_dim(padded, i, i + stop, stride, axis=axis) for i in range(size)]
        x = functools.reduce(jnp.maximum, windows)
    return x


def _of_windows(x: jax.Array, size: int, stride: int, padding: int = 0) -> jax.Array:
    around = (padding, padding)
    return lax.reduce_window(
        x,
        -jnp.inf,
        lax.max,
        window_dimensions=(1, size, size, 1),
        window_strides=(1, stride, stride, 1),
        padding=((0, 0), around, around, (0, 0)),
    )


def global_average_pool(x: jax.Array) -> jax.Array:
    """Mean over space, taken in float32: [B, H, W, C] -> [B, C] float32."""
    return jnp.mean(x, axis=(1, 2), dtype=jnp.float32)
