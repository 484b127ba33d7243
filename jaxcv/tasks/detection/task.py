"""Object detection: a class and a box for every object, by a dense detector's anchors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv import losses
from jaxcv.image import AnnotationRules, clip_boxes, select_detections
from jaxcv.losses.hard_examples import hardest
from jaxcv.metrics.detection import detection_summary
from jaxcv.metrics.detection_losses import DetectionLosses, detection_loss_summary
from jaxcv.models.detection import DetectionOutputs
from jaxcv.tasks.detection.assignment import Assigner, CenterSampling
from jaxcv.tasks.detection.assignment.assignment import inside
from jaxcv.train.task import Batch, Task

BoxLoss = Literal["giou", "diou", "ciou", "iou", "smooth_l1"]


class Targets(NamedTuple):
    """What each of N anchors has to say of each of B images.

    Attributes:
        classes: [B, N] int32, C for no object.
        boxes: [B, N, 4] in pixels; that of no object where an anchor is to find none.
        positive: [B, N] bool.
        counted: [B, N] bool, for the loss of classes.
    """

    classes: jax.Array
    boxes: jax.Array
    positive: jax.Array
    counted: jax.Array


@dataclass(frozen=True, kw_only=True)
class Detection(Task):
    """Objects of `num_classes`; labels are `boxes` [B,M,4] and `classes` [B,M], -1 for padding.

    The objective is the sum over the global batch of the class losses of all anchors that count, of
    the box losses and of the centre-ness losses of the positive ones, divided by the number of
    positive anchors in the global batch (by 1 where there is none: an image without objects is an
    example like any other). Anchors whose centre lies in an object marked `ignored`, and that find
    no other, do not count.

    Attributes:
        num_classes: number of classes C.
        assigner: which anchors are to find which object: `CenterSampling`, `MaxIoU`, `ATSS`.
        classification: "focal", a sigmoid for each class (Lin et al. 2017, arXiv:1708.02002), or
            "softmax", over the classes and no object, with the hardest negatives (Liu et al. 2016,
            arXiv:1512.02325); the model then needs `background=True`.
        focal_gamma, focal_alpha: of the focal loss.
        hard_negatives: with "softmax", negatives per positive that count, those with the highest loss.
        box_loss: on decoded boxes, or "smooth_l1" on the model's own terms.
        box_weight, centerness_weight: weights of those parts of the loss.
        min_visibility: fraction of a box's area, in [0, 1], that an augmentation must leave in the image;
            else the box is gone.
        score_threshold: least score of a detection.
        iou_threshold: of two detections of a class that overlap more, the better one stays.
        max_detections: detections of an image, D.
    """

    num_classes: int
    assigner: Assigner = field(default_factory=CenterSampling)
    classification: Literal["focal", "softmax"] = "focal"
    focal_gamma: float = 2.0
    focal_alpha: float = 0.25
    hard_negatives: float = 3.0
    box_loss: BoxLoss = "giou"
    box_weight: float = 1.0
    centerness_weight: float = 1.0
    min_visibility: float = 0.1
    score_threshold: float = 0.05
    iou_threshold: float = 0.6
    max_detections: int = 100

    # Where the whole batch holds no object, its class loss is divided by 1.
    least_weight = 1.0
    annotations = ("boxes", "classes", "ignored", "area", "placement")

    @property
    def annotation_rules(self) -> AnnotationRules:
        """Which boxes stay in an augmented image."""
        return AnnotationRules(min_visibility=self.min_visibility)

    def check_outputs(self, outputs: Any, images: jax.ShapeDtypeStruct) -> None:
        """Wants `DetectionOutputs` of as many classes as the task has."""
        if not isinstance(outputs, DetectionOutputs):
            raise ValueError(
                f"the model gives {type(outputs).__name__}, but the task wants DetectionOutputs; take a "
                "model of jaxcv.models.detection"
            )
        softmax = self.classification == "softmax"
        wanted, found = self.num_classes + softmax, outputs.logits.shape[-1]
        if found == wanted:
            return
        if found == self.num_classes + (not softmax):
            raise ValueError(
                f'the task\'s classification is "{self.classification}", which wants {wanted} logits, '
                f"but the model gives {found}; say --model.background {softmax}"
            )
        raise ValueError(
            f"the model gives {found} logits for each box, but the task wants {wanted}; say "
            f"--model.num-classes {self.num_classes}"
        )

    def class_count(self) -> int:
        """Classes of objects; no object is none of them."""
        return self.num_classes

    def targets(self, outputs: DetectionOutputs, batch: Batch) -> Targets:
        """Assigns the objects of each image to the anchors; a padding row has nothing that counts."""
        anchors = outputs.anchors

        def of_image(boxes: jax.Array, classes: jax.Array, ignored: jax.Array) -> Targets:
            assigned = self.assigner.assign(anchors, boxes, (classes >= 0) & ~ignored)
            matched, positive = assigned.matched, assigned.positive
            hidden = jnp.any(inside(anchors.centers, boxes) & (classes >= 0) & ignored, axis=1)
            return Targets(
                classes=jnp.where(positive, classes[matched], self.num_classes),
                boxes=boxes[matched],
                positive=positive,
                counted=positive | (assigned.counted & ~hidden),
            )

        found = jax.vmap(of_image)(batch["boxes"], batch["classes"], batch["ignored"])
        real = batch["mask"][:, None]
        return found._replace(positive=found.positive & real, counted=found.counted & real)

    def loss(
        self, outputs: DetectionOutputs, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, Any]:
        """Sums of each image's losses, and its positive anchors; see the class."""
        targets = self.targets(outputs, batch)
        class_loss, box_loss, centerness_loss = self._parts(outputs, targets)
        values = class_loss + self.box_weight * box_loss + self.centerness_weight * centerness_loss
        return values, jnp.sum(targets.positive, axis=1, dtype=jnp.float32), state

    def _parts(
        self, outputs: DetectionOutputs, targets: Targets
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The three parts of the loss, [B] each."""
        found, centers = targets.positive, outputs.anchors.centers
        # Where nothing is to be found, a box like the anchor's: what is computed there is finite.
        boxes = jnp.where(found[..., None], targets.boxes, outputs.anchors.boxes)
        box_losses = self._box_losses(outputs, boxes)
        centerness_loss = jnp.zeros(len(found))
        if outputs.centerness is not None:
            centerness = losses.sigmoid_cross_entropy(
                outputs.centerness, centerness_of(centers, boxes)
            )
            centerness_loss = jnp.sum(jnp.where(found, centerness, 0.0), axis=1)
        return (
            self._class_loss(outputs.logits, targets),
            jnp.sum(jnp.where(found, box_losses, 0.0), axis=1),
            centerness_loss,
        )

    def _class_loss(self, logits: jax.Array, targets: Targets) -> jax.Array:
        """[B] sums over the anchors that count."""
        if self.classification == "focal":
            labels = targets.classes[..., None] == jnp.arange(self.num_classes)
            values = losses.sigmoid_focal_loss(
                logits, labels, gamma=self.focal_gamma, alpha=self.focal_alpha
            )
            return jnp.sum(jnp.where(targets.counted[..., None], values, 0.0), axis=(1, 2))
        values = losses.softmax_cross_entropy(logits, targets.classes)
        negative = targets.counted & ~targets.positive
        positives = jnp.sum(targets.positive, axis=1)
        number = jnp.ceil(self.hard_negatives * jnp.maximum(positives, 1)).astype(jnp.int32)
        kept = targets.positive | hardest(values, negative, number)
        return jnp.sum(jnp.where(kept, values, 0.0), axis=1)

    def _box_losses(self, outputs: DetectionOutputs, boxes: jax.Array) -> jax.Array:
        """[B, N]."""
        if self.box_loss == "smooth_l1":
            wanted = outputs.coding.encode(boxes, outputs.anchors.boxes)
            return losses.smooth_l1_loss(outputs.regression, wanted)
        on_boxes = {
            "giou": losses.giou_loss,
            "diou": losses.diou_loss,
            "ciou": losses.ciou_loss,
            "iou": losses.iou_loss,
        }
        return on_boxes[self.box_loss](outputs.boxes(), boxes)

    def metrics(self, outputs: DetectionOutputs, batch: Batch) -> DetectionLosses:
        """Sums of the parts of the loss; what is found is told by `aggregate`."""
        targets = self.targets(outputs, batch)
        parts = self._parts(outputs, targets)
        objects = (batch["classes"] >= 0) & ~batch["ignored"] & batch["mask"][:, None]
        return DetectionLosses(
            jnp.sum(batch["mask"]),
            jnp.sum(objects),
            jnp.sum(targets.positive),
            *(jnp.sum(part) for part in parts),
        )

    def summary(self, metrics: DetectionLosses) -> dict[str, Any]:
        """Images, and each part of the loss per positive anchor."""
        return detection_loss_summary(metrics)

    def scores(self, outputs: DetectionOutputs) -> jax.Array:
        """[B, N, C] in [0, 1]: probability of a class, times that of lying centrally in an object."""
        logits = outputs.logits.astype(jnp.float32)
        if self.classification == "softmax":
            scores = jax.nn.softmax(logits)[..., :-1]
        else:
            scores = jax.nn.sigmoid(logits)
        if outputs.centerness is not None:
            scores = scores * jax.nn.sigmoid(outputs.centerness)[..., None]
        return scores

    def predict(self, outputs: DetectionOutputs) -> dict[str, jax.Array]:
        """`boxes` [B,D,4] in pixels, `scores` [B,D], `classes` [B,D] (-1: none), best first."""
        boxes = clip_boxes(outputs.boxes(), outputs.image_size)

        def of_image(boxes: jax.Array, scores: jax.Array) -> Any:
            return select_detections(
                boxes,
                scores,
                score_threshold=self.score_threshold,
                iou_threshold=self.iou_threshold,
                max_detections=self.max_detections,
            )

        found = jax.vmap(of_image)(boxes, self.scores(outputs))
        return dict(zip(("boxes", "scores", "classes"), found))

    def per_example(self, outputs: DetectionOutputs, batch: Batch) -> dict[str, jax.Array]:
        """Detections and objects of each image, in pixels of the image as it is stored."""
        found = self.predict(outputs)
        return {
            "detected_boxes": in_original(found["boxes"], batch["placement"]),
            "detected_scores": found["scores"],
            "detected_classes": found["classes"],
            "boxes": in_original(batch["boxes"], batch["placement"]),
            **{name: batch[name] for name in ("classes", "ignored", "area")},
        }

    def aggregate(self, per_example: dict[str, np.ndarray]) -> dict[str, Any]:
        """The figures of COCO and of Pascal VOC."""
        return detection_summary(per_example, self.num_classes)


def in_original(boxes: jax.Array, placement: jax.Array) -> jax.Array:
    """Boxes [B, M, 4] of fitted images in pixels of the images as they are stored.

    Args:
        boxes: (x0, y0, x1, y1) in pixels.
        placement: [B, 4] (scale_x, scale_y, left, top) of each image, see `jaxcv.data.detection`.
    """
    scale, corner = placement[:, None, :2], placement[:, None, 2:]
    # A padding row of a batch is all zeros.
    scale = jnp.where(scale > 0, scale, 1.0)
    return (boxes - jnp.tile(corner, 2)) / jnp.tile(scale, 2)


def centerness_of(centers: jax.Array, boxes: jax.Array) -> jax.Array:
    """How central points [N, 2] are in boxes [..., N, 4]: 1 in the middle, 0 on the edge or outside.

    sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)) for the distances to the left, right, top and
    bottom (Tian et al. 2019, arXiv:1904.01355, equation 3).

    Example:
        >>> centerness_of(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 0.0, 5.0, 4.0]])).tolist()
        [0.5]
    """
    first = jnp.maximum(centers - boxes[..., :2], 0.0)
    second = jnp.maximum(boxes[..., 2:] - centers, 0.0)
    near, far = jnp.minimum(first, second), jnp.maximum(first, second)
    fraction = jnp.where(far > 0, near / jnp.where(far > 0, far, 1.0), 0.0)
    return jnp.sqrt(fraction[..., 0] * fraction[..., 1])
