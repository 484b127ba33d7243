"""Objectives for classes of very different size; class counts are those of the training records."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from jaxcv import losses
from jaxcv.devices import AXIS, total
from jaxcv.losses.arguments import is_integer
from jaxcv.tasks.classification.objectives.labels import class_scores, ignored_label, known_labels
from jaxcv.tasks.classification.objectives.softmax import CrossEntropy
from jaxcv.tasks.objective import Losses, Objective, counted, known_data
from jaxcv.train.task import Batch
from jaxcv.train.training_data import TrainingData


def class_counts(data: TrainingData | None, objective: Objective) -> jax.Array:
    """How many training labels each class has, [C] float32."""
    return jnp.asarray(known_data(data, objective).class_counts(), jnp.float32)


@dataclass(frozen=True, kw_only=True)
class ClassBalanced(Objective):
    """Another objective, weighed by the effective number of the class (Cui et al. 2019).

    `ClassBalanced(objective=LDAM(), start_epoch=160)` is LDAM with deferred re-weighting (Cao et al.
    2019). The weights are `losses.deferred_weights`; they do not enter the denominator. A mixed label
    has the mean of its classes' weights.

    Attributes:
        objective: any that has a loss of each label.
        beta: in [0, 1): 0 weighs all classes alike, near 1 by the inverse of their counts.
        start_epoch: first pass over the records that is weighed.
    """

    objective: Objective = field(default_factory=CrossEntropy)
    beta: float = 0.9999
    start_epoch: int = 0

    @property
    def parts(self) -> tuple[Objective, ...]:
        """The other."""
        return (self.objective,)

    def init(self, data: TrainingData | None) -> tuple[jax.Array, Any]:
        """The class counts, and the state of the other."""
        return class_counts(data, self), self.objective.init(data)

    def loss(
        self, outputs: Any, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        counts, inner = state
        values, weights, inner = self.objective.loss(outputs, batch, inner, key)
        labels = batch["label"]
        if values.shape != (labels.shape if is_integer(labels) else labels.shape[:-1]):
            raise ValueError(
                f"{type(self.objective).__name__} has losses of shape {values.shape} for labels of "
                f"shape {labels.shape}, but ClassBalanced weighs the loss of each label"
            )
        of_classes = jax.vmap(
            lambda epoch: losses.deferred_weights(
                counts, epoch, start_step=self.start_epoch, beta=self.beta
            )
        )(batch["epoch"])
        if is_integer(labels):
            factor = jax.vmap(lambda row, label: row[label])(of_classes, known_labels(labels))
        else:
            factor = jax.vmap(lambda row, label: label @ row)(of_classes, labels)
        return values * factor, weights, (counts, inner)


@dataclass(frozen=True, kw_only=True)
class BalancedSoftmax(Objective):
    """`losses.balanced_softmax_cross_entropy` (Ren et al. 2020); the state is the class counts."""

    def init(self, data: TrainingData | None) -> jax.Array:
        """The class counts."""
        return class_counts(data, self)

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        values = losses.balanced_softmax_cross_entropy(
            class_scores(outputs),
            batch["label"],
            state,
            ignore_label=ignored_label(batch["label"]),
        )
        return counted(values, batch, state)


@dataclass(frozen=True, kw_only=True)
class LogitAdjusted(Objective):
    """`losses.logit_adjusted_cross_entropy` (Menon et al. 2020); the state is the class counts.

    Attributes:
        tau: factor of the logarithm of a class's frequency, >= 0; 0 is the cross-entropy.
        label_smoothing: fraction of the label that is spread over all classes, in [0, 1].
    """

    tau: float = 1.0
    label_smoothing: float = 0.0

    def init(self, data: TrainingData | None) -> jax.Array:
        """The class counts."""
        return class_counts(data, self)

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        values = losses.logit_adjusted_cross_entropy(
            class_scores(outputs),
            batch["label"],
            state,
            tau=self.tau,
            label_smoothing=self.label_smoothing,
            ignore_label=ignored_label(batch["label"]),
        )
        return counted(values, batch, state)


@dataclass(frozen=True, kw_only=True)
class LDAM(Objective):
    """`losses.ldam_loss` (Cao et al. 2019): rarer classes get larger margins; the state is the counts.

    Attributes:
        max_margin: of the rarest class, >= 0.
        scale: factor for the logits, > 0; the paper's 30 is for models whose logits are cosines.
    """

    max_margin: float = 0.5
    scale: float = 1.0

    def init(self, data: TrainingData | None) -> jax.Array:
        """The class counts."""
        return class_counts(data, self)

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        values = losses.ldam_loss(
            class_scores(outputs),
            batch["label"],
            state,
            max_margin=self.max_margin,
            scale=self.scale,
            ignore_label=ignored_label(batch["label"]),
        )
        return counted(values, batch, state)


@dataclass(frozen=True, kw_only=True)
class Seesaw(Objective):
    """`losses.seesaw_loss` (Wang et al. 2020): rare classes are punished less.

    The state is how often each class has been trained on, the batch at hand included.

    Attributes:
        mitigation: how much less, >= 0.
        compensation: how much of that mistakes undo, >= 0.
    """

    mitigation: float = 0.8
    compensation: float = 2.0

    def init(self, data: TrainingData | None) -> jax.Array:
        """Zeros, [C]."""
        return jnp.zeros(known_data(data, self).classes)

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        scores, labels = class_scores(outputs), batch["label"]
        counts = losses.count_classes(labels, scores.shape[-1], ignore_label=ignored_label(labels))
        state = state + total(counts, AXIS)
        values = losses.seesaw_loss(
            scores,
            labels,
            state,
            mitigation=self.mitigation,
            compensation=self.compensation,
            ignore_label=ignored_label(labels),
        )
        return counted(values, batch, state)
