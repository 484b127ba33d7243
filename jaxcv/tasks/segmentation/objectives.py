"""Objectives on regions of pixels, and on the hardest pixels.

Those on classes, such as `CrossEntropy` and `Focal`, are losses of each pixel here.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxcv import losses
from jaxcv.devices import AXIS
from jaxcv.losses.hard_examples import hardest
from jaxcv.tasks.classification.objectives import CrossEntropy
from jaxcv.tasks.classification.objectives.labels import weights_of
from jaxcv.tasks.objective import IGNORED, Losses, Objective, sum_per_example, valid_labels
from jaxcv.train.task import Batch
from jaxcv.train.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class HardPixels(Objective):
    """Another objective on the pixels where it is highest: online hard example mining.

    Attributes:
        objective: any that has a loss of each pixel.
        fraction: of an image's valid pixels that are kept, in (0, 1]; the mean is over those.
    """

    objective: Objective = field(default_factory=CrossEntropy)
    fraction: float = 0.5

    def __post_init__(self) -> None:
        """Raises ValueError for a fraction that keeps nothing, or more than all."""
        if not 0 < self.fraction <= 1:
            raise ValueError(
                f"HardPixels' fraction is {self.fraction}, but it must lie in (0, 1]: of the pixels kept"
            )

    @property
    def parts(self) -> tuple[Objective, ...]:
        """The other."""
        return (self.objective,)

    def init(self, data: TrainingData | None) -> Any:
        """The state of the other."""
        return self.objective.init(data)

    def loss(
        self, outputs: Any, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`. Equal losses at the limit are all kept."""
        values, weights, state = self.objective.loss(outputs, batch, state, key)
        if values.ndim < 2:
            raise ValueError(
                f"{type(self.objective).__name__} has one loss per image, but HardPixels wants one of "
                "each pixel, such as CrossEntropy's"
            )
        flat = (values.shape[0], -1)
        valid = weights.reshape(flat) > 0
        number = jnp.ceil(self.fraction * jnp.sum(valid, axis=1)).astype(jnp.int32)
        kept = hardest(values.reshape(flat), valid, number).reshape(values.shape)
        return jnp.where(kept, values, 0.0), jnp.where(kept, weights, 0.0), state


@dataclass(frozen=True, kw_only=True)
class Region(Objective):
    """A loss of a whole image, which counts as often as the image has valid pixels.

    Attributes:
        per: each image has a loss of its own, or the pixels of the global batch have one.
        absent: what a class without a true pixel does in the mean over classes: it is left out, counts
            with loss 0, or with its own.
        class_weights: one weight per class in the mean over classes, normalised; () weighs all alike.
    """

    per: Literal["image", "batch"] = "image"
    absent: Literal["exclude", "zero", "include"] = "exclude"
    class_weights: tuple[float, ...] = ()

    @abc.abstractmethod
    def function(self) -> Callable[..., jax.Array]:
        """The region loss of `jaxcv.losses` with its settings, to be called with `RegionOptions`."""

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        valid = valid_labels(batch, outputs.shape[:-1])
        values = self.function()(
            outputs,
            batch["label"],
            per=self.per,
            absent=self.absent,
            class_weights=weights_of(self.class_weights),
            mask=valid,
            axis_name=AXIS if self.per == "batch" else None,
        )
        return times_pixels(values, valid, state)


def times_pixels(values: jax.Array, valid: jax.Array, state: Any) -> Losses:
    """Losses [B] of images, each as often as the image has valid pixels [B, ...]."""
    pixels = sum_per_example(valid.astype(jnp.float32))
    return pixels * values, pixels, state


@dataclass(frozen=True, kw_only=True)
class Dice(Region):
    """`losses.dice_loss`.

    Attributes:
        smooth: softens the loss of small classes, in pixels, >= 0.
        squared: V-Net's denominator, of squares.
    """

    smooth: float = 0.0
    squared: bool = False

    def function(self) -> Callable[..., jax.Array]:
        """See `Region`."""
        return functools.partial(losses.dice_loss, smooth=self.smooth, squared=self.squared)


@dataclass(frozen=True, kw_only=True)
class GeneralizedDice(Region):
    """`losses.generalized_dice_loss` (Sudre et al. 2017): one ratio over all classes.

    Attributes:
        weighting: of a class by its true pixels: 1 / n^2, 1 / n, or none.
    """

    weighting: Literal["square", "inverse", "uniform"] = "square"

    def function(self) -> Callable[..., jax.Array]:
        """See `Region`."""
        return functools.partial(losses.generalized_dice_loss, weighting=self.weighting)


