"""A network for faces on small machines."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv.convolution.conv import Conv
from jaxcv.devices import AXIS
from jaxcv.models.depthwise import DepthwiseConv, GlobalDepthwiseConv
from jaxcv.models.inputs import ComputeDtype, prepare_images
from jaxcv.models.iresnet import EmbeddingNorm
from jaxcv.models.normalization import BatchNorm
from jaxcv.models.prelu import PReLU

# (expansion, channels, blocks, stride of the first) of each group (table 1 of the paper).
_GROUPS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))

_normal_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "truncated_normal")


class _ConvNorm(nn.Module):
    """Convolution, BatchNorm and, unless `linear`, PReLU."""

    width: int
    norm: Any
    dtype: Any
    size: int = 1
    stride: int = 1
    depthwise: bool = False
    linear: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None = None) -> jax.Array:
        if self.depthwise:
            x = DepthwiseConv(stride=self.stride, name="conv")(x)
        else:
            x = Conv(
                self.width,
                (self.size, self.size),
                strides=(self.stride, self.stride),
                padding=self.size // 2,
                use_bias=False,
                dtype=self.dtype,
                kernel_init=_normal_fan_out,
                name="conv",
            )(x)
        x = self.norm(dtype=self.dtype, name="norm")(x, train=train, mask=mask)
        return x if self.linear else PReLU(name="prelu")(x)


class InvertedResidual(nn.Module):
    """1x1 to more channels, depthwise 3x3, 1x1 to fewer without activation, and a shortcut.

    Sandler et al. 2018 (MobileNetV2), figure 4d, with PReLU. The shortcut is there where shapes
    allow it.
    """

    width: int
    expansion: int
    stride: int
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None = None) -> jax.Array:
        """Features [B, H, W, C] -> [B, H / stride, W / stride, width], rounded up."""
        layer = partial(_ConvNorm, norm=self.norm, dtype=self.dtype)
        inner = self.expansion * x.shape[-1]
        y = layer(inner, name="expand")(x, train=train, mask=mask)
        depthwise = layer(inner, stride=self.stride, depthwise=True, name="depthwise")
        y = depthwise(y, train=train, mask=mask)
        y = layer(self.width, linear=True, name="project")(y, train=train, mask=mask)
        return x + y if x.shape == y.shape else y


class MobileFaceNet(nn.Module):
    """MobileFaceNet: faces to embeddings with a million parameters (Chen et al. 2018, table 1).

    1,003,136 parameters for 112x112x3 images and embedding size 128, the paper's (which says 0.99
    million; 999,552 for 112x96); 1,200,512 with 512. The image size, at least 16x16, is fixed by
    the images it is initialized with.

    Attributes:
        embedding_size: Length E of the embedding.
        width: Factor on the channels of all layers but the last two.
        momentum: Momentum of the running statistics of BatchNorm.
        dtype: Compute dtype; pooling and the last layer compute in float32 in any case.
        axis_name: Mapped axis over which BatchNorm's statistics are summed.
    """

    embedding_size: int = 512
    width: float = 1.0
    momentum: float = 0.9
    dtype: ComputeDtype = "float32"
    axis_name: str | None = AXIS

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> jax.Array:
        """Embeddings [B, embedding_size] float32 of images [B, H, W, C], not normalized.

        `mask` [B] bool keeps rows marked False out of BatchNorm's statistics.

        Raises:
            ValueError: If the images are smaller than 16x16.
        """
        x = prepare_images(images, model="MobileFaceNet", minimum=16, dtype=self.dtype)
        norm = partial(BatchNorm, momentum=self.momentum, axis_name=self.axis_name)
        layer = partial(_ConvNorm, norm=norm, dtype=x.dtype)
        stem = max(round(64 * self.width), 1)
        x = layer(stem, size=3, stride=2, name="stem")(x, train=train, mask=mask)
        x = layer(stem, depthwise=True, name="stem_depthwise")(x, train=train, mask=mask)
        for group, (expansion, channels, blocks, stride) in enumerate(_GROUPS):
            for i in range(blocks):
                x = InvertedResidual(
                    width=max(round(channels * self.width), 1),
                    expansion=expansion,
                    stride=stride if i == 0 else 1,
                    norm=norm,
                    dtype=x.dtype,
                    name=f"group_{group + 1}_block_{i + 1}",
                )(x, train=train, mask=mask)
        x = layer(512, name="head")(x, train=train, mask=mask)
        x = GlobalDepthwiseConv(name="pool")(x)
        x = norm(name="norm_pool")(x, train=train, mask=mask)
        x = nn.Dense(
            self.embedding_size,
            use_bias=False,
            dtype=jnp.float32,
            kernel_init=nn.initializers.lecun_normal(),
            name="embedding",
        )(x)
        last = EmbeddingNorm(
            momentum=self.momentum, axis_name=self.axis_name, name="embedding_norm"
        )
        return last(x, train=train, mask=mask)
