"""LeNet-5's layout, with ReLU and max-pooling."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv.convolution.conv import Conv
from jaxcv.models.inputs import ComputeDtype, prepare_images
from jaxcv.models.pooling import max_pool_2x2


class LeNet(nn.Module):
    """Conv 6 (5x5), pool, conv 16 (5x5), pool, dense 120, dense 84, classifier.

    After LeCun, Bottou, Bengio & Haffner 1998, figure 2, with ReLU and max-pooling for their tanh
    and subsampling. 62,006 parameters for 32x32x3 images and 10 classes, padding "VALID".

    With padding "VALID" the images must be at least 16x16 (28x28 and 32x32 are usual); with "SAME"
    at least 4x4, which suits 8x8 digits. The image size is fixed by the images it is initialized
    with.

    Attributes:
        num_classes: Number of outputs.
        widths: Channels of the two convolutions.
        hidden: Width of each hidden dense layer.
        padding: "VALID" loses 4 pixels at each convolution, "SAME" none.
        dropout: Probability with which a unit of a hidden dense layer is dropped in training
            (rng `dropout`).
        dtype: Compute dtype.
    """

    num_classes: int = 10
    widths: tuple[int, int] = (6, 16)
    hidden: tuple[int, ...] = (120, 84)
    padding: Literal["VALID", "SAME"] = "VALID"
    dropout: float = 0.0
    dtype: ComputeDtype = "float32"

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> jax.Array:
        """Logits [B, num_classes] float32 of images [B, H, W, C]; `mask` is not used.

        Raises:
            ValueError: If the images are too small for `padding`.
        """
        minimum = 16 if self.padding == "VALID" else 4
        x = prepare_images(
            images, model=f'LeNet(padding="{self.padding}")', minimum=minimum, dtype=self.dtype
        )
        he_normal = nn.initializers.he_normal()
        for i, width in enumerate(self.widths):
            x = Conv(
                width,
                (5, 5),
                padding=self.padding,
                dtype=x.dtype,
                kernel_init=he_normal,
                name=f"conv_{i}",
            )(x)
            x = nn.relu(max_pool_2x2(x))  # the two commute, and a quarter is left to rectify
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.hidden):
            x = nn.Dense(width, dtype=x.dtype, kernel_init=he_normal, name=f"dense_{i}")(x)
            x = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(x))
        x = nn.Dense(
            self.num_classes,
            dtype=x.dtype,
            kernel_init=nn.initializers.lecun_normal(),
            name="classifier",
        )(x)
        return x.astype(jnp.float32)