@dataclass(frozen=True, kw_only=True)
class Jaccard(Region):
    """`losses.jaccard_loss`: 1 - the soft intersection over union.

    Attributes:
        smooth: softens the loss of small classes, in pixels, >= 0.
    """

    smooth: float = 0.0

    def function(self) -> Callable[..., jax.Array]:
        """See `Region`."""
        return functools.partial(losses.jaccard_loss, smooth=self.smooth)


@dataclass(frozen=True, kw_only=True)
class Tversky(Region):
    """`losses.tversky_loss` (Salehi et al. 2017): recall against precision.

    Attributes:
        false_negatives: weight of false negatives in [0, 1], against 1 - it of false positives; 0.5 is
            Dice.
        smooth: softens the loss of small classes, in pixels, >= 0.
    """

    false_negatives: float = 0.7
    smooth: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError for a weight outside [0, 1]."""
        _check_false_negatives(self)

    def function(self) -> Callable[..., jax.Array]:
        """See `Region`."""
        return functools.partial(
            losses.tversky_loss,
            false_positive_weight=1 - self.false_negatives,
            false_negative_weight=self.false_negatives,
            smooth=self.smooth,
        )


@dataclass(frozen=True, kw_only=True)
class FocalTversky(Region):
    """`losses.focal_tversky_loss` (Abraham and Khan 2019): a power of each class's Tversky loss.

    Attributes:
        false_negatives: see `Tversky`.
        exponent: the power, > 0.
        smooth: softens the loss of small classes, in pixels, >= 0.
    """

    false_negatives: float = 0.7
    exponent: float = 0.75
    smooth: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError for a weight outside [0, 1]."""
        _check_false_negatives(self)

    def function(self) -> Callable[..., jax.Array]:
        """See `Region`."""
        return functools.partial(
            losses.focal_tversky_loss,
            false_positive_weight=1 - self.false_negatives,
            false_negative_weight=self.false_negatives,
            exponent=self.exponent,
            smooth=self.smooth,
        )


def _check_false_negatives(objective: Tversky | FocalTversky) -> None:
    if not 0 <= objective.false_negatives <= 1:
        raise ValueError(
            f"{type(objective).__name__}'s false_negatives is {objective.false_negatives}, but a weight "
            "must lie in [0, 1]"
        )


@dataclass(frozen=True, kw_only=True)
class MCC(Region):
    """`losses.mcc_loss` (Abhishek and Hamarneh 2021): 1 - Matthews correlation coefficient.

    Attributes:
        epsilon: added to numerator and denominator, > 0.
    """

    epsilon: float = 1e-6

    def function(self) -> Callable[..., jax.Array]:
        """See `Region`."""
        return functools.partial(losses.mcc_loss, epsilon=self.epsilon)


@dataclass(frozen=True, kw_only=True)
class LovaszSoftmax(Region):
    """`losses.lovasz_softmax_loss` (Berman et al. 2018). Its sort is slow on a CPU."""

    def function(self) -> Callable[..., jax.Array]:
        """See `Region`."""
        return losses.lovasz_softmax_loss


@dataclass(frozen=True, kw_only=True)
class LovaszHinge(Objective):
    """`losses.lovasz_hinge_loss` (Berman et al. 2018) of class 1 against class 0.

    Attributes:
        per: each image has a loss of its own, or the pixels of the global batch have one.
    """

    per: Literal["image", "batch"] = "image"

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        if outputs.shape[-1] != 2:
            raise ValueError(
                f"LovaszHinge tells 2 classes apart, but there are {outputs.shape[-1]}; take "
                "LovaszSoftmax"
            )
        values = losses.lovasz_hinge_loss(
            outputs[..., 1] - outputs[..., 0],
            batch["label"],
            per=self.per,
            ignore_label=IGNORED,
            axis_name=AXIS if self.per == "batch" else None,
        )
        return times_pixels(values, valid_labels(batch, outputs.shape[:-1]), state)


@dataclass(frozen=True, kw_only=True)
class Boundary(Objective):
    """`losses.boundary_loss` (Kervadec et al. 2019), beside a region loss; it is below 0 at its best.

    The distances are computed in the step, in O(H^2 W) for each class and image.

    Attributes:
        class_weights: one factor per class, not normalised; () weighs all alike. The paper has 0 for the
            background.
    """

    class_weights: tuple[float, ...] = ()

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        valid = valid_labels(batch, outputs.shape[:-1])
        values = losses.boundary_loss(
            outputs,
            losses.signed_distances(batch["label"], outputs.shape[-1]),
            class_weights=weights_of(self.class_weights),
            mask=valid,
        )
        return times_pixels(values, valid, state)
