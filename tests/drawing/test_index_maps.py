"""Overlays by hand, and index maps that come back from a file as they were."""

import numpy as np
import PIL.Image
import pytest

from jaxcv.drawing.index_maps import overlay, write_index_map

PALETTE = np.array([[200, 0, 0], [0, 100, 0]], np.uint8)


def test_overlay_by_hand():
    image = np.full((1, 3, 3), 100, np.uint8)
    index_map = np.array([[0, 1, 255]], np.uint8)
    found = overlay(image, index_map, PALETTE, opacity=0.25)
    assert found.dtype == np.uint8
    assert found.tolist() == [[[125, 75, 75], [75, 100, 75], [100, 100, 100]]]
    np.testing.assert_array_equal(overlay(image, index_map, PALETTE, opacity=0), image)
    assert overlay(image, index_map, PALETTE, opacity=1)[0, :2].tolist() == PALETTE.tolist()


def test_grey_and_floating_point_images():
    grey = np.full((2, 2, 1), 0.5, np.float32)
    nothing = np.full((2, 2), -1)
    assert (overlay(grey, nothing, PALETTE) == 128).all()
    assert overlay(grey, nothing).shape == (2, 2, 3)


def test_another_size_or_opacity_is_refused():
    with pytest.raises(ValueError, match=r"\(4, 4, 3\) and the index map \(4, 5\)"):
        overlay(np.zeros((4, 4, 3)), np.zeros((4, 5), int))
    with pytest.raises(ValueError, match="opacity is 2"):
        overlay(np.zeros((4, 4, 3)), np.zeros((4, 4), int), opacity=2)


@pytest.mark.parametrize("palette", [PALETTE, None])
def test_indices_come_back_from_the_file(tmp_path, palette):
    index_map = np.random.default_rng(0).integers(0, 256, (37, 23)).astype(np.uint8)
    index_map[0, :2] = (0, 1)
    write_index_map(tmp_path / "map.png", index_map, palette)
    with PIL.Image.open(tmp_path / "map.png") as image:
        assert (image.mode, image.size) == ("P", (23, 37))
        np.testing.assert_array_equal(np.asarray(image), index_map)
        if palette is not None:
            assert np.asarray(image.convert("RGB"))[0, :2].tolist() == PALETTE.tolist()


def test_what_a_palette_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ValueError, match="from 0 to 255"):
        write_index_map(tmp_path / "map.png", np.array([[0, 256]]))
    assert not list(tmp_path.iterdir())
