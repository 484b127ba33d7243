"""Box maths against known values, formulas in float64 and the losses, and on boxes of no size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxcv import image as ji
from jaxcv import losses

MATRICES = {
    "intersection": ji.intersection_matrix,
    "iou": ji.iou_matrix,
    "giou": ji.giou_matrix,
    "overlap": ji.overlap_matrix,
}
CODINGS = [
    ji.DeltaCoding(),
    ji.DeltaCoding(mean=(0.1, -0.2, 0.3, 0.05), std=(1.0, 0.5, 2.0, 1.0)),
    ji.DistanceCoding(),
]
ODD = np.float32(
    [
        [0, 0, 0, 0],  # padding,
        [5, 5, 5, 5],  # a point,
        [5, 5, 9, 5],  # a line,
        [9, 5, 5, 9],  # out of order in x,
        [9, 9, 5, 5],  # in both,
        [2, 2, 8, 8],
        [2, 2, 8, 8],  # the same again,
        [-1e5, -1e5, 1e5, 1e5],
        [1e14, 1e14, 1e15, 1e15],
        [0, 0, 1e-8, 1e-8],
        [5, 5, 5 + 1e-6, 1e6],
    ]
)


def random_boxes(seed, *shape):
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 60, (*shape, 2)), rng.uniform(0.5, 50, (*shape, 2))
    return np.concatenate([corner, corner + size], axis=-1).astype(np.float32)


@jax.jit
def all_matrices(first, second):
    return {name: matrix(first, second) for name, matrix in MATRICES.items()}


def pair(p, t):
    """The four figures of one pair of proper boxes, in float64."""

    def area(x0, y0, x1, y1):
        return max(x1 - x0, 0) * max(y1 - y0, 0)

    both = area(max(p[0], t[0]), max(p[1], t[1]), min(p[2], t[2]), min(p[3], t[3]))
    union = area(*p) + area(*t) - both
    hull = area(min(p[0], t[0]), min(p[1], t[1]), max(p[2], t[2]), max(p[3], t[3]))
    return {
        "intersection": both,
        "iou": both / union,
        "giou": both / union - (hull - union) / hull,
        "overlap": both / area(*p),
    }


def test_matrices_equal_the_formulas():
    first, second = random_boxes(0, 12), random_boxes(1, 9)
    second[:4] = first[:4]
    found = all_matrices(first, second)
    for i, p in enumerate(first.astype(np.float64)):
        for j, t in enumerate(second.astype(np.float64)):
            for name, value in pair(p, t).items():
                np.testing.assert_allclose(found[name][i, j], value, rtol=2e-5, atol=2e-5)


def test_known_matrices():
    """Squares of 2 that share a quarter: 1 of 7, hull 9; and one far away, hull 2 x 12."""
    first = [[0, 0, 2, 2]]
    second = [[1, 1, 3, 3], [0, 0, 2, 2], [10, 0, 12, 2]]
    found = all_matrices(jnp.asarray(first), jnp.asarray(second))
    np.testing.assert_allclose(found["intersection"], [[1, 4, 0]])
    np.testing.assert_allclose(found["iou"], [[1 / 7, 1, 0]], rtol=1e-6)
    np.testing.assert_allclose(found["giou"], [[1 / 7 - 2 / 9, 1, -16 / 24]], rtol=1e-6)
    np.testing.assert_allclose(found["overlap"], [[1 / 4, 1, 0]])


def test_giou_and_iou_agree_with_the_losses():
    boxes = np.concatenate([random_boxes(2, 20), ODD])
    found = all_matrices(boxes, boxes)
    for name, loss in (("iou", losses.iou_loss), ("giou", losses.giou_loss)):
        first, second = np.broadcast_arrays(boxes[:, None], boxes[None])
        np.testing.assert_allclose(1 - found[name], loss(first, second), rtol=1e-5, atol=1e-5)


coordinates = hnp.arrays(np.float32, (3, 4), elements=st.integers(-8, 8))


@settings(max_examples=60, deadline=None)
@given(coordinates, coordinates, st.integers(-100, 100), st.sampled_from([0.25, 1.0, 8.0]))
def test_properties_of_any_boxes(first, second, shift, scale):
    found = all_matrices(first, second)
    swapped = all_matrices(second, first)
    moved = all_matrices((first + shift) * scale, (second + shift) * scale)
    mirrored = all_matrices(first[:, [1, 0, 3, 2]], second[:, [1, 0, 3, 2]])
    for name in ("iou", "giou"):
        # Small whole numbers times powers of two: nothing is rounded but the quotients.
        np.testing.assert_array_equal(found[name], swapped[name].T)
        np.testing.assert_array_equal(found[name], moved[name])
        np.testing.assert_array_equal(found[name], mirrored[name])
    assert np.all((found["iou"] >= 0) & (found["iou"] <= 1))
    assert np.all((found["giou"] >= -1) & (found["giou"] <= found["iou"]))
    # XLA multiplies by the reciprocal of a row's area, which is rounded twice, where IoU is a quotient,
    # rounded once, each time by 2^-24 at most: an overlap of 9/50 comes out as 0.17999999.
    overlap, iou = (np.asarray(found[name], np.float64) for name in ("overlap", "iou"))
    assert np.all((overlap >= (1 - 3 * 2.0**-24) * iou) & (overlap <= 1))
    empty = np.asarray(ji.box_area(first)) == 0
    for name in ("intersection", "iou", "overlap"):
        assert not np.any(np.asarray(found[name])[empty])
    itself = np.diag(all_matrices(first, first)["iou"])
    np.testing.assert_array_equal(itself, np.where(empty, 0, 1))


def test_leading_axes_broadcast_and_the_result_is_float32():
    first, second = random_boxes(3, 2, 1, 5), random_boxes(4, 3, 4)
    for name, matrix in MATRICES.items():
        found = matrix(first.astype(jnp.bfloat16), second.astype(np.float16))
        assert (found.shape, found.dtype) == ((2, 3, 5, 4), jnp.float32), name
        whole = matrix(first, second)
        np.testing.assert_allclose(whole[1, 2], matrix(first[1, 0], second[2]), rtol=1e-6)
        assert matrix(np.zeros((0, 4)), second).shape == (3, 0, 4), name
    assert ji.box_area(np.int32([0, 0, 65_536, 65_536])) == 2.0**32  # no int32 overflow


def test_values_and_gradients_are_finite_for_boxes_of_no_size():
    for name, matrix in MATRICES.items():
        values = matrix(ODD, ODD)
        assert np.isfinite(values).all(), name
        for argument in (0, 1):
            total = jax.jit(jax.grad(lambda a, b, m=matrix: m(a, b).sum(), argument))
            assert np.isfinite(total(ODD, ODD)).all(), (name, argument)


def test_giou_gradient_equals_differences_in_float64():
    first, second = random_boxes(5, 6), random_boxes(6, 6)
    gradient = jax.jit(jax.grad(lambda a: ji.giou_matrix(a, second).sum()))(first)
    step = 1e-6
    for i, k in np.ndindex(6, 4):
        up, down = first.astype(np.float64), first.astype(np.float64)
        up[i, k] += step
        down[i, k] -= step
        slope = sum(pair(up[i], t)["giou"] - pair(down[i], t)["giou"] for t in second)
        np.testing.assert_allclose(gradient[i, k], slope / (2 * step), rtol=1e-3, atol=1e-4)


def test_nan_overlaps_nothing():
    boxes = np.float32([[np.nan, 0, 4, 4], [0, 0, 4, 4]])
    np.testing.assert_array_equal(ji.iou_matrix(boxes, boxes), [[0, 0], [0, 1]])


def test_formats():
    boxes = np.float32([[1, 2, 4, 8], [0, 0, 0, 0]])
    np.testing.assert_array_equal(ji.boxes_to_cxcywh(boxes), [[2.5, 5, 3, 6], [0, 0, 0, 0]])
    np.testing.assert_array_equal(ji.boxes_to_xywh(boxes), [[1, 2, 3, 6], [0, 0, 0, 0]])
    np.testing.assert_array_equal(ji.boxes_from_cxcywh(ji.boxes_to_cxcywh(boxes)), boxes)
    np.testing.assert_array_equal(ji.boxes_from_xywh(ji.boxes_to_xywh(boxes)), boxes)
    np.testing.assert_array_equal(ji.box_centers(boxes), [[2.5, 5], [0, 0]])
    np.testing.assert_array_equal(ji.box_sizes([4, 2, 1, 8]), [0, 6])
    np.testing.assert_array_equal(ji.box_area(boxes), [18, 0])
    assert ji.box_area([9, 9, 5, 5]) == 0  # out of order twice: not 16


def test_clipping():
    boxes = np.float32([[-3, -2, 50, 5], [7, 1, 9, 2], [20, 20, 30, 30]])
    expected = [[0, 0, 8, 5], [7, 1, 8, 2], [8, 6, 8, 6]]
    np.testing.assert_array_equal(ji.clip_boxes(boxes, (6, 8)), expected)
    sizes = np.int32([[6, 8], [4, 2]])
    found = jax.jit(ji.clip_boxes)(np.stack([boxes, boxes]), sizes[:, None])
    np.testing.assert_array_equal(found[0], expected)
    np.testing.assert_array_equal(found[1], [[0, 0, 2, 4], [2, 1, 2, 2], [2, 4, 2, 4]])


@pytest.mark.parametrize("coding", CODINGS, ids=str)
def test_decoding_undoes_encoding(coding):
    anchors = random_boxes(7, 50)
    if isinstance(coding, ji.DistanceCoding):  # boxes around the centres
        reach = np.random.default_rng(8).uniform(0.1, 90, (50, 2, 2)).astype(np.float32)
        center = np.asarray(ji.box_centers(anchors))
        boxes = np.concatenate([center - reach[:, 0], center + reach[:, 1]], axis=-1)
    else:
        boxes = random_boxes(8, 50)
    values = coding.encode(boxes, anchors)
    np.testing.assert_allclose(coding.decode(values, anchors), boxes, rtol=1e-5, atol=1e-3)
    again = coding.encode(boxes[None].repeat(3, 0), anchors)
    np.testing.assert_allclose(again[2], values, rtol=1e-5, atol=1e-5)
    assert coding.encode(boxes.astype(jnp.bfloat16), anchors).dtype == jnp.float32
    assert coding.decode(values.astype(jnp.bfloat16), anchors).dtype == jnp.float32


def test_known_codes():
    anchor, box = [0, 0, 10, 20], [5, 0, 25, 10]  # centres (5, 10) and (15, 5)
    delta = ji.DeltaCoding(mean=(0.5, 0.0, 0.0, 0.0))
    expected = [0.5 / 0.1, -0.25 / 0.1, np.log(2) / 0.2, -np.log(2) / 0.2]
    np.testing.assert_allclose(delta.encode(box, anchor), expected, rtol=1e-5)
    anchor = [8, 8, 16, 16]  # stride 8 around (12, 12)
    values = ji.DistanceCoding().encode([4, 11, 13, 44], anchor)
    np.testing.assert_allclose(values, np.log([1, 1 / 8, 1 / 8, 4]), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(ji.DistanceCoding().decode(jnp.zeros(4), anchor), [4, 4, 20, 20])


@pytest.mark.parametrize("coding", CODINGS, ids=str)
def test_codes_and_their_gradients_are_finite(coding):
    values = np.float32([[-1e4] * 4, [1e4] * 4, [0] * 4, [1e15, -1e15, 1e15, -1e15]])

    def encoded(boxes, anchors):
        return coding.encode(boxes[:, None], anchors)

    def decoded(values, anchors):
        return coding.decode(values[:, None], anchors)

    for function, first in ((encoded, ODD), (decoded, values)):
        assert np.isfinite(function(first, ODD)).all()
        total = jax.grad(functools.partial(lambda f, *a: f(*a).sum(), function), argnums=(0, 1))
        for gradient in jax.jit(total)(first, ODD):
            assert np.isfinite(gradient).all()


def test_a_wild_network_is_held():
    far = ji.DeltaCoding().decode([0, 0, 1e4, 1e4], [0, 0, 16, 16])
    np.testing.assert_allclose(ji.box_sizes(far), [1000, 1000], rtol=1e-5)
    far = ji.DistanceCoding(max_distance=100.0).decode([1e4, 0, 0, 0], [0, 0, 8, 8])
    np.testing.assert_allclose(far, [4 - 800, -4, 12, 12], rtol=1e-5)


def test_errors_say_what_was_found():
    with pytest.raises(ValueError, match=r"boxes must be .* shape \(3,\)"):
        ji.box_area(jnp.zeros(3))
    with pytest.raises(ValueError, match=r"first and second must be .* box\[None\]"):
        ji.iou_matrix(jnp.zeros(4), jnp.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"size must be \(height, width\)"):
        ji.clip_boxes(jnp.zeros(4), (3, 4, 5))
    with pytest.raises(ValueError, match="std=.* above 0"):
        ji.DeltaCoding(std=(0.1, 0.0, 0.1, 0.1))
    with pytest.raises(ValueError, match="mean=.* four finite"):
        ji.DeltaCoding(mean=(0.0, 0.0))
    with pytest.raises(ValueError, match="max_distance"):
        ji.DistanceCoding(max_distance=float("inf"))
    with pytest.raises(ValueError, match="max_growth"):
        ji.DeltaCoding(max_growth=0.0)
