"""What the segmentation networks share: a backbone, blocks like its own, heads, the form of outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv.models.backbone import true_stride
from jaxcv.models.conv_block import ConvNormReLU
from jaxcv.models.upsampling import LogitHead, Upsampling

Outputs = jax.Array | dict[str, jax.Array]
"""Logits [B, H, W, num_classes] float32, or `{"logits": ..., "auxiliary": ...}`, both of this shape."""


class Decoder(nn.Module):
    """Base of the networks that give a class to every pixel. They take images of any size.

    A decoder computes in the dtype of its backbone, and its BatchNorm is as the backbone's: say
    `UNet(num_classes=11, backbone=ConvBackbone(dtype="bfloat16", axis_name=AXIS))`.

    Attributes:
        num_classes: Number of classes.
        backbone: Module that gives features at several strides, see `jaxcv.models.backbone`.
        upsampling: How features and logits are enlarged.
        dropout: Probability with which a feature channel is dropped before the logits in training
            (rng `dropout`).
        auxiliary_stride: Stage of the backbone that gets a second head, to whose logits a task gives
            a loss of their own; 16 is usual with a ResNet (Zhao et al. 2017, arXiv:1612.01105,
            section 3.3). The outputs are then `{"logits": ..., "auxiliary": ...}`. None for none.
    """

    num_classes: int
    backbone: nn.Module
    upsampling: Upsampling = "bilinear"
    dropout: float = 0.0
    auxiliary_stride: int | None = None

    @property
    def body(self) -> Any:
        """The backbone, as something that has the attributes of a `Backbone`."""
        return self.backbone

    @property
    def dtype(self) -> Any:
        """Compute dtype: the backbone's."""
        return self.body.dtype

    @property
    def axis_name(self) -> str | None:
        """Mapped axis over which BatchNorm's statistics are summed: the backbone's."""
        return self.body.axis_name

    def features(
        self, images: jax.Array, strides: Sequence[int], train: bool, mask: jax.Array | None
    ) -> dict[int, jax.Array]:
        """The backbone's features at `strides`, and at that of the auxiliary head."""
        extra = [] if self.auxiliary_stride is None else [self.auxiliary_stride]
        return self.body.features_at(images, [*strides, *extra], train=train, mask=mask)

    def scale(self, coarse: int, fine: int) -> int:
        """How many positions of stage `fine` one of stage `coarse` spans along an axis."""
        return true_stride(self.body, coarse) // true_stride(self.body, fine)

    def block(self, width: int, name: str, *, size: int = 3, dilation: int = 1) -> ConvNormReLU:
        """A convolution with normalization and ReLU, with the settings of the backbone."""
        return ConvNormReLU(
            width,
            size=size,
            dilation=dilation,
            norm=getattr(self.body, "norm", "batch"),
            momentum=self.body.momentum,
            dtype=jnp.dtype(self.dtype),
            axis_name=self.axis_name,
            name=name,
        )

    def outputs(
        self,
        x: jax.Array,
        stride: int,
        features: dict[int, jax.Array],
        size: Sequence[int],
        train: bool,
        mask: jax.Array | None,
    ) -> Outputs:
        """Logits at `size` = (H, W) from the last features `x`, which lie as stage `stride` does."""
        head = LogitHead(
            self.num_classes,
            true_stride(self.body, stride),
            method=self.upsampling,
            dropout=self.dropout,
            name="head",
        )
        logits = head(x, size, train=train)
        if self.auxiliary_stride is None:
            return logits
        y = features[self.auxiliary_stride]
        y = self.block(max(y.shape[-1] // 4, 1), "auxiliary_conv")(y, train=train, mask=mask)
        # Always bilinear: this head is thrown away, and its stride would make it large.
        auxiliary = LogitHead(
            self.num_classes,
            true_stride(self.body, self.auxiliary_stride),
            dropout=self.dropout,
            name="auxiliary_head",
        )(y, size, train=train)
        return {"logits": logits, "auxiliary": auxiliary}
