"""RetinaNet (Lin, Goyal, Girshick, He & Dollár 2017, arXiv:1708.02002): a detector with anchor boxes."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv.image import DeltaCoding
from jaxcv.models.detection.anchors import grid_anchors
from jaxcv.models.detection.detector import Detector
from jaxcv.models.detection.head import DetectionHead
from jaxcv.models.detection.outputs import DetectionOutputs


class RetinaNet(Detector):
    """At every position, how each of several anchor boxes is to be shifted and scaled, and its class.

    The paper's head has no normalization: `norm="none"`.

    Attributes:
        anchor_size: side, in strides, of the square anchor of scale 1 (section 4: 32 pixels at stride
            8).
        scales: factors of the side.
        ratios: height / width; an anchor has the area of the square whatever its ratio.
        others: see `Detector`.

    Example:
        >>> from jaxcv.models import ConvBackbone
        >>> model = RetinaNet(3, ConvBackbone(widths=(8, 8, 8, 8)), strides=(4, 8), width=8)
        >>> images = jnp.zeros((1, 32, 48, 3))
        >>> outputs, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
        >>> outputs.logits.shape  # 9 anchors at each of 8 * 12 + 4 * 6 positions
        (1, 1080, 3)
    """

    anchor_size: float = 4.0
    scales: tuple[float, ...] = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> DetectionOutputs:
        """Scores and boxes of images [B, H, W, C]; `mask` [B] as in `BatchNorm`.

        Raises:
            ValueError: if `strides` do not fit the backbone, or images are too small for it.
        """
        pyramid = self.pyramid(images, train, mask)
        shapes = [
            (
                self.anchor_size * scale / math.sqrt(ratio),
                self.anchor_size * scale * math.sqrt(ratio),
            )
            for scale in self.scales
            for ratio in self.ratios
        ]
        head = DetectionHead(
            self.num_classes,
            background=self.background,
            anchors=len(shapes),
            width=self.width,
            convolutions=self.convolutions,
            norm=self.norm,
            prior=self.prior,
            dtype=jnp.dtype(self.body.dtype),
            name="head",
        )
        logits, regression, _ = head(pyramid)
        sizes = {stride: x.shape[1:3] for stride, x in pyramid.items()}
        return DetectionOutputs(
            logits=logits,
            regression=regression,
            centerness=None,
            anchors=grid_anchors(sizes, shapes),
            coding=DeltaCoding(),
            image_size=(images.shape[1], images.shape[2]),
        )
