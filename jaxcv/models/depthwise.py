"""Convolutions of every channel for itself."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise_conv_3x3(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Convolves each channel with its own 3x3 kernel, padded by 1.

    Nine shifted products, each pass over the features fused into one, forward and backward, and
    summed in float32. XLA's grouped convolution on a CPU takes 8 to 40 times as long forward;
    a training step of MobileFaceNet takes half of its time with this. Differentiable once, in reverse.

    Args:
        x: [B, H, W, C] of any float dtype.
        kernel: [3, 3, 1, C] float32, as of `nn.Conv(C, (3, 3), feature_group_count=C)`.
        stride: of the output.

    Returns:
        [B, H / stride, W / stride, C], rounded up, in the dtype of `x`.

    Example:
        >>> x = jnp.ones((1, 4, 4, 1))
        >>> depthwise_conv_3x3(x, jnp.ones((3, 3, 1, 1)), 2)[0, :, :, 0].tolist()
        [[4.0, 6.0], [6.0, 9.0]]
    """
    # The barriers keep XLA from computing what made x, or what takes y, once for every shift.
    return lax.optimization_barrier(_correlate(lax.optimization_barrier(x), kernel, stride))


def _windows(x: jax.Array, stride: int) -> list[jax.Array]:
    """For each of nine shifts, the part of the padded `x` that it multiplies, in float32."""
    H, W = x.shape[1:3]
    bottom, right = stride * (-(-H // stride) - 1) + 1, stride * (-(-W // stride) - 1) + 1
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return [
        padded[:, i : i + bottom : stride, j : j + right : stride].astype(jnp.float32)
        for i in range(3)
        for j in range(3)
    ]


def _correlate(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    weights = kernel.astype(jnp.float32).reshape(9, -1)
    total = jnp.zeros((), jnp.float32)
    for k, window in enumerate(_windows(x, stride)):
        total = total + window * weights[k]
    return total.astype(x.dtype)


def _forward(
    x: jax.Array, kernel: jax.Array, stride: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return depthwise_conv_3x3(x, kernel, stride), (x, kernel)


def _backward(
    stride: int, saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = lax.optimization_barrier(saved)
    gradient = lax.optimization_barrier(gradient)
    # The gradient spread out to the positions of x, then correlated with the kernel turned around.
    spread = [(0, 0, 0)] * 4
    for axis in (1, 2):
        after = x.shape[axis] - stride * (gradient.shape[axis] - 1) - 1
        spread[axis] = (0, after, stride - 1)
    dilated = lax.pad(gradient, jnp.zeros((), gradient.dtype), spread)
    by_x = _correlate(dilated, kernel[::-1, ::-1], 1)
    g = gradient.astype(jnp.float32)
    by_kernel = jnp.stack([jnp.sum(window * g, axis=(0, 1, 2)) for window in _windows(x, stride)])
    return lax.optimization_barrier(
        (by_x.astype(x.dtype), by_kernel.reshape(kernel.shape).astype(kernel.dtype))
    )


depthwise_conv_3x3.defvjp(_forward, _backward)


class DepthwiseConv(nn.Module):
    """`depthwise_conv_3x3` with its kernel [3, 3, 1, C]; no bias.

    Attributes:
        stride: of the output.
    """

    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, C], rounded up, in the dtype of `x`."""
        init = nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")
        kernel = self.param("kernel", init, (3, 3, 1, x.shape[-1]), jnp.float32)
        return depthwise_conv_3x3(x, kernel, self.stride)


class GlobalDepthwiseConv(nn.Module):
    """A sum over space with learned weights for every channel: [B, H, W, C] -> [B, C].

    Global average pooling takes the corners of an aligned face, where there is little of it, for as
    important as the middle; this learns what is (Chen et al. 2018, MobileFaceNet, section 3.1).
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, C] float32."""
        init = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")
        kernel = self.param("kernel", init, (*x.shape[1:3], 1, x.shape[3]), jnp.float32)
        return jnp.sum(x.astype(jnp.float32) * kernel[:, :, 0], axis=(1, 2))
