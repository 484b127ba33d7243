"""What a detector's regression output says about a box: codings relative to an anchor.

A coding is a frozen dataclass with `encode(boxes, anchors)`, the values that a network has to give
for these boxes, and `decode(values, anchors)`, the boxes that its values mean. All are `[..., 4]`
whose leading axes broadcast, float32 whatever comes in; `decode` undoes `encode`. Both are finite,
gradients too, for coordinates and values up to 1e15: padding, anchors of no size, a network astray.
"""

import dataclasses
import math
from typing import Protocol

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxcv.image.boxes import as_boxes, box_centers, box_sizes, boxes_from_cxcywh

SMALLEST_SIDE = 1e-6
"""Sides and distances below are taken for this: far below a pixel, and the logarithm finite."""


class BoxCoding(Protocol):
    """What a detector needs of a coding; see the module."""

    def encode(self, boxes: ArrayLike, anchors: ArrayLike) -> jax.Array:
        """Returns the values `[..., 4]` that stand for the boxes."""

    def decode(self, values: ArrayLike, anchors: ArrayLike) -> jax.Array:
        """Returns the boxes `[..., 4]` that the values stand for."""


@dataclasses.dataclass(frozen=True)
class DeltaCoding:
    """Shift of the centre and logarithm of the growth, in units of the anchor (R-CNN).

        (cx - ax) / aw, (cy - ay) / ah, log(w / aw), log(h / ah)

    less `mean`, divided by `std` (Girshick et al. 2014, arXiv:1311.2524, appendix C; the
    normalisation is of Girshick 2015, arXiv:1504.08083). `decode` lets no side grow beyond
    `max_growth` anchors, where the exponential would run away early in training.

    Attributes:
      mean: mean of the four values over boxes as they occur.
      std: standard deviation of the four, > 0.
      max_growth: largest ratio of a decoded side to the anchor's, > 0.

    Example:
      >>> coding = DeltaCoding(std=(1.0, 1.0, 1.0, 1.0))
      >>> coding.encode([2, 0, 12, 10], [0, 0, 10, 10]).round(3).tolist()
      [0.20000000298023224, 0.0, 0.0, 0.0]
    """

    mean: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    std: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
    max_growth: float = 1000 / 16

    def __post_init__(self) -> None:
        for name, value in (("mean", self.mean), ("std", self.std)):
            if len(value) != 4 or not all(math.isfinite(part) for part in value):
                raise ValueError(f"{name}={value} must be four finite numbers, for x, y, w, h")
        if min(self.std) <= 0:
            raise ValueError(f"std={self.std} must be above 0: the values are divided by it")
        if not 0 < self.max_growth < math.inf:
            raise ValueError(f"max_growth={self.max_growth} must be above 0 and finite")

    def encode(self, boxes: ArrayLike, anchors: ArrayLike) -> jax.Array:
        """Returns the values `[..., 4]` for boxes `[..., 4]` and anchors `[..., 4]`."""
        side = _sides(anchors)
        shift = (box_centers(boxes) - box_centers(anchors)) / side
        growth = jnp.log(_sides(boxes)) - jnp.log(side)
        values = jnp.concatenate([shift, growth], axis=-1)
        std, mean = jnp.asarray(self.std, jnp.float32), jnp.asarray(self.mean, jnp.float32)
        return (values - mean) / std

    def decode(self, values: ArrayLike, anchors: ArrayLike) -> jax.Array:
        """Returns the boxes `[..., 4]` for values `[..., 4]` and anchors `[..., 4]`."""
        values = as_boxes(values, "values") * jnp.asarray(self.std, jnp.float32) + jnp.asarray(
            self.mean, jnp.float32
        )
        side = _sides(anchors)
        center = box_centers(anchors) + values[..., :2] * side
        growth = jnp.minimum(values[..., 2:], math.log(self.max_growth))
        return boxes_from_cxcywh(jnp.concatenate([center, side * jnp.exp(growth)], axis=-1))


@dataclasses.dataclass(frozen=True)
class DistanceCoding:
    """Logarithm of the distances from the anchor's centre to the four edges of the box (FCOS).

        log((cx - x0) / side), log((cy - y0) / side), log((x1 - cx) / side), log((y1 - cy) / side)

    Tian et al. 2019, arXiv:1904.01355: a network's value is taken through the exponential, so that
    every distance is above 0. The anchor is a square around a location whose side is the unit of
    length there, the stride of its level, say. (Of an anchor that is no square, the width is the
    unit of x and the height that of y.) A centre that lies outside the box has no such distances;
    the edge on the wrong side is encoded as if it ran through the centre.

    Attributes:
      max_distance: largest distance decoded, in units, > 0; it keeps the exponential finite.

    Example:
      >>> DistanceCoding().encode([0, 4, 8, 12], [0, 4, 8, 12]).round(3).tolist()  # log(1/2)
      [-0.6930000185966492, -0.6930000185966492, -0.6930000185966492, -0.6930000185966492]
    """

    max_distance: float = 1e4

    def __post_init__(self) -> None:
        if not 0 < self.max_distance < math.inf:
            raise ValueError(f"max_distance={self.max_distance} must be above 0 and finite")

    def encode(self, boxes: ArrayLike, anchors: ArrayLike) -> jax.Array:
        """Returns the values `[..., 4]` for boxes `[..., 4]` and anchors `[..., 4]`."""
        boxes, center, side = as_boxes(boxes), box_centers(anchors), _sides(anchors)
        distance = jnp.concatenate([center - boxes[..., :2], boxes[..., 2:] - center], axis=-1)
        unit = jnp.concatenate([side, side], axis=-1)
        return jnp.log(jnp.maximum(distance / unit, SMALLEST_SIDE))

    def decode(self, values: ArrayLike, anchors: ArrayLike) -> jax.Array:
        """Returns the boxes `[..., 4]` for values `[..., 4]` and anchors `[..., 4]`."""
        values, center, side = as_boxes(values, "values"), box_centers(anchors), _sides(anchors)
        distance = jnp.exp(jnp.minimum(values, math.log(self.max_distance)))
        low = center - distance[..., :2] * side
        return jnp.concatenate([low, center + distance[..., 2:] * side], axis=-1)


def _sides(boxes: ArrayLike) -> jax.Array:
    """Width and height `[..., 2]`, never 0."""
    return jnp.maximum(box_sizes(boxes), SMALLEST_SIDE)
