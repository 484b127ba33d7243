"""Assignment: by hand, and against plain loops over anchors and objects."""

import itertools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from jaxcv.models.detection import grid_anchors
from jaxcv.tasks.detection.assignment import ATSS, Assigner, CenterSampling, MaxIoU

SIZES = {8: (6, 8), 16: (3, 4), 32: (2, 2)}
POINTS = grid_anchors(SIZES, [(2.0, 2.0)])
BOXES = grid_anchors(SIZES, [(3.0, 3.0), (4.0, 2.0)])


def iou(a, b):
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    both = np.prod(np.maximum(high - low, 0))
    union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both
    return both / union if union > 0 else 0.0


def random_objects(seed, count=6):
    """Boxes [count, 4] in 48 x 64 pixels, sides of 3 to 45; the last row is padding."""
    rng = np.random.default_rng(seed)
    center = rng.uniform((0, 0), (64, 48), (count, 2))
    size = np.exp(rng.uniform(np.log(3), np.log(45), (count, 2)))
    boxes = np.concatenate([center - size / 2, center + size / 2], 1)
    boxes[-1] = 0
    real = np.arange(count) < count - 1
    return boxes.astype(np.float32), real


def by_center_sampling(anchors, boxes, real, radius, least, greatest):
    """The rule, one anchor and one object at a time: a list of rows or None."""
    strides = np.asarray(anchors.strides)
    found = []
    for (x, y), stride in zip(np.asarray(anchors.centers), strides):
        best = None
        for m, (x0, y0, x1, y1) in enumerate(boxes):
            if not real[m]:
                continue
            sides = (x - x0, y - y0, x1 - x, y1 - y)
            if min(sides) <= 0:
                continue
            middle = ((x0 + x1) / 2, (y0 + y1) / 2)
            if radius and max(abs(x - middle[0]), abs(y - middle[1])) >= radius * stride:
                continue
            low = 0 if stride == strides.min() else least * stride
            high = np.inf if stride == strides.max() else greatest * stride
            if not low < max(sides) <= high:
                continue
            area = (x1 - x0) * (y1 - y0)
            if best is None or area < best[0]:
                best = (area, m)
        found.append(None if best is None else best[1])
    return found


def rows(assignment):
    """Row of the object of each anchor, or None."""
    matched, positive = np.asarray(assignment.matched), np.asarray(assignment.positive)
    return [int(m) if p else None for m, p in zip(matched, positive)]


@pytest.mark.parametrize("radius", [None, 1.5, 0.6])
@hypothesis.given(seed=st.integers(0, 10_000))
@hypothesis.settings(max_examples=25, deadline=None)
def test_center_sampling_against_loops(radius, seed):
    boxes, real = random_objects(seed)
    rule = CenterSampling(radius=radius, distances=(2.0, 4.0))
    assignment = rule.assign(POINTS, jnp.asarray(boxes), jnp.asarray(real))
    assert rows(assignment) == by_center_sampling(POINTS, boxes, real, radius, 2.0, 4.0)
    assert np.all(assignment.counted)


def test_center_sampling_by_hand():
    # A 20 x 20 object with its centre on a position of stride 8, and a smaller one within it.
    boxes = jnp.array([[2.0, 2.0, 22.0, 22.0], [8.0, 8.0, 14.0, 14.0]])
    assignment = CenterSampling(radius=1.5).assign(POINTS, boxes, jnp.array([True, True]))
    level = np.array(rows(assignment)[:48], dtype=object).reshape(6, 8)
    # Positions 4, 12, 20: all within 12 pixels of (12, 12); the one at (12, 12) sees the smaller.
    assert level[:3, :3].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert all(m is None for m in level[3:].ravel())
    # On stride 16 the farthest side would have to be more than 64 pixels away.
    assert all(m is None for m in rows(assignment)[48:])


