"""Wide residual networks (Zagoruyko & Komodakis 2016)."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv.convolution.conv import Conv
from jaxcv.devices import AXIS
from jaxcv.models.inputs import ComputeDtype, prepare_images
from jaxcv.models.normalization import BatchNorm
from jaxcv.models.pooling import global_average_pool
from jaxcv.models.resnet import he_normal_fan_out


class WideBlock(nn.Module):
    """BatchNorm, ReLU, 3x3 convolution, twice, with dropout between (figure 1d of the paper)."""

    width: int
    stride: int
    dropout: float
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None = None) -> jax.Array:
        """Features [B, H, W, C] -> [B, H / stride, W / stride, width]."""
        conv = partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=he_normal_fan_out)
        strides = (self.stride, self.stride)
        y = nn.relu(self.norm(dtype=self.dtype, name="norm_1")(x, train=train, mask=mask))
        if x.shape[-1] != self.width or self.stride != 1:
            # The shortcut takes the activated input, so that both paths share one BatchNorm.
            x = conv(self.width, (1, 1), strides=strides, padding=0, name="conv_shortcut")(y)
        y = conv(self.width, (3, 3), strides=strides, padding=1, name="conv_1")(y)
        y = nn.relu(self.norm(dtype=self.dtype, name="norm_2")(y, train=train, mask=mask))
        y = nn.Dropout(self.dropout, deterministic=not train)(y)
        return x + conv(self.width, (3, 3), padding=1, name="conv_2")(y)


class WideResNet(nn.Module):
    """WRN-depth-width, for small images (table 1 of the paper).

    WRN-28-10 has 36,479,194 parameters for 3 channels and 10 classes. Takes any image size from 4
    on; 32x32 is usual.

    Attributes:
        num_classes: Number of outputs.
        depth: Layers with weights: 6n + 4, with n blocks in each of three groups.
        width: Factor on the 16, 32 and 64 channels of the groups.
        dropout: Probability with which a feature is dropped within a block in training
            (rng `dropout`).
        momentum: Momentum of the running statistics of BatchNorm.
        dtype: Compute dtype.
        axis_name: Mapped axis over which BatchNorm's statistics are summed.
    """

    num_classes: int = 10
    depth: int = 28
    width: int = 10
    dropout: float = 0.0
    momentum: float = 0.9
    dtype: ComputeDtype = "float32"
    axis_name: str | None = AXIS

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> jax.Array:
        """Logits [B, num_classes] float32 of images [B, H, W, C].

        `mask` [B] bool keeps rows marked False out of BatchNorm's statistics.

        Raises:
            ValueError: If the depth is not 6n + 4, or the images are smaller than 4x4.
        """
        if self.depth < 10 or (self.depth - 4) % 6:
            raise ValueError(
                f"WideResNet wants a depth of 6n + 4 (10, 16, 22, 28, 40, ...), found {self.depth}."
            )
        x = prepare_images(images, model="WideResNet", minimum=4, dtype=self.dtype)
        dtype = x.dtype
        norm = partial(BatchNorm, momentum=self.momentum, axis_name=self.axis_name)
        x = Conv(
            16,
            (3, 3),
            padding=1,
            use_bias=False,
            dtype=dtype,
            kernel_init=he_normal_fan_out,
            name="conv_stem",
        )(x)
        for group in range(3):
            for i in range((self.depth - 4) // 6):
                x = WideBlock(
                    width=16 * 2**group * self.width,
                    stride=2 if group > 0 and i == 0 else 1,
                    dropout=self.dropout,
                    norm=norm,
                    dtype=dtype,
                    name=f"group_{group + 1}_block_{i + 1}",
                )(x, train=train, mask=mask)
        x = nn.relu(norm(dtype=dtype, name="norm_final")(x, train=train, mask=mask))
        return nn.Dense(
            self.num_classes,
            dtype=jnp.float32,
            kernel_init=nn.initializers.lecun_normal(),
            name="classifier",
        )(global_average_pool(x))
