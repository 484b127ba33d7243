"""Optimisers: an Optax algorithm, a peak learning rate, a schedule, clipping and a decay mask."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import optax

from jaxcv.train.gradients import clip_by_global_norm
from jaxcv.train.muon import Muon
from jaxcv.train.parameter_groups import ParameterGroup, by_groups
from jaxcv.train.schedules import Constant, Schedule

__all__ = [
    "LAMB",
    "LARS",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Algorithm",
    "Lion",
    "Muon",
    "Optimizer",
    "RMSProp",
    "decay_mask",
]


def decay_mask(params: Any) -> Any:
    """True where weight decay applies: matrices and filters, not biases and scales (rank <= 1)."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


@runtime_checkable
class Algorithm(Protocol):
    """A frozen dataclass that makes an Optax transformation."""

    @property
    def needs_whole_matrices(self) -> bool:
        """Whether an update of some entries depends on others of their matrix, by its norm, say.

        Such an algorithm cannot train a matrix whose rows are sharded over devices.
        """
        ...

    def transformation(self, rate: optax.Schedule, mask: Any) -> optax.GradientTransformation:
        """Gives the update rule, learning rate included.

        Args:
            rate: step -> learning rate.
            mask: where weight decay applies: bools like the parameters, or a function from them to
                that; None for everywhere.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Gradient descent; with momentum; with Nesterov's momentum.

    Attributes:
        momentum: in [0, 1); 0 is plain gradient descent.
        nesterov: look-ahead form of the momentum.
        weight_decay: added to the gradient as weight_decay * w, before the momentum.
    """

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    needs_whole_matrices: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Raises ValueError for Nesterov's form of no momentum."""
        if self.nesterov and not self.momentum:
            raise ValueError(
                "nesterov=True looks ahead along the momentum, but momentum is 0; set it, say 0.9"
            )

    def transformation(self, rate: optax.Schedule, mask: Any) -> optax.GradientTransformation:
        """Gives the update rule."""
        return optax.chain(
            optax.add_decayed_weights(self.weight_decay, mask),
            optax.sgd(rate, self.momentum or None, self.nesterov),
        )


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Adam (Kingma & Ba 2015); with `weight_decay` AdamW (Loshchilov & Hutter 2019).

    Attributes:
        b1, b2: decay of the first and second moments.
        eps: added to the root of the second moment.
        weight_decay: decoupled, as a multiple of the learning rate.
    """

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0

    needs_whole_matrices: ClassVar[bool] = False

    def transformation(self, rate: optax.Schedule, mask: Any) -> optax.GradientTransformation:
        """Gives the update rule."""
        return optax.adamw(
            rate, self.b1, self.b2, self.eps, weight_decay=self.weight_decay, mask=mask
        )


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam with decoupled weight decay on by default (Loshchilov & Hutter 2019)."""

    weight_decay: float = 1e-2


@dataclass(frozen=True, kw_only=True)
class RMSProp:
    """RMSProp (Hinton 2012).

    Attributes:
        decay: of the squared gradient's average.
        momentum: in [0, 1).
        eps: added to the root.
        weight_decay: added to the gradient.
    """

    decay: float = 0.9
    momentum: float = 0.0
    eps: float = 1e-8
    weight_decay: float = 0.0

    needs_whole_matrices: ClassVar[bool] = False

    def transformation(self, rate: optax.Schedule, mask: Any) -> optax.GradientTransformation:
        """Gives the update rule."""
        return optax.chain(
            optax.add_decayed_weights(self.weight_decay, mask),
            optax.rmsprop(rate, self.decay, self.eps, momentum=self.momentum or None),
        )


@dataclass(frozen=True, kw_only=True)
class Adagrad:
    """Adagrad (Duchi et al. 2011).

    Attributes:
        initial_accumulator: first value of the squared gradients' sum.
        eps: added to it under the root.
        weight_decay: added to the gradient.
    """

    initial_accumulator: float = 0.1
    eps: float = 1e-7
    weight_decay: float = 0.0

    needs_whole_matrices: ClassVar[bool] = False

    def transformation(self, rate: optax.Schedule, mask: Any) -> optax.GradientTransformation:
        """Gives the update rule."""
        return optax.chain(
            optax.add_decayed_weights(self.weight_decay, mask),
            optax.adagrad(rate, self.initial_accumulator, self.eps),
        )


