"""Objectives on the softmax of the classes, for whole images and for pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import jax

from jaxcv import losses
from jaxcv.tasks.classification.objectives.labels import (
    class_scores,
    ignored_label,
    known_labels,
    weights_of,
)
from jaxcv.tasks.objective import Losses, Objective, counted
from jaxcv.train.task import Batch


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Objective):
    """`losses.softmax_cross_entropy`.

    Attributes:
        label_smoothing: fraction of the label that is spread over the classes, in [0, 1].
        smoothing: over which classes it is spread.
        class_weights: one factor per class for the loss of its labels; () weighs all alike. They do
            not enter the denominator.
        z_loss: weight of the squared log-normaliser, >= 0.
    """

    label_smoothing: float = 0.0
    smoothing: Literal["all_classes", "other_classes"] = "all_classes"
    class_weights: tuple[float, ...] = ()
    z_loss: float = 0.0

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        values = losses.softmax_cross_entropy(
            class_scores(outputs),
            batch["label"],
            label_smoothing=self.label_smoothing,
            smoothing=self.smoothing,
            class_weights=weights_of(self.class_weights),
            z_loss=self.z_loss,
            ignore_label=ignored_label(batch["label"]),
        )
        return counted(values, batch, state)


@dataclass(frozen=True, kw_only=True)
class Focal(Objective):
    """`losses.softmax_focal_loss` (Lin et al. 2017): easy labels are turned down.

    Attributes:
        gamma: how strongly, >= 0; 0 is the cross-entropy.
        class_weights: one factor per class, see `CrossEntropy`.
    """

    gamma: float = 2.0
    class_weights: tuple[float, ...] = ()

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        values = losses.softmax_focal_loss(
            class_scores(outputs),
            batch["label"],
            gamma=self.gamma,
            class_weights=weights_of(self.class_weights),
            ignore_label=ignored_label(batch["label"]),
        )
        return counted(values, batch, state)


@dataclass(frozen=True, kw_only=True)
class Poly1(Objective):
    """`losses.poly1_cross_entropy` (Leng et al. 2022).

    Attributes:
        epsilon: added to the first coefficient of the cross-entropy's series in 1 - p, >= -1.
        class_weights: one factor per class, see `CrossEntropy`.
    """

    epsilon: float = 2.0
    class_weights: tuple[float, ...] = ()

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        values = losses.poly1_cross_entropy(
            class_scores(outputs),
            batch["label"],
            epsilon=self.epsilon,
            class_weights=weights_of(self.class_weights),
            ignore_label=ignored_label(batch["label"]),
        )
        return counted(values, batch, state)


@dataclass(frozen=True, kw_only=True)
class BiTempered(Objective):
    """`losses.bi_tempered_loss` (Amid et al. 2019): bounded, with heavy tails, for wrong labels.

    Attributes:
        bound_temperature: in [0, 1]; below 1 no label costs more than 1 / (1 - it).
        tail_temperature: in [1, 10]; above 1 probabilities fall off like a power.
        label_smoothing: fraction of the label that is spread over all classes, in [0, 1].
    """

    bound_temperature: float = 0.8
    tail_temperature: float = 1.2
    label_smoothing: float = 0.0

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        values = losses.bi_tempered_loss(
            class_scores(outputs),
            known_labels(batch["label"]),
            bound_temperature=self.bound_temperature,
            tail_temperature=self.tail_temperature,
            label_smoothing=self.label_smoothing,
        )
        return counted(values, batch, state)


@dataclass(frozen=True, kw_only=True)
class MulticlassHinge(Objective):
    """`losses.multiclass_hinge_loss`: the score of the label leads by a margin.

    Attributes:
        margin: >= 0.
        rivals: over the worst rival (Crammer and Singer) or the sum of all (Weston and Watkins).
        squared: whether each violation is squared.
    """

    margin: float = 1.0
    rivals: Literal["worst", "all"] = "worst"
    squared: bool = False

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        values = losses.multiclass_hinge_loss(
            class_scores(outputs),
            known_labels(batch["label"]),
            margin=self.margin,
            rivals=self.rivals,
            squared=self.squared,
        )
        return counted(values, batch, state)
