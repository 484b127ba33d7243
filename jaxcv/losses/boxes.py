"""Box regression: smooth L1, and the losses on intersection over union.

Boxes are [y0, x0, y1, x1], or [x0, y0, x1, y1]: all losses here are the same for both. A box whose
second corner does not lie beyond its first is empty: area 0, overlap 0 with everything, identical
ones included; so is one of an area below `SMALLEST`. Values and gradients are finite for all boxes;
padding is taken out by the caller's weights.
"""

import math

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_positive
from jaxcv.losses.arguments import as_float, check_same_shape, check_shape

SMALLEST = 1e-14
"""Areas and squared lengths below are taken for 0: the square of float32's step at coordinate 1."""


def smooth_l1_loss(predictions: jax.Array, targets: jax.Array, *, beta: float = 1.0) -> jax.Array:
    """Sum over the components of |e| - beta / 2, or e^2 / (2 beta) where |e| < beta.

    Girshick 2015, arXiv:1504.08083, equation 3 (beta 1). Huber's loss divided by beta.

    Args:
      predictions: [..., D] floating, of a box: D = 4.
      targets: [..., D].
      beta: > 0, the error at which the loss turns from quadratic to linear.

    Returns:
      [...] float32.

    Raises:
      ValueError: for shapes that differ or beta <= 0.

    Example:
      >>> smooth_l1_loss(jnp.array([0.5, 2.0, 0.0, 0.0]), jnp.zeros(4))
      Array(1.625, dtype=float32)
    """
    check_same_shape("predictions", predictions, "targets", targets)
    check_shape("predictions", predictions, (*[None] * (max(jnp.ndim(predictions), 1) - 1), "D"))
    check_positive("beta", beta)
    error = as_float(predictions) - as_float(targets)
    # The size beyond beta and the rest, each with its own well-defined slope, 0 at error 0 too.
    inner = jnp.clip(error, -beta, beta)
    return jnp.sum(inner * (error - inner / 2), axis=-1) / beta


def iou_loss(predictions: jax.Array, targets: jax.Array) -> jax.Array:
    """1 - intersection over union (Yu et al. 2016, arXiv:1608.01471, in its linear form).

    No gradient where boxes do not touch; the losses below have one.

    Args:
      predictions: [..., 4] floating boxes.
      targets: [..., 4] floating boxes.

    Returns:
      [...] float32 in [0, 1].

    Raises:
      ValueError: for shapes that differ or do not end in 4.

    Example:
      >>> iou_loss(jnp.array([0.0, 0.0, 2.0, 2.0]), jnp.array([0.0, 0.0, 2.0, 1.0]))
      Array(0.5, dtype=float32)
    """
    iou, _ = _iou_and_union(*_boxes(predictions, targets))
    return 1 - iou


def giou_loss(predictions: jax.Array, targets: jax.Array) -> jax.Array:
    """Generalised IoU loss (Rezatofighi et al. 2019, arXiv:1902.09630): 1 - IoU + (H - U) / H.

    H is the area of the smallest box around both, U that of their union.

    Args, raises as in `iou_loss`. Returns [...] float32 in [0, 2].
    """
    predictions, targets = _boxes(predictions, targets)
    iou, union = _iou_and_union(predictions, targets)
    hull = _area(_hull(predictions, targets))
    return 1 - iou + _ratio(hull - union, hull)


def diou_loss(predictions: jax.Array, targets: jax.Array) -> jax.Array:
    """Distance IoU loss (Zheng et al. 2020, arXiv:1911.08287, equation 7): 1 - IoU + d^2 / h^2.

    d is the distance of the centres, h the diagonal of the smallest box around both.

    Args, raises as in `iou_loss`. Returns [...] float32 in [0, 2].
    """
    predictions, targets = _boxes(predictions, targets)
    iou, _ = _iou_and_union(predictions, targets)
    return 1 - iou + _center_distance(predictions, targets)


def ciou_loss(predictions: jax.Array, targets: jax.Array) -> jax.Array:
    """Complete IoU loss (Zheng et al. 2020, arXiv:1911.08287, equations 8-11): DIoU + a v.

    v = 4 / pi^2 (difference of the arctan of the aspect ratios)^2, a = v / (1 - IoU + v), a
    constant to differentiation. The gradient of v is exact (the authors' code drops its factor
    1 / (w^2 + h^2)), but 0 for a predicted box without size.

    Args, raises as in `iou_loss`. Returns [...] float32.
    """
    predictions, targets = _boxes(predictions, targets)
    iou, _ = _iou_and_union(predictions, targets)
    v = 4 / math.pi**2 * jnp.square(_aspect(predictions) - _aspect(targets))
    weight = jax.lax.stop_gradient(_ratio(v, 1 - iou + v))
    return 1 - iou + _center_distance(predictions, targets) + weight * v


def _boxes(predictions: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    check_same_shape("predictions", predictions, "targets", targets)
    check_shape("predictions", predictions, (*[None] * (max(jnp.ndim(predictions), 1) - 1), 4))
    return as_float(predictions), as_float(targets)


def _size(boxes: jax.Array) -> jax.Array:
    """Height and width [..., 2], 0 where the corners are out of order."""
    return jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0)


def _area(boxes: jax.Array) -> jax.Array:
    size = _size(boxes)
    return size[..., 0] * size[..., 1]


def _iou_and_union(first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]:
    low = jnp.maximum(first[..., :2], second[..., :2])
    high = jnp.minimum(first[..., 2:], second[..., 2:])
    intersection = _area(jnp.concatenate([low, high], axis=-1))
    union = _area(first) + _area(second) - intersection
    return _ratio(intersection, union), union


def _hull(first: jax.Array, second: jax.Array) -> jax.Array:
    """The smallest box around both; corners out of order are put right first."""
    low = jnp.minimum(_low(first), _low(second))
    high = jnp.maximum(_high(first), _high(second))
    return jnp.concatenate([low, high], axis=-1)


def _low(boxes: jax.Array) -> jax.Array:
    return jnp.minimum(boxes[..., :2], boxes[..., 2:])


def _high(boxes: jax.Array) -> jax.Array:
    return jnp.maximum(boxes[..., :2], boxes[..., 2:])


def _center_distance(first: jax.Array, second: jax.Array) -> jax.Array:
    """Squared distance of the centres over the squared diagonal of the hull."""
    offset = (first[..., :2] + first[..., 2:] - second[..., :2] - second[..., 2:]) / 2
    diagonal = jnp.sum(jnp.square(_size(_hull(first, second))), axis=-1)
    return _ratio(jnp.sum(jnp.square(offset), axis=-1), diagonal)


def _aspect(boxes: jax.Array) -> jax.Array:
    """Arctan of height / width, 0 for a box without size, where it has no value."""
    size = _size(boxes)
    nothing = jnp.all(size == 0, axis=-1)
    return jnp.where(nothing, 0, jnp.arctan2(size[..., 0], jnp.where(nothing, 1, size[..., 1])))


def _ratio(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """Numerator / denominator, 0 where the denominator is as good as 0."""
    some = denominator > SMALLEST
    return jnp.where(some, numerator, 0) / jnp.where(some, denominator, 1)
