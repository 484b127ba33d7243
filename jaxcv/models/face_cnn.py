"""A plain convolutional network for cropped faces."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv.convolution.conv import Conv
from jaxcv.models.inputs import ComputeDtype, prepare_images
from jaxcv.models.pooling import max_pool_2x2


class FaceCNN(nn.Module):
    """Conv 32, 64, 128 (3x3, each with a 2x2 pool), dense 512, dropout, then one output or C.

    4,288,577 parameters for 64x64x3 images and `num_classes=1`: one logit z per image, whose
    sigmoid is the probability of the positive class; pair it with a binary task. `num_classes=C`
    gives C softmax logits. The image size, at least 8x8, is fixed by the images it is initialized
    with.

    Attributes:
        num_classes: Number of outputs; 1 for a yes-or-no question.
        widths: Channels of each convolution; every one halves the image.
        hidden: Width of the dense layer.
        dropout: Probability with which a unit of the dense layer is dropped in training
            (rng `dropout`).
        dtype: Compute dtype.
    """

    num_classes: int = 1
    widths: tuple[int, ...] = (32, 64, 128)
    hidden: int = 512
    dropout: float = 0.5
    dtype: ComputeDtype = "float32"

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> jax.Array:
        """Logits [B, num_classes] float32 of images [B, H, W, C]; `mask` is not used.

        Raises:
            ValueError: If the images are too small to be halved by every convolution.
        """
        x = prepare_images(images, model="FaceCNN", minimum=2 ** len(self.widths), dtype=self.dtype)
        he_normal = nn.initializers.he_normal()
        for i, width in enumerate(self.widths):
            x = Conv(width, (3, 3), dtype=x.dtype, kernel_init=he_normal, name=f"conv_{i}")(x)
            x = nn.relu(max_pool_2x2(x))  # the two commute, and a quarter is left to rectify
        x = x.reshape(x.shape[0], -1)
        x = nn.Dense(self.hidden, dtype=x.dtype, kernel_init=he_normal, name="dense")(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(x))
        x = nn.Dense(
            self.num_classes,
            dtype=x.dtype,
            kernel_init=nn.initializers.lecun_normal(),
            name="classifier",
        )(x)
        return x.astype(jnp.float32)
