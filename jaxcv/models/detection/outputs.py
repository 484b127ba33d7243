"""What a detector says of a batch of images."""

from __future__ import annotations

import jax
from flax import struct

from jaxcv.image import BoxCoding
from jaxcv.models.detection.anchors import Anchors


@struct.dataclass
class DetectionOutputs:
    """Scores and a box for each of N anchors.

    Attributes:
        logits: [B, N, C] float32, one for each class; of a model with `background`, one more, the last,
            for no object.
        regression: [B, N, 4] float32, boxes in the terms of `coding`.
        centerness: [B, N] float32 logits of how central in its object an anchor is, or None.
        anchors: the anchors, equal for all images.
        coding: how `regression` stands for boxes.
        image_size: (height, width) of the images.
    """

    logits: jax.Array
    regression: jax.Array
    centerness: jax.Array | None
    anchors: Anchors
    coding: BoxCoding = struct.field(pytree_node=False)
    image_size: tuple[int, int] = struct.field(pytree_node=False)

    def boxes(self) -> jax.Array:
        """[B, N, 4] float32 (x0, y0, x1, y1) in pixels of the images."""
        return self.coding.decode(self.regression, self.anchors.boxes)
