"""How much boxes overlap, on the host in float64."""

from __future__ import annotations

import numpy as np


def box_iou(first: np.ndarray, second: np.ndarray, ignored: np.ndarray | None = None) -> np.ndarray:
    """Intersection over union of boxes, pair by pair; leading axes broadcast.

    A box covers [x0, x1] x [y0, y1]; VOC's devkit takes corners for indices of pixels and adds 1 to
    width and height, which is not done here. With an ignored object, a crowd say, it is the
    intersection over the area of the first box: of that, all may lie within the crowd (pycocotools).

    Args:
        first, second: [..., 4] (x0, y0, x1, y1); area 0 where corners are out of order.
        ignored: [...] bool, which of `second` are ignored objects; None for none.

    Returns:
        [...] in [0, 1]; 0 where the denominator is 0.

    Example:
        >>> box_iou(np.array([0.0, 0, 2, 2]), np.array([[1.0, 0, 3, 2], [5, 5, 6, 6]])).round(3).tolist()
        [0.333, 0.0]
    """
    width = np.minimum(first[..., 2], second[..., 2]) - np.maximum(first[..., 0], second[..., 0])
    height = np.minimum(first[..., 3], second[..., 3]) - np.maximum(first[..., 1], second[..., 1])
    common = np.maximum(width, 0.0) * np.maximum(height, 0.0)
    own = box_area(first)
    denominator = own + box_area(second) - common
    if ignored is not None:
        denominator = np.where(ignored, own, denominator)
    meets = (common > 0) & (denominator > 0)
    return np.where(meets, common / np.where(meets, denominator, 1.0), 0.0)


def box_area(boxes: np.ndarray) -> np.ndarray:
    """Area of boxes [..., 4]: [...]; 0 where corners are out of order."""
    size = np.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return size[..., 0] * size[..., 1]
