"""Objectives on a sigmoid per logit: yes or no, or each class against all others, summed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxcv import losses
from jaxcv.devices import AXIS, total
from jaxcv.tasks.classification.objectives.labels import yes_or_no
from jaxcv.tasks.objective import Losses, Objective, counted, known_data
from jaxcv.train.task import Batch
from jaxcv.train.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class SigmoidCrossEntropy(Objective):
    """`losses.sigmoid_cross_entropy`.

    Attributes:
        positive_weight: factor for the loss of what is yes, >= 0.
        label_smoothing: fraction of the label that is spread over yes and no, in [0, 1].
    """

    positive_weight: float = 1.0
    label_smoothing: float = 0.0

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        values = losses.sigmoid_cross_entropy(
            outputs,
            yes_or_no(outputs, batch["label"]),
            positive_weight=self.positive_weight,
            label_smoothing=self.label_smoothing,
        )
        return counted(jnp.sum(values, axis=-1), batch, state)


@dataclass(frozen=True, kw_only=True)
class SigmoidFocal(Objective):
    """`losses.sigmoid_focal_loss` (Lin et al. 2017): easy answers are turned down.

    Attributes:
        gamma: how strongly, >= 0.
        alpha: weight of yes in [0, 1], against 1 - it of no; None for 1 and 1.
    """

    gamma: float = 2.0
    alpha: float | None = None

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        values = losses.sigmoid_focal_loss(
            outputs, yes_or_no(outputs, batch["label"]), gamma=self.gamma, alpha=self.alpha
        )
        return counted(jnp.sum(values, axis=-1), batch, state)


@dataclass(frozen=True, kw_only=True)
class Asymmetric(Objective):
    """`losses.asymmetric_loss` (Ridnik et al. 2020): easy negatives are turned down, or cost nothing.

    Attributes:
        gamma_positive, gamma_negative: how strongly easy answers are turned down, >= 0.
        shift: probability in [0, 1) below which a negative costs nothing.
    """

    gamma_positive: float = 1.0
    gamma_negative: float = 4.0
    shift: float = 0.05

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        values = losses.asymmetric_loss(
            outputs,
            yes_or_no(outputs, batch["label"]),
            gamma_positive=self.gamma_positive,
            gamma_negative=self.gamma_negative,
            shift=self.shift,
        )
        return counted(jnp.sum(values, axis=-1), batch, state)


@dataclass(frozen=True, kw_only=True)
class Hinge(Objective):
    """`losses.hinge_loss`: the logit clears 0 by a margin.

    Attributes:
        margin: >= 0.
        squared: whether a violation is squared.
    """

    margin: float = 1.0
    squared: bool = False

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        values = losses.hinge_loss(
            outputs,
            yes_or_no(outputs, batch["label"]),
            margin=self.margin,
            squared=self.squared,
        )
        return counted(jnp.sum(values, axis=-1), batch, state)


@dataclass(frozen=True, kw_only=True)
class EqualizedFocal(Objective):
    """`losses.equalized_focal_loss` (Li et al. 2022): outweighed classes are focused more.

    The state is the `losses.GradientBalance` of the steps so far. There must be several classes.

    Attributes:
        gamma: the exponent of a balanced class, > 0.
        scale: what is added to that of a class that got negatives only, >= 0.
        alpha: weight of yes in [0, 1], against 1 - it of no; None for 1 and 1.
    """

    gamma: float = 2.0
    scale: float = 8.0
    alpha: float | None = 0.25

    def init(self, data: TrainingData | None) -> losses.GradientBalance:
        """No gradient so far."""
        return losses.initial_gradient_balance(known_data(data, self).classes)

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`. A step uses the balance of those before it."""
        if outputs.shape[-1] == 1:
            raise ValueError(
                "EqualizedFocal balances classes, but there is one logit, of yes against no; take "
                "SigmoidFocal"
            )
        targets = yes_or_no(outputs, batch["label"])
        values = losses.equalized_focal_loss(
            outputs,
            targets,
            state.ratio(),
            gamma=self.gamma,
            scale=self.scale,
            alpha=self.alpha,
        )
        values, weights, _ = counted(jnp.sum(values, axis=-1), batch)
        # A gradient of 0 for what counts for nothing.
        scores = jnp.where(weights[..., None] > 0, outputs, -jnp.inf)
        targets = jnp.where(weights[..., None] > 0, targets, 0.0)
        seen = losses.update_gradient_balance(
            losses.initial_gradient_balance(outputs.shape[-1]), scores, targets
        )
        state = jax.tree.map(lambda old, new: old + total(new, AXIS), state, seen)
        return values, weights, state
