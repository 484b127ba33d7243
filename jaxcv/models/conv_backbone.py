"""A plain convolutional backbone, light enough for a CPU: the contracting half of a U-Net."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv.devices import AXIS
from jaxcv.models.backbone import check_strides
from jaxcv.models.conv_block import ConvNormReLU, Norm
from jaxcv.models.inputs import ComputeDtype, prepare_images
from jaxcv.models.pooling import max_pool_2x2


class ConvBackbone(nn.Module):
    """Stages of 3x3 convolutions with a 2x2 max-pool between (Ronneberger et al. 2015, figure 1).

    Convolutions keep the size, where the paper's lose a border; normalization is not the paper's.

    With `patch` p > 1, the image is first cut into p x p patches whose pixels become channels, so
    that the finest features have stride p. A decoder that ends with sub-pixel upsampling then works
    at 1 / p^2 of the positions: on a CPU, where memory traffic at full size is what costs time, it
    sees a picture p times as large in the same time.

    Attributes:
        widths: Channels of each stage.
        convolutions: Convolutions in each stage.
        patch: Stride of the first stage; each later one doubles it.
        norm: See `Norm`.
        momentum: Momentum of the running statistics of BatchNorm.
        dtype: Compute dtype.
        axis_name: Mapped axis over which BatchNorm's statistics are summed.

    Example:
        >>> backbone = ConvBackbone(widths=(8, 16), patch=2)
        >>> images = jnp.zeros((1, 30, 41, 3))
        >>> features, _ = jax.eval_shape(backbone.init_with_output, jax.random.key(0), images)
        >>> {stride: x.shape for stride, x in features.items()}
        {2: (1, 15, 21, 8), 4: (1, 8, 11, 16)}
    """

    widths: tuple[int, ...] = (16, 32, 64, 128)
    convolutions: int = 2
    patch: int = 1
    norm: Norm = "batch"
    momentum: float = 0.9
    dtype: ComputeDtype = "float32"
    axis_name: str | None = AXIS

    @property
    def strides(self) -> tuple[int, ...]:
        """The stride of each stage."""
        return tuple(self.patch * 2**i for i in range(len(self.widths)))

    @property
    def output_stride(self) -> None:
        """Nothing is dilated."""
        return None

    def __call__(
        self, images: jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> dict[int, jax.Array]:
        """Features of images [B, H, W, C] after each stage: see `features_at`."""
        return self.features_at(images, self.strides, train=train, mask=mask)

    @nn.compact
    def features_at(
        self,
        images: jax.Array,
        strides: Sequence[int],
        *,
        train: bool = False,
        mask: jax.Array | None = None,
    ) -> dict[int, jax.Array]:
        """Features of images [B, H, W, C] at some of `strides`; stages after the last are not built.

        Returns:
            `{stride: [B, H / stride, W / stride, channels]}` in the compute dtype, from fine to
            coarse; an H or W that is no multiple rounds up, by repeating its last row or column.

        Raises:
            ValueError: For a stride that the network does not have, or images smaller than its
                coarsest.
        """
        check_strides(self, strides)
        x = prepare_images(images, model="ConvBackbone", minimum=self.strides[-1], dtype=self.dtype)
        x = patches(x, self.patch)
        pyramid = {}
        for stage, (stride, width) in enumerate(zip(self.strides, self.widths)):
            if stride > max(strides):
                break
            x = x if stage == 0 else max_pool_2x2(padded_to_multiple(x, 2))
            for i in range(self.convolutions):
                x = ConvNormReLU(
                    width,
                    norm=self.norm,
                    momentum=self.momentum,
                    dtype=x.dtype,
                    axis_name=self.axis_name,
                    name=f"stage_{stage + 1}_conv_{i + 1}",
                )(x, train=train, mask=mask)
            pyramid[stride] = x
        return {stride: pyramid[stride] for stride in sorted(set(strides))}


def padded_to_multiple(x: jax.Array, factor: int) -> jax.Array:
    """Repeats the last row and column until H and W of [B, H, W, C] are multiples of `factor`."""
    rows, columns = -x.shape[1] % factor, -x.shape[2] % factor
    if rows == columns == 0:
        return x
    return jnp.pad(x, ((0, 0), (0, rows), (0, columns), (0, 0)), mode="edge")


def patches(x: jax.Array, size: int) -> jax.Array:
    """Pixels of size x size patches as channels: [B, H, W, C] -> [B, H / size, W / size, size^2 C].

    An H or W that is no multiple rounds up, by repeating its last row or column.
    """
    if size == 1:
        return x
    x = padded_to_multiple(x, size)
    B, H, W, C = x.shape
    x = x.reshape(B, H // size, size, W // size, size, C).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(B, H // size, W // size, size * size * C)
