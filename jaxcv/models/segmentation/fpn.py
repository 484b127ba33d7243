"""Segmentation with a feature pyramid."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv.models.feature_pyramid import FeaturePyramid
from jaxcv.models.segmentation.decoder import Decoder, Outputs
from jaxcv.models.upsampling import cut_to, upsample_bilinear


class FPN(Decoder):
    """The semantic branch of panoptic FPN (Kirillov et al. 2019, arXiv:1901.02446, section 3).

    The features of every level are brought to the finest one's size by steps of a 3x3 convolution,
    normalization, ReLU and doubling, then added up.

    Attributes:
        width: Channels of the pyramid (256 in the paper).
        segmentation_width: Channels of the semantic branch (128 in the paper).
        levels: How many strides, counted from the coarsest (4 in the paper: 4, 8, 16, 32).
        others: See `Decoder`. Within the branch everything is bilinear, as in the paper;
            `upsampling` decides the logits alone.
    """

    width: int = 256
    segmentation_width: int = 128
    levels: int = 4

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> Outputs:
        """Logits of images [B, H, W, C]: see `Outputs`; `mask` [B] as in `BatchNorm`.

        Raises:
            ValueError: If the backbone has fewer strides than `levels`, or images are too small.
        """
        strides = self.body.strides[-self.levels :]
        if not 1 <= self.levels <= len(self.body.strides):
            raise ValueError(
                f"levels is {self.levels}, but the backbone has strides {self.body.strides}."
            )
        features = self.features(images, strides, train, mask)
        pyramid = FeaturePyramid(self.width, dtype=jnp.dtype(self.dtype), name="pyramid")(
            {stride: features[stride] for stride in strides}, self.scale
        )
        finest = strides[0]
        size = pyramid[finest].shape[1:3]
        levels = []
        for level, stride in enumerate(strides):
            x = pyramid[stride]
            for i in range(max(level, 1)):
                block = self.block(self.segmentation_width, f"level_{stride}_conv_{i + 1}")
                x = block(x, train=train, mask=mask)
                if level > 0:
                    x = upsample_bilinear(x, self.scale(strides[level - i], strides[level - i - 1]))
            levels.append(cut_to(x, size))
        return self.outputs(
            sum(levels[1:], levels[0]), finest, features, images.shape[1:3], train, mask
        )
