"""Non-maximum suppression: of boxes that overlap, the one with the highest score stays.

All functions take one image, have fixed shapes, and run on the device; `jax.vmap` makes them take a
batch. A box is (x0, y0, x1, y1), see `boxes`. Scores are compared in float32. What is never
selected: a score of NaN, and one that is not above `score_threshold`.

They go one selection at a time, `max_detections` times: the best score left is taken, and one row of
IoU discounts the others. Time grows with `max_detections` times N, memory with N; no matrix N x N is
made. On a CPU (5,000 boxes, 100 detections) this was as fast as sorted blocks compared by matrices
where few boxes overlap, and up to three times as fast where most do. `detections` has the same for all
classes of a detector.

No gradient goes through a selection: take `boxes[index]` and `scores[index]` for one.
"""

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxcv.arguments import check_choice, check_count, check_range
from jaxcv.image.boxes import as_boxes, iou_matrix

Rescore = Callable[[jax.Array, jax.Array], jax.Array]
"""(scores [N], their boxes' IoU with the one just selected [N]) -> scores [N]."""


def nms(
    boxes: ArrayLike,
    scores: ArrayLike,
    *,
    iou_threshold: ArrayLike = 0.5,
    max_detections: int = 100,
    classes: ArrayLike | None = None,
    score_threshold: ArrayLike = -jnp.inf,
) -> tuple[jax.Array, jax.Array]:
    """Selects boxes by falling score, each unless it overlaps one selected before it.

    The definition is torchvision's: of equal scores the lower index comes first, and a box is
    suppressed where its IoU is above the threshold, not where it equals it (the threshold taken in
    float32, as the IoU is). A box of no area neither suppresses nor is suppressed.

    Args:
      boxes: `[N, 4]`.
      scores: `[N]`.
      iou_threshold: in [0, 1].
      max_detections: D, the length of the result.
      classes: `[N]` integers: then a box suppresses those of its own class alone. The class ids are
        compared, so that it is exact, which a shift of each class's boxes to a place of its own
        is not. None suppresses across all.
      score_threshold: boxes are selected only with scores above this.

    Returns:
      index int32 `[D]`, into the boxes, by falling score; valid bool `[D]`: False, and index 0,
      once no box is left.

    Raises:
      ValueError: wrong shapes, thresholds or `max_detections`.

    Example:
      >>> boxes = [[0, 0, 4, 4], [0, 0, 4, 3], [8, 8, 9, 9]]
      >>> index, valid = nms(boxes, [0.8, 0.9, 0.3], max_detections=3)
      >>> index.tolist(), valid.tolist()
      ([1, 2, 0], [True, True, False])
    """
    check_range("iou_threshold", iou_threshold, 0.0, 1.0)
    boxes, scores, classes = _checked(boxes, scores, classes, max_detections)
    limit = jnp.asarray(iou_threshold, jnp.float32)
    index, _, valid = hard_nms(
        boxes, eligible(scores, score_threshold), classes, limit, max_detections
    )
    return index, valid


