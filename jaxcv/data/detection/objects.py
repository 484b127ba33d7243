"""What all sources of detection share: the objects of an image, checked, placed and padded.

Coordinates are pixels, x to the right, y down, (0, 0) the outer corner of the first pixel; a box is
(x0, y0, x1, y1). The rule for annotated boxes:

- one that is not finite is refused;
- one that reaches outside its image is clipped to it, and counted as clipped;
- one that has no area then - a side of 0, corners out of order, wholly outside - is dropped and
  counted as dropped, or refused with `on_bad_box="raise"`.

A source tells the counts of what it has looked at so far by `box_counts`, and logs them once.
"""

import dataclasses
import logging
import threading
from collections.abc import Sequence
from typing import Literal

import numpy as np

from jaxcv.arguments import check_choice, check_count
from jaxcv.data.fit import Fit, Placement, Size, fit_image, placement, size_pair
from jaxcv.data.source import Record

logger = logging.getLogger(__name__)

OnBadBox = Literal["drop", "raise"]
MAX_BOXES = 100


@dataclasses.dataclass(frozen=True)
class BoxCounts:
    """How many annotated boxes were not taken as they were.

    Attributes:
      clipped: reached outside their image, and were cut at its edge.
      dropped: had no area inside their image.
    """

    clipped: int = 0
    dropped: int = 0

    def __add__(self, other: "BoxCounts") -> "BoxCounts":
        return BoxCounts(self.clipped + other.clipped, self.dropped + other.dropped)


@dataclasses.dataclass(frozen=True, eq=False)
class Objects:
    """The N objects marked in one image, in pixels of that image.

    Attributes:
      boxes: float32 [N, 4].
      classes: int32 [N].
      ignored: bool [N], whether an object need not be found.
      area: float32 [N], in pixels.
    """

    boxes: np.ndarray
    classes: np.ndarray
    ignored: np.ndarray
    area: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)


def checked_objects(
    boxes: Sequence[Sequence[float]] | np.ndarray,
    classes: Sequence[int] | np.ndarray,
    *,
    size: tuple[int, int],
    record: str,
    ignored: Sequence[bool] | np.ndarray | None = None,
    area: Sequence[float] | np.ndarray | None = None,
    on_bad_box: OnBadBox = "drop",
) -> tuple[Objects, BoxCounts]:
    """Makes the annotations of one image good by this module's rule.

    Args:
      boxes: numbers [N, 4], in pixels of the image.
      classes: [N] class of each.
      size: (height, width) of the image.
      record: what to call the image in a message.
      ignored: [N] whether an object need not be found; None: all must be.
      area: [N] in pixels; NaN, or None for all: that of the box, after clipping.
      on_bad_box: what becomes of a box without area: it is dropped, or raises.

    Returns:
      Those of the objects that have an area, in their order, and the counts.

    Raises:
      ValueError: parts of different length; a coordinate that is not finite; an area or a class
        that is none; a box without area, with on_bad_box="raise".

    Example:
      >>> found, counts = checked_objects(
      ...     [[-2, 1, 4, 3], [5, 5, 5, 8]], [7, 7], size=(10, 20), record="a.jpg"
      ... )
      >>> found.boxes.tolist(), counts
      ([[0.0, 1.0, 4.0, 3.0]], BoxCounts(clipped=1, dropped=1))
    """
    whole = np.asarray(boxes, np.float64).reshape(-1, 4)
    count = len(whole)
    labels = np.asarray(classes, np.int64).reshape(-1)
    hard = _flags(ignored, count, record)
    told = None if area is None else np.asarray(area, np.float64).reshape(-1)
    lengths = {"boxes": count, "classes": len(labels), "marks of ignored objects": len(hard)}
    if told is not None:
        lengths["areas"] = len(told)
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{number} {name}" for name, number in lengths.items())
        raise ValueError(f"{record}: its annotations are of different number: {found}")
    _check_finite(whole, told, record)
    if (labels < 0).any() or (labels >= 2**31).any():
        bad = labels[(labels < 0) | (labels >= 2**31)][0]
        raise ValueError(
            f"{record}: class {bad} of an object is no class: numbers start from 0, and -1 is padding"
        )
    height, width = size
    clipped = np.clip(whole, 0.0, (width, height, width, height)).astype(np.float32)
    sides = clipped[:, 2:].astype(np.float64) - clipped[:, :2]
    good = (sides > 0).all(axis=1)
    if on_bad_box == "raise" and not good.all():
        bad = int(np.flatnonzero(~good)[0])
        raise ValueError(
            f"{record}: box {_described(whole[bad])} has no area in the image of {height} x {width} "
            f"pixels (height x width); {int((~good).sum())} of its {count} boxes have none. Mend the "
            'annotations, or let such boxes be dropped (on_bad_box="drop")'
        )
    outside = (whole[:, :2] < 0).any(1) | (whole[:, 2:] > (width, height)).any(1)
    own = sides.prod(axis=1)
    if told is not None:
        own = np.where(np.isnan(told), own, told)
    objects = Objects(
        boxes=clipped[good],
        classes=labels[good].astype(np.int32),
        ignored=hard[good],
        area=own[good].astype(np.float32),
    )
    return objects, BoxCounts(int((outside & good).sum()), int((~good).sum()))


