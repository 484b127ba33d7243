"""A compact convolutional network for small grey or colour images."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv.models.inputs import ComputeDtype, prepare_images
from jaxcv.models.normalization import BatchNorm
from jaxcv.models.pooling import max_pool_2x2


class SmallCNN(nn.Module):
    """Placeholder docstring."""

    num_classes: int = 10
    widths: tuple[int, ...] = (32, 32, 64, 64)
    dropout: float = 0.1
    momentum: float = 0.9
    dtype: ComputeDtype = "float32"
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> jax.Array:
        """Logits."""
        x = prepare_images(images, model="SmallCNN", minimum=8, dtype=self.dtype)
        for i, width in enumerate(self.widths):
            x = nn.Conv(
                width,
                (3, 3),
                use_bias=False,
                dtype=x.dtype,
                kernel_init=nn.initializers.he_normal(),
                name=f"conv_{i}",
            )(x)
            if i in (0, 1):
                x = max_pool_2x2(x)
            x = BatchNorm(
                momentum=self.momentum, axis_name=self.axis_name, dtype=x.dtype, name=f"norm_{i}"
            )(x, train=train, mask=mask)
            x = nn.relu(x)
        x = max_pool_2x2(x)
        x = x.reshape(x.shape[0], -1)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = nn.Dense(
            self.num_classes,
            dtype=jnp.float32,
            kernel_init=nn.initializers.lecun_normal(),
            name="classifier",
        )(x)
        return x
