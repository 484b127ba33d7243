"""The assignment of FCOS: positions near an object's centre, on the level that its size belongs to."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxcv.models.detection import Anchors
from jaxcv.tasks.detection.assignment.assignment import Assignment, assignment_of, inside


@dataclass(frozen=True, kw_only=True)
class CenterSampling:
    """Tian et al. 2019, arXiv:1904.01355, section 3.2, with the centre sampling of their later code.

    An anchor is to find an object if its centre lies within the object's box, not farther than
    `radius` strides from the box's centre along either axis, and the farthest side of the box is at
    a distance that its level is responsible for. Of several objects it finds the smallest.

    Attributes:
        radius: in strides of the level; None takes the whole box.
        distances: (least, greatest) distance to the farthest side, in strides, for which a level is
            responsible; the finest level takes all that are nearer, the coarsest all that are farther.
            The paper's limits, 64 to 128 pixels at stride 16 and so on, are 4 to 8 strides.
    """

    radius: float | None = 1.5
    distances: tuple[float, float] = (4.0, 8.0)

    def __post_init__(self) -> None:
        """Raises ValueError for limits that leave objects out."""
        least, greatest = self.distances
        if not 0 < least < greatest or greatest > 2 * least:
            raise ValueError(
                f"distances are {self.distances}, but (a, b) with 0 < a < b <= 2 a is wanted: strides "
                "double from level to level"
            )
        if self.radius is not None and self.radius <= 0:
            raise ValueError(f"radius is {self.radius}, but it must be positive")

    def assign(self, anchors: Anchors, boxes: jax.Array, real: jax.Array) -> Assignment:
        """See `Assigner`."""
        centers, strides = anchors.centers, anchors.strides[:, None]
        possible = inside(centers, boxes) & real
        if self.radius is not None:
            middles = (boxes[:, :2] + boxes[:, 2:]) / 2
            offset = jnp.max(jnp.abs(centers[:, None] - middles), axis=-1)
            possible &= offset < self.radius * strides
        corners = jnp.concatenate([centers, centers], axis=-1)[:, None]
        farthest = jnp.max(jnp.abs(boxes - corners), axis=-1)  # [N, M]
        least, greatest = (limit * strides for limit in self.distances)
        finest, coarsest = jnp.min(strides), jnp.max(strides)
        possible &= (farthest > least) | (strides == finest)
        possible &= (farthest <= greatest) | (strides == coarsest)
        sizes = boxes[:, 2:] - boxes[:, :2]
        areas = jnp.broadcast_to(sizes[:, 0] * sizes[:, 1], possible.shape)
        return assignment_of(possible, areas, jnp.ones(len(centers), bool))
