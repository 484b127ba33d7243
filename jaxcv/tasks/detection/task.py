"""Object detection: a class and a box for every object, by a dense detector's anchors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv import losses
from jaxcv.arguments import check_non_negative
from jaxcv.devices import AXIS
from jaxcv.image import AnnotationRules, clip_boxes, select_detections
from jaxcv.metrics.detection import detection_summary
from jaxcv.metrics.detection_losses import DetectionLosses, detection_loss_summary
from jaxcv.models.detection import DetectionOutputs
from jaxcv.tasks.classification.objectives import SigmoidFocal
from jaxcv.tasks.detection.assignment import Assigner, CenterSampling
from jaxcv.tasks.detection.assignment.assignment import inside
from jaxcv.tasks.detection.objectives import (
    BoxLoss,
    BoxSmoothL1,
    CIoU,
    DIoU,
    GIoU,
    HardNegatives,
    IoU,
)
from jaxcv.tasks.objective import IGNORED, Objective, check_objective, loss_per_example
from jaxcv.train.task import Batch, Headline, Task
from jaxcv.train.training_data import TrainingData


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
        class_loss: of the classes of all anchors: any objective of `Classification` that has a loss of
            each label. One on a sigmoid for each class, such as `SigmoidFocal`, `EqualizedFocal` or
            `Asymmetric`; or, with `background`, one on a softmax, such as `HardNegatives`.
        background: whether the model has a logit for no object, the last one (`background=True` there
            too), so that scores are a softmax over it and the classes.
        box_loss: on decoded boxes `GIoU`, `DIoU`, `CIoU`, `IoU`, or `BoxSmoothL1` on the model's terms.
        box_weight, centerness_weight: weights of those parts of the loss.
        min_visibility: fraction of a box's area, in [0, 1], that an augmentation must leave in the image;
            else the box is gone.
        score_threshold: least score of a detection.
        iou_threshold: of two detections of a class that overlap more, the better one stays.
        max_detections: detections of an image, D.
    """

    num_classes: int
    assigner: Assigner = field(default_factory=CenterSampling)
    class_loss: Objective = field(default_factory=lambda: SigmoidFocal(alpha=0.25))
    background: bool = False
    box_loss: BoxLoss = field(default_factory=GIoU)
    box_weight: float = 1.0
    centerness_weight: float = 1.0
    min_visibility: float = 0.1
    score_threshold: float = 0.05
    iou_threshold: float = 0.6
    max_detections: int = 100

    # Where the whole batch holds no object, its class loss is divided by 1.
    least_weight = 1.0
    annotations = ("boxes", "classes", "ignored", "area", "placement")

    def __post_init__(self) -> None:
        """Raises ValueError for a negative weight, for hard negatives without a logit for no object."""
        check_non_negative("box_weight", self.box_weight)
        check_non_negative("centerness_weight", self.centerness_weight)
        if isinstance(self.class_loss, HardNegatives) and not self.background:
            raise ValueError(
                "HardNegatives chooses among the anchors without an object, which need a logit of their "
                "own; say --task.background True --model.background True"
            )

    @classmethod
    def upgrade(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """Turns the fields of earlier versions' config.json into objectives."""
        gamma, alpha = fields.pop("focal_gamma", 2.0), fields.pop("focal_alpha", 0.25)
        per_positive = fields.pop("hard_negatives", 3.0)
        classification = fields.pop("classification", None)
        if classification == "focal":
            fields["class_loss"] = SigmoidFocal(gamma=gamma, alpha=alpha)
        elif classification == "softmax":
            fields["class_loss"] = HardNegatives(per_positive=per_positive)
            fields["background"] = True
        if isinstance(fields.get("box_loss"), str):
            fields["box_loss"] = {
                "iou": IoU(),
                "giou": GIoU(),
                "diou": DIoU(),
                "ciou": CIoU(),
                "smooth_l1": BoxSmoothL1(),
            }[fields["box_loss"]]
        return fields

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
        wanted, found = self.num_classes + self.background, outputs.logits.shape[-1]
        if found == wanted:
            labels = jax.ShapeDtypeStruct(outputs.logits.shape[:-1], jnp.int32)
            check_objective(self.class_loss, outputs.logits, labels, self.num_classes)
            self._check_no_object()
            return
        if found == self.num_classes + (not self.background):
            raise ValueError(
                f"the task's background is {self.background}, which wants {wanted} logits, but the model "
                f"gives {found}; say --model.background {self.background}"
            )
        raise ValueError(
            f"the model gives {found} logits for each box, but the task wants {wanted}; say "
            f"--model.num-classes {self.num_classes}"
        )

    def _check_no_object(self) -> None:
        """Raises ValueError where the class loss has no answer for an anchor without an object."""
        if self.background or self.class_loss.sees_images:
            return
        one = {"mask": jnp.ones(1, bool), "record": jnp.zeros(1, jnp.int32)}
        batch = {**one, "epoch": one["record"], "label": jnp.full((1, 1), self.num_classes)}

        def one_device(batch: Batch) -> jax.Array:
            state = self.init_state(TrainingData(num_examples=1, num_classes=self.num_classes))
            logits = jnp.zeros((1, 1, self.num_classes))
            key = jax.random.key(0)
            return loss_per_example(self.class_loss, logits, batch, state, key)[0]

        devices = jax.tree.map(lambda x: x[None], batch)
        if not jnp.all(jnp.isfinite(jax.vmap(one_device, axis_name=AXIS)(devices))):
            raise ValueError(
                f"{type(self.class_loss).__name__} chooses among the classes alone, but most anchors have "
                "no object; say --task.background True --model.background True, or take one on a sigmoid "
                "for each class, such as SigmoidFocal"
            )

    def class_count(self) -> int:
        """Classes of objects; no object is none of them."""
        return self.num_classes

    def init_state(self, data: TrainingData | None = None) -> Any:
        """That of the class loss."""
        return self.class_loss.init(data)

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
        values, weights, _, state = self.loss_and_metrics(outputs, batch, state, key)
        return values, weights, state

    def metrics(self, outputs: DetectionOutputs, batch: Batch) -> DetectionLosses:
        """Sums of the parts of the loss; what is found is told by `aggregate`.

        An objective with a state judges the classes as at the start of training.
        """
        targets = self.targets(outputs, batch)
        start = self.init_state(TrainingData(num_examples=0, num_classes=self.num_classes))
        parts, _ = self._parts(outputs, batch, targets, start, None)
        return self._metrics(batch, targets, parts)

    def loss_and_metrics(
        self,
        outputs: DetectionOutputs,
        batch: Batch,
        state: Any = (),
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array, DetectionLosses, Any]:
        """As `loss`, with sums of the same parts."""
        targets = self.targets(outputs, batch)
        parts, state = self._parts(outputs, batch, targets, state, key)
        class_loss, box_loss, centerness_loss = parts
        values = class_loss + self.box_weight * box_loss + self.centerness_weight * centerness_loss
        weights = jnp.sum(targets.positive, axis=1, dtype=jnp.float32)
        return values, weights, self._metrics(batch, targets, parts), state

    def _parts(
        self,
        outputs: DetectionOutputs,
        batch: Batch,
        targets: Targets,
        state: Any,
        key: jax.Array | None,
    ) -> tuple[tuple[jax.Array, jax.Array, jax.Array], Any]:
        """The three parts of the loss, [B] each, and the next state."""
        found, centers = targets.positive, outputs.anchors.centers
        # Where nothing is to be found, a box like the anchor's: what is computed there is finite.
        boxes = jnp.where(found[..., None], targets.boxes, outputs.anchors.boxes)
        box_losses = self.box_loss.of_anchors(outputs, boxes)
        centerness_loss = jnp.zeros(len(found))
        if outputs.centerness is not None:
            centerness = losses.sigmoid_cross_entropy(
                outputs.centerness, centerness_of(centers, boxes)
            )
            centerness_loss = jnp.sum(jnp.where(found, centerness, 0.0), axis=1)
        labels = jnp.where(targets.counted, targets.classes, IGNORED)
        class_loss, _, state = loss_per_example(
            self.class_loss, outputs.logits, {**batch, "label": labels}, state, key
        )
        box_loss = jnp.sum(jnp.where(found, box_losses, 0.0), axis=1)
        return (class_loss, box_loss, centerness_loss), state

    def _metrics(
        self, batch: Batch, targets: Targets, parts: tuple[jax.Array, jax.Array, jax.Array]
    ) -> DetectionLosses:
        objects = (batch["classes"] >= 0) & ~batch["ignored"] & batch["mask"][:, None]
        return DetectionLosses(
            jnp.sum(batch["mask"]),
            jnp.sum(objects),
            jnp.sum(targets.positive),
            *(jnp.sum(part) for part in parts),
        )

    @property
    def headlines(self) -> tuple[Headline, ...]:
        """COCO's average precision first."""
        return (
            Headline(name="average_precision", title="Average precision", fraction=True),
            Headline(name="average_precision_50", title="AP at IoU 0.5", fraction=True),
            Headline(name="voc_average_precision_50", title="VOC AP at IoU 0.5", fraction=True),
            Headline(name="best_f1", title="Best F1", fraction=True),
            Headline(name="loss", title="Loss", better="lower"),
            Headline(name="count", title="Test examples", better=None),
        )

    def summary(self, metrics: DetectionLosses) -> dict[str, Any]:
        """Images, and each part of the loss per positive anchor."""
        return detection_loss_summary(metrics)

    def scores(self, outputs: DetectionOutputs) -> jax.Array:
        """[B, N, C] in [0, 1]: probability of a class, times that of lying centrally in an object."""
        logits = outputs.logits.astype(jnp.float32)
        scores = jax.nn.softmax(logits)[..., :-1] if self.background else jax.nn.sigmoid(logits)
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

    def detect(self, outputs: DetectionOutputs, batch: Batch) -> dict[str, jax.Array]:
        """As `predict`, in pixels of the original images and clipped to them.

        What was found in the border of a fitted image alone is none: its class is -1. Evaluation and
        prediction both go through here.

        Args:
            outputs: of B images.
            batch: `placement` [B,4], and `image_size` [B,2], (height, width); without that nothing is
                clipped but by the fitted image.
        """
        found = self.predict(outputs)
        boxes = in_original(found["boxes"], batch["placement"])
        if "image_size" not in batch:
            return {**found, "boxes": boxes}
        sides = jnp.tile(batch["image_size"][:, None, ::-1], 2).astype(boxes.dtype)
        boxes = jnp.clip(boxes, 0, sides)
        real = (found["classes"] >= 0) & jnp.all(boxes[..., 2:] > boxes[..., :2], axis=-1)
        return {
            "boxes": jnp.where(real[..., None], boxes, 0),
            "scores": jnp.where(real, found["scores"], 0),
            "classes": jnp.where(real, found["classes"], -1),
        }

    def per_example(self, outputs: DetectionOutputs, batch: Batch) -> dict[str, jax.Array]:
        """Detections and objects of each image, in pixels of the image as it is stored."""
        found = self.detect(outputs, batch)
        return {
            "detected_boxes": found["boxes"],
            "detected_scores": found["scores"],
            "detected_classes": found["classes"],
            "boxes": in_original(batch["boxes"], batch["placement"]),
            **{name: batch[name] for name in ("classes", "ignored", "area")},
        }

    def aggregate(self, per_example: dict[str, np.ndarray]) -> dict[str, Any]:
        """The figures of COCO and of Pascal VOC."""
        return detection_summary(per_example, self.num_classes)

    def presentation(self) -> Any:
        """See `jaxcv.tasks.detection.presentation`."""
        from jaxcv.tasks.detection.presentation import DetectionPresentation

        return DetectionPresentation()


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
