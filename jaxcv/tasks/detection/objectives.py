"""What a detector minimises beside the objectives on classes: boxes, and the hardest negatives."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from jaxcv import losses
from jaxcv.arguments import check_non_negative, check_positive
from jaxcv.losses.hard_examples import hardest
from jaxcv.models.detection import DetectionOutputs
from jaxcv.tasks.classification.objectives import CrossEntropy
from jaxcv.tasks.objective import Losses, Objective
from jaxcv.train.task import Batch
from jaxcv.train.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class HardNegatives(Objective):
    """Another objective on all positive anchors and the negatives where it is highest (arXiv:1512.02325).

    Attributes:
        objective: any on a softmax over the classes and no object, the last logit.
        per_positive: negatives of an image for each of its positives, >= 0; as for one positive where
            it has none.
    """

    objective: Objective = field(default_factory=CrossEntropy)
    per_positive: float = 3.0

    def __post_init__(self) -> None:
        """Raises ValueError for a negative number."""
        check_non_negative("per_positive", self.per_positive)

    def init(self, data: TrainingData | None) -> Any:
        """The state of the other."""
        return self.objective.init(data)

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`. Equal losses at the limit are all kept."""
        values, weights, state = self.objective.loss(outputs, batch, state, key)
        no_object = batch["label"] == outputs.shape[-1] - 1
        positive, negative = (weights > 0) & ~no_object, (weights > 0) & no_object
        positives = jnp.sum(positive, axis=1)
        number = jnp.ceil(self.per_positive * jnp.maximum(positives, 1)).astype(jnp.int32)
        kept = positive | hardest(values, negative, number)
        return jnp.where(kept, values, 0.0), jnp.where(kept, weights, 0.0), state


@dataclass(frozen=True, kw_only=True)
class BoxLoss(abc.ABC):
    """The loss of the boxes of all anchors."""

    @abc.abstractmethod
    def of_anchors(self, outputs: DetectionOutputs, boxes: jax.Array) -> jax.Array:
        """[B, N] float32 from the boxes [B, N, 4], (x0, y0, x1, y1) in pixels, that are to be found."""


@dataclass(frozen=True, kw_only=True)
class IoU(BoxLoss):
    """`losses.iou_loss`, for boxes that overlap already (arXiv:1608.01471)."""

    def of_anchors(self, outputs: DetectionOutputs, boxes: jax.Array) -> jax.Array:
        """See `BoxLoss`."""
        return losses.iou_loss(outputs.boxes(), boxes)


@dataclass(frozen=True, kw_only=True)
class GIoU(BoxLoss):
    """`losses.giou_loss`, for any boxes (arXiv:1902.09630)."""

    def of_anchors(self, outputs: DetectionOutputs, boxes: jax.Array) -> jax.Array:
        """See `BoxLoss`."""
        return losses.giou_loss(outputs.boxes(), boxes)


@dataclass(frozen=True, kw_only=True)
class DIoU(BoxLoss):
    """`losses.diou_loss`, with the distance of the centres (arXiv:1911.08287)."""

    def of_anchors(self, outputs: DetectionOutputs, boxes: jax.Array) -> jax.Array:
        """See `BoxLoss`."""
        return losses.diou_loss(outputs.boxes(), boxes)


@dataclass(frozen=True, kw_only=True)
class CIoU(BoxLoss):
    """`losses.ciou_loss`, with the aspect ratio as well (arXiv:1911.08287)."""

    def of_anchors(self, outputs: DetectionOutputs, boxes: jax.Array) -> jax.Array:
        """See `BoxLoss`."""
        return losses.ciou_loss(outputs.boxes(), boxes)


@dataclass(frozen=True, kw_only=True)
class BoxSmoothL1(BoxLoss):
    """`losses.smooth_l1_loss` on the model's own terms, such as offsets to anchors (arXiv:1504.08083).

    Attributes:
        beta: > 0, the error at which the loss turns from quadratic to linear.
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        """Raises ValueError for beta <= 0."""
        check_positive("beta", self.beta)

    def of_anchors(self, outputs: DetectionOutputs, boxes: jax.Array) -> jax.Array:
        """See `BoxLoss`."""
        expected = outputs.coding.encode(boxes, outputs.anchors.boxes)
        return losses.smooth_l1_loss(outputs.regression, expected, beta=self.beta)
