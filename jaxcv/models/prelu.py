"""The rectifier with a learned slope."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class PReLU(nn.Module):
    """x for x >= 0 and slope * x below, one slope a channel (He et al. 2015, equation 1).

    Flax's `nn.PReLU` has one slope for all channels.

    Attributes:
        initial_slope: Slope that every channel starts with.
    """

    initial_slope: float = 0.25

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, ..., C] -> the same shape and dtype."""
        slope = self.param(
            "slope", nn.initializers.constant(self.initial_slope), x.shape[-1:], jnp.float32
        )
        return jnp.where(x >= 0, x, x * slope.astype(x.dtype))
