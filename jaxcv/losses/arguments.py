"""Checks of arguments shared by all losses: they run at trace time and cost nothing on the device.

Every message names the argument, what was found and what was wanted. Values that are traced (a
hyperparameter passed through `jax.jit`) cannot be read at trace time and are let through; shapes
and dtypes always can.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def as_float(array: Any) -> jax.Array:
    """Converts to a floating array of at least float32: half precision goes up, float64 stays."""
    array = jnp.asarray(array)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def is_integer(array: Any) -> bool:
    """Whether an array holds integers (booleans do not count)."""
    return bool(jnp.issubdtype(jnp.result_type(array), jnp.integer))


def check_shape(name: str, array: Any, wanted: Sequence[int | str | None]) -> None:
    """Raises ValueError unless `array.shape` agrees with `wanted`.

    Args:
      name: The argument's name, for the message.
      array: Anything with a shape.
      wanted: One entry per axis: an int must match; a string (the axis's letter) or None matches
        any size.
    """
    found = jnp.shape(array)
    agrees = len(found) == len(wanted) and all(
        not isinstance(w, int) or f == w for f, w in zip(found, wanted)
    )
    if not agrees:
        raise ValueError(f"{name} has shape {_show(found)}, but {_show(wanted)} is wanted.")


def check_same_shape(name: str, array: Any, other_name: str, other: Any) -> None:
    """Raises ValueError unless two arrays have one and the same shape: nothing broadcasts."""
    found, wanted = jnp.shape(array), jnp.shape(other)
    if found != wanted:
        raise ValueError(
            f"{name} has shape {_show(found)} but {other_name} has shape {_show(wanted)}; "
            "the two must be equal (losses do not broadcast)."
        )


def check_scores(name: str, array: Any) -> None:
    """Raises ValueError unless `array` is floating with a last axis of at least one class."""
    shape, dtype = jnp.shape(array), jnp.result_type(array)
    if not shape or shape[-1] == 0:
        raise ValueError(
            f"{name} has shape {_show(shape)}, but [..., C] with at least one class is wanted."
        )
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"{name} has dtype {dtype}, but a floating dtype is wanted.")


def check_labels(
    labels: Any, scores: Any, *, dense: bool = False, scores_name: str = "logits"
) -> None:
    """Raises ValueError unless `labels` are labels of `scores` [..., C].

    Args:
      labels: Integers [...] (a class index per example) or, where `dense`, also [..., C] floats.
      scores: Logits, cosines or probabilities [..., C].
      dense: Whether the loss accepts dense labels too.
      scores_name: The name of the argument `scores`.
    """
    check_scores(scores_name, scores)
    shape, wanted = jnp.shape(labels), jnp.shape(scores)
    if is_integer(labels):
        if shape != wanted[:-1]:
            raise ValueError(
                f"labels are integers of shape {_show(shape)}, but {_show(wanted[:-1])} is wanted "
                f"for {scores_name} of shape {_show(wanted)}: one class index per example"
                + (" (dense labels must be floating)." if shape == wanted else ".")
            )
        return
    if not dense:
        raise ValueError(
            f"labels have dtype {jnp.result_type(labels)}, but integers of shape "
            f"{_show(wanted[:-1])} are wanted."
        )
    if shape != wanted:
        raise ValueError(
            f"labels are dense with shape {_show(shape)}, but {_show(wanted)}, the shape of "
            f"{scores_name}, is wanted (class indices must be integers, found "
            f"{jnp.result_type(labels)})."
        )


def nan_for_unknown_labels(loss: jax.Array, labels: Any, num_classes: int) -> jax.Array:
    """The loss, NaN where an integer label lies outside [0, num_classes); dense labels pass.

    A loud value, where indexing would silently have taken the loss of another class.
    """
    if not is_integer(labels):
        return loss
    labels = jnp.asarray(labels)
    return jnp.where((labels >= 0) & (labels < num_classes), loss, jnp.nan)


def check_class_weights(class_weights: Any, num_classes: int, name: str = "class_weights") -> None:
    """Raises ValueError unless there is one number per class: shape [C]."""
    found = jnp.shape(class_weights)
    if found != (num_classes,):
        raise ValueError(
            f"{name} has shape {_show(found)}, but {_show((num_classes,))} is wanted: "
            "one number per class."
        )


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raises ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(
            f"{name} is {value!r}, but one of {', '.join(map(repr, choices))} is wanted."
        )


def check_range(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Raises ValueError unless every entry of `value` lies between `low` and `high`.

    Traced values are let through. `open_low` and `open_high` leave out the ends themselves.
    """
    if isinstance(value, jax.core.Tracer):
        return
    array = np.asarray(value)
    above = array > low if open_low else array >= low
    below = array < high if open_high else array <= high
    if not bool(np.all(above & below)):
        interval = f"{'(' if open_low else '['}{low}, {high}{')' if open_high else ']'}"
        raise ValueError(f"{name} is {value}, but a value in {interval} is wanted.")


def check_non_negative(name: str, value: Any) -> None:
    """Raises ValueError unless `value` >= 0 (and not NaN)."""
    check_range(name, value, 0.0, open_high=True)


def check_positive(name: str, value: Any) -> None:
    """Raises ValueError unless `value` > 0 (and finite)."""
    check_range(name, value, 0.0, open_low=True, open_high=True)


def _show(shape: Sequence[int | str | None]) -> str:
    return "[" + ", ".join("..." if s is None else str(s) for s in shape) + "]"
