"""Objectives on the error of a predicted number, or on the mean over the numbers of an example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxcv import losses
from jaxcv.tasks.objective import Losses, Objective, counted
from jaxcv.train.task import Batch


@dataclass(frozen=True, kw_only=True)
class MeanSquared(Objective):
    """`losses.mean_squared_error`."""

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        return counted(losses.mean_squared_error(outputs, numbers(outputs, batch)), batch, state)


@dataclass(frozen=True, kw_only=True)
class MeanAbsolute(Objective):
    """`losses.mean_absolute_error`: outliers weigh less; predicts the median."""

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        return counted(losses.mean_absolute_error(outputs, numbers(outputs, batch)), batch, state)


@dataclass(frozen=True, kw_only=True)
class Huber(Objective):
    """`losses.huber`: squared for small errors, absolute for large ones.

    Attributes:
        delta: the error at which it turns, > 0, in the units of the labels.
    """

    delta: float = 1.0

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        values = losses.huber(outputs, numbers(outputs, batch), delta=self.delta)
        return counted(values, batch, state)


@dataclass(frozen=True, kw_only=True)
class LogCosh(Objective):
    """`losses.log_cosh`: nearly Huber's loss, and smooth everywhere."""

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        return counted(losses.log_cosh(outputs, numbers(outputs, batch)), batch, state)


@dataclass(frozen=True, kw_only=True)
class SmoothL1(Objective):
    """`losses.smooth_l1_loss` (Girshick 2015): Huber's loss divided by `beta`, summed over an example.

    Attributes:
        beta: the error at which it turns from squared to absolute, > 0, in the units of the labels.
    """

    beta: float = 1.0

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        flat = (outputs.shape[0], -1)
        targets = numbers(outputs, batch).reshape(flat)
        values = losses.smooth_l1_loss(outputs.reshape(flat), targets, beta=self.beta)
        return counted(values, batch, state)


@dataclass(frozen=True, kw_only=True)
class EuclideanDistance(Objective):
    """`losses.euclidean_distance`, for the coordinates of a point; the absolute error of one number."""

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        return counted(losses.euclidean_distance(outputs, numbers(outputs, batch)), batch, state)


def numbers(outputs: jax.Array, batch: Batch) -> jax.Array:
    """The labels as float32, of the shape of the outputs: [B] as [B, 1]."""
    return batch["label"].astype(jnp.float32).reshape(outputs.shape)
