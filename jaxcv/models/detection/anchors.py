"""Anchors: the boxes from which a detector measures, a fixed set at every position of its features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct


@struct.dataclass
class Anchors:
    """The N anchors of an image, level by level from fine to coarse, row by row within a level.

    Attributes:
        boxes: [N, 4] (x0, y0, x1, y1) in pixels; they may reach beyond the image.
        strides: [N] distance in pixels between neighbouring positions of an anchor's level.
        counts: how many anchors each level has, from fine to coarse; they add up to N.
    """

    boxes: jax.Array
    strides: jax.Array
    counts: tuple[int, ...] = struct.field(pytree_node=False)

    @property
    def centers(self) -> jax.Array:
        """[N, 2] (x, y) in pixels."""
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2


def grid_anchors(sizes: Mapping[int, Sequence[int]], shapes: Sequence[Sequence[float]]) -> Anchors:
    """Puts boxes of the same shapes, in units of the stride, about every position of each level.

    Position (i, j) of a level of stride s lies at x = (j + 1/2) s, y = (i + 1/2) s: the centre of the
    pixels that it stands for.

    Args:
        sizes: `{stride: (rows, columns)}` of the features.
        shapes: [A, 2] (width, height) in strides.

    Example:
        >>> grid_anchors({8: (1, 2)}, [(1.0, 2.0)]).boxes.tolist()
        [[0.0, -4.0, 8.0, 12.0], [8.0, -4.0, 16.0, 12.0]]
    """
    boxes, strides, counts = [], [], []
    half = np.asarray(shapes, np.float64) / 2
    for stride in sorted(sizes):
        rows, columns = sizes[stride]
        y, x = np.mgrid[:rows, :columns] + 0.5
        centers = np.stack([x, y], -1).reshape(-1, 1, 2)
        level = stride * np.concatenate([centers - half, centers + half], -1).reshape(-1, 4)
        boxes.append(level)
        strides.append(np.full(len(level), stride))
        counts.append(len(level))
    return Anchors(
        boxes=jnp.asarray(np.concatenate(boxes), jnp.float32),
        strides=jnp.asarray(np.concatenate(strides), jnp.float32),
        counts=tuple(counts),
    )