@dataclass(frozen=True, kw_only=True)
class LAMB:
    """Layer-wise adaptive Adam for large batches (You et al. 2020).

    Attributes:
        b1, b2: decay of the first and second moments.
        eps: added to the root of the second moment.
        weight_decay: decoupled, before the trust ratio.
    """

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-6
    weight_decay: float = 0.0

    needs_whole_matrices: ClassVar[bool] = True

    def transformation(self, rate: optax.Schedule, mask: Any) -> optax.GradientTransformation:
        """Gives the update rule."""
        return optax.lamb(
            rate, self.b1, self.b2, self.eps, weight_decay=self.weight_decay, mask=mask
        )


@dataclass(frozen=True, kw_only=True)
class LARS:
    """Layer-wise adaptive momentum for large batches (You et al. 2017).

    Attributes:
        momentum: in [0, 1).
        trust_coefficient: scale of the layer-wise rate.
        weight_decay: before the trust ratio, which biases and scales never get.
    """

    momentum: float = 0.9
    trust_coefficient: float = 0.001
    weight_decay: float = 0.0

    needs_whole_matrices: ClassVar[bool] = True

    def transformation(self, rate: optax.Schedule, mask: Any) -> optax.GradientTransformation:
        """Gives the update rule."""
        return optax.lars(
            rate,
            self.weight_decay,
            weight_decay_mask=True if mask is None else mask,
            trust_coefficient=self.trust_coefficient,
            trust_ratio_mask=decay_mask,
            momentum=self.momentum,
        )


@dataclass(frozen=True, kw_only=True)
class Lion:
    """Sign of an interpolated momentum (Chen et al. 2023).

    Attributes:
        b1, b2: decay for the update and for the momentum.
        weight_decay: decoupled.
    """

    b1: float = 0.9
    b2: float = 0.99
    weight_decay: float = 1e-3

    needs_whole_matrices: ClassVar[bool] = False

    def transformation(self, rate: optax.Schedule, mask: Any) -> optax.GradientTransformation:
        """Gives the update rule."""
        return optax.lion(rate, self.b1, self.b2, weight_decay=self.weight_decay, mask=mask)


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """How gradients become updates.

    Attributes:
        algorithm: the update rule and its own settings.
        learning_rate: highest rate of the schedule, > 0.
        schedule: how the rate moves over the run.
        clip_norm: gradients of a larger global L2 norm are scaled down to it; None never clips.
        decay_all: let weight decay reach biases and normalisation scales too.
        groups: parameters with an algorithm and a rate of their own; one is in the first that fits.
    """

    learning_rate: float
    algorithm: Algorithm = SGD(momentum=0.9)
    schedule: Schedule = field(default_factory=Constant)
    clip_norm: float | None = None
    decay_all: bool = False
    groups: tuple[ParameterGroup, ...] = ()

    @property
    def algorithms(self) -> tuple[Algorithm, ...]:
        """All that are in use: the optimiser's own and those of its groups."""
        return (self.algorithm, *(group.algorithm for group in self.groups))

    def rate(self, total_steps: int) -> optax.Schedule:
        """Gives step -> learning rate for a run of `total_steps`."""
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}, but more than 0 is wanted")
        return self.schedule.rate(self.learning_rate, total_steps)

    def transformation(self, total_steps: int, sharded: Any = None) -> optax.GradientTransformation:
        """Gives the whole Optax transformation for a run of `total_steps`.

        Args:
            total_steps: length of the schedule.
            sharded: which parameters are sharded over the devices, as for `clip_by_global_norm`.
        """
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm is {self.clip_norm}, but more than 0 or None is wanted")
        mask = None if self.decay_all else decay_mask
        rest = self.algorithm.transformation(self.rate(total_steps), mask)
        update = by_groups(self.groups, rest, total_steps, mask)
        clip = (
            optax.identity()
            if self.clip_norm is None
            else clip_by_global_norm(self.clip_norm, sharded)
        )
        return optax.chain(clip, update)
