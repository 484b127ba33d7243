"""What a detector minimises: frozen objects over the pure losses, one for classes and one for boxes."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jaxcv import losses
from jaxcv.devices import AXIS, total
from jaxcv.losses import GradientBalance
from jaxcv.losses.arguments import check_non_negative
from jaxcv.losses.hard_examples import hardest
from jaxcv.models.detection import DetectionOutputs

# As good as minus infinity: a sigmoid of 0.
_NEVER = -1e30


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

    def one_hot(self, num_classes: int) -> jax.Array:
        """[B, N, C] bool: the class of the object that an anchor is to find."""
        return self.classes[..., None] == jnp.arange(num_classes)


@dataclass(frozen=True, kw_only=True)
class ClassLoss(abc.ABC):
    """The loss of the classes of all anchors, and the scores that such logits stand for."""

    # Whether the last logit stands for no object.
    background: ClassVar[bool] = False

    def init(self, num_classes: int) -> Any:
        """The state before the first step, a pytree; () for none."""
        return ()

    @abc.abstractmethod
    def of_images(self, logits: jax.Array, targets: Targets, state: Any) -> jax.Array:
        """[B] float32, sums over the anchors that count, from logits [B, N, C or C + 1]."""

    def update(self, logits: jax.Array, targets: Targets, state: Any) -> Any:
        """The next state, equal on all devices; called inside the mapped axis."""
        return state

    def scores(self, logits: jax.Array) -> jax.Array:
        """[B, N, C] float32 in [0, 1], the probability of each class."""
        return jax.nn.sigmoid(logits.astype(jnp.float32))


@dataclass(frozen=True, kw_only=True)
class SigmoidFocal(ClassLoss):
    """`losses.sigmoid_focal_loss`, a sigmoid for each class (Lin et al. 2017, arXiv:1708.02002).

    Attributes:
        gamma: >= 0, how much easy anchors are turned down; 0 is the sigmoid cross-entropy.
        alpha: weight of positives in [0, 1], against 1 - alpha; None for 1 and 1.
    """

    gamma: float = 2.0
    alpha: float | None = 0.25

    def of_images(self, logits: jax.Array, targets: Targets, state: Any) -> jax.Array:
        """See `ClassLoss`."""
        labels = targets.one_hot(logits.shape[-1])
        values = losses.sigmoid_focal_loss(logits, labels, gamma=self.gamma, alpha=self.alpha)
        return _sum_counted(values, targets)


@dataclass(frozen=True, kw_only=True)
class EqualizedSigmoidFocal(ClassLoss):
    """`losses.equalized_focal_loss` for long tails of classes (Li et al. 2022, arXiv:2201.02593).

    Its state is what the gradients of each class added up to in the steps before. An evaluation's
    class loss is that of balanced classes: the focal loss.

    Attributes:
        gamma: > 0, the exponent of a class that has as much gradient from positives as from negatives.
        scale: >= 0, how much is added to it for the others.
        alpha: weight of positives in [0, 1], against 1 - alpha; None for 1 and 1.
    """

    gamma: float = 2.0
    scale: float = 8.0
    alpha: float | None = 0.25

    def init(self, num_classes: int) -> GradientBalance:
        """Nothing has been seen."""
        return losses.initial_gradient_balance(num_classes)

    def of_images(self, logits: jax.Array, targets: Targets, state: GradientBalance) -> jax.Array:
        """See `ClassLoss`."""
        values = losses.equalized_focal_loss(
            logits,
            targets.one_hot(logits.shape[-1]),
            state.ratio(),
            gamma=self.gamma,
            scale=self.scale,
            alpha=self.alpha,
        )
        return _sum_counted(values, targets)

    def update(
        self, logits: jax.Array, targets: Targets, state: GradientBalance
    ) -> GradientBalance:
        """Adds the sizes of the gradients of all anchors of the global batch that count."""
        counted = targets.counted[..., None]
        labels = targets.one_hot(logits.shape[-1]) & counted
        nothing = jax.tree.map(jnp.zeros_like, state)
        # Where an anchor does not count, neither label nor prediction says anything.
        seen = losses.update_gradient_balance(nothing, jnp.where(counted, logits, _NEVER), labels)
        return jax.tree.map(lambda old, new: old + total(new, AXIS), state, seen)


@dataclass(frozen=True, kw_only=True)
class SigmoidAsymmetric(ClassLoss):
    """`losses.asymmetric_loss`: negatives are turned down more than positives (arXiv:2009.14119).

    Attributes:
        gamma_positive: >= 0, the focal exponent of positives.
        gamma_negative: >= 0, the focal exponent of negatives.
        shift: probability in [0, 1) up to which a negative costs nothing.
    """

    gamma_positive: float = 1.0
    gamma_negative: float = 4.0
    shift: float = 0.05

    def of_images(self, logits: jax.Array, targets: Targets, state: Any) -> jax.Array:
        """See `ClassLoss`."""
        values = losses.asymmetric_loss(
            logits,
            targets.one_hot(logits.shape[-1]),
            gamma_positive=self.gamma_positive,
            gamma_negative=self.gamma_negative,
            shift=self.shift,
        )
        return _sum_counted(values, targets)


@dataclass(frozen=True, kw_only=True)
class SoftmaxHardNegatives(ClassLoss):
    """Softmax over the classes and no object, of the hardest negatives alone (arXiv:1512.02325).

    The model needs `background=True`.

    Attributes:
        hard_negatives: >= 0, negatives per positive that count, those with the highest loss.
    """

    hard_negatives: float = 3.0

    background = True

    def __post_init__(self) -> None:
        """Raises ValueError for a negative number."""
        check_non_negative("hard_negatives", self.hard_negatives)

    def of_images(self, logits: jax.Array, targets: Targets, state: Any) -> jax.Array:
        """See `ClassLoss`."""
        values = losses.softmax_cross_entropy(logits, targets.classes)
        negative = targets.counted & ~targets.positive
        positives = jnp.sum(targets.positive, axis=1)
        number = jnp.ceil(self.hard_negatives * jnp.maximum(positives, 1)).astype(jnp.int32)
        kept = targets.positive | hardest(values, negative, number)
        return jnp.sum(jnp.where(kept, values, 0.0), axis=1)

    def scores(self, logits: jax.Array) -> jax.Array:
        """See `ClassLoss`."""
        return jax.nn.softmax(logits.astype(jnp.float32))[..., :-1]


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
class SmoothL1(BoxLoss):
    """`losses.smooth_l1_loss` on the model's own terms, such as offsets to anchors (arXiv:1504.08083).

    Attributes:
        beta: > 0, the error at which the loss turns from quadratic to linear.
    """

    beta: float = 1.0

    def of_anchors(self, outputs: DetectionOutputs, boxes: jax.Array) -> jax.Array:
        """See `BoxLoss`."""
        expected = outputs.coding.encode(boxes, outputs.anchors.boxes)
        return losses.smooth_l1_loss(outputs.regression, expected, beta=self.beta)


def _sum_counted(values: jax.Array, targets: Targets) -> jax.Array:
    """Sums [B, N, C] over the anchors that count: [B]."""
    return jnp.sum(jnp.where(targets.counted[..., None], values, 0.0), axis=(1, 2))
