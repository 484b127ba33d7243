"""Where the eyes are in a face, by a vote of cascades over slightly different views of it.

A cascade looks at a few sizes and places only, and takes an eyebrow or the rim of a pair of glasses
for an eye when the light is a little different: its answer for one view jumps, by a hundredth of the
distance between the eyes mostly, by a third of it now and then, when as much as a pixel's last bit
changes. The mean over many views hardly moves, as long as most agree on where an eye is; where they do
not, there is no telling, and none is found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jaxcv.faces.cascades import cascade, opencv

# The first also sees eyes behind glasses; the second finds some that the first does not.
_CASCADES = ("eye_tree_eyeglasses", "eye")
# A view is a square of this side.
_PIXELS = 160
# Views: sides in parts of the box's, and where their middles lie beside its middle, in the same.
_SCALES = (0.9, 1.0, 1.1)
_SHIFTS = ((0.0, 0.0), (0.03, 0.02), (-0.03, -0.02), (0.02, -0.03))
# Where these leave it open, both cascades vote on their own on more views.
_MORE_SHIFTS = ((0.0, 0.0), (0.03, 0.0), (-0.03, 0.0), (0.0, 0.03), (0.0, -0.03))
# Where eyes are looked for, in parts of a view: rows, columns of the left and the right one.
_ROWS, _COLUMNS = (0.15, 0.6), ((0.05, 0.55), (0.45, 0.95))
# Sides of the windows that are looked at, in parts of a view. Of 3,000 found, 0.14 to 0.34 of the box.
_SMALLEST, _LARGEST = 0.14, 0.38
_SIZE_STEP, _NEIGHBORS = 1.05, 3
# Votes this near to their mean agree, in distances between the eyes.
_NEAR = 0.1
# So many must, in parts of all views and of those that show an eye; one of two cascades may see nothing.
_AGREEMENT, _AGREEMENT_OF_BOTH = (0.6, 0.0), (0.1, 0.5)
# Largest standard error of their mean, in the same: beyond it the mean itself would jump.
_ERROR = 0.014


def find_eyes(grey: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray | None:
    """Both eyes of a face.

    Args:
        grey: [H, W] uint8.
        box: x, y, width, height of the face, as a cascade for faces gives it.

    Returns:
        [2, 2] x and y of the eye on the left of the picture and of the other, in pixels; None where
        the views do not agree on both.
    """
    corner, pixel, face = _region(grey, box)
    middle, width = (np.array(box[:2]) - corner + np.array(box[2:]) / 2) / pixel, box[2] / pixel[0]
    votes = [_eyes_in_view(face, *view, _CASCADES) for view in _views(middle, width, _SHIFTS)]
    eyes = agreed(np.array(votes), *_AGREEMENT)
    if eyes is None:
        more = list(_views(middle, width, _MORE_SHIFTS))
        votes = [_eyes_in_view(face, *view, (name,)) for name in _CASCADES for view in more]
        eyes = agreed(np.array(votes), *_AGREEMENT_OF_BOTH)
    if eyes is None:
        return None
    eyes = corner + eyes * pixel
    across, down = (eyes[1] - eyes[0]) / box[2:]
    # Eyes this near, far or slanted are an eyebrow, a nostril or the rim of a pair of glasses.
    return eyes if 0.25 <= across <= 0.6 and abs(down) <= 0.4 * across else None


def agreed(
    votes: np.ndarray, of_all: float = _AGREEMENT[0], of_known: float = _AGREEMENT[1]
) -> np.ndarray | None:
    """What most votes agree on.

    Args:
        votes: [V, 2, 2] x and y of both eyes; NaN where a view shows none.
        of_all: how many votes must agree, as a fraction of V.
        of_known: the same as a fraction of those that are not NaN.

    Returns:
        [2, 2] mean of the votes near to it; None where for one of the eyes too few are, or they are
        scattered too far.

    Example:
        >>> votes = np.tile([[0.0, 0.0], [10.0, 0.0]], (4, 1, 1))
        >>> votes[3, 0] = [0.0, 4.0]  # an eyebrow
        >>> agreed(votes).tolist()
        [[0.0, 0.0], [10.0, 0.0]]
    """
    known = [eye[~np.isnan(eye).any(axis=1)] for eye in votes.swapaxes(0, 1)]
    if not all(map(len, known)):
        return None
    middles = np.array([np.median(eye, axis=0) for eye in known])
    radius = _NEAR * float(np.hypot(*(middles[1] - middles[0])))
    for place, eye in enumerate(known):
        for _ in range(3):
            near = eye[np.hypot(*(eye - middles[place]).T) <= radius]
            if len(near) < max(of_all * len(votes), of_known * len(eye)):
                return None
            middles[place] = near.mean(axis=0)
        if np.sqrt(near.var(axis=0).sum() / max(len(near) - 1, 1)) > _ERROR / _NEAR * radius:
            return None
    return middles


def _region(
    grey: np.ndarray, box: tuple[int, int, int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What lies around a face, reduced if the face is at least twice as large as a view.

    Returns:
        Its corner in pixels of `grey`, how many of these each of its own is across and down, and itself.
    """
    x, y, width, height = box
    margin = width // 4
    rows = slice(max(y - margin, 0), y + height + margin)
    columns = slice(max(x - margin, 0), x + width + margin)
    part = grey[rows, columns]
    corner, size = np.array([columns.start, rows.start]), np.array(part.shape[::-1])
    times = width // _PIXELS
    if times < 2:  # Drawing a view passes over no pixel then.
        return corner, np.ones(2), part
    reduced = np.maximum(size // times, 1)
    cv2 = opencv()
    return corner, size / reduced, cv2.resize(part, reduced.tolist(), interpolation=cv2.INTER_AREA)


def _views(
    middle: np.ndarray, width: float, shifts: Sequence[tuple[float, float]]
) -> Iterator[tuple[float, float, float]]:
    """Left, top and side of each view of a box with this middle and width, in its pixels."""
    for scale in _SCALES:
        for shift in shifts:
            left, top = middle + width * (np.array(shift) - scale / 2)
            yield left, top, scale * width


def _eyes_in_view(
    region: np.ndarray, left: float, top: float, side: float, cascades: Sequence[str]
) -> np.ndarray:
    """[2, 2] x and y of both eyes in pixels of the region, NaN where one is not seen."""
    cv2, pixel = opencv(), side / _PIXELS
    first = pixel / 2 - 0.5  # the middle of a view's first pixel, as OpenCV counts
    view = cv2.warpAffine(
        region,
        np.array([[pixel, 0, left + first], [0, pixel, top + first]], np.float32),
        (_PIXELS, _PIXELS),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.array([left, top]) + pixel * np.array(
        [_eye(view, part, cascades) for part in _COLUMNS]
    )


def _eye(view: np.ndarray, columns: tuple[float, float], cascades: Sequence[str]) -> Any:
    """Middle of the surest window of the first cascade that finds any in some columns, in pixels."""
    top, bottom = (int(part * _PIXELS) for part in _ROWS)
    left, right = (int(part * _PIXELS) for part in columns)
    for name in cascades:
        boxes, _, weights = cascade(name).detectMultiScale3(
            np.ascontiguousarray(view[top:bottom, left:right]),
            scaleFactor=_SIZE_STEP,
            minNeighbors=_NEIGHBORS,
            minSize=(int(_SMALLEST * _PIXELS),) * 2,
            maxSize=(int(_LARGEST * _PIXELS),) * 2,
            outputRejectLevels=True,
        )
        if len(boxes):
            x, y, width, height = boxes[int(np.argmax(weights))]
            return left + x + width / 2, top + y + height / 2
    return np.nan, np.nan
