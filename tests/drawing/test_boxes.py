"""Boxes drawn over images: where the lines are, where the labels go, what stays as it was."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcv.drawing.boxes import draw_boxes, largest_first, place_labels, readable_on

GREY = np.full((60, 80, 3), 100, np.uint8)
RED, BLUE = (200, 0, 0), (0, 0, 200)


def is_color(image, color):
    return (image == np.array(color)).all(-1)


def test_the_line_runs_within_the_box_and_nothing_else_changes():
    before = GREY.copy()
    drawn = draw_boxes(GREY, np.array([[10, 20, 40, 50]]), [""], np.array([RED]), width=2)
    frame = np.zeros((60, 80), bool)
    frame[20:50, 10:40] = True
    frame[22:48, 12:38] = False
    np.testing.assert_array_equal(is_color(drawn, RED), frame)
    around = np.zeros((60, 80), bool)
    around[19:51, 9:41] = True
    around[20:50, 10:40] = False
    np.testing.assert_array_equal(is_color(drawn, (0, 0, 0)), around)
    assert (drawn[~frame & ~around] == 100).all()
    np.testing.assert_array_equal(GREY, before)


def test_a_dashed_line_is_about_half_of_a_whole_one():
    box = np.array([[5, 5, 75, 55]])
    whole = is_color(draw_boxes(GREY, box, [""], np.array([RED]), width=2), RED)
    dashed = is_color(draw_boxes(GREY, box, [""], np.array([RED]), width=2, dashed=[True]), RED)
    assert not (dashed & ~whole).any()
    assert 0.4 < dashed.sum() / whole.sum() < 0.65
    assert dashed[5, 5]


def test_small_boxes_lie_on_large_ones():
    boxes = np.array([[30, 20, 50, 40], [10, 10, 70, 55], [30, 20, 50, 40]])
    assert largest_first(boxes) == [1, 0, 2]
    drawn = draw_boxes(GREY, [[30, 10, 50, 30], [10, 10, 70, 55]], ["", ""], [RED, BLUE])
    assert drawn[10, 30].tolist() == list(RED)
    assert drawn[10, 60].tolist() == list(BLUE)


def test_labels_stand_on_a_strip_of_the_colour_above_the_box():
    drawn = draw_boxes(GREY, [[10, 30, 60, 55]], ["cell"], [RED], font_size=20)
    strip = is_color(drawn[:30], RED)
    assert strip.sum() > 100
    rows, columns = np.nonzero(strip)
    assert (rows.max(), columns.min()) == (29, 10)
    letters = drawn[rows.min() : 30, 10 : columns.max() + 1]
    assert (letters > 200).all(-1).sum() > 10  # white, smoothed


def test_grey_images_and_no_boxes():
    grey = GREY[..., :1]
    np.testing.assert_array_equal(draw_boxes(grey, np.zeros((0, 4)), [], np.zeros((0, 3))), GREY)
    assert draw_boxes(grey, [[1, 1, 9, 9]], ["a"], [RED]).shape == (60, 80, 3)


def test_what_lies_outside_is_not_seen_and_what_is_cut_is_cut():
    outside = [[-30, -30, -2, -2], [90, 70, 99, 80], [20, 20, 20, 40]]
    np.testing.assert_array_equal(draw_boxes(GREY, outside, ["a", "b", "c"], [RED] * 3), GREY)
    drawn = is_color(draw_boxes(GREY, [[-20, 10, 30, 90]], [""], [RED], width=1), RED)
    assert drawn[10, :30].all()
    assert drawn[10:, 29].all()
    assert not drawn[:, 30:].any()
    assert not drawn[11:, :29].any()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 12))
def test_labels_lie_within_the_frame_and_hide_each_other_by_a_tenth_at_most(seed, count):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-20, 200, (count, 2))
    boxes = np.concatenate((corner, corner + rng.uniform(1, 100, (count, 2))), 1)
    sizes = [(float(w), 12.0) for w in rng.uniform(10, 60, count)]
    places = place_labels(list(boxes), sizes, (220.0, 160.0))
    covered = np.zeros((160 * 4, 220 * 4), bool)  # quarters of pixels
    for place, (width, height) in zip(places, sizes):
        if place is None:
            continue
        left, top = place
        assert 0 <= left <= 220 - width + 1e-9
        assert 0 <= top <= 160 - height + 1e-9
        area = (
            slice(int(4 * top), int(4 * (top + 12))),
            slice(int(4 * left), int(4 * (left + width))),
        )
        assert covered[area].mean() < 0.2  # a tenth, and what rounding adds
        covered[area] = True
    if count:
        assert places[0] is not None


def test_labels_keep_the_earlier_of_two_that_cannot_both_stand():
    boxes = [(0, 0, 10, 10)] * 3
    places = place_labels(boxes, [(20, 10)] * 3, (20, 20))
    assert places == [(0, 0), (0, 10), None]


def test_text_is_black_on_light_and_white_on_dark():
    for light in [(255, 255, 0), (200, 200, 200), (0, 255, 0)]:
        assert readable_on(light) == (0, 0, 0)
    for dark in [(0, 0, 128), (128, 0, 0), (40, 40, 40)]:
        assert readable_on(dark) == (255, 255, 255)


@pytest.mark.parametrize(
    ("image", "labels", "message"),
    [
        (GREY.astype(np.float32), ["a"], "the image is float32 of shape (60, 80, 3); uint8"),
        (GREY[..., 0], ["a"], "the image is uint8 of shape (60, 80)"),
        (GREY, [], "found 1 boxes, 0 labels and 1 colors"),
    ],
)
def test_what_does_not_fit_is_named(image, labels, message):
    with pytest.raises(ValueError, match=r".*") as raised:
        draw_boxes(image, [[1, 1, 9, 9]], labels, [RED])
    assert message in str(raised.value)
