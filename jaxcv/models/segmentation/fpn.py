"""Feature pyramid networks (Lin et al. 2017, arXiv:1612.03144), and segmentation with one."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv.models.convolution import Conv
from jaxcv.models.segmentation.decoder import Decoder, Outputs
from jaxcv.models.segmentation.upsampling import cut_to, upsample_bilinear, upsample_nearest


class FeaturePyramid(nn.Module):
    """Features of one width at every stride, each informed by the coarser ones (figure 3).

    1x1 convolutions bring the backbone's features to one width; from coarse to fine, each is added
    to the finer one after repeating its pixels; a 3x3 convolution follows. No normalization, as in
    the paper. Also the neck of a detector.

    Attributes:
        width: Channels at every stride.
        dtype: Compute dtype.
    """

    width: int = 256
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, features: dict[int, jax.Array], scale: Callable[[int, int], int] | None = None
    ) -> dict[int, jax.Array]:
        """`{stride: [B, h, w, C]}` -> `{stride: [B, h, w, width]}`, from fine to coarse.

        Args:
            features: of a backbone.
            scale: gives how many positions of a stage one of a coarser stage spans,
                `scale(coarse, fine)`; None takes the ratio of the strides, right if none is dilated.
        """
        strides = sorted(features)
        scale = scale or (lambda coarse, fine: coarse // fine)
        merged: dict[int, jax.Array] = {}
        for stride in reversed(strides):
            x = Conv(self.width, (1, 1), dtype=self.dtype, name=f"lateral_{stride}")(
                features[stride]
            )
            if merged:
                coarser = min(merged)
                above = upsample_nearest(merged[coarser], scale(coarser, stride))
                x = x + cut_to(above, x.shape[1:3])
            merged[stride] = x
        return {
            stride: Conv(self.width, (3, 3), padding=1, dtype=self.dtype, name=f"smooth_{stride}")(
                merged[stride]
            )
            for stride in strides
        }


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
