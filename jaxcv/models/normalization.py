"""Batch normalization whose statistics are exact over devices and blind to padding rows."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.nn.initializers import Initializer

from jaxcv.devices import AXIS, bound_axis


def masked_moments(
    x: jax.Array, mask: jax.Array | None = None, axis_name: str | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean, biased variance and row count over every axis but the last, and over devices.

    Sums and counts are added up over `axis_name` before they are divided, so shards with unequal
    numbers of valid rows weigh as they should. The variance takes a second pass over `x - mean`:
    `E[x^2] - E[x]^2` in one pass loses all its digits where the mean is large beside the spread.

    Args:
        x: Features [B, ..., C]; any float dtype, summed in float32.
        mask: [B] bool; rows marked False are left out, whatever they hold. None takes all rows.
        axis_name: Name of a mapped axis (`pmap`, `shard_map`) over which the batch is spread.

    Returns:
        `(mean [C], variance [C], rows [])` in float32. With no valid row, mean and variance are 0.
    """
    x = x.astype(jnp.float32)
    positions = math.prod(x.shape[1:-1])
    if mask is None:
        valid = jnp.ones((x.shape[0], 1), bool)
        rows = jnp.float32(x.shape[0])
    else:
        if mask.shape != x.shape[:1]:
            raise ValueError(
                f"BatchNorm wants a mask [B] with one flag per row: found mask {mask.shape} for "
                f"features {x.shape}."
            )
        valid = mask.astype(bool)[:, None]
        rows = jnp.sum(mask.astype(jnp.float32))

    total = _sum_of_valid(x, valid)
    if axis_name is not None:
        total, rows = lax.psum((total, rows), axis_name)
    count = jnp.maximum(rows, 1.0) * positions
    mean = total / count
    squares = _squares_about_mean(x, mean, valid)
    if axis_name is not None:
        squares = lax.psum(squares, axis_name)
    return mean, squares / count, rows


def _sum_of_valid(x: jax.Array, valid: jax.Array) -> jax.Array:
    """[B, ..., C] and [B, 1] -> [C]: each row is summed before it is chosen, which spares a copy of x."""
    return jnp.sum(jnp.sum(x, axis=tuple(range(1, x.ndim - 1))), axis=0, where=valid)


@jax.custom_jvp
def _squares_about_mean(x: jax.Array, mean: jax.Array, valid: jax.Array) -> jax.Array:
    """Sums of (x - mean)^2 over all axes but the last, where `valid`; `mean` is that of all shards."""
    return _sum_of_valid(jnp.square(x - mean), valid)


@_squares_about_mean.defjvp
def _squares_about_mean_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    x, mean, valid = primals
    # As `mean` moves, the sum over all shards stays: the deviations add up to 0. Written out, because
    # the compiler does not know, and would read the features once more to add up zeros.
    slope = _sum_of_valid(2 * (x - mean) * tangents[0], valid)
    return _squares_about_mean(x, mean, valid), slope


@jax.custom_jvp
def _scaled_about_mean(
    x: jax.Array, mean: jax.Array, scale: jax.Array, bias: jax.Array
) -> jax.Array:
    """(x - mean) * scale + bias, for [B, ..., C] and three times [C]."""
    return (x - mean) * scale + bias


@_scaled_about_mean.defjvp
def _scaled_about_mean_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    x, mean, scale, _ = primals
    dx, dmean, dscale, dbias = tangents
    # Mean and bias shift alike. Added up first, they cost the backward pass one sum over x instead of two.
    shift = dbias - scale * dmean
    return _scaled_about_mean(*primals), scale * dx + (x - mean) * dscale + shift


class BatchNorm(nn.Module):
    """Batch normalization over all axes but the last (Ioffe & Szegedy 2015, algorithm 1).

    `y = (x - mean) / sqrt(var + epsilon) * scale + bias`. In training, mean and variance are those
    of the valid rows of the *global* batch, and the running ones move towards them:
    `running = momentum * running + (1 - momentum) * batch`, with the biased variance, as Flax has
    it. A batch without any valid row is normalized by the running statistics and leaves them as
    they are.

    Gradients are those of a loss summed over the mapped axis, under `pmap` and under
    `shard_map(..., check_vma=False)`.

    Attributes:
        momentum: Share of the old running statistics that is kept at each step, in [0, 1].
        epsilon: Added to the variance.
        axis_name: Mapped axis over which a batch is spread: by default that of a training step, where it
            is mapped, see `devices.bound_axis`. None takes each device's rows by themselves.
        dtype: Dtype of the output; statistics and parameters are float32 in any case.
        scale_init: Initializer of the scale [C].
        use_scale: False has no scale: it stays 1.

    Example:
        >>> norm = BatchNorm()
        >>> x = jnp.array([[1.0], [3.0], [100.0]])
        >>> variables = norm.init(jax.random.key(0), x, train=False)
        >>> y, _ = norm.apply(
        ...     variables, x, train=True, mask=jnp.array([True, True, False]), mutable="batch_stats"
        ... )
        >>> y[:2, 0].round(3).tolist()
        [-1.0, 1.0]
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = AXIS
    dtype: Any = jnp.float32
    scale_init: Initializer = nn.initializers.ones
    use_scale: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None = None) -> jax.Array:
        """Normalize `x`.

        Args:
            x: Features [B, ..., C].
            train: True normalizes by the batch and updates the collection `batch_stats`; False
                normalizes by the running statistics.
            mask: [B] bool; rows marked False do not count. They are normalized like the others.

        Returns:
            Array of the shape of `x`, of dtype `dtype`.
        """
        channels = x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
        scale = jnp.float32(1.0)
        if self.use_scale:
            scale = self.param("scale", self.scale_init, channels, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, channels, jnp.float32)

        mean, var = running_mean.value, running_var.value
        centre = mean
        if train:
            # While parameters are initialized no axis is mapped yet.
            axis_name = None if self.is_initializing() else bound_axis(self.axis_name)
            batch_mean, batch_var, rows = masked_moments(x, mask, axis_name)
            centre, mean = batch_mean, jnp.where(rows > 0, batch_mean, mean)
            var = jnp.where(rows > 0, batch_var, var)
            if not self.is_initializing():
                keep = self.momentum
                running_mean.value = keep * running_mean.value + (1 - keep) * mean
                running_var.value = keep * running_var.value + (1 - keep) * var
        scale = scale * lax.rsqrt(var + self.epsilon)
        # The two means differ only where no row is valid. Deviations are from the one that the variance
        # was taken about, so that they are computed once.
        bias = bias + scale * (centre - mean)
        return _scaled_about_mean(x.astype(jnp.float32), centre, scale, bias).astype(self.dtype)
