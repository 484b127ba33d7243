"""The rule for boxes, letterboxing and padding, and boxes that turn with their image."""

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcv.data import decode_image
from jaxcv.data.detection.objects import (
    BoxCounts,
    BoxTally,
    box_placement,
    checked_objects,
    detection_record,
)
from jaxcv.data.orientation import Header, read_header, upright_boxes
from tests.data.painted import bright_box, encoded, painted


def objects(boxes, size, **options):
    options = {"classes": [0] * len(boxes), "record": "a.jpg", **options}
    return checked_objects(boxes, size=size, **options)


def test_boxes_are_clipped_or_dropped_and_counted():
    boxes = [
        [-5, 2, 6, 8],
        [0, 0, 20, 10],
        [3, 3, 3, 9],
        [9, 5, 2, 6],
        [25, 1, 30, 4],
        [18, 8, 22, 11],
    ]
    found, counts = objects(boxes, (10, 20), classes=range(6), ignored=[False] * 5 + [True])
    assert found.boxes.tolist() == [[0, 2, 6, 8], [0, 0, 20, 10], [18, 8, 20, 10]]
    assert found.boxes.dtype == np.float32
    assert found.classes.tolist() == [0, 1, 5]
    assert found.classes.dtype == np.int32
    assert found.ignored.tolist() == [False, False, True]
    assert found.area.tolist() == [36, 200, 4]
    assert counts == BoxCounts(clipped=2, dropped=3)


def test_area_of_the_data_set_goes_before_the_boxs_own():
    found, _ = objects([[0, 0, 4, 4], [1, 1, 1, 1], [2, 2, 3, 4]], (9, 9), area=[7.5, 3.0, 1.25])
    assert found.area.tolist() == [7.5, 1.25]
    found, _ = objects([[0, 0, 4, 4], [1, 1, 3, 1], [2, 2, 3, 14]], (9, 9), area=[2, 3, np.nan])
    assert found.area.tolist() == [2, 7]


def test_no_objects():
    for none in ([], np.zeros((0, 4)), np.zeros(0)):
        found, counts = objects(none, (4, 4), ignored=[], area=[])
        assert (len(found), found.boxes.shape, counts) == (0, (0, 4), BoxCounts())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"boxes": [[0, 0, float("nan"), 3]]}, r"a\.jpg: box \(0, 0, nan, 3\) is not finite; mend"),
        ({"boxes": [[0, 0, float("inf"), 3]]}, "not finite"),
        ({"area": [float("inf")]}, r"a\.jpg: area inf"),
        ({"area": [-1.0]}, r"a\.jpg: area -1"),
        ({"classes": [0, 1]}, r"a\.jpg: .* different number: 1 boxes, 2 classes, 1 marks"),
        ({"ignored": []}, "1 boxes, 1 classes, 0 marks"),
        ({"area": [1.0, 2.0]}, "2 areas"),
        ({"classes": [-1]}, r"a\.jpg: class -1 .* -1 is padding"),
        (
            {"boxes": [[0, 0, 2, 3], [5, 2, 5, 9]], "classes": [0, 0], "on_bad_box": "raise"},
            r"a\.jpg: box \(5, 2, 5, 9\) has no area in the image of 10 x 20 .*; 1 of its 2 .*"
            r'on_bad_box="drop"',
        ),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        objects(**{"boxes": [[0, 0, 2, 3]], "size": (10, 20), **options})


