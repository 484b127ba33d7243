"""Non-maximum suppression against the definitions in plain NumPy, on boxes and scores with ties."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcv import image as ji

# One shape for all, so that the tests compile few programs.
N, C, D = 60, 4, 24


def iou_with(box, boxes):
    """IoU of one box with many, float32; 0 / 0 is NaN, as in torchvision."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=1)
    with np.errstate(invalid="ignore"):
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        return both / (np.prod(box[2:] - box[:2]) + areas - both)


def reference_nms(boxes, scores, threshold):
    """torchvision's definition: `keep` of ops.nms, by falling score, lower index first."""
    order = np.argsort(-scores, kind="stable")
    suppressed = np.zeros(len(boxes), bool)
    keep = []
    for i in order:
        if not suppressed[i]:
            keep.append(i)
            suppressed |= iou_with(boxes[i], boxes) > np.float32(threshold)
    return np.array(keep, int)


def reference_of_classes(boxes, scores, classes, threshold):
    """ops.batched_nms in its exact form: one NMS per class, merged by score."""
    kept = np.zeros(len(boxes), bool)
    for one in np.unique(classes):
        (rows,) = np.nonzero(classes == one)
        kept[rows[reference_nms(boxes[rows], scores[rows], threshold)]] = True
    (rows,) = np.nonzero(kept)
    return rows[np.argsort(-scores[rows], kind="stable")]


def reference_soft_nms(boxes, scores, classes, factor, floor):
    """Bodla et al.'s algorithm, float64, until no score is above the floor."""
    boxes, scores, left = boxes.astype(np.float64), scores.astype(np.float64), []
    while scores.max() > floor:
        best = int(np.argmax(scores))
        left.append((best, scores[best]))
        same = classes == classes[best]
        scores = np.where(same, scores * factor(iou_with(boxes[best], boxes)), scores)
        scores[best] = -np.inf
    return left


def sample(seed, levels=6, places=12, count=N):
    """Boxes with whole corners, many of them equal; scores of few levels, so with many ties."""
    rng = np.random.default_rng(seed)
    corner, size = rng.integers(0, places, (count, 2)), rng.integers(1, 8, (count, 2))
    boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
    scores = (rng.integers(1, levels + 1, (count, C)) / np.float32(levels)).astype(np.float32)
    return boxes, scores, rng.integers(0, C, count).astype(np.int32)


@jax.jit
def hard(boxes, scores, classes, threshold):
    together = ji.nms(boxes, scores, iou_threshold=threshold, max_detections=D)
    return together, ji.nms(
        boxes, scores, iou_threshold=threshold, max_detections=D, classes=classes
    )


@functools.partial(jax.jit, static_argnames="candidates")
def select(boxes, scores, threshold=0.5, floor=0.0, candidates=None):
    return ji.select_detections(
        boxes,
        scores,
        iou_threshold=threshold,
        score_threshold=floor,
        max_detections=D,
        candidates=candidates,
    )


def assert_selected(found, expected):
    index, valid = (np.asarray(part) for part in found)
    count = min(len(expected), D)
    assert (index.dtype, valid.dtype) == (np.int32, bool)
    np.testing.assert_array_equal(index, np.pad(expected[:D], (0, D - count)))
    np.testing.assert_array_equal(valid, np.arange(D) < count)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from([1, 3, 1000]),
    st.sampled_from([3, 12, 60]),
    st.sampled_from([0.0, 0.25, 0.3, 0.5, 0.6, 1.0]),
)
def test_equal_to_the_definition_on_ties(seed, levels, places, threshold):
    boxes, scores, classes = sample(seed, levels, places)
    together, by_class = hard(boxes, scores[:, 0], classes, threshold)
    assert_selected(together, reference_nms(boxes, scores[:, 0], threshold))
    assert_selected(by_class, reference_of_classes(boxes, scores[:, 0], classes, threshold))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([1, 3, 1000]), st.sampled_from([0.3, 0.5]))
