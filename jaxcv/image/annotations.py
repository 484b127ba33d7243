"""What belongs to an image follows it: label maps, boxes and points under an augmentation.

`transform_sample` applies a sequence of transforms to a whole sample. A transform that has a
`matrix` (see `random_geometry`) moves everything by that matrix; one that has none is taken to
change colours alone, and everything but the image stays as it is:

    key of sample        shape      under a geometric transform
    image                [H, W, C]  the transform itself, as in `apply_sequence`
    label                [H, W]     integers, drawn with "nearest"; outside is the ignore label
    boxes, classes       [M, 4] [M] hull of the moved corners, clipped to the window, see below
    ignored, area        [M] [M]    of boxes: as they are, but False and 0 where a box is dropped
    points, visible      [K, 2] [K] moved; `visible` is False once a point has left the window

A label that is no integer map (a class, a vector) and any other key pass through.

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
from jaxcv.image.pixels import Size, check_fill, check_single, size_of
from jaxcv.image.policies import RandAugment, TrivialAugment
from jaxcv.image.random_crop import RandomCrop, RandomResizedCrop, RandomScaleCrop
from jaxcv.image.random_geometry import (
    RandomHorizontalFlip,
    RandomTranslation,
    RandomVerticalFlip,
)
from jaxcv.image.warping import inverse_matrix, warp

IGNORE_LABEL = 255
"""The label of a pixel that counts neither in the loss nor in a metric, as in Pascal VOC."""

Annotations = dict[str, jax.Array]


@dataclass(frozen=True, kw_only=True)
class AnnotationRules:
    """How what is marked on an image follows it: the options of `transform_sample`, held by a task.

    Attributes:
      ignore_label: label of pixels that show nothing of the image.
      min_visibility: smallest fraction of a box's area, in [0, 1], that keeps the box.

    Raises:
      ValueError: a fraction out of range.
    """

    ignore_label: int = IGNORE_LABEL
    min_visibility: float = 0.1

    def __post_init__(self) -> None:
        check_probability("min_visibility", self.min_visibility)

    def transform(
        self, transforms: Sequence[Transform], key: jax.Array, sample: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Returns the sample after the transforms, see `transform_sample`."""
        return transform_sample(transforms, key, sample, **asdict(self))


# Transforms whose matrix leaves rows rows and columns columns.
_KEEPS_AXES = (
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomScaleCrop,
    RandomTranslation,
    RandomVerticalFlip,
)


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
      sample: `image` [H, W, C]; by choice `label` integers [H, W], `boxes` [M, 4] with `classes`
        [M] and `ignored` and `area` [M], `points` [K, 2] with or without `visible` bool [K];
        anything else.
      ignore_label: label of pixels that show nothing of the image; the label's dtype must hold it.
      min_visibility: smallest fraction of a box's area, in [0, 1], that keeps the box.
      mirror_order: where an image is mirrored, point `mirror_order[k]` becomes point k - the right
        eye the left one; None keeps the order.

    Returns:
      The sample after the transforms: boxes and points in float32, all else in its dtype; with
      `points` there is always `visible`.

    Raises:
      ValueError: annotations of wrong shape, boxes without classes, a transform that cannot tell
        where it moves things.

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
    label = sample.get("label", 0)
    if jnp.ndim(label) == 2 and jnp.issubdtype(jnp.result_type(label), jnp.integer):
        moved["label"] = jnp.asarray(label)
        check_fill(ignore_label, moved["label"].dtype)
        if moved["label"].shape != size:
            raise ValueError(
                f"the label map has shape {moved['label'].shape}, but the image is {size} "
                "(height, width); they must be of one size"
            )
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
    if "label" in moved:
        moved["label"] = _moved_label(transform, matrix, moved["label"], window, ignore_label)
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


def _moved_label(
    transform: Any, matrix: jax.Array, label: jax.Array, size: Size, ignore_label: int
) -> jax.Array:
    """Returns the label map `[height, width]` that `matrix` makes of one `[H, W]`."""
    if type(transform) not in _KEEPS_AXES:
        moved = warp(label[..., None], matrix, size, interpolation="nearest", fill=ignore_label)
        return moved[..., 0]
    # The same, but rows and columns are found apart: some 25 times as fast on a CPU.
    inverse, _ = inverse_matrix(matrix)
    y = inverse[1, 1] * (jnp.arange(size[0], dtype=jnp.float32) + 0.5) + inverse[1, 2]
    x = inverse[0, 0] * (jnp.arange(size[1], dtype=jnp.float32) + 0.5) + inverse[0, 2]
    inside = [(p >= 0) & (p < side) for p, side in zip((y, x), label.shape)]
    for axis, points in enumerate((y, x)):
        index = jnp.floor(points).astype(jnp.int32)
        label = jnp.take(label, index, axis=axis, mode="clip")
    shown = inside[0][:, None] & inside[1][None, :]
    return jnp.where(shown, label, jnp.asarray(ignore_label, label.dtype))


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
    done = {name: value for name, value in moved.items() if name in ("label", "points", "visible")}
    if "boxes" in moved:
        boxes, classes = moved["boxes"], jnp.asarray(sample["classes"])
        kept = (classes >= 0) & (moved["fraction"] >= min_visibility) & (box_area(boxes) > 0)
        done["boxes"] = jnp.where(kept[:, None], boxes, 0)
        done["classes"] = jnp.where(kept, classes, -1)
        for name in ("ignored", "area"):
            if name in sample and jnp.shape(sample[name]) == classes.shape:
                values = jnp.asarray(sample[name])
                done[name] = jnp.where(kept, values, jnp.zeros((), values.dtype))
    if "points" in moved and mirror_order is not None:
        order = jnp.asarray(mirror_order)
        if sorted(mirror_order) != list(range(len(moved["points"]))):
            raise ValueError(
                f"mirror_order={tuple(mirror_order)} is no order of {len(moved['points'])} points"
            )
        for name in ("points", "visible"):
            mirrored = moved["mirrored"]
            done[name] = jnp.where(mirrored, done[name][order], done[name])
    return done
