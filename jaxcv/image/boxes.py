"""Boxes: formats, areas, clipping, and how much every box of one set overlaps every one of another.

A box is (x0, y0, x1, y1) in pixels, x to the right, y down, (0, 0) the outer corner of the first
pixel, so that the whole image is (0, 0, W, H). There is no "+ 1" anywhere: a box of one pixel is
(0, 0, 1, 1) and its area is 1.

All functions compute in float32 whatever the dtype that comes in, take any leading axes, and are
finite, gradients too, for coordinates up to 1e15. A box of no size has area 0 and IoU 0 with
everything, itself included; so has one whose corners are out of order, and so has a row of padding,
(0, 0, 0, 0). The losses on pairs of boxes are `jaxcv.losses.iou_loss` and its kin, and agree:
`giou_loss` is 1 - GIoU.
"""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

SMALLEST_AREA = 1e-14
"""Areas below are taken for 0: the square of float32's step at coordinate 1."""


def as_boxes(boxes: ArrayLike, name: str = "boxes") -> jax.Array:
    """Returns float32 boxes `[..., 4]`, having checked that they are that.

    Raises:
      ValueError: the last axis is not of length 4.
    """
    boxes = jnp.asarray(boxes)
    if boxes.ndim == 0 or boxes.shape[-1] != 4:
        raise ValueError(
            f"{name} must be [..., 4] with (x0, y0, x1, y1) on the last axis, but have shape "
            f"{boxes.shape}"
        )
    return boxes.astype(jnp.float32)


def box_sizes(boxes: ArrayLike) -> jax.Array:
    """Returns (width, height) `[..., 2]` of boxes `[..., 4]`, 0 where corners are out of order."""
    boxes = as_boxes(boxes)
    return jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)


def box_centers(boxes: ArrayLike) -> jax.Array:
    """Returns the centre (x, y) `[..., 2]` of boxes `[..., 4]`."""
    boxes = as_boxes(boxes)
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def box_area(boxes: ArrayLike) -> jax.Array:
    """Returns the area `[...]` of boxes `[..., 4]`, 0 where the corners are out of order.

    Example:
      >>> box_area([[0, 0, 3, 2], [3, 0, 0, 2]]).tolist()
      [6.0, 0.0]
    """
    sizes = box_sizes(boxes)
    return sizes[..., 0] * sizes[..., 1]


def boxes_to_cxcywh(boxes: ArrayLike) -> jax.Array:
    """Returns (centre x, centre y, width, height) `[..., 4]` of boxes `[..., 4]`.

    Example:
      >>> boxes_to_cxcywh([0, 0, 3, 2]).tolist()
      [1.5, 1.0, 3.0, 2.0]
    """
    return jnp.concatenate([box_centers(boxes), box_sizes(boxes)], axis=-1)


def boxes_from_cxcywh(values: ArrayLike) -> jax.Array:
    """Returns the boxes `[..., 4]` of (centre x, centre y, width, height) `[..., 4]`, as in DETR.

    Example:
      >>> boxes_from_cxcywh([1.5, 1, 3, 2]).tolist()
      [0.0, 0.0, 3.0, 2.0]
    """
    values = as_boxes(values, "(centre x, centre y, width, height)")
    center, half = values[..., :2], values[..., 2:] / 2
    return jnp.concatenate([center - half, center + half], axis=-1)


def boxes_to_xywh(boxes: ArrayLike) -> jax.Array:
    """Returns (left, top, width, height) `[..., 4]`, COCO's format, of boxes `[..., 4]`.

    Example:
      >>> boxes_to_xywh([1, 2, 4, 6]).tolist()
      [1.0, 2.0, 3.0, 4.0]
    """
    return jnp.concatenate([as_boxes(boxes)[..., :2], box_sizes(boxes)], axis=-1)


def boxes_from_xywh(values: ArrayLike) -> jax.Array:
    """Returns the boxes `[..., 4]` of (left, top, width, height) `[..., 4]`, COCO's format.

    Example:
      >>> boxes_from_xywh([1, 2, 3, 4]).tolist()
      [1.0, 2.0, 4.0, 6.0]
    """
    values = as_boxes(values, "(left, top, width, height)")
    return jnp.concatenate([values[..., :2], values[..., :2] + values[..., 2:]], axis=-1)


def clip_boxes(boxes: ArrayLike, size: ArrayLike | tuple[ArrayLike, ArrayLike]) -> jax.Array:
    """Cuts boxes off at the edges of the image; one that lies outside keeps no area.

    Args:
      boxes: `[..., 4]`.
      size: (height, width) of the image, or an array `[..., 2]` of them whose leading axes
        broadcast with those of the boxes: `sizes[:, None]` for `[B, N, 4]` boxes of B images.

    Returns:
      float32 `[..., 4]`.

    Example:
      >>> clip_boxes([-1, 2, 9, 9], (4, 6)).tolist()
      [0.0, 2.0, 6.0, 4.0]
    """
    height_width = jnp.asarray(size, jnp.float32)
    if height_width.ndim == 0 or height_width.shape[-1] != 2:
        raise ValueError(
            f"size must be (height, width) or [..., 2], but has shape {height_width.shape}"
        )
    far = jnp.concatenate([height_width[..., ::-1], height_width[..., ::-1]], axis=-1)
    return jnp.clip(as_boxes(boxes), 0.0, far)


