"""Checks of settings, alike for losses, images, metrics and data: `check_...(name, value, ...)`.

Each raises ValueError that names the argument, what it must be and what was found. They run when a
function is traced and cost nothing on the device. A value that is traced itself, such as a
hyperparameter passed through `jax.jit`, cannot be read then and is let through.
"""

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raises ValueError unless `value` is one of `choices`.

    Example:
      >>> check_choice("unit", "bit", ("nats", "bits"))
      Traceback (most recent call last):
      ValueError: unit is 'bit', but must be 'nats' or 'bits'
    """
    if value not in choices:
        *others, last = map(repr, choices)
        one_of = f"{', '.join(others)} or {last}" if others else last
        raise ValueError(f"{name} is {value!r}, but must be {one_of}")


def check_range(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Raises ValueError unless every entry of `value` lies between `low` and `high`; NaN never does.

    Args:
      name: the argument's name, for the message.
      value: a number, or an array of any shape.
      low: the smallest value, or the one that all must exceed if `open_low`.
      high: the largest value, or the one that all must stay below if `open_high`.
    """
    if _traced(value):
        return
    array = np.asarray(value)
    above = array > low if open_low else array >= low
    below = array < high if open_high else array <= high
    if not bool(np.all(above & below)):
        interval = f"{'(' if open_low else '['}{low}, {high}{')' if open_high else ']'}"
        raise ValueError(f"{name} is {value}, but must be in {interval}")


def check_positive(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is above 0 and finite."""
    check_range(name, value, 0.0, open_low=True, open_high=True)


def check_non_negative(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is at least 0 and finite."""
    check_range(name, value, 0.0, open_high=True)


def check_probability(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is in [0, 1]."""
    check_range(name, value, 0.0, 1.0)


def check_interval(
    name: str, value: Sequence[float], low: float = -math.inf, high: float = math.inf
) -> None:
    """Raises ValueError unless `value` is (smallest, largest), in order and within [low, high]."""
    if len(value) != 2 or not low <= value[0] <= value[1] <= high:
        raise ValueError(
            f"{name} is {tuple(value)}, but must be (smallest, largest) within [{low}, {high}]"
        )


def check_count(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is a whole number of at least 1."""
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_whole or value < 1:
        raise ValueError(f"{name} is {value!r}, but must be a whole number of at least 1")


def _traced(value: Any) -> bool:
    # Where JAX is not loaded nothing is traced, and reading data need not load it.
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(value, jax.core.Tracer)
