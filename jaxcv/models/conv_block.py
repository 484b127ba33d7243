"""Convolution, normalization, ReLU: the brick of backbones and decoders."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv.convolution.conv import Conv
from jaxcv.devices import AXIS
from jaxcv.models.normalization import BatchNorm

Norm = Literal["batch", "group", "none"]
"""Normalization after a convolution.

* "batch": `BatchNorm`, over the whole batch, on all devices if `axis_name` says so.
* "group": up to 32 groups of channels of one image (Wu & He 2018, arXiv:1803.08494), for batches of
  a few large images.
* "none": a bias alone; the cheapest, where a network is shallow.
"""


class ConvNormReLU(nn.Module):
    """A convolution padded to keep the size, normalization and ReLU: [B,H,W,C] -> [B,H,W,width].

    Attributes:
        width: channels of the output.
        size: of the kernel, odd.
        dilation: of the kernel.
        norm: see `Norm`.
        momentum: of BatchNorm's running statistics.
        dtype: compute dtype.
        axis_name: mapped axis over which BatchNorm's statistics are summed.
    """

    width: int
    size: int = 3
    dilation: int = 1
    norm: Norm = "batch"
    momentum: float = 0.9
    dtype: Any = jnp.float32
    axis_name: str | None = AXIS

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None = None) -> jax.Array:
        """Features [B, H, W, C] -> [B, H, W, width]; `mask` [B] as in `BatchNorm`."""
        x = Conv(
            self.width,
            (self.size, self.size),
            padding=self.dilation * (self.size // 2),
            kernel_dilation=(self.dilation, self.dilation),
            use_bias=self.norm == "none",
            dtype=self.dtype,
            kernel_init=nn.initializers.he_normal(),
            name="conv",
        )(x)
        if self.norm == "batch":
            norm = BatchNorm(
                momentum=self.momentum, axis_name=self.axis_name, dtype=self.dtype, name="norm"
            )
            x = norm(x, train=train, mask=mask)
        elif self.norm == "group":
            groups = next(g for g in range(min(32, self.width), 0, -1) if self.width % g == 0)
            x = nn.GroupNorm(num_groups=groups, dtype=self.dtype, name="norm")(x)
        elif self.norm != "none":
            raise ValueError(f'norm is {self.norm!r}, but "batch", "group" or "none" is wanted.')
        return nn.relu(x)
