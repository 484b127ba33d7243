"""FCOS (Tian, Shen, Chen & He 2019, arXiv:1904.01355): a detector without anchor boxes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv.image import DistanceCoding
from jaxcv.models.detection.anchors import grid_anchors
from jaxcv.models.detection.detector import Detector
from jaxcv.models.detection.head import DetectionHead
from jaxcv.models.detection.outputs import DetectionOutputs


class FCOS(Detector):
    """At every position, the distances to the four sides of the object there, and its class.

    A position is an `Anchors` box of one shape, a square, whose side is the unit of the distances.
    Centre-ness turns boxes seen from an object's rim down. As in the authors' later code, it
    comes from the box tower.

    Attributes:
        unit: side of the square in strides: distances are so long where the network says nothing yet.
        centerness: whether there is a centre-ness logit.
        others: see `Detector`.

    Example:
        >>> from jaxcv.models import ConvBackbone
        >>> model = FCOS(3, ConvBackbone(widths=(8, 8, 8, 8)), strides=(4, 8), width=8)
        >>> images = jnp.zeros((1, 32, 48, 3))
        >>> outputs, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
        >>> outputs.logits.shape  # 8 * 12 positions at stride 4, 4 * 6 at stride 8
        (1, 120, 3)
    """

    unit: float = 2.0
    centerness: bool = True

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> DetectionOutputs:
        """Scores and boxes of images [B, H, W, C]; `mask` [B] as in `BatchNorm`.

        Raises:
            ValueError: if `strides` do not fit the backbone, or images are too small for it.
        """
        pyramid = self.pyramid(images, train, mask)
        head = DetectionHead(
            self.num_classes,
            background=self.background,
            width=self.width,
            convolutions=self.convolutions,
            norm=self.norm,
            centerness=self.centerness,
            level_scales=True,
            prior=self.prior,
            dtype=jnp.dtype(self.body.dtype),
            name="head",
        )
        logits, regression, centerness = head(pyramid)
        sizes = {stride: x.shape[1:3] for stride, x in pyramid.items()}
        return DetectionOutputs(
            logits=logits,
            regression=regression,
            centerness=centerness,
            anchors=grid_anchors(sizes, [(self.unit, self.unit)]),
            coding=DistanceCoding(),
            image_size=(images.shape[1], images.shape[2]),
        )