@pytest.mark.parametrize("every_object", [True, False])
@hypothesis.given(seed=st.integers(0, 10_000))
@hypothesis.settings(max_examples=25, deadline=None)
def test_max_iou_against_loops(every_object, seed):
    boxes, real = random_objects(seed)
    anchors = np.asarray(BOXES.boxes)
    table = np.array([[iou(a, b) for b in boxes] for a in anchors], np.float32)
    rule = MaxIoU(positive=0.5, negative=0.3, every_object=every_object)
    assignment = rule.assign(BOXES, jnp.asarray(boxes), jnp.asarray(real))
    best_of_object = table.max(0)
    for n, matched in enumerate(rows(assignment)):
        overlaps = np.where(real, table[n], -1)
        best = overlaps.max()
        favourites = [
            m for m in range(len(boxes))
            if every_object and real[m] and overlaps[m] > 0
            and overlaps[m] >= best_of_object[m] - 1e-6
        ]  # fmt: skip
        if abs(best - 0.5) < 1e-5 or abs(best - 0.3) < 1e-5:
            continue  # on the limit, where rounding decides
        if favourites:
            assert matched in favourites
        elif best >= 0.5:
            assert overlaps[matched] == pytest.approx(best, abs=1e-6)
        else:
            assert matched is None
            assert bool(assignment.counted[n]) == (best < 0.3)
    assert np.all(assignment.counted | ~assignment.positive)
    if every_object:
        seen = {m for m in rows(assignment) if m is not None}
        # Only an object whose favourite is also another's, which overlaps it more, may go unseen.
        for m in np.flatnonzero(real):
            if best_of_object[m] > 0 and m not in seen:
                n = int(table[:, m].argmax())
                assert rows(assignment)[n] is not None


@hypothesis.given(seed=st.integers(0, 10_000))
@hypothesis.settings(max_examples=25, deadline=None)
def test_atss_against_loops(seed):
    boxes, real = random_objects(seed)
    anchors, centers = np.asarray(POINTS.boxes), np.asarray(POINTS.centers)
    assignment = ATSS(candidates=4).assign(POINTS, jnp.asarray(boxes), jnp.asarray(real))
    starts = np.cumsum([0, *POINTS.counts])
    wanted = {}
    close = set()  # anchors whose overlap is on the limit, where rounding decides
    for m in np.flatnonzero(real):
        middle = (boxes[m, :2] + boxes[m, 2:]) / 2
        distance = ((centers - middle) ** 2).sum(1)
        candidates = []
        for start, stop in itertools.pairwise(starts):
            order = np.argsort(distance[start:stop], kind="stable")[:4]
            candidates += [start + int(i) for i in order]
        overlaps = np.array([iou(anchors[n], boxes[m]) for n in candidates])
        limit = overlaps.mean() + overlaps.std(ddof=1)
        for n, overlap in zip(candidates, overlaps):
            if abs(overlap - limit) < 1e-5:
                close.add(n)
            x, y = centers[n]
            x0, y0, x1, y1 = boxes[m]
            if overlap >= limit and x0 < x < x1 and y0 < y < y1:
                wanted.setdefault(n, []).append((overlap, int(m)))
    for n, matched in enumerate(rows(assignment)):
        if n in close:
            continue
        if n not in wanted:
            assert matched is None
        else:
            best = max(overlap for overlap, _ in wanted[n])
            assert matched in [m for overlap, m in wanted[n] if overlap > best - 1e-6]
    assert np.all(assignment.counted)


@pytest.mark.parametrize(
    "rule", [CenterSampling(), MaxIoU(), ATSS()], ids=lambda r: type(r).__name__
)
def test_an_image_without_objects_has_only_negatives(rule):
    assert isinstance(rule, Assigner)
    boxes, real = jnp.zeros((5, 4)), jnp.zeros(5, bool)
    assignment = jax.jit(lambda b, r: rule.assign(POINTS, b, r))(boxes, real)
    assert not np.any(assignment.positive)
    assert np.all(assignment.counted)
    assert np.all(assignment.matched == 0)


@pytest.mark.parametrize(
    "rule", [CenterSampling(), MaxIoU(), ATSS()], ids=lambda r: type(r).__name__
)
def test_padding_and_order_of_the_objects_change_nothing(rule):
    boxes, real = random_objects(3)
    plain = rule.assign(BOXES, jnp.asarray(boxes), jnp.asarray(real))
    order = np.array([5, 4, 3, 2, 1, 0])
    turned = rule.assign(BOXES, jnp.asarray(boxes[order]), jnp.asarray(real[order]))
    assert rows(plain) == [None if m is None else order[m] for m in rows(turned)]
    more = np.concatenate([boxes, np.zeros((4, 4), np.float32)])
    padded = rule.assign(BOXES, jnp.asarray(more), jnp.asarray(np.append(real, [False] * 4)))
    assert rows(plain) == rows(padded)
    np.testing.assert_array_equal(plain.counted, padded.counted)


def test_settings_that_leave_objects_out_are_refused():
    with pytest.raises(ValueError, match="distances are"):
        CenterSampling(distances=(2.0, 8.0))
    with pytest.raises(ValueError, match="radius is -1"):
        CenterSampling(radius=-1.0)
    with pytest.raises(ValueError, match="0 <= negative <= positive"):
        MaxIoU(positive=0.3, negative=0.4)
