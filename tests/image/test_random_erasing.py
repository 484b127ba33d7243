import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv import image as ji
from jaxcv.image.random_erasing import rectangle_mask

KEYS = jax.random.split(jax.random.key(2), 200)
WHITE = jnp.ones((20, 30, 1))


def test_rectangle_mask_of_whole_pixels():
    mask = np.zeros((5, 6, 1), bool)
    mask[1:3, 2:6] = True
    np.testing.assert_array_equal(rectangle_mask((5, 6), 2, 1, 9, 2), mask)
    np.testing.assert_array_equal(rectangle_mask((5, 6), 2, 1, 0, 2), np.zeros((5, 6, 1), bool))


def test_cutout_is_a_square_cut_off_by_the_border():
    holes = 1 - jax.jit(jax.vmap(ji.Cutout(6), (0, None)))(KEYS, WHITE)
    areas = np.asarray(holes.sum(axis=(1, 2, 3)))
    assert areas.max() == 36
    assert areas.min() < 36  # some are cut off
    assert areas.min() >= 9  # the centre is a pixel of the image
    for hole in np.asarray(holes[:20, ..., 0]):
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        assert hole.sum() == len(rows) * len(columns)  # a rectangle
        assert np.ptp(rows) + 1 == len(rows)
        assert np.ptp(columns) + 1 == len(columns)


def test_cutout_fill_is_a_level_for_every_dtype():
    cutout = jax.jit(ji.Cutout(99, fill=0.5))  # larger than the image: nothing else is left
    assert np.all(cutout(KEYS[0], np.zeros((4, 4, 3), np.uint8)) == 128)
    assert np.all(cutout(KEYS[0], np.zeros((4, 4, 3), np.float32)) == 0.5)


def test_erasing_with_probability_0_and_1():
    never = jax.jit(jax.vmap(ji.RandomErasing(0.0), (0, None)))(KEYS, WHITE)
    assert float(never.min()) == 1.0
    transform = ji.RandomErasing(1.0, area=(0.1, 0.3), ratio=(0.5, 2.0))
    always = jax.jit(jax.vmap(transform, (0, None)))(KEYS, WHITE)
    parts = 1 - np.asarray(always.mean(axis=(1, 2, 3)))
    # Rectangles are not of whole pixels: up to half a row or column is missing or too much.
    assert 0.05 < parts.min() < 0.15
    assert 0.25 < parts.max() < 0.35


def test_erasing_with_noise_leaves_the_rest_alone():
    transform = ji.RandomErasing(1.0, fill="noise")
    image = jnp.full((20, 30, 3), 7, jnp.uint8)
    erased = jax.jit(transform)(KEYS[0], image)
    inside = np.asarray(jax.jit(ji.RandomErasing(1.0))(KEYS[0], image)) == 0
    np.testing.assert_array_equal(np.asarray(erased)[~inside], 7)
    assert np.asarray(erased)[inside].std() > 50  # uniform on 256 levels: 73.9


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ji.Cutout(0), "size=0"),
        (lambda: ji.Cutout(fill=2.0), "fill=2.0"),
        (lambda: ji.RandomErasing(2.0), "probability is 2.0"),
        (lambda: ji.RandomErasing(area=(0.5, 0.1)), "area"),
        (lambda: ji.RandomErasing(ratio=(0.0, 0.1)), "ratio"),
        (lambda: ji.RandomErasing(fill="mean"), "noise"),
        (lambda: ji.RandomErasing(fill=-1.0), "fill=-1.0"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
