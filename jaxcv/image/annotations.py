"""What belongs to an image follows it: label maps, boxes and points under an augmentation.

`transform_sample` applies a sequence of transforms to a whole sample. A transform that has a
`matrix` (see `random_geometry`) moves everything by that matrix; one that has none is taken to
change colours alone, and everything but the image stays as it is:

    key of sample        shape      under a geometric transform
    image                [H, W, C]  the transform itself, as in `apply_sequence`
    label                [H, W]     or [H, W, C], integers: the nearest pixel; outside is the ignore label
    label, valid         [H, W]     or [H, W, C], floats (depth, a target picture): bilinear; `valid` [H, W]
                                    is False, and the label 0, where there is none, see `label_maps`
    boxes, classes       [M, 4] [M] hull of the moved corners, clipped to the window, see below
    ignored, area        [M] [M]    of boxes: as they are, but False and 0 where a box is dropped
    points, visible      [K, 2] [K] moved; `visible` is False once a point has left the window

A label that is no map (a class, a number, a vector) and any other key pass through; but where a transform
moves pixels, another label of several axes, and what else is as high and as wide as the image, is refused
by name.

Coordinates are those of `warping`: pixels, x to the right, y down, (0, 0) the outer corner of the
first pixel. A box is (x0, y0, x1, y1); class -1 marks a row of padding.

A transform of your own that moves pixels needs `matrix` and `output_size`: without them nothing
can tell where things went. One that changes the image's size is refused, and so are `RandAugment`
and `TrivialAugment`, some of whose operations move pixels. What lies under an erased rectangle
keeps its annotation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxcv.arguments import check_probability, check_range
from jaxcv.image.boxes import box_area, clip_boxes
from jaxcv.image.composition import RandomApply, Transform, apply_sequence
from jaxcv.image.label_maps import move_class_map, move_float_map
from jaxcv.image.pixels import Size, check_fill, check_single, size_of
from jaxcv.image.policies import RandAugment, TrivialAugment

IGNORE_LABEL = 255
"""The label of a pixel that counts neither in the loss nor in a metric, as in Pascal VOC."""

Annotations = dict[str, jax.Array]


@dataclass(frozen=True, kw_only=True)
class AnnotationRules:
    """How what is marked on an image follows it: the options of `transform_sample`, held by a task.

    Attributes:
      ignore_label: label of pixels that show nothing of the image.
      min_visibility: smallest fraction of a box's area, in [0, 1], that keeps the box.
      mirror_order: of points, which becomes which where an image is mirrored; None: what the record
        says, and where it says nothing, each stays the same.

    Raises:
      ValueError: a fraction out of range.
    """

    ignore_label: int = IGNORE_LABEL
    min_visibility: float = 0.1
    mirror_order: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        check_probability("min_visibility", self.min_visibility)

    def transform(
        self, transforms: Sequence[Transform], key: jax.Array, sample: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Returns the sample after the transforms, see `transform_sample`."""
        return transform_sample(transforms, key, sample, **asdict(self))