def intersection_matrix(first: ArrayLike, second: ArrayLike) -> jax.Array:
    """Returns the area that every first box shares with every second one.

    Args:
      first: boxes `[..., N, 4]`.
      second: boxes `[..., M, 4]`; leading axes broadcast.

    Returns:
      float32 `[..., N, M]`.

    Raises:
      ValueError: the boxes are not `[..., N, 4]` and `[..., M, 4]`.

    Example:
      >>> intersection_matrix([[0, 0, 2, 2]], [[1, 0, 3, 2], [2, 0, 3, 2]]).tolist()
      [[2.0, 0.0]]
    """
    a, b = _rows_and_columns(first, second)
    return _intersection(a, b)


def iou_matrix(first: ArrayLike, second: ArrayLike) -> jax.Array:
    """Returns intersection over union of every first box and every second one.

    Args, raises as in `intersection_matrix`.

    Returns:
      float32 `[..., N, M]` in [0, 1]; 0 where both boxes are without area.

    Example:
      >>> iou_matrix([[0, 0, 2, 2]], [[0, 0, 2, 2], [0, 0, 2, 1], [0, 0, 0, 0]]).tolist()
      [[1.0, 0.5, 0.0]]
    """
    a, b = _rows_and_columns(first, second)
    iou, _ = _iou_and_union(a, b)
    return iou


def giou_matrix(first: ArrayLike, second: ArrayLike) -> jax.Array:
    """Returns generalised IoU, IoU - (H - U) / H, of every first box and every second one.

    H is the area of the smallest box around both, U that of their union (Rezatofighi et al. 2019,
    arXiv:1902.09630). Corners out of order are put right for H alone, as in `losses.giou_loss`.

    Args, raises as in `intersection_matrix`.

    Returns:
      float32 `[..., N, M]` in [-1, 1].

    Example:
      >>> giou_matrix([[0, 0, 1, 1]], [[0, 0, 1, 1], [1, 1, 2, 2]]).tolist()
      [[1.0, -0.5]]
    """
    a, b = _rows_and_columns(first, second)
    iou, union = _iou_and_union(a, b)
    hull = _span(a[0], a[2], b[0], b[2]) * _span(a[1], a[3], b[1], b[3])
    return iou - _ratio(hull - union, hull)


def overlap_matrix(first: ArrayLike, second: ArrayLike) -> jax.Array:
    """Returns which fraction of every first box's area lies in every second one.

    It is what COCO's evaluation has in place of IoU where the second box marks a crowd
    (`iscrowd`): a detection of one person of many covers little of the crowd, but is all inside.

    Args, raises as in `intersection_matrix`.

    Returns:
      float32 `[..., N, M]` in [0, 1]; 0 where the first box is without area.

    Example:
      >>> overlap_matrix([[0, 0, 1, 1]], [[0, 0, 9, 9], [0, 0, 1, 0.5]]).tolist()
      [[1.0, 0.5]]
    """
    a, b = _rows_and_columns(first, second)
    return _ratio(_intersection(a, b), _area(a))


Corners = tuple[jax.Array, jax.Array, jax.Array, jax.Array]
"""x0, y0, x1, y1, each an array of its own: so that XLA never holds an array `[..., N, M, 2]`."""


def _rows_and_columns(first: ArrayLike, second: ArrayLike) -> tuple[Corners, Corners]:
    """The corners of the first boxes as `[..., N, 1]`, those of the second as `[..., 1, M]`."""
    first, second = as_boxes(first, "first"), as_boxes(second, "second")
    if first.ndim < 2 or second.ndim < 2:
        raise ValueError(
            f"first and second must be [..., N, 4] and [..., M, 4], but have shapes {first.shape} "
            f"and {second.shape}; give one box its axis with box[None]"
        )
    return corners(first[..., :, None, :]), corners(second[..., None, :, :])


def corners(boxes: jax.Array) -> Corners:
    """Returns x0, y0, x1, y1, each `[...]`, of boxes `[..., 4]`."""
    return boxes[..., 0], boxes[..., 1], boxes[..., 2], boxes[..., 3]


def _area(a: Corners) -> jax.Array:
    return jnp.maximum(a[2] - a[0], 0.0) * jnp.maximum(a[3] - a[1], 0.0)


def _intersection(a: Corners, b: Corners) -> jax.Array:
    low = jnp.maximum(a[0], b[0]), jnp.maximum(a[1], b[1])
    high = jnp.minimum(a[2], b[2]), jnp.minimum(a[3], b[3])
    return _area((*low, *high))


def _iou_and_union(a: Corners, b: Corners) -> tuple[jax.Array, jax.Array]:
    intersection = _intersection(a, b)
    union = _area(a) + _area(b) - intersection
    return _ratio(intersection, union), union


def _span(*coordinates: jax.Array) -> jax.Array:
    """The length that all the coordinates of one axis take up, in whichever order they come."""
    return functools.reduce(jnp.maximum, coordinates) - functools.reduce(jnp.minimum, coordinates)


def _ratio(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """Numerator / denominator, 0 where the denominator is as good as 0."""
    some = denominator > SMALLEST_AREA
    return jnp.where(some, numerator, 0.0) / jnp.where(some, denominator, 1.0)