def soft_nms(
    boxes: ArrayLike,
    scores: ArrayLike,
    *,
    method: Literal["linear", "gaussian"] = "gaussian",
    iou_threshold: ArrayLike = 0.5,
    sigma: ArrayLike = 0.5,
    max_detections: int = 100,
    classes: ArrayLike | None = None,
    score_threshold: ArrayLike = 0.001,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Selects boxes by falling score; each selection lowers the scores of those it overlaps.

    A score is multiplied by 1 - IoU where IoU is above the threshold ("linear"), or by
    exp(-IoU^2 / sigma) ("gaussian"), and a box is dropped once its score is no longer above
    `score_threshold` (Bodla et al. 2017, arXiv:1704.04503, equations 2 and 3).

    Args:
      boxes: `[N, 4]`.
      scores: `[N]`, not below 0, such as probabilities: a negative one would rise.
      method: "linear" or "gaussian".
      iou_threshold: in [0, 1], of "linear" alone.
      sigma: > 0, of "gaussian" alone: the smaller, the harder.
      max_detections: D, the length of the result.
      classes: `[N]` integers: then a box lowers scores of its own class alone.
      score_threshold: boxes are selected only with lowered scores above this.

    Returns:
      index int32 `[D]`, into the boxes; score float32 `[D]`, the lowered one, falling; valid bool
      `[D]`. Where not valid, index and score are 0.

    Raises:
      ValueError: wrong shapes, method, thresholds, sigma or `max_detections`.

    Example:
      >>> boxes = [[0, 0, 4, 4], [0, 0, 4, 3], [8, 8, 9, 9]]
      >>> index, score, valid = soft_nms(boxes, [0.8, 0.9, 0.3], method="linear", max_detections=3)
      >>> index.tolist(), [round(float(value), 3) for value in score]  # a quarter of 0.8 is left
      ([1, 2, 0], [0.9, 0.3, 0.2])
    """
    check_choice("method", method, ("linear", "gaussian"))
    check_range("iou_threshold", iou_threshold, 0.0, 1.0)
    check_range("sigma", sigma, 1e-6)
    boxes, scores, classes = _checked(boxes, scores, classes, max_detections)
    floor = jnp.asarray(score_threshold, jnp.float32)
    width = jnp.asarray(iou_threshold if method == "linear" else sigma, jnp.float32)
    return _soft(boxes, eligible(scores, floor), classes, width, floor, method, max_detections)


@functools.partial(jax.jit, static_argnames="max_detections")
def hard_nms(
    boxes: jax.Array,
    scores: jax.Array,
    classes: jax.Array | None,
    limit: jax.Array,
    max_detections: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`nms` of checked, eligible float32 arrays: index, score and valid `[D]`."""
    rescore = functools.partial(suppress, limit=limit)
    return _in_turn(boxes, scores, classes, rescore, max_detections)


@functools.partial(jax.jit, static_argnames=("method", "max_detections"))
def _soft(
    boxes: jax.Array,
    scores: jax.Array,
    classes: jax.Array | None,
    width: jax.Array,
    floor: jax.Array,
    method: str,
    max_detections: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    def rescore(scores: jax.Array, iou: jax.Array) -> jax.Array:
        if method == "linear":
            factor = jnp.where(iou > width, 1 - iou, 1.0)
        else:
            factor = jnp.exp(-jnp.square(iou) / width)
        # A factor of 0 on a score of -inf would make NaN; it is not above the floor either way.
        lowered = jnp.where(scores > floor, scores, floor) * factor
        return jnp.where((scores > floor) & (lowered > floor), lowered, -jnp.inf)

    return _in_turn(boxes, scores, classes, rescore, max_detections)


def _in_turn(
    boxes: jax.Array,
    scores: jax.Array,
    classes: jax.Array | None,
    rescore: Rescore,
    max_detections: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Takes the best score left, rescores the others, and again; index, score and valid `[D]`."""
    if len(boxes) == 0:
        index = jnp.zeros(max_detections, jnp.int32)
        return index, jnp.zeros(max_detections, jnp.float32), index.astype(bool)
    boxes, scores = lax.stop_gradient((boxes, scores))

    def select(scores: jax.Array, _: None) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        best = jnp.argmax(scores).astype(jnp.int32)  # the first of equals
        iou = iou_matrix(boxes[best][None], boxes)[0]
        if classes is not None:
            iou = jnp.where(classes == classes[best], iou, 0.0)
        return without(best, rescore(scores, iou)), (best, scores[best])

    _, (index, score) = lax.scan(select, scores, length=max_detections)
    valid = score > -jnp.inf
    return jnp.where(valid, index, 0), jnp.where(valid, score, 0.0), valid


def suppress(scores: jax.Array, iou: jax.Array, limit: jax.Array) -> jax.Array:
    """The scores, -inf where the IoU with the box just selected is above the limit."""
    return jnp.where(iou > limit, -jnp.inf, scores)


def without(index: jax.Array, scores: jax.Array) -> jax.Array:
    """The scores but that at `index`, which has been selected; no scatter, so it fuses."""
    return jnp.where(jnp.arange(len(scores)) == index, -jnp.inf, scores)


def eligible(scores: jax.Array, score_threshold: ArrayLike) -> jax.Array:
    """The scores above the threshold; -inf for the others, which NaN is among."""
    return jnp.where(scores > jnp.asarray(score_threshold, jnp.float32), scores, -jnp.inf)


def _checked(
    boxes: ArrayLike, scores: ArrayLike, classes: ArrayLike | None, max_detections: int
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Returns float32 boxes `[N, 4]` and scores `[N]`, and classes `[N]`, having checked them."""
    boxes, scores = as_boxes(boxes), jnp.asarray(scores).astype(jnp.float32)
    classes = None if classes is None else jnp.asarray(classes)
    shapes = [x.shape for x in (scores, classes) if x is not None]
    if boxes.ndim != 2 or any(shape != boxes.shape[:1] for shape in shapes):
        raise ValueError(
            "boxes must be [N, 4], scores [N] and classes [N] or None, but the boxes have shape "
            f"{boxes.shape} and the others {shapes}; for a batch, use jax.vmap"
        )
    if classes is not None and not jnp.issubdtype(classes.dtype, jnp.integer):
        raise ValueError(f"classes must be integers, but are {classes.dtype}")
    check_count("max_detections", max_detections)
    return boxes, scores, classes