def detection_record(
    image: np.ndarray, objects: Objects, *, size: Size, fit: Fit, max_boxes: int, record: str
) -> Record:
    """The record of one image: brought to its size, its boxes along with it, padded.

    Args:
      image: uint8 [H, W, C].
      objects: those in it, in its pixels.
      size: as for `fit_image`.
      fit: `pad` (letterbox: the aspect ratio stays, the rest is black) or `stretch`.
      max_boxes: rows M of every array of objects.
      record: what to call the image in a message.

    Returns:
      `image` uint8 [H', W', C]; `boxes` float32 [M, 4] in its pixels, 0 in padding; `classes` int32
      [M], -1 in padding; `ignored` bool [M]; `area` float32 [M] in pixels of the original image, 0
      in padding; `placement` float32 [4], (scale_x, scale_y, left, top): a point (x, y) of the
      original image is at (x scale_x + left, y scale_y + top); `image_size` int32 [2], (height, width) of
      the original image.

    Raises:
      ValueError: there are more objects than `max_boxes`.
    """
    count = len(objects)
    check_object_count(count, max_boxes, record)
    place = box_placement((image.shape[0], image.shape[1]), size, fit)
    boxes = np.zeros((max_boxes, 4), np.float32)
    boxes[:count] = objects.boxes * place[[0, 1, 0, 1]] + place[[2, 3, 2, 3]]
    padded = {
        "classes": np.full(max_boxes, -1, np.int32),
        "ignored": np.zeros(max_boxes, bool),
        "area": np.zeros(max_boxes, np.float32),
    }
    for name, values in padded.items():
        values[:count] = getattr(objects, name)
    return {
        "image": fit_image(image, size, fit),
        "boxes": boxes,
        **padded,
        "placement": place.astype(np.float32),
        "image_size": np.asarray(image.shape[:2], np.int32),
    }


def box_placement(shape: tuple[int, int], size: Size, fit: Fit) -> np.ndarray:
    """Where `fit_image` puts the points of an image.

    Args:
      shape: (height, width) of the image.
      size: as for `fit_image`.
      fit: `pad` or `stretch`.

    Returns:
      float64 [4], (scale_x, scale_y, left, top): a point (x, y) comes to
      (x scale_x + left, y scale_y + top).

    Example:
      >>> box_placement((10, 20), (30, 30), "pad").tolist()
      [1.5, 1.5, 0.0, 7.0]
    """
    target = size_pair(size)
    place = Placement((0, 0, shape[1], shape[0]), shape)
    if target is not None:
        place = placement(shape, target, fit)
    (height, width), (top, left) = place.size, place.corner
    return np.asarray([width / shape[1], height / shape[0], left, top], np.float64)


