"""DeepLabV3+ (Chen et al. 2018, arXiv:1802.02611) over any backbone."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv.models.segmentation.decoder import Decoder, Outputs
from jaxcv.models.upsampling import cut_to, upsample_bilinear


class DeepLabV3Plus(Decoder):
    """Dilated convolutions of several rates at once, then a light decoder (figure 2).

    The backbone's coarsest features go through a 1x1 convolution, 3x3 convolutions of each rate and
    a mean over the image ("atrous spatial pyramid pooling", Chen et al. 2017, arXiv:1706.05587,
    section 3.3); the result is enlarged, joined with the features at `low_stride`, convolved twice.

    Give the backbone an `output_stride` of 16, or of 8 with `rates` twice as large. The paper's
    convolutions are plain here, not separable.

    Attributes:
        width: Channels throughout (256 in the paper).
        rates: Dilations, in positions of the coarsest features.
        low_stride: Stage of the backbone that brings the detail.
        low_width: Channels it is projected to (48 in the paper).
        others: See `Decoder`; features are enlarged bilinearly, `upsampling` decides the logits.
    """

    width: int = 256
    rates: tuple[int, ...] = (6, 12, 18)
    low_stride: int = 4
    low_width: int = 48

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> Outputs:
        """Logits of images [B, H, W, C]: see `Outputs`; `mask` [B] as in `BatchNorm`.

        Raises:
            ValueError: If the backbone has no stage at `low_stride`, or images are too small.
        """
        coarse = self.body.strides[-1]
        features = self.features(images, (self.low_stride, coarse), train, mask)
        x, low = features[coarse], features[self.low_stride]

        branches = [self.block(self.width, "aspp_point", size=1)(x, train=train, mask=mask)]
        for rate in self.rates:
            block = self.block(self.width, f"aspp_rate_{rate}", dilation=rate)
            branches.append(block(x, train=train, mask=mask))
        mean = jnp.mean(x, axis=(1, 2), keepdims=True, dtype=jnp.float32).astype(x.dtype)
        mean = self.block(self.width, "aspp_image", size=1)(mean, train=train, mask=mask)
        branches.append(jnp.broadcast_to(mean, branches[0].shape))
        x = jnp.concatenate(branches, axis=-1)
        x = self.block(self.width, "aspp_join", size=1)(x, train=train, mask=mask)

        x = cut_to(upsample_bilinear(x, self.scale(coarse, self.low_stride)), low.shape[1:3])
        low = self.block(self.low_width, "low", size=1)(low, train=train, mask=mask)
        x = jnp.concatenate([x, low], axis=-1)
        for i in (1, 2):
            x = self.block(self.width, f"conv_{i}")(x, train=train, mask=mask)
        return self.outputs(x, self.low_stride, features, images.shape[1:3], train, mask)