def test_selection_equals_one_nms_per_class_merged(seed, levels, threshold):
    boxes, scores, _ = sample(seed, levels, 12)
    index, classes = np.divmod(np.arange(N * C), C)  # equal scores: lower box, then lower class
    for candidates in (None, 100):
        flat, kept = scores.reshape(-1), np.arange(N * C)
        if candidates:
            kept = np.sort(np.argsort(-flat, kind="stable")[:candidates])
        rows = kept[reference_of_classes(boxes[index[kept]], flat[kept], classes[kept], threshold)]
        found = select(boxes, scores, threshold, candidates=candidates)
        count = min(len(rows), D)
        rows = rows[:count]
        for part, expected in zip(found, (boxes[index[rows]], flat[rows], classes[rows])):
            np.testing.assert_array_equal(part[:count], expected)
        assert not np.any(found[0][count:])
        assert not np.any(found[1][count:])
        assert np.all(found[2][count:] == -1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_properties(seed):
    boxes, _, classes = sample(seed)
    scores = np.random.default_rng(seed).permutation(N).astype(np.float32)  # no ties
    (index, valid), _ = map(jax.device_get, hard(boxes, scores, classes, 0.5))
    assert np.all(np.diff(scores[index[valid]]) < 0)
    apart = np.array(ji.iou_matrix(boxes[index[valid]], boxes[index[valid]]))
    np.fill_diagonal(apart, 0)
    assert apart.max() <= 0.5
    if not valid.all():  # everything else is close to one with a higher score
        others = np.setdiff1d(np.arange(N), index[valid])
        close = np.asarray(ji.iou_matrix(boxes[others], boxes[index[valid]])) > 0.5
        assert np.all((close & (scores[others][:, None] < scores[index[valid]])).any(axis=1))
    order = np.random.default_rng(seed + 1).permutation(N)
    (shuffled, _), _ = hard(boxes[order], scores[order], classes, 0.5)
    np.testing.assert_array_equal(order[shuffled[valid]], index[valid])
    (moved, _), _ = hard(4 * boxes + 16, 2 * scores - 7, classes, 0.5)
    np.testing.assert_array_equal(moved, index)


def test_a_box_at_the_threshold_stays():
    """IoU exactly 1/2, 3/10 and 1: kept at that threshold, suppressed just below."""
    for other, iou in (([0, 0, 1, 10], 0.5), ([0, 0, 2, 3], 0.3), ([0, 0, 2, 10], 1.0)):
        boxes = np.float32([[0, 0, 2, 10], other])
        for threshold, count in ((iou, 2), (np.nextafter(np.float32(iou), np.float32(0)), 1)):
            _, valid = ji.nms(boxes, [0.5, 0.4], iou_threshold=threshold, max_detections=2)
            assert valid.sum() == count, (iou, threshold)


def test_classes_are_compared_and_not_shifted_apart():
    """At coordinates where adding class * width would round the boxes into one another."""
    boxes = np.float32([[1e6, 0, 1e6 + 2, 2], [1e6 + 1, 0, 1e6 + 3, 2]])  # IoU 1/3
    classes = np.int32([2**30, 2**30])
    for threshold, count in ((0.34, 2), (0.33, 1)):
        found = ji.nms(boxes, [0.9, 0.8], iou_threshold=threshold, classes=classes)
        assert found[1].sum() == count
    found = ji.nms(boxes, [0.9, 0.8], iou_threshold=0.0, classes=classes + np.int32([0, 1]))
    assert found[1].sum() == 2
    assert ji.nms(boxes, [0.9, 0.8], iou_threshold=0.0)[1].sum() == 1


@pytest.mark.parametrize("method", ["linear", "gaussian"])
@pytest.mark.parametrize("aware", [True, False])
def test_soft_nms_equals_the_algorithm(method, aware):
    width = 0.3 if method == "linear" else 0.4
    factor = {
        "linear": lambda iou: np.where(iou > np.float32(width), 1 - iou, 1),
        "gaussian": lambda iou: np.exp(-(iou**2) / width),
    }[method]
    option = {"iou_threshold": width} if method == "linear" else {"sigma": width}
    run = jax.jit(
        functools.partial(
            ji.soft_nms, method=method, max_detections=N, score_threshold=0.2, **option
        )
    )
    for seed in range(8):
        boxes, _, classes = sample(seed, places=8)
        scores = np.random.default_rng(seed).uniform(0, 1, N).astype(np.float32)
        some = classes if aware else np.zeros(N, np.int32)
        index, score, valid = jax.device_get(run(boxes, scores, classes=some))
        expected = reference_soft_nms(boxes, scores, some, factor, 0.2)
        count = len(expected)
        assert 5 < count < N
        assert valid.sum() == count
        np.testing.assert_array_equal(index[:count], [i for i, _ in expected])
        np.testing.assert_allclose(score[:count], [s for _, s in expected], rtol=1e-5)
        assert np.all(np.diff(score[:count]) <= 0)
        assert not index[count:].any()
        assert not score[count:].any()


def test_soft_nms_by_hand_and_its_limits():
    boxes, scores = np.float32([[0, 0, 4, 4], [0, 0, 4, 2], [0, 0, 4, 4]]), [0.9, 0.8, 0.7]
    soft = functools.partial(ji.soft_nms, boxes, scores, max_detections=3)
    index, score, valid = soft(method="linear")  # IoU 1/2 is not above 1/2; IoU 1 leaves nothing
    assert (index.tolist(), valid.tolist()) == ([0, 1, 0], [True, True, False])
    np.testing.assert_allclose(score, [0.9, 0.8, 0])
    index, score, _ = soft(method="gaussian", sigma=0.5)
    np.testing.assert_allclose(score, [0.9, 0.8 * np.exp(-0.5), 0.7 * np.exp(-2 - 0.5)], rtol=1e-6)
    index, score, valid = soft(method="gaussian", sigma=1e6)  # as good as no suppression
    np.testing.assert_allclose(score, scores, rtol=1e-5)
    assert soft(method="gaussian", sigma=0.01)[2].sum() == 1  # as good as hard


def test_nan_and_low_scores_are_never_selected():
    boxes, scores, classes = sample(0)
    scores[::2] = np.nan
    scores[1] = -np.inf
    together, by_class = hard(boxes, scores[:, 0], classes, 1.0)
    for index, valid in (together, by_class):
        assert valid.all()
        assert np.all(index % 2 == 1)
        assert np.all(index != 1)
    for candidates in (None, 100):
        _, found, picked = select(boxes, scores, 1.0, 0.5, candidates=candidates)
        assert np.all(found[picked >= 0] > 0.5)  # a score of exactly 1/2 is not above it
        _, found, picked = select(boxes, scores, 1.0, 1.0, candidates=candidates)
        assert np.all(picked == -1)
        assert not np.any(found)
        for nothing in select(boxes, np.full((N, C), np.nan, np.float32), candidates=candidates):
            assert np.isin(nothing, [0, -1]).all()
    index, _, valid = ji.soft_nms(boxes[:4], scores[:4, 0], max_detections=4)
    assert (index.tolist(), valid.tolist()) == ([3, 0, 0, 0], [True, False, False, False])


def test_boxes_of_no_size_neither_suppress_nor_are_suppressed():
    boxes = np.float32([[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 2, 2], [2, 0, 0, 2], [0, 0, 2, 2]])
    index, valid = ji.nms(boxes, np.arange(5.0)[::-1], iou_threshold=0.0, max_detections=5)
    assert (index.tolist(), valid.sum()) == ([0, 1, 2, 3, 0], 4)


def test_fewer_boxes_than_detections_and_none_at_all():
    index, valid = ji.nms([[0, 0, 1, 1]], [0.5], max_detections=3)
    assert (index.tolist(), valid.tolist()) == ([0, 0, 0], [True, False, False])
    boxes, scores = np.zeros((0, 4)), np.zeros(0)
    assert not ji.nms(boxes, scores, max_detections=3)[1].any()
    assert [part.tolist() for part in ji.soft_nms(boxes, scores, max_detections=1)] == [
        [0],
        [0.0],
        [False],
    ]
    for candidates in (None, 7):
        found = ji.select_detections(boxes, np.zeros((0, 5)), candidates=candidates)
        assert [part.shape for part in found] == [(100, 4), (100,), (100,)]
        assert np.all(found[2] == -1)
        _, _, classes = ji.select_detections(
            [[0, 0, 1, 1]], [[0.2, 0.7]], max_detections=3, candidates=candidates
        )
        assert classes.tolist() == [1, 0, -1]


def test_vmap_and_pmap_equal_one_image_at_a_time():
    samples = [sample(seed) for seed in range(8)]
    boxes, scores, classes = (np.stack(parts) for parts in zip(*samples))

    def everything(boxes, scores, classes):
        return (
            hard(boxes, scores[:, 0], classes, 0.5),
            ji.soft_nms(boxes, scores[:, 0], classes=classes, max_detections=D),
            select(boxes, scores),
            select(boxes, scores, candidates=100),
        )

    one = [everything(*parts) for parts in samples]
    expected = jax.tree.map(lambda *rows: np.stack(rows), *one)
    for mapped in (jax.jit(jax.vmap(everything)), jax.pmap(everything)):
        jax.tree.map(np.testing.assert_array_equal, mapped(boxes, scores, classes), expected)
    with_python = ji.select_detections(  # not under an outer jit
        boxes[0], scores[0], score_threshold=0.0, max_detections=D
    )
    jax.tree.map(np.testing.assert_array_equal, with_python, one[0][2])


def test_gradients_reach_the_selected_boxes_and_scores():
    boxes, scores, _ = sample(3)

    def total(boxes, scores):
        picked, values, _ = select(boxes, scores)
        return picked.sum() + values.sum()

    to_boxes, to_scores = jax.jit(jax.grad(total, argnums=(0, 1)))(boxes, scores)
    picked = np.asarray(select(boxes, scores)[2] >= 0).sum()
    assert to_scores.sum() == picked
    assert to_boxes.sum() == 4 * picked
    assert set(np.unique(to_scores)) == {0.0, 1.0}


def test_bfloat16_is_compared_in_float32():
    boxes, scores, classes = sample(4, levels=8, places=30)
    expected, _ = hard(boxes, scores[:, 0], classes, 0.5)
    low = jnp.asarray(boxes, jnp.bfloat16), jnp.asarray(scores[:, 0], jnp.bfloat16)
    jax.tree.map(np.testing.assert_array_equal, hard(*low, classes, 0.5)[0], expected)


def test_errors_say_what_was_found():
    boxes, scores = jnp.zeros((3, 4)), jnp.zeros(3)
    with pytest.raises(ValueError, match=r"\(2, 3, 4\) .* use jax.vmap"):
        ji.nms(jnp.zeros((2, 3, 4)), jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"boxes must be \[N, 4\], scores \[N\]"):
        ji.nms(boxes, jnp.zeros(4))
    with pytest.raises(ValueError, match="classes must be integers, but are float32"):
        ji.nms(boxes, scores, classes=scores)
    with pytest.raises(ValueError, match=r"iou_threshold is 1.5, but must be in \[0.0, 1.0\]"):
        ji.nms(boxes, scores, iou_threshold=1.5)
    with pytest.raises(
        ValueError, match="max_detections is 0, but must be a whole number of at least 1"
    ):
        ji.nms(boxes, scores, max_detections=0)
    with pytest.raises(ValueError, match="method is 'cubic', but must be 'linear' or 'gaussian'"):
        ji.soft_nms(boxes, scores, method="cubic")
    with pytest.raises(ValueError, match="sigma is 0.0, but must be in"):
        ji.soft_nms(boxes, scores, sigma=0.0)
    with pytest.raises(ValueError, match=r"scores \[N, C\], but have shapes \(3, 4\) and \(3,\)"):
        ji.select_detections(boxes, scores)
    with pytest.raises(ValueError, match="candidates is 0"):
        ji.select_detections(boxes, jnp.zeros((3, 2)), candidates=0)
