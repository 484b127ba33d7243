"""A compact convolutional network for small images, made for accuracy per operation."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv.convolution.conv import Conv
from jaxcv.devices import AXIS
from jaxcv.models.inputs import ComputeDtype, prepare_images
from jaxcv.models.normalization import BatchNorm
from jaxcv.models.pooling import global_average_pool, max_pool_2x2


class SmallCNN(nn.Module):
    """3x3 convolutions with BatchNorm and ReLU, a 2x2 pool after each of the first two.

    61,690 parameters and 6.4 million floating-point operations for a 28x28x1 image and 10 classes.
    The layer at full size is narrow, since on a CPU it is the memory traffic of 28x28 maps that
    costs time; most weights are where the maps are 7x7 and an operation is cheap. Pooling comes
    before BatchNorm, which then has a quarter to normalize. The classifier sees the mean and the
    maximum of each channel, so that any image size from 8x8 on will do.

    Attributes:
        num_classes: Number of outputs.
        widths: Channels of each convolution.
        dropout: Probability with which a pooled feature is dropped in training (rng `dropout`).
        momentum: Momentum of the running statistics of BatchNorm.
        dtype: Compute dtype.
        axis_name: Mapped axis over which BatchNorm's statistics are summed.
    """

    num_classes: int = 10
    widths: tuple[int, ...] = (16, 32, 64, 64)
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
            ValueError: If the images are smaller than 8x8.
        """
        x = prepare_images(images, model="SmallCNN", minimum=8, dtype=self.dtype)
        for i, width in enumerate(self.widths):
            x = Conv(
                width,
                (3, 3),
                use_bias=False,
                dtype=x.dtype,
                kernel_init=nn.initializers.he_normal(),
                name=f"conv_{i}",
            )(x)
            x = max_pool_2x2(x) if i < 2 else x
            norm = BatchNorm(
                momentum=self.momentum, axis_name=self.axis_name, dtype=x.dtype, name=f"norm_{i}"
            )
            x = nn.relu(norm(x, train=train, mask=mask))
        peaks = jnp.max(x, axis=(1, 2)).astype(jnp.float32)
        x = jnp.concatenate([global_average_pool(x), peaks], axis=-1)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(
            self.num_classes,
            dtype=jnp.float32,
            kernel_init=nn.initializers.lecun_normal(),
            name="classifier",
        )(x)