def check_settings(fit: str, max_boxes: int, on_bad_box: str) -> None:
    """Raises ValueError where a source of detection is set up as none can be."""
    if fit not in ("pad", "stretch"):
        also = "; 'crop' would cut objects off" if fit == "crop" else ""
        raise ValueError(f"fit must be 'pad' or 'stretch' for detection, not {fit!r}{also}")
    check_count("max_boxes", max_boxes)
    check_choice("on_bad_box", on_bad_box, ("drop", "raise"))


def check_object_count(count: int, max_boxes: int, record: str, most: int | None = None) -> None:
    """Raises ValueError where an image has more objects than there are rows for.

    Args:
      count: objects in the image.
      max_boxes: rows.
      record: what to call the image.
      most: objects in the fullest image, where it is known; it is what `max_boxes` should be.
    """
    if count > max_boxes:
        of_all = f"; the fullest image has {most}" if most is not None else ""
        raise ValueError(
            f"{record}: {count} objects are marked in it, more than max_boxes={max_boxes}{of_all}. "
            f"Set max_boxes={most or count}{'' if most else ' or more'}"
        )


class BoxTally:
    """Adds up what became of the boxes of records, each record once however often it is read.

    Args:
      data: what to call the data set in the log.
    """

    def __init__(self, data: str):
        self._data, self._lock, self._logged = data, threading.Lock(), False
        self._counts: dict[int, BoxCounts] = {}

    def add(self, index: int, counts: BoxCounts, record: str) -> None:
        """Notes the counts of record `index`; the first that are not zero are logged."""
        if counts == BoxCounts():
            return
        with self._lock:
            self._counts[index] = counts
            first, self._logged = not self._logged, True
        if first:
            logger.warning(
                "%s: %s: %s; further ones are counted only, see box_counts",
                self._data,
                record,
                described_counts(counts),
            )

    @property
    def total(self) -> BoxCounts:
        """The sum over the records read so far."""
        with self._lock:
            return sum(self._counts.values(), BoxCounts())


def log_counts(data: str, counts: BoxCounts) -> None:
    """Logs the counts of a whole data set, where there is anything to tell."""
    if counts != BoxCounts():
        logger.warning("%s: %s", data, described_counts(counts))


def described_counts(counts: BoxCounts) -> str:
    """What became of boxes, in words."""
    return (
        f"{counts.clipped} boxes reach outside their image and were clipped, {counts.dropped} "
        "without area were dropped"
    )


def _check_finite(boxes: np.ndarray, area: np.ndarray | None, record: str) -> None:
    finite = np.isfinite(boxes).all(axis=1)
    if not finite.all():
        bad = boxes[np.flatnonzero(~finite)[0]]
        raise ValueError(
            f"{record}: box {_described(bad)} is not finite; mend the annotations, or take the box out"
        )
    if area is not None and ((area < 0) | np.isinf(area)).any():
        bad_area = area[(area < 0) | np.isinf(area)][0]
        raise ValueError(f"{record}: area {bad_area} of an object is no number of pixels")


def _flags(ignored: Sequence[bool] | np.ndarray | None, count: int, record: str) -> np.ndarray:
    """Bool [N]; ValueError where a mark is neither 0 nor 1: of texts even "0" would count as yes."""
    marks = np.zeros(count, bool) if ignored is None else np.asarray(ignored).reshape(-1)
    if marks.size and (marks.dtype.kind not in "biu" or ((marks != 0) & (marks != 1)).any()):
        raise ValueError(
            f"{record}: the marks of ignored objects must be 0 or 1, not {marks.tolist()!r:.60}"
        )
    return marks.astype(bool)


def _described(box: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:g}" for value in box) + ")"
