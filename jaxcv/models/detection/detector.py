"""What the detectors share: a backbone, a pyramid over it, a head."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv.models.backbone import true_stride
from jaxcv.models.conv_block import Norm
from jaxcv.models.feature_pyramid import FeaturePyramid, split_strides


class Detector(nn.Module):
    """Base of the dense detectors. They take images of any size from the backbone's smallest on.

    A detector computes in the dtype of its backbone.

    Attributes:
        num_classes: number of classes C.
        backbone: module that gives features at several strides, see `jaxcv.models.backbone`.
        strides: of the pyramid, each twice the one before; those beyond the backbone's are added.
        width: channels of pyramid and head.
        convolutions: in each tower of the head.
        norm: of the head, "group" or "none".
        background: whether there is a logit for no object, as a softmax over classes needs.
        prior: see `DetectionHead`.
    """

    num_classes: int
    backbone: nn.Module
    strides: tuple[int, ...] = (8, 16, 32, 64, 128)
    width: int = 256
    convolutions: int = 4
    norm: Norm = "group"
    background: bool = False
    prior: float = 0.01

    @property
    def body(self) -> Any:
        """The backbone, as something that has the attributes of a `Backbone`."""
        return self.backbone

    @property
    def axis_name(self) -> str | None:
        """Mapped axis over which BatchNorm's statistics are summed: the backbone's."""
        return self.body.axis_name

    def pyramid(
        self, images: jax.Array, train: bool, mask: jax.Array | None
    ) -> dict[int, jax.Array]:
        """Features of images [B, H, W, C]: `{stride: [B, h, w, width]}`, `strides` being true ones."""
        own, coarser = split_strides(self.strides, self.body.strides)
        if true_stride(self.body, own[-1]) != own[-1]:
            raise ValueError(
                f"the backbone's output_stride is {self.body.output_stride}, but features at stride "
                f"{own[-1]} are wanted; a detector needs output_stride=None."
            )
        features = self.body.features_at(images, own, train=train, mask=mask)
        neck = FeaturePyramid(
            self.width, coarser=coarser, dtype=jnp.dtype(self.body.dtype), name="pyramid"
        )
        return neck({stride: features[stride] for stride in own})
