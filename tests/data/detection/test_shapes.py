"""Generated detection data: exact boxes, nothing hidden, the same whenever and wherever read."""

import numpy as np
import pytest

from jaxcv.data import Batches, Shapes, materialize
from jaxcv.data.detection import shapes

DATA = Shapes(num_examples=60, num_test_examples=20, image_size=(48, 64), max_objects=5, seed=3)


@pytest.fixture(scope="module")
def records():
    return materialize(DATA.open("train"))


def test_record(records):
    shape = {key: (values.shape[1:], values.dtype) for key, values in records.items()}
    assert shape == {
        "image": ((48, 64, 3), np.uint8),
        "boxes": ((5, 4), np.float32),
        "classes": ((5,), np.int32),
        "ignored": ((5,), bool),
        "area": ((5,), np.float32),
        "placement": ((4,), np.float32),
        "image_size": ((2,), np.int32),
        "mask": ((), bool),
    }
    assert DATA.open("train").class_names == ("square", "circle", "triangle")
    assert DATA.open("train").record_name(7) == "shapes train[7]"


def test_a_record_depends_on_seed_split_and_index_alone(records):
    again = DATA.open("train")[17]
    for key, values in again.items():
        np.testing.assert_array_equal(values, records[key][17])
    other = (
        DATA.open("test")[17],
        Shapes(image_size=(48, 64), max_objects=5, seed=4).open("train")[17],
    )
    for record in other:
        assert not np.array_equal(record["image"], again["image"])
    longer = Shapes(image_size=(48, 64), max_objects=5, seed=3).open("train")[17]
    np.testing.assert_array_equal(longer["image"], again["image"])


def test_objects_are_of_all_kinds_and_numbers(records):
    valid = records["classes"] >= 0
    assert set(valid.sum(1)) == set(range(6))
    assert np.bincount(records["classes"][valid], minlength=3).min() > 0.2 * valid.sum()
    # Rows of objects come first; padding is zeros.
    assert (np.diff(valid.astype(int), axis=1) <= 0).all()
    for key in ("boxes", "area"):
        assert not records[key][~valid].any()
    assert not records["ignored"].any()
    assert (records["placement"] == [1, 1, 0, 0]).all()
    boxes, area = records["boxes"][valid], records["area"][valid]
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= [64, 48]).all()
    sides = boxes[:, 2:] - boxes[:, :2]
    np.testing.assert_allclose(sides[:, 0], sides[:, 1], rtol=1e-5)
    assert 0.15 * 48 - 1e-3 <= sides.min() < 0.2 * 48
    assert 0.35 * 48 < sides.max() <= 0.4 * 48 + 1e-3
    np.testing.assert_allclose(area, sides.prod(1), rtol=1e-5)


@pytest.mark.parametrize(("label", "fraction"), [(0, 1.0), (1, np.pi / 4), (2, 0.5)])
def test_a_shape_fills_its_box_exactly(label, fraction):
    """Bounds to a fraction of a pixel, and the area that geometry knows."""
    left, top, side = 5.3, 7.6, 20.5
    cover = shapes._cover(label, left, top, side, (40, 44))
    assert cover.sum() == pytest.approx(fraction * side**2, rel=0.01)
    rows, columns = np.nonzero(cover.max(1) > 0.02)[0], np.nonzero(cover.max(0) > 0.02)[0]
    found = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    wanted = [left, top, left + side, top + side]
    # The apex of the triangle covers little of its first row, if that: 1.5 pixels there.
    np.testing.assert_allclose(found, wanted, atol=1.5)


def test_nothing_is_mostly_hidden_but_some_overlap():
    hidden = []
    for i in range(80):
        generator = np.random.default_rng(i)
        boxes, classes, covers = shapes._arranged(generator, (64, 64), 6, (0.15, 0.4))
        assert len(boxes) == len(classes) == len(covers)
        if not covers:
            continue
        free = np.ones((64, 64))
        for cover in covers[::-1]:  # the last lies above
            hidden.append(1 - (cover * free).sum() / cover.sum())
            free = free * (1 - cover)
    assert max(hidden) <= 0.4 + 1e-5
    assert np.mean(np.asarray(hidden) > 0.02) > 0.1


def test_objects_stand_out_from_the_ground(records):
    """Medians of the middle of an object and of a corner of the image without objects differ."""
    contrasts = []
    for image, boxes, classes in zip(records["image"], records["boxes"], records["classes"]):
        outside = np.ones(image.shape[:2], bool)
        for x0, y0, x1, y1 in boxes[classes >= 0].astype(int):
            outside[y0 : y1 + 1, x0 : x1 + 1] = False
        ground = image[outside].mean(0)
        for x0, y0, x1, y1 in boxes[classes >= 0]:
            x, y, r = (x0 + x1) / 2, y0 + 0.65 * (y1 - y0), (x1 - x0) / 8
            middle = image[int(y - r) : int(y + r) + 1, int(x - r) : int(x + r) + 1]
            contrasts.append(np.abs(np.median(middle, axis=(0, 1)) - ground).max())
    assert np.quantile(contrasts, 0.05) > 60


def test_batches_take_them():
    batch = Batches(DATA.open("test"), 8, shuffle=True, seed=1)[5]
    assert batch["boxes"].shape == (8, 5, 4)
    assert set(np.unique(batch["classes"])) <= {-1, 0, 1, 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_examples": 0}, "at least one record"),
        ({"max_objects": 0}, "one object"),
        ({"sizes": (0.5, 0.2)}, r"sizes must be .*\(0\.5, 0\.2\)"),
        ({"image_size": 0}, "at least 1 pixel"),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises(ValueError, match=message):
        Shapes(**options).open("train")


def test_there_is_no_validation_split():
    with pytest.raises(ValueError, match="no split 'validation'"):
        Shapes().open("validation")
    with pytest.raises(IndexError):
        DATA.open("train")[60]
