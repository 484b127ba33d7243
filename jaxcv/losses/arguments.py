"""Checks of the arrays that losses take: they run at trace time and cost nothing on the device.

Every message names the argument, what was found and what was wanted. Settings are checked by
`jaxcv.arguments`.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_non_negative


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


def check_class_weights(name: str, class_weights: Any, num_classes: int) -> None:
    """Raises ValueError unless there is one number per class, [C], none negative and all finite."""
    found = jnp.shape(class_weights)
    if found != (num_classes,):
        raise ValueError(
            f"{name} has shape {_show(found)}, but {_show((num_classes,))} is wanted: "
            "one number per class."
        )
    check_non_negative(name, class_weights)


def _show(shape: Sequence[int | str | None]) -> str:
    return "[" + ", ".join("..." if s is None else str(s) for s in shape) + "]"
