"""Parameters that are trained otherwise than the rest: a group names them by their place in the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import optax

from jaxcv.train.schedules import Constant, Schedule


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """Some parameters with an algorithm, a rate and a schedule of their own.

    Attributes:
        names: a parameter belongs to the group if each of these names is on its way through the
            model: ("whitening", "bias") has params["whitening"]["bias"], ("bias",) every bias.
        learning_rate: highest rate of the schedule, > 0.
        algorithm: the update rule and its own settings, such as `SGD`.
        schedule: how the rate moves over the run.
    """

    names: tuple[str, ...]
    learning_rate: float
    algorithm: Any
    schedule: Schedule = field(default_factory=Constant)

    def transformation(self, total_steps: int, mask: Any) -> optax.GradientTransformation:
        """Gives the update rule for a run of `total_steps`; weight decay only where `mask` says."""
        if not self.learning_rate > 0:
            raise ValueError(
                f"learning_rate of the parameters {self.names} is {self.learning_rate}, but more than 0 "
                "is wanted"
            )
        rate = self.schedule.rate(self.learning_rate, total_steps)
        transformation: optax.GradientTransformation = self.algorithm.transformation(rate, mask)
        return transformation


def group_numbers(groups: Sequence[ParameterGroup], params: Any) -> Any:
    """The number of the first group that each parameter belongs to, -1 for none: a pytree of ints.

    Raises:
        ValueError: for a group to which none belongs.
    """

    def number(path: tuple[Any, ...], _: Any) -> int:
        way = {str(getattr(part, "key", part)) for part in path}
        return next((i for i, group in enumerate(groups) if way.issuperset(group.names)), -1)

    numbers = jax.tree_util.tree_map_with_path(number, params)
    found = set(jax.tree.leaves(numbers))
    for i, group in enumerate(groups):
        if i not in found:
            paths = [
                jax.tree_util.keystr(path, simple=True, separator="/")
                for path, _ in jax.tree_util.tree_leaves_with_path(params)
            ]
            raise ValueError(
                f"optimizer.groups[{i}] is for parameters under {group.names}, but no parameter that an "
                f"earlier group leaves is; the model has {', '.join(paths)}"
            )
    return numbers


def by_groups(
    groups: Sequence[ParameterGroup],
    rest: optax.GradientTransformation,
    total_steps: int,
    mask: Any,
) -> optax.GradientTransformation:
    """Gives one transformation: each group's for its parameters, `rest` for those of none."""
    if not groups:
        return rest
    transformations = {i: group.transformation(total_steps, mask) for i, group in enumerate(groups)}
    return optax.partition(
        {-1: rest, **transformations}, lambda params: group_numbers(groups, params)
    )
