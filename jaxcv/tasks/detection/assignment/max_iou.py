"""The assignment of RetinaNet and Faster R-CNN: by the overlap of anchors and objects."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxcv.image import iou_matrix
from jaxcv.models.detection import Anchors
from jaxcv.tasks.detection.assignment.assignment import Assignment, assignment_of


@dataclass(frozen=True, kw_only=True)
class MaxIoU:
    """Ren et al. 2015, arXiv:1506.01497, section 3.1.2; thresholds of arXiv:1708.02002, section 4.1.

    An anchor is to find the object with which it has the largest intersection over union, if that
    is at least `positive`; it is to find none if that is below `negative`; between the two it does
    not count. An object's own best anchors are to find it in any case, so that none goes unseen.

    Attributes:
        positive, negative: limits of the intersection over union, negative <= positive.
        every_object: whether an object's best anchors find it whatever their overlap; False leaves
            small objects to chance, as the RetinaNet paper does.
    """

    positive: float = 0.5
    negative: float = 0.4
    every_object: bool = True

    def __post_init__(self) -> None:
        """Raises ValueError for limits in the wrong order."""
        if not 0 <= self.negative <= self.positive <= 1:
            raise ValueError(
                f"positive is {self.positive} and negative {self.negative}, but "
                "0 <= negative <= positive <= 1 is wanted"
            )

    def assign(self, anchors: Anchors, boxes: jax.Array, real: jax.Array) -> Assignment:
        """See `Assigner`."""
        iou = jnp.where(real, iou_matrix(anchors.boxes, boxes), -1.0)  # [N, M]
        best = jnp.max(iou, axis=1, initial=-1.0)
        possible = (iou == best[:, None]) & (best >= self.positive)[:, None]
        if self.every_object:
            favourite = (iou == jnp.max(iou, axis=0, keepdims=True)) & (iou > 0)
            # An anchor that is one object's favourite finds that one, whatever it overlaps more.
            possible = jnp.where(jnp.any(favourite, axis=1, keepdims=True), favourite, possible)
        return assignment_of(possible, -iou, best < self.negative)
