"""A small embedder for aligned faces, for few people and a machine without accelerator."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv.convolution.conv import Conv
from jaxcv.devices import AXIS
from jaxcv.models.inputs import ComputeDtype, prepare_images
from jaxcv.models.iresnet import EmbeddingNorm
from jaxcv.models.normalization import BatchNorm
from jaxcv.models.pooling import max_pool_2x2


class FaceEmbedder(nn.Module):
    """Conv 32, 64, 128 (3x3, each with a 2x2 pool and BatchNorm), dropout, a dense layer, BatchNorm.

    289,760 parameters for 32x28x1 images and embedding size 128. The dense layer sees every place
    of the last map, as that of `IResNet`: faces are aligned, so that an eye has its place. Pooling
    comes before BatchNorm, which then has a quarter to normalize. The image size, at least 8x8, is
    fixed by the images it is initialized with.

    Attributes:
        embedding_size: Length E of the embedding.
        widths: Channels of each convolution; every one halves the image.
        dropout: Probability with which a last feature is dropped in training (rng `dropout`).
        momentum: Momentum of the running statistics of BatchNorm.
        dtype: Compute dtype; the dense layer computes in float32 in any case.
        axis_name: Mapped axis over which BatchNorm's statistics are summed.
    """

    embedding_size: int = 128
    widths: tuple[int, ...] = (32, 64, 128)
    dropout: float = 0.4
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
            ValueError: If the images are too small to be halved by every convolution.
        """
        x = prepare_images(
            images, model="FaceEmbedder", minimum=2 ** len(self.widths), dtype=self.dtype
        )
        norm = partial(BatchNorm, momentum=self.momentum, axis_name=self.axis_name)
        for i, width in enumerate(self.widths):
            x = Conv(
                width,
                (3, 3),
                use_bias=False,
                dtype=x.dtype,
                kernel_init=nn.initializers.he_normal(),
                name=f"conv_{i}",
            )(x)
            x = norm(dtype=x.dtype, name=f"norm_{i}")(max_pool_2x2(x), train=train, mask=mask)
            x = nn.relu(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x.reshape(x.shape[0], -1))
        x = nn.Dense(self.embedding_size, use_bias=False, dtype=jnp.float32, name="embedding")(x)
        last = EmbeddingNorm(
            momentum=self.momentum, axis_name=self.axis_name, name="embedding_norm"
        )
        return last(x, train=train, mask=mask)
