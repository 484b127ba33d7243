"""A multi-layer perceptron on flattened images."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv.models.inputs import ComputeDtype, prepare_images


class MLP(nn.Module):
    """Flatten, then dense layers with ReLU, then a linear classifier.

    101,770 parameters for 28x28x1 images, one hidden layer of 128 and 10 classes. Its image size is
    fixed by the images it is initialized with.

    Attributes:
        num_classes: Number of outputs.
        hidden: Width of each hidden layer.
        dropout: Probability with which a hidden unit is dropped in training (rng `dropout`).
        dtype: Compute dtype.
    """

    num_classes: int = 10
    hidden: tuple[int, ...] = (128,)
    dropout: float = 0.0
    dtype: ComputeDtype = "float32"

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> jax.Array:
        """Logits [B, num_classes] float32 of images [B, H, W, C]; `mask` is not used."""
        x = prepare_images(images, model="MLP", minimum=1, dtype=self.dtype)
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.hidden):
            x = nn.Dense(
                width, dtype=x.dtype, kernel_init=nn.initializers.he_normal(), name=f"dense_{i}"
            )(x)
            x = nn.relu(x)
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = nn.Dense(
            self.num_classes,
            dtype=x.dtype,
            kernel_init=nn.initializers.lecun_normal(),
            name="classifier",
        )(x)
        return x.astype(jnp.float32)
