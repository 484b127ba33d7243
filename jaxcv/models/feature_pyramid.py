"""Feature pyramid networks (Lin et al. 2017, arXiv:1612.03144): the neck of FPN, FCOS and RetinaNet."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv.convolution.conv import Conv
from jaxcv.models.upsampling import cut_to, upsample_nearest


class FeaturePyramid(nn.Module):
    """Features of one width at every stride, each informed by the coarser ones (figure 3).

    1x1 convolutions bring the backbone's features to one width; from coarse to fine, each is added
    to the finer one after repeating its pixels; a 3x3 convolution follows. No normalization, as in
    the paper.

    Strides beyond the backbone's are made from the pyramid's coarsest features by 3x3 convolutions
    of stride 2, with a ReLU before each but the first (Lin et al. 2017, arXiv:1708.02002, section 4,
    but from the pyramid's last level, as FCOS has it).

    Attributes:
        width: Channels at every stride.
        coarser: How many strides to add, each twice the one before.
        dtype: Compute dtype.
    """

    width: int = 256
    coarser: int = 0
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
        pyramid = {
            stride: Conv(self.width, (3, 3), padding=1, dtype=self.dtype, name=f"smooth_{stride}")(
                merged[stride]
            )
            for stride in strides
        }
        return self._with_coarser(pyramid)

    def _with_coarser(self, pyramid: dict[int, jax.Array]) -> dict[int, jax.Array]:
        stride = max(pyramid)
        x = pyramid[stride]
        for i in range(self.coarser):
            stride *= 2
            x = Conv(
                self.width, (3, 3), (2, 2), padding=1, dtype=self.dtype, name=f"coarser_{stride}"
            )(nn.relu(x) if i else x)
            pyramid[stride] = x
        return pyramid


def split_strides(strides: Sequence[int], own: Sequence[int]) -> tuple[list[int], int]:
    """Which of a pyramid's strides a backbone has, and how many coarser ones are to be added.

    Args:
        strides: of the pyramid, each twice the one before, from fine to coarse.
        own: the backbone's.

    Raises:
        ValueError: where the first is none of the backbone's, or they do not double.

    Example:
        >>> split_strides((8, 16, 32, 64), (2, 4, 8, 16, 32))
        ([8, 16, 32], 1)
    """
    doubled = [strides[0] * 2**i for i in range(len(strides))] if strides else []
    if not strides or list(strides) != doubled or strides[0] not in own:
        raise ValueError(
            f"strides are {tuple(strides)}, but they must start with one of the backbone's, "
            f"{tuple(own)}, and double from one to the next."
        )
    shared = [stride for stride in strides if stride in own]
    return shared, len(strides) - len(shared)
