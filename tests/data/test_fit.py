"""Host resizing: Pillow's antialiased bilinear filter by three ways of meeting a shape."""

import numpy as np
import pytest
from PIL import Image

from jaxcv.data import fit_image
from jaxcv.data.fit import convert_channels, placement, size_pair

RNG = np.random.default_rng(0)


def test_the_right_shape_is_left_alone():
    image = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    assert fit_image(image, None) is image
    assert fit_image(image, (6, 9), "crop") is image


def test_halving_averages_and_so_is_antialiased():
    # A chequerboard of single pixels is grey at half the size; without antialiasing it is not.
    board = np.where(np.indices((32, 32)).sum(0) % 2, 255, 0).astype(np.uint8)[..., None]
    half = fit_image(board, 16)
    assert half.shape == (16, 16, 1)
    assert np.abs(half[2:-2, 2:-2].astype(int) - 127).max() <= 1


def test_stretch_is_pillows_resize():
    image = RNG.integers(0, 256, (10, 20, 3), dtype=np.uint8)
    wanted = np.asarray(Image.fromarray(image).resize((7, 15), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(fit_image(image, (15, 7)), wanted)


def test_crop_keeps_the_centre_and_the_aspect_ratio():
    image = np.zeros((10, 30, 1), np.uint8)
    image[:, 10:20] = 200  # exactly the centre square
    np.testing.assert_array_equal(fit_image(image, 10, "crop"), np.full((10, 10, 1), 200))
    # A circle stays a circle: equal extent in rows and columns.
    rows, columns = np.mgrid[:60, :100]
    circle = ((rows - 29.5) ** 2 + (columns - 49.5) ** 2 < 20**2).astype(np.uint8)[..., None] * 255
    found = fit_image(circle, 30, "crop")[..., 0] > 127
    assert found.any(0).sum() == found.any(1).sum() == 20


def test_a_crop_never_leaves_the_image_by_rounding():
    for height in range(1, 120):
        for side in (7, 16, 224):
            left, top, right, bottom = placement((height, 2 * height), (side, side), "crop").box
            assert min(left, top) >= 0
            assert right <= 2 * height
            assert bottom <= height
    assert fit_image(np.zeros((37, 51, 3), np.uint8), 16, "crop").shape == (16, 16, 3)


def test_pad_keeps_everything():
    image = np.full((10, 30, 3), 200, np.uint8)
    found = fit_image(image, 30, "pad")
    assert (found[10:20] == 200).all()
    assert not found[:10].any()
    assert not found[20:].any()
    assert fit_image(np.full((1000, 1, 1), 9, np.uint8), 8, "pad").shape == (8, 8, 1)


def test_wrong_arguments():
    image = np.zeros((2, 3, 1), np.uint8)
    with pytest.raises(ValueError, match="'stretch', 'crop' or 'pad', not 'zoom'"):
        fit_image(image, 4, "zoom")
    with pytest.raises(ValueError, match="at least 1 pixel"):
        size_pair((0, 4))


def test_channels():
    colour = RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    grey = convert_channels(colour, 1)
    assert np.abs(grey[..., 0] - colour @ np.array([0.299, 0.587, 0.114])).max() <= 0.51
    np.testing.assert_array_equal(convert_channels(grey, 3), np.repeat(grey, 3, -1))
    assert convert_channels(colour, 3) is colour
