"""Residual networks for faces: small stride at first, BatchNorm before the convolution."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv.convolution.conv import Conv
from jaxcv.devices import AXIS
from jaxcv.models.inputs import ComputeDtype, prepare_images
from jaxcv.models.normalization import BatchNorm
from jaxcv.models.prelu import PReLU

Depth = Literal[18, 34, 50, 100]

_BLOCKS_PER_STAGE: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 14, 3),
    100: (3, 13, 30, 3),
}


def _conv(width: int, size: int, stride: int, dtype: Any, name: str) -> nn.Conv:
    """A convolution without bias; every one is followed by BatchNorm, sooner or later."""
    return Conv(
        width,
        (size, size),
        strides=(stride, stride),
        padding=size // 2,
        use_bias=False,
        dtype=dtype,
        kernel_init=nn.initializers.normal(0.1),
        name=name,
    )


class EmbeddingNorm(nn.Module):
    """BatchNorm for an embedding [B, E], whose scale stays 1 while its mean is learned.

    A learned scale would let training weigh the coordinates of the embedding, whose angles are what
    matters; InsightFace freezes it. The parameter exists, as in published weights, but has gradient
    0 - and, being of rank 1, no weight decay in `jaxcv.train`.

    Attributes: see `BatchNorm`.
    """

    momentum: float = 0.9
    axis_name: str | None = AXIS

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None = None) -> jax.Array:
        """[B, E] float32 -> [B, E] float32."""
        frozen = nn.map_variables(
            BatchNorm, "params", trans_in_fn=_freeze_scale, init=self.is_initializing()
        )
        norm = frozen(momentum=self.momentum, axis_name=self.axis_name, name="norm")
        return norm(x, train=train, mask=mask)


def _freeze_scale(variables: Mapping[str, Any]) -> Mapping[str, Any]:
    params = variables["params"]
    return {"params": {**params, "scale": jax.lax.stop_gradient(params["scale"])}}


class IResNetBlock(nn.Module):
    """BatchNorm, conv, BatchNorm, PReLU, conv, BatchNorm, and a shortcut; nothing after the sum.

    "IR" of Deng et al. 2019 (ArcFace), section 3.1, after Han, Kim & Kim 2017 (PyramidNet). The
    second 3x3 convolution carries the stride.
    """

    width: int
    stride: int
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None = None) -> jax.Array:
        """Features [B, H, W, C] -> [B, H / stride, W / stride, width], rounded up."""
        norm = partial(self.norm, dtype=self.dtype)
        y = norm(name="norm_1")(x, train=train, mask=mask)
        y = _conv(self.width, 3, 1, self.dtype, "conv_1")(y)
        y = PReLU(name="prelu")(norm(name="norm_2")(y, train=train, mask=mask))
        y = _conv(self.width, 3, self.stride, self.dtype, "conv_2")(y)
        y = norm(name="norm_3")(y, train=train, mask=mask)
        if self.stride != 1 or x.shape[-1] != self.width:
            x = _conv(self.width, 1, self.stride, self.dtype, "conv_shortcut")(x)
            x = norm(name="norm_shortcut")(x, train=train, mask=mask)
        return x + y


class IResNet(nn.Module):
    """IResNet-18, -34, -50 or -100: images of faces to embeddings.

    The network of InsightFace's published models (arcface_torch, `iresnet.py`; Deng et al. 2019): a
    3x3 stem of stride 1, four stages that each halve the image at once, then BatchNorm, dropout,
    a dense layer on all that is left of the image, and BatchNorm.

    Parameters for 112x112x3 images and embedding size 512: 24,025,600 (18), 34,139,328 (34),
    43,590,848 (50), 65,156,160 (100). The image size, at least 16x16, is fixed by the images
    it is initialized with.

    Attributes:
        embedding_size: Length E of the embedding.
        depth: 18, 34, 50 or 100.
        width: Channels of the first stage; each stage doubles it.
        dropout: Probability with which a last feature is dropped in training (rng `dropout`).
        momentum: Momentum of the running statistics of BatchNorm.
        dtype: Compute dtype; the dense layer computes in float32 in any case.
        axis_name: Mapped axis over which BatchNorm's statistics are summed.
    """

    embedding_size: int = 512
    depth: Depth = 50
    width: int = 64
    dropout: float = 0.0
    momentum: float = 0.9
    dtype: ComputeDtype = "float32"
    axis_name: str | None = AXIS

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> jax.Array:
        """Embeddings [B, embedding_size] float32 of images [B, H, W, C], not normalized.

        Args:
            images: [B, H, W, C] float.
            train: Whether BatchNorm uses, and learns from, this batch, and dropout drops.
            mask: [B] bool; False keeps a row out of BatchNorm's statistics.

        Raises:
            ValueError: If there is no such depth, or the images are smaller than 16x16.
        """
        if self.depth not in _BLOCKS_PER_STAGE:
            raise ValueError(
                f"IResNet has depth {sorted(_BLOCKS_PER_STAGE)}, found depth={self.depth}."
            )
        x = prepare_images(images, model=f"IResNet-{self.depth}", minimum=16, dtype=self.dtype)
        norm = partial(BatchNorm, momentum=self.momentum, axis_name=self.axis_name)
        x = _conv(self.width, 3, 1, x.dtype, "conv_stem")(x)
        x = norm(dtype=x.dtype, name="norm_stem")(x, train=train, mask=mask)
        x = PReLU(name="prelu_stem")(x)
        for stage, blocks in enumerate(_BLOCKS_PER_STAGE[self.depth]):
            for i in range(blocks):
                x = IResNetBlock(
                    width=self.width * 2**stage,
                    stride=2 if i == 0 else 1,
                    norm=norm,
                    dtype=x.dtype,
                    name=f"stage_{stage + 1}_block_{i + 1}",
                )(x, train=train, mask=mask)
        x = norm(dtype=x.dtype, name="norm_final")(x, train=train, mask=mask)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        # In float32, as InsightFace has it: the sums are long, and cosines near 1 need the digits.
        x = nn.Dense(
            self.embedding_size,
            dtype=jnp.float32,
            kernel_init=nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
            name="embedding",
        )(x.reshape(x.shape[0], -1))
        last = EmbeddingNorm(
            momentum=self.momentum, axis_name=self.axis_name, name="embedding_norm"
        )
        return last(x, train=train, mask=mask)
