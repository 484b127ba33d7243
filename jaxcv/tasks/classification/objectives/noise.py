"""Objectives that stand wrong labels: bounded, or fitted to the predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxcv import losses
from jaxcv.devices import AXIS, gather
from jaxcv.losses.arguments import is_integer
from jaxcv.tasks.classification.objectives.labels import class_scores, ignored_label
from jaxcv.tasks.objective import Losses, Objective, counted, known_data
from jaxcv.train.task import Batch
from jaxcv.train.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class GeneralizedCrossEntropy(Objective):
    """`losses.generalized_cross_entropy` (Zhang and Sabuncu 2018).

    Attributes:
        q: in [0, 1]: 0 is the cross-entropy, 1 the absolute error.
    """

    q: float = 0.7

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        values = losses.generalized_cross_entropy(
            class_scores(outputs),
            batch["label"],
            q=self.q,
            ignore_label=ignored_label(batch["label"]),
        )
        return counted(values, batch, state)


@dataclass(frozen=True, kw_only=True)
class SoftmaxAbsoluteError(Objective):
    """`losses.softmax_absolute_error` (Ghosh et al. 2017): 1 - the label's probability."""

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        values = losses.softmax_absolute_error(
            class_scores(outputs), batch["label"], ignore_label=ignored_label(batch["label"])
        )
        return counted(values, batch, state)


@dataclass(frozen=True, kw_only=True)
class SymmetricCrossEntropy(Objective):
    """`losses.symmetric_cross_entropy` (Wang et al. 2019).

    Attributes:
        alpha: weight of the cross-entropy, >= 0; the paper's 0.1 for CIFAR-10, 6 for CIFAR-100.
        beta: weight of the reverse cross-entropy, >= 0.
    """

    alpha: float = 0.1
    beta: float = 1.0

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        values = losses.symmetric_cross_entropy(
            class_scores(outputs),
            batch["label"],
            alpha=self.alpha,
            beta=self.beta,
            ignore_label=ignored_label(batch["label"]),
        )
        return counted(values, batch, state)


@dataclass(frozen=True, kw_only=True)
class NormalizedCrossEntropy(Objective):
    """`losses.normalized_cross_entropy` (Ma et al. 2020), in [0, 1]."""

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        values = losses.normalized_cross_entropy(
            class_scores(outputs), batch["label"], ignore_label=ignored_label(batch["label"])
        )
        return counted(values, batch, state)


@dataclass(frozen=True, kw_only=True)
class NormalizedFocal(Objective):
    """`losses.normalized_focal_loss` (Ma et al. 2020), in [0, 1].

    Attributes:
        gamma: >= 0.
    """

    gamma: float = 0.5

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        values = losses.normalized_focal_loss(
            class_scores(outputs),
            batch["label"],
            gamma=self.gamma,
            ignore_label=ignored_label(batch["label"]),
        )
        return counted(values, batch, state)


@dataclass(frozen=True, kw_only=True)
class ActivePassive(Objective):
    """`losses.active_passive_loss` (Ma et al. 2020): a pair of robust losses.

    Attributes:
        active, passive: which pair.
        alpha, beta: their weights, >= 0.
        gamma: exponent of "normalized_focal", >= 0.
    """

    active: Literal["normalized_cross_entropy", "normalized_focal"] = "normalized_cross_entropy"
    passive: Literal["mean_absolute_error", "reverse_cross_entropy"] = "reverse_cross_entropy"
    alpha: float = 1.0
    beta: float = 1.0
    gamma: float = 0.5

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        values = losses.active_passive_loss(
            class_scores(outputs),
            batch["label"],
            active=self.active,
            passive=self.passive,
            alpha=self.alpha,
            beta=self.beta,
            gamma=self.gamma,
            ignore_label=ignored_label(batch["label"]),
        )
        return counted(values, batch, state)


@dataclass(frozen=True, kw_only=True)
class Bootstrapped(Objective):
    """`losses.bootstrapped_cross_entropy` (Reed et al. 2014): labels mixed with predictions.

    Attributes:
        beta: weight of the label in [0, 1]; the paper's 0.95 for "soft", 0.8 for "hard".
        target: the predicted probabilities, or the likeliest class.
    """

    beta: float = 0.95
    target: Literal["soft", "hard"] = "soft"

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        values = losses.bootstrapped_cross_entropy(
            class_scores(outputs),
            batch["label"],
            beta=self.beta,
            target=self.target,
            ignore_label=ignored_label(batch["label"]),
        )
        return counted(values, batch, state)


@dataclass(frozen=True, kw_only=True)
class EarlyLearning(Objective):
    """`losses.early_learning_loss` (Liu et al. 2020): holds on to what was predicted early.

    For one class per image. The state is a running mean of the predictions for every training record,
    [N, C] float32 on each device: 2 MB for CIFAR-10, 5 GB for ImageNet.

    Attributes:
        strength: of the regularisation, >= 0; the paper's 3 for CIFAR-10, 7 for CIFAR-100.
        momentum: of the running mean, in [0, 1].
    """

    strength: float = 3.0
    momentum: float = 0.7

    def init(self, data: TrainingData | None) -> jax.Array:
        """Zeros, [N, C]."""
        data = known_data(data, self)
        return jnp.zeros((data.num_examples, data.classes))

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`. A record that is twice in a batch moves by the mean of its two rows."""
        labels, record = batch["label"], batch["record"]
        if labels.ndim > 1:
            wrong = "maps" if is_integer(labels) else "mixed"
            raise ValueError(
                "EarlyLearning keeps a prediction for every record and wants one class per image, but "
                f"labels are {wrong}, of shape {labels.shape}; say --mix None, or take another objective"
            )
        scores = class_scores(outputs)
        targets = losses.update_early_learning_targets(
            state[record], scores, momentum=self.momentum
        )
        values = losses.early_learning_loss(
            scores, jnp.maximum(labels, 0), targets, strength=self.strength
        )
        values, weights, _ = counted(values, batch)
        records, rows, valid = (gather(x, AXIS) for x in (record, targets, weights > 0))
        same = (records[:, None] == records) & valid
        rows = jnp.matmul(same.astype(rows.dtype), rows, precision="highest")
        rows = rows / jnp.maximum(jnp.sum(same, axis=1, keepdims=True), 1)
        # Rows beyond the table are dropped.
        places = jnp.where(valid, records, state.shape[0])
        return values, weights, state.at[places].set(rows, mode="drop")
