"""The small network that holds the records of training time on CIFAR-10."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv.convolution.conv import Conv
from jaxcv.devices import AXIS
from jaxcv.models.inputs import ComputeDtype, prepare_images
from jaxcv.models.normalization import BatchNorm
from jaxcv.models.patch_whitening import COLLECTION, PatchWhitening, symmetric_uniform
from jaxcv.models.pooling import max_pool_2x2


def dirac_uniform(key: jax.Array, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
    """Filters [H, W, I, O] that pass their input on: the first I outputs copy the I inputs.

    Where there are more outputs than inputs, the others are uniform in +-1/sqrt(H W I). With H and W
    odd (S. Zagoruyko & N. Komodakis, DiracNets, 2017; used as here by K. Jordan 2024,
    arXiv:2404.00498).
    """
    height, width, inputs, outputs = shape
    filters = symmetric_uniform((height * width * inputs) ** -0.5)(key, shape, dtype)
    copies = min(inputs, outputs)
    filters = filters.at[..., :copies].set(0)
    return filters.at[height // 2, width // 2, :copies, :copies].set(jnp.eye(copies, dtype=dtype))


class SpeedBlock(nn.Module):
    """Two 3x3 convolutions, a 2x2 max-pool after the first: [B,H,W,C] -> [B,H/2,W/2,width].

    Each is followed by BatchNorm without scale and GELU.

    Attributes:
        width: channels of the output.
        momentum: of BatchNorm's running statistics.
        dtype: compute dtype; BatchNorm computes in float32.
        axis_name: mapped axis over which BatchNorm's statistics are summed.
    """

    width: int
    momentum: float
    dtype: Any
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None) -> jax.Array:
        """Features [B, H, W, C] -> [B, H // 2, W // 2, width]; `mask` [B] as in `BatchNorm`."""
        for i in (1, 2):
            x = Conv(
                self.width,
                (3, 3),
                use_bias=False,
                dtype=self.dtype,
                kernel_init=dirac_uniform,
                name=f"conv_{i}",
            )(x)
            if i == 1:
                x = max_pool_2x2(x)
            x = BatchNorm(
                momentum=self.momentum,
                epsilon=1e-12,
                use_scale=False,
                axis_name=self.axis_name,
                dtype=self.dtype,
                name=f"norm_{i}",
            )(x, train=train, mask=mask)
            x = nn.gelu(x, approximate=False)
        return x


class SpeedNet(nn.Module):
    """Whitened 2x2 patches, three blocks of two convolutions, global max-pool, classifier.

    The network of K. Jordan's "airbench" (94% on CIFAR-10 in 3.29 seconds on a single GPU, 2024,
    arXiv:2404.00498, and its successor with the optimiser Muon). 1,971,352 parameters for 3 channels
    and 10 classes, and 288 numbers of frozen filters, which `fit_to_data` computes from training
    images before the first step; 236 million floating-point operations per 32x32 image. Takes images
    from 9x9 on.

    Attributes:
        num_classes: Number of outputs.
        widths: Channels of the three blocks.
        momentum: Momentum of the running statistics of BatchNorm; a short run needs a low one.
        fit_examples: Training images, the first ones, that the filters are computed from.
        dtype: Compute dtype.
        axis_name: Mapped axis over which BatchNorm's statistics are summed.
    """

    num_classes: int = 10
    widths: tuple[int, ...] = (64, 256, 256)
    momentum: float = 0.6
    fit_examples: int = 5000
    dtype: ComputeDtype = "float32"
    axis_name: str | None = AXIS

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> jax.Array:
        """Logits [B, num_classes] float32 of images [B, H, W, C], normalised to mean 0, deviation 1.

        Args:
            images: [B, H, W, C] float.
            train: Whether BatchNorm uses, and learns from, this batch.
            mask: [B] bool; False keeps a row out of BatchNorm's statistics.

        Raises:
            ValueError: If the images are too small for the three blocks.
        """
        minimum = 2 ** len(self.widths) + 1
        x = prepare_images(images, model="SpeedNet", minimum=minimum, dtype=self.dtype)
        x = nn.gelu(self._whitening(x.dtype)(x), approximate=False)
        for i, width in enumerate(self.widths, start=1):
            block = SpeedBlock(width, self.momentum, x.dtype, self.axis_name, name=f"block_{i}")
            x = block(x, train=train, mask=mask)
        x = jnp.max(x, axis=(1, 2)).astype(jnp.float32)
        # Uniform of standard deviation 1, the logits divided by as many as there are features.
        head = nn.Dense(
            self.num_classes,
            use_bias=False,
            kernel_init=symmetric_uniform(3**0.5),
            name="classifier",
        )
        return head(x) / x.shape[-1]

    @nn.nowrap
    def fit_to_data(self, variables: dict[str, Any], images: jax.Array) -> dict[str, Any]:
        """The variables with the filters that whiten these training images; see `jaxcv.train.fitting`.

        Args:
            variables: as `init` gives them.
            images: [N, H, W, C] float, preprocessed but not augmented.
        """
        whitening = self._whitening(jnp.float32)
        fitted = whitening.fitted(variables[COLLECTION]["whitening"], images)
        return {**variables, COLLECTION: {**variables[COLLECTION], "whitening": fitted}}

    @nn.nowrap
    def _whitening(self, dtype: Any) -> PatchWhitening:
        return PatchWhitening(dtype=dtype, name="whitening")
