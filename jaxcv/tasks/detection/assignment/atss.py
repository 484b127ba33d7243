"""Adaptive training sample selection: the limit of the overlap comes from each object itself."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxcv.image import iou_matrix
from jaxcv.models.detection import Anchors
from jaxcv.tasks.detection.assignment.assignment import Assignment, assignment_of, inside


@dataclass(frozen=True, kw_only=True)
class ATSS:
    """Zhang, Chi, Yao, Lei & Li 2020, arXiv:1912.02424, algorithm 1.

    On each level the anchors whose centres are nearest to an object's are its candidates. It is
    found by those whose intersection over union with it is at least the mean plus the standard
    deviation over all candidates, and whose centres lie in its box. An anchor that several objects
    want finds the one that it overlaps most.

    The paper has one square anchor of 8 strides at a position: `FCOS(unit=8.0)`, or
    `RetinaNet(anchor_size=8.0, scales=(1.0,), ratios=(1.0,))`.

    Attributes:
        candidates: on each level; a level with several anchors at a position takes so many times more.
        anchors_per_position: of the model.
    """

    candidates: int = 9
    anchors_per_position: int = 1

    def assign(self, anchors: Anchors, boxes: jax.Array, real: jax.Array) -> Assignment:
        """See `Assigner`."""
        iou = iou_matrix(anchors.boxes, boxes)  # [N, M]
        candidate = self._candidates(anchors, boxes)
        count = jnp.maximum(jnp.sum(candidate, axis=0), 1)
        mean = jnp.sum(jnp.where(candidate, iou, 0.0), axis=0) / count
        squares = jnp.sum(jnp.where(candidate, jnp.square(iou - mean), 0.0), axis=0)
        # The authors' code has the unbiased deviation.
        limit = mean + jnp.sqrt(squares / jnp.maximum(count - 1, 1))
        possible = candidate & (iou >= limit) & inside(anchors.centers, boxes) & real
        return assignment_of(possible, -iou, jnp.ones(len(iou), bool))

    def _candidates(self, anchors: Anchors, boxes: jax.Array) -> jax.Array:
        """[N, M] bool: the anchors nearest to each object, level by level."""
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        distance = jnp.sum(jnp.square(anchors.centers[:, None] - middles), axis=-1)
        parts, start = [], 0
        for count in anchors.counts:
            level = distance[start : start + count].T  # [M, n]
            number = min(self.candidates * self.anchors_per_position, count)
            _, nearest = jax.lax.top_k(-level, number)
            chosen = jnp.zeros(level.shape, bool)
            rows = jnp.arange(level.shape[0])[:, None]
            parts.append(chosen.at[rows, nearest].set(True).T)
            start += count
        return jnp.concatenate(parts)
