"""Detections of an image, of a detector's scores for every box and class.

`nms` has the suppression itself, whose rules hold here: fixed shapes, one image at a time under
`jax.vmap`, scores compared in float32, NaN never selected, the first of equals first. The boxes and
scores that come back are those that went in, and pass their gradient on.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxcv.arguments import check_count, check_range
from jaxcv.image.boxes import as_boxes, iou_matrix
from jaxcv.image.nms import eligible, hard_nms, suppress, without


def select_detections(
    boxes: ArrayLike,
    scores: ArrayLike,
    *,
    iou_threshold: ArrayLike = 0.5,
    score_threshold: ArrayLike = 0.05,
    max_detections: int = 100,
    candidates: int | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Makes detections of a detector's output: class-aware NMS over all boxes and classes.

    Each pair of a box and a class is a candidate; one suppresses others of its class alone. Equal
    scores go by the lower box, then the lower class. Without `candidates` nothing is cut off: the
    result is that of one NMS per class over all its boxes, merged by score. Each selection reads
    only its own class's row of scores, so that all N x C candidates cost little more than N.

    Args:
      boxes: `[N, 4]`, shared by the classes.
      scores: `[N, C]`.
      iou_threshold: in [0, 1].
      score_threshold: candidates are those with scores above this.
      max_detections: D, the length of the result.
      candidates: only so many with the highest scores take part, as RetinaNet and others have it;
        None, all.

    Returns:
      boxes float32 `[D, 4]`, scores float32 `[D]`, classes int32 `[D]`, by falling score; zeros,
      and class -1, once there are no more.

    Raises:
      ValueError: wrong shapes, thresholds, `max_detections` or `candidates`.

    Example:
      >>> boxes = [[0, 0, 4, 4], [0, 0, 4, 3]]
      >>> scores = [[0.8, 0.3], [0.9, 0.0]]
      >>> _, scores, classes = select_detections(boxes, scores, max_detections=3)
      >>> scores.tolist(), classes.tolist()
      ([0.8999999761581421, 0.30000001192092896, 0.0], [0, 1, -1])
    """
    check_range("iou_threshold", iou_threshold, 0.0, 1.0)
    boxes, scores = as_boxes(boxes), jnp.asarray(scores).astype(jnp.float32)
    if boxes.ndim != 2 or scores.ndim != 2 or len(boxes) != len(scores):
        raise ValueError(
            "boxes must be [N, 4] and scores [N, C], but have shapes "
            f"{boxes.shape} and {scores.shape}; for a batch, use jax.vmap"
        )
    check_count("max_detections", max_detections)
    if candidates is not None:
        check_count("candidates", candidates)
    limit = jnp.asarray(iou_threshold, jnp.float32)
    candidate_scores = eligible(scores, score_threshold)
    if scores.size == 0:
        nothing = jnp.zeros((max_detections, 4), jnp.float32)
        return nothing, nothing[:, 0], jnp.full(max_detections, -1, jnp.int32)
    if candidates is None:
        index, classes, valid = _hard_by_class(boxes, candidate_scores, limit, max_detections)
    else:
        index, classes, valid = _hard_of_best(
            boxes, candidate_scores, limit, max_detections, candidates
        )
    return (
        jnp.where(valid[:, None], boxes[index], 0.0),
        jnp.where(valid, scores[index, classes], 0.0),
        jnp.where(valid, classes, -1),
    )


@functools.partial(jax.jit, static_argnames="max_detections")
def _hard_by_class(
    boxes: jax.Array, scores: jax.Array, limit: jax.Array, max_detections: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """NMS of every class, merged as it goes: index, class and valid `[D]` of scores `[N, C]`.

    The best box of each class is kept up to date; a selection touches its own class alone.
    """
    boxes, table = lax.stop_gradient((boxes, scores.T))
    C, N = table.shape
    numbers = jnp.arange(C, dtype=jnp.int32)
    State = tuple[jax.Array, jax.Array, jax.Array]

    def select(state: State, _: None) -> tuple[State, State]:
        table, best, score = state
        # Of equal scores the lower box, then the lower class: the first in [N, C].
        place = jnp.where(score == score.max(), best * C + numbers, N * C)
        chosen = jnp.argmin(place)
        index, found = best[chosen], score[chosen]
        row = suppress(table[chosen], iou_matrix(boxes[index][None], boxes)[0], limit)
        row = without(index, row)
        first = jnp.argmax(row).astype(jnp.int32)
        after = (
            table.at[chosen].set(row),
            best.at[chosen].set(first),
            score.at[chosen].set(row[first]),
        )
        return after, (index, chosen.astype(jnp.int32), found)

    best = jnp.argmax(table, axis=1).astype(jnp.int32)
    start = (table, best, table.max(axis=1))
    _, (index, classes, found) = lax.scan(select, start, length=max_detections)
    valid = found > -jnp.inf
    return jnp.where(valid, index, 0), jnp.where(valid, classes, 0), valid


@functools.partial(jax.jit, static_argnames=("max_detections", "candidates"))
def _hard_of_best(
    boxes: jax.Array, scores: jax.Array, limit: jax.Array, max_detections: int, candidates: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The same of the `candidates` best scores alone."""
    C = scores.shape[1]
    flat = lax.stop_gradient(scores).reshape(-1)
    best, place = lax.top_k(flat, min(candidates, len(flat)))  # the first of equals
    index, classes = (place // C).astype(jnp.int32), (place % C).astype(jnp.int32)
    chosen, _, valid = hard_nms(boxes[index], best, classes, limit, max_detections)
    return index[chosen], classes[chosen], valid
