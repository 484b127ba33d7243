"""What a rule of assignment says, and what all rules have in common."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from jaxcv.models.detection import Anchors


class Assignment(NamedTuple):
    """What each of N anchors has to say of an image.

    Attributes:
        matched: [N] int32 row of the object assigned to each anchor; 0 where none is.
        positive: [N] bool, whether it is to find one.
        counted: [N] bool, whether it counts at all; positive ones do.
    """

    matched: jax.Array
    positive: jax.Array
    counted: jax.Array


@runtime_checkable
class Assigner(Protocol):
    """A frozen dataclass that holds a rule; pure, jit- and vmap-able."""

    def assign(self, anchors: Anchors, boxes: jax.Array, real: jax.Array) -> Assignment:
        """Assigns the objects of one image.

        Args:
            anchors: N of them.
            boxes: [M, 4] (x0, y0, x1, y1) in pixels.
            real: [M] bool; rows marked False are padding, or need not be found.
        """
        ...


def assignment_of(matrix: jax.Array, cost: jax.Array, counted: jax.Array) -> Assignment:
    """Of several objects that an anchor could find, takes the cheapest; ties go to the first.

    Args:
        matrix: [N, M] bool, which anchor could find which object.
        cost: [N, M], finite.
        counted: [N] bool, for those that find none.
    """
    positive = jnp.any(matrix, axis=1)
    matched = jnp.argmin(jnp.where(matrix, cost, jnp.inf), axis=1).astype(jnp.int32)
    return Assignment(jnp.where(positive, matched, 0), positive, counted | positive)


def inside(centers: jax.Array, boxes: jax.Array) -> jax.Array:
    """Which points [N, 2] lie within which boxes [M, 4]: bool [N, M]; the edge is not within."""
    x, y = centers[:, 0, None], centers[:, 1, None]
    x0, y0, x1, y1 = jnp.moveaxis(boxes, -1, 0)
    return (x > x0) & (x < x1) & (y > y0) & (y < y1)
