"""U-Net (Ronneberger, Fischer & Brox 2015, arXiv:1505.04597) over any backbone."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv.models.segmentation.decoder import Decoder, Outputs
from jaxcv.models.upsampling import Upsample, cut_to


class UNet(Decoder):
    """From the coarsest features, step by step, to the finest: enlarge, join, convolve.

    Each step projects the features to its width, enlarges them, joins those of the backbone at the
    next finer stride and applies convolutions. The paper's network is
    `UNet(backbone=ConvBackbone(widths=(64, 128, 256, 512, 1024), norm="none"), widths=(512, 256,
    128, 64))`, but for its transposed convolutions and its lost borders.

    Attributes:
        widths: Channels of each step, from coarse to fine: one fewer than the backbone has strides.
        convolutions: 3x3 convolutions of each step.
        others: See `Decoder`.

    Example:
        >>> model = UNet(num_classes=11, backbone=ConvBackbone(widths=(8, 16)), widths=(8,))
        >>> images = jnp.zeros((1, 30, 41, 3))
        >>> jax.eval_shape(model.init_with_output, jax.random.key(0), images)[0].shape
        (1, 30, 41, 11)
    """

    widths: tuple[int, ...] = (64, 32, 16)
    convolutions: int = 2

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> Outputs:
        """Logits of images [B, H, W, C]: see `Outputs`; `mask` [B] as in `BatchNorm`.

        Raises:
            ValueError: If `widths` do not fit the backbone, or images are too small for it.
        """
        strides = self.body.strides
        if len(self.widths) != len(strides) - 1:
            raise ValueError(
                f"UNet wants one width for each step from stride {strides[-1]} to {strides[0]}, "
                f"{len(strides) - 1} in all, found widths {self.widths}."
            )
        features = self.features(images, strides, train, mask)
        x = features[strides[-1]]
        for step, width in enumerate(self.widths):
            coarse, fine = strides[-1 - step], strides[-2 - step]
            skip = features[fine]
            x = Upsample(
                width,
                self.scale(coarse, fine),
                method=self.upsampling,
                dtype=x.dtype,
                name=f"step_{step + 1}_upsample",
            )(x)
            x = jnp.concatenate([cut_to(x, skip.shape[1:3]), skip], axis=-1)
            for i in range(self.convolutions):
                x = self.block(width, f"step_{step + 1}_conv_{i + 1}")(x, train=train, mask=mask)
        return self.outputs(x, strides[0], features, images.shape[1:3], train, mask)