def transform_sample(
    transforms: Sequence[Transform],
    key: jax.Array,
    sample: Mapping[str, Any],
    *,
    ignore_label: int = IGNORE_LABEL,
    min_visibility: float = 0.1,
    mirror_order: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Applies `transforms` to one sample: its image and all that is marked on it.

    The image is exactly `apply_sequence(transforms, key, sample["image"])`.

    A box becomes the axis-parallel hull of its four moved corners, clipped to the window. It is
    dropped - class -1, all zeros - where less than `min_visibility` of that hull's area remains
    (over all transforms together, each step's fraction multiplied) or nothing of it. The hull of a box
    that is turned is larger than the object in it.

    Args:
      transforms: called in order, the i-th one with the key `fold_in(key, i)`.
      key: PRNG key of this sample.
      sample: `image` [H, W, C]; by choice `label`, of integers [H, W] or [H, W, C], or of floats with
        or without `valid` bool [H, W], which says where the label has a value; `boxes` [M, 4] with
        `classes` [M] and `ignored` and `area` [M]; `points` [K, 2] with or without `visible` bool [K]
        and `mirror_order` int [K]; anything else.
      ignore_label: label of pixels that show nothing of the image; the label's dtype must hold it.
      min_visibility: smallest fraction of a box's area, in [0, 1], that keeps the box.
      mirror_order: where an image is mirrored, point `mirror_order[k]` becomes point k - the right
        eye the left one; None takes the sample's own, and without that keeps the order.

    Returns:
      The sample after the transforms: boxes and points in float32, all else in its dtype; with
      `points` there is always `visible`, with a map of floats `valid`.

    Raises:
      ValueError: annotations of wrong shape, boxes without classes, a transform that cannot tell
        where it moves things, things in the sample that cannot be moved.

    Example:
      >>> from jaxcv.image import RandomHorizontalFlip
      >>> sample = {"image": jnp.zeros((1, 3, 1)), "label": jnp.asarray([[0, 1, 2]])}
      >>> flip = RandomHorizontalFlip(probability=1.0)
      >>> transform_sample((flip,), jax.random.key(0), sample)["label"].tolist()
      [[2, 1, 0]]
    """
    check_range("min_visibility", min_visibility, 0.0, 1.0)
    image = check_single(sample["image"])
    moved = _annotations(sample, size_of(image), ignore_label)
    if any(map(_moves_pixels, transforms)):
        _check_movable(sample, moved, size_of(image))
    if not moved:
        return {**sample, "image": apply_sequence(transforms, key, image)}
    for i, transform in enumerate(transforms):
        transform_key = jax.random.fold_in(key, i)
        moved = _follow(transform, transform_key, size_of(image), moved, ignore_label)
        before, image = image, transform(transform_key, image)
        if size_of(image) != _output_size(transform, size_of(before)):
            raise ValueError(
                f"{transform} made an image of {size_of(image)} (height, width) of one of "
                f"{size_of(before)} without a `matrix` and an `output_size` that say so, so that "
                "the label map, boxes or points of the sample cannot follow it"
            )
    return {**sample, "image": image, **_finished(sample, moved, min_visibility, mirror_order)}


def transform_points(matrix: jax.Array, points: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Moves points by a matrix.

    Args:
      matrix: `[3, 3]`, see `warping`.
      points: (x, y) in pixels, `[..., 2]`.

    Returns:
      float32 `[..., 2]`, and bool `[...]`: False for a point behind the viewer of a perspective
      matrix, which has no place in the picture; (0, 0) is put there.

    Example:
      >>> from jaxcv.image import translation_matrix
      >>> transform_points(translation_matrix(1, 2), [0.5, 0.5])[0].tolist()
      [1.5, 2.5]
    """
    points = jnp.asarray(points, jnp.float32)
    x, y = points[..., 0], points[..., 1]
    # Written out: as a matrix product this would be rounded to bfloat16 on a TPU.
    x, y, w = (matrix[i, 0] * x + matrix[i, 1] * y + matrix[i, 2] for i in range(3))
    in_front = w > 1e-6
    w = jnp.where(in_front, w, 1.0)
    moved = jnp.stack([x / w, y / w], axis=-1)
    return jnp.where(in_front[..., None], moved, 0.0), in_front


def transform_boxes(matrix: jax.Array, boxes: ArrayLike, size: Size) -> tuple[jax.Array, jax.Array]:
    """Moves boxes by a matrix and clips them to a window.

    Args:
      matrix: `[3, 3]`, see `warping`.
      boxes: (x0, y0, x1, y1) in pixels, `[..., 4]`.
      size: (height, width) of the window.

    Returns:
      float32 `[..., 4]`, hulls of the moved corners inside the window, and `[...]`, which fraction of
      the hull's area the window shows: 0 where there is none.
    """
    boxes = jnp.asarray(boxes, jnp.float32)
    corners = boxes[..., np.asarray([[0, 1], [2, 1], [2, 3], [0, 3]])]
    corners, in_front = transform_points(matrix, corners)
    hull = jnp.concatenate([corners.min(-2), corners.max(-2)], axis=-1)
    clipped = clip_boxes(hull, size)
    whole = box_area(hull)
    fraction = jnp.where(whole > 0, box_area(clipped) / jnp.where(whole > 0, whole, 1.0), 0.0)
    return clipped, jnp.where(in_front.all(-1), fraction, 0.0)


def _annotations(sample: Mapping[str, Any], size: Size, ignore_label: int) -> Annotations:
    """Returns what of the sample moves with the image, and what is kept count of besides."""
    moved: Annotations = {}
    if _is_map(sample.get("label", 0), size):
        label = moved["label"] = jnp.asarray(sample["label"])
        if label.shape[:2] != size:
            raise ValueError(
                f"the label map has shape {label.shape}, but the image is {size} "
                "(height, width); they must be of one size"
            )
        if jnp.issubdtype(label.dtype, jnp.integer):
            check_fill(ignore_label, label.dtype)
        else:
            moved["valid"] = jnp.asarray(sample.get("valid", jnp.ones(size, bool)), bool)
            if moved["valid"].shape != size:
                raise ValueError(f"valid must be {size} as the image, not {moved['valid'].shape}")
    if "boxes" in sample:
        boxes = moved["boxes"] = jnp.asarray(sample["boxes"], jnp.float32)
        count = jnp.shape(sample["classes"]) if "classes" in sample else None
        if boxes.ndim != 2 or boxes.shape[1] != 4 or count != boxes.shape[:1]:
            raise ValueError(
                "boxes must be [M, 4] with classes [M], but boxes have shape "
                f"{boxes.shape} and classes {'are missing' if count is None else count}"
            )
        moved["fraction"] = jnp.ones(boxes.shape[0], jnp.float32)
    if "points" in sample:
        points = moved["points"] = jnp.asarray(sample["points"], jnp.float32)
        visible = jnp.asarray(sample.get("visible", jnp.ones(points.shape[:1], bool)))
        if points.ndim != 2 or points.shape[1] != 2 or visible.shape != points.shape[:1]:
            raise ValueError(
                f"points must be [K, 2] with visible [K], but have shapes {points.shape} and "
                f"{visible.shape}"
            )
        moved["visible"] = visible.astype(bool)
        moved["mirrored"] = jnp.zeros((), bool)
    return moved


def _is_map(label: Any, size: Size) -> bool:
    """Whether a label is a map: whole numbers of two or three axes, or floats of the image's size."""
    if jnp.ndim(label) not in (2, 3):
        return False
    dtype = jnp.result_type(label)
    if jnp.issubdtype(dtype, jnp.floating):
        return jnp.shape(label)[:2] == size
    return jnp.issubdtype(dtype, jnp.integer)


def _moves_pixels(transform: Any) -> bool:
    """Whether a transform moves pixels, as far as can be told."""
    if isinstance(transform, RandomApply):
        return _moves_pixels(transform.transform)
    return hasattr(transform, "matrix") or isinstance(transform, RandAugment | TrivialAugment)


def _check_movable(sample: Mapping[str, Any], moved: Annotations, size: Size) -> None:
    """Raises ValueError for what seems to lie in the image, but stays where it is."""
    for name, value in sample.items():
        # NumPy's rank and shape: of anything that a sample may hold.
        if name == "image" or name in moved or np.ndim(value) < 2:
            continue
        if name == "label" or np.shape(value)[:2] == size:
            raise ValueError(
                f"{name!r}, {jnp.result_type(value)} {np.shape(value)}, cannot follow an image of "
                f"{size} (height, width) where a transform moves pixels: a map is `label`, integers or "
                "floats of the image's size, points are `points`. Take it out of the record, or leave "
                "such transforms out"
            )


def _follow(
    transform: Any, key: jax.Array, size: Size, moved: Annotations, ignore_label: int
) -> Annotations:
    """Returns the annotations after one transform of an image of `size`."""
    if isinstance(transform, RandAugment | TrivialAugment):
        raise ValueError(
            f"{type(transform).__name__} moves pixels without telling where, so the label map, "
            "boxes or points of the sample cannot follow it; use RandomAffine and ColorJitter"
        )
    if isinstance(transform, RandomApply):
        chance_key, transform_key = jax.random.split(key)  # as in its __call__
        applied = jax.random.bernoulli(chance_key, transform.probability)
        changed = _follow(transform.transform, transform_key, size, moved, ignore_label)
        return {name: jnp.where(applied, changed[name], moved[name]) for name in moved}
    if not hasattr(transform, "matrix"):
        return moved
    matrix = transform.matrix(key, size)
    window = _output_size(transform, size)
    moved = dict(moved)
    if "valid" in moved:
        moved["label"], moved["valid"] = move_float_map(
            transform, matrix, moved["label"], moved["valid"], window
        )
    elif "label" in moved:
        moved["label"] = move_class_map(transform, matrix, moved["label"], window, ignore_label)
    if "boxes" in moved:
        moved["boxes"], fraction = transform_boxes(matrix, moved["boxes"], window)
        moved["fraction"] = moved["fraction"] * fraction
    if "points" in moved:
        points, in_front = transform_points(matrix, moved["points"])
        inside = jnp.all((points >= 0) & (points < jnp.asarray(window[::-1])), axis=-1)
        moved["points"], moved["visible"] = points, moved["visible"] & in_front & inside
        turned_over = matrix[0, 0] * matrix[1, 1] < matrix[0, 1] * matrix[1, 0]
        moved["mirrored"] = moved["mirrored"] ^ turned_over
    return moved


def _output_size(transform: Any, size: Size) -> Size:
    """Returns (height, width) after a transform; one without a matrix keeps the size."""
    return transform.output_size(size) if hasattr(transform, "matrix") else size


def _finished(
    sample: Mapping[str, Any],
    moved: Annotations,
    min_visibility: float,
    mirror_order: Sequence[int] | None,
) -> Annotations:
    """Returns the annotations as the sample holds them, with what has left the window dropped."""
    kinds = ("label", "valid", "points", "visible")
    done = {name: value for name, value in moved.items() if name in kinds}
    if "boxes" in moved:
        boxes, classes = moved["boxes"], jnp.asarray(sample["classes"])
        kept = (classes >= 0) & (moved["fraction"] >= min_visibility) & (box_area(boxes) > 0)
        done["boxes"] = jnp.where(kept[:, None], boxes, 0)
        done["classes"] = jnp.where(kept, classes, -1)
        for name in ("ignored", "area"):
            if name in sample and jnp.shape(sample[name]) == classes.shape:
                values = jnp.asarray(sample[name])
                done[name] = jnp.where(kept, values, jnp.zeros((), values.dtype))
    order: Any = sample.get("mirror_order") if mirror_order is None else mirror_order
    if "points" in moved and order is not None:
        count = len(moved["points"])
        if mirror_order is not None and sorted(mirror_order) != list(range(count)):
            raise ValueError(f"mirror_order={tuple(mirror_order)} is no order of {count} points")
        order = jnp.asarray(order)
        if order.shape != (count,):
            raise ValueError(f"mirror_order must be [{count}] as the points, not {order.shape}")
        for name in ("points", "visible"):
            done[name] = jnp.where(moved["mirrored"], done[name][order], done[name])
    return done
