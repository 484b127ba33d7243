"""PSPNet (Zhao et al. 2017, arXiv:1612.01105) over any backbone."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcv.models.segmentation.decoder import Decoder, Outputs


class PSPNet(Decoder):
    """Means over the image and over its parts, joined with the coarsest features (figure 3).

    The paper has a backbone with `output_stride=8` and `auxiliary_stride=16`, with weight 0.4.

    Attributes:
        bins: Into how many parts an axis is divided, once for each number.
        width: Channels of the last convolution (512 in the paper).
        others: See `Decoder`.
    """

    bins: tuple[int, ...] = (1, 2, 3, 6)
    width: int = 512

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> Outputs:
        """Logits of images [B, H, W, C]: see `Outputs`; `mask` [B] as in `BatchNorm`.

        Raises:
            ValueError: If images are too small for the backbone.
        """
        coarse = self.body.strides[-1]
        features = self.features(images, (coarse,), train, mask)
        x = features[coarse]
        branches = [x]
        for parts in self.bins:
            y = pooled(x, parts)
            block = self.block(max(x.shape[-1] // len(self.bins), 1), f"bin_{parts}", size=1)
            y = block(y, train=train, mask=mask)
            shape = (*x.shape[:3], y.shape[-1])
            branches.append(jax.image.resize(y, shape, "bilinear", antialias=False))
        x = jnp.concatenate(branches, axis=-1)
        x = self.block(self.width, "conv")(x, train=train, mask=mask)
        return self.outputs(x, coarse, features, images.shape[1:3], train, mask)


def pooled(x: jax.Array, parts: int) -> jax.Array:
    """Means over parts x parts cells that cover an image: [B, H, W, C] -> [B, parts, parts, C].

    Cell i of an axis of length n reaches from floor(i n / parts) to ceil((i + 1) n / parts), as in
    PyTorch's adaptive pooling: cells overlap where the length is no multiple, and none is empty.
    """
    rows, columns = (jnp.asarray(_cells(n, parts), jnp.float32) for n in x.shape[1:3])
    means = jnp.einsum("bhwc,ih,jw->bijc", x.astype(jnp.float32), rows, columns)
    return means.astype(x.dtype)


def _cells(length: int, parts: int) -> np.ndarray:
    """[parts, length] weights of the mean over each cell."""
    weights = np.zeros((parts, length))
    for i in range(parts):
        start, stop = i * length // parts, -(-(i + 1) * length // parts)
        weights[i, start:stop] = 1 / (stop - start)
    return weights