@pytest.mark.parametrize("fit", ["pad", "stretch"])
@pytest.mark.parametrize("shape", [(40, 80), (90, 30), (64, 64), (33, 47)])
@pytest.mark.parametrize("size", [None, 64, (48, 96)])
def test_boxes_lie_on_what_they_mark(shape, size, fit):
    box = [shape[1] // 4, shape[0] // 3, shape[1] // 4 + 15, shape[0] // 3 + 18]
    found, _ = objects([box], shape)
    image = painted(shape, [box])
    record = detection_record(image, found, size=size, fit=fit, max_boxes=3, record="a")
    # The edge of the painted box is seen to half a pixel, and where it is magnified half of that.
    np.testing.assert_allclose(bright_box(record["image"]), record["boxes"][0], atol=1.01)
    assert record["area"].tolist() == [15 * 18, 0, 0]
    assert record["classes"].tolist() == [0, -1, -1]
    assert not record["boxes"][1:].any()
    # The placement leads back to the original.
    x_scale, y_scale, left, top = record["placement"]
    back = (record["boxes"][0] - [left, top, left, top]) / [x_scale, y_scale, x_scale, y_scale]
    np.testing.assert_allclose(back, box, rtol=1e-6, atol=1e-4)
    if fit == "pad" and size is not None:
        assert x_scale == pytest.approx(y_scale, rel=0.02)  # whole pixels


def test_placement_by_hand():
    assert box_placement((10, 20), None, "pad").tolist() == [1, 1, 0, 0]
    assert box_placement((10, 20), (30, 30), "stretch").tolist() == [1.5, 3, 0, 0]
    assert box_placement((100, 50), 50, "pad").tolist() == [0.5, 0.5, 12, 0]
    # 3 x 2 pixels into 4 x 4: 4 high and round(8 / 3) = 3 wide.
    assert box_placement((3, 2), 4, "pad").tolist() == [1.5, 4 / 3, 0, 0]


def test_the_whole_image_fills_its_placement():
    found, _ = objects([[0, 0, 50, 100]], (100, 50))
    record = detection_record(
        painted((100, 50), []), found, size=(64, 64), fit="pad", max_boxes=1, record="a"
    )
    assert record["boxes"].tolist() == [[16, 0, 48, 64]]


def test_too_many_boxes():
    found, _ = objects([[0, 0, 2, 2]] * 5, (4, 4))
    with pytest.raises(ValueError, match=r"a\.jpg: 5 objects .* max_boxes=4\. Set max_boxes=5"):
        detection_record(
            painted((4, 4), []), found, size=None, fit="pad", max_boxes=4, record="a.jpg"
        )


def test_tally_counts_a_record_once_and_logs_once(caplog):
    tally = BoxTally("cells train")
    with caplog.at_level(logging.WARNING):
        for index in (0, 3, 3, 5, 0):
            tally.add(index, BoxCounts() if index == 5 else BoxCounts(1, index), f"cells[{index}]")
    assert tally.total == BoxCounts(2, 3)
    assert [record.getMessage() for record in caplog.records] == [
        "cells train: cells[0]: 1 boxes reach outside their image and were clipped, 0 without area "
        "were dropped; further ones are counted only, see box_counts"
    ]


# ---- Orientation -------------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_with_their_image(orientation, file_format):
    stored, box = (24, 40), [6, 4, 13, 19]
    data = encoded(painted(stored, [box]), orientation, file_format)
    upright = decode_image(data)
    header = read_header(data)
    assert header is not None
    assert header.orientation == orientation
    assert header.stored_size == stored == header.annotated_size("stored")
    assert header.upright_size == upright.shape[:2] == header.annotated_size("upright")
    assert upright_boxes(np.asarray([box], np.float32), header)[0].tolist() == bright_box(upright)


def test_header_of_what_is_no_image(tmp_path):
    assert read_header(b"no image") is None
    assert read_header(tmp_path / "absent.jpg") is None
    path = tmp_path / "a.png"
    path.write_bytes(encoded(painted((3, 5), []), file_format="PNG"))
    assert read_header(path) == Header((3, 5))


@given(
    st.lists(st.integers(0, 20), min_size=4, max_size=4),
    st.sampled_from([(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 8), (7, 7), (8, 6)]),
)
def test_turning_there_and_back(corners, there_and_back):
    x0, x1 = sorted(corners[:2])
    y0, y1 = sorted(corners[2:])
    there, back = there_and_back
    box = np.asarray([[x0, y0, x1, y1]], np.float32)
    first = Header((30, 25), there)
    second = Header(first.stored_size, back)
    assert second.stored_size == first.upright_size
    np.testing.assert_array_equal(upright_boxes(upright_boxes(box, first), second), box)
