import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.image import pixels

ALL_LEVELS = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)


def test_uint8_survives_the_way_to_float_and_back():
    unit = pixels.to_float(ALL_LEVELS)
    assert unit.dtype == jnp.float32
    assert float(unit.min()) == 0.0
    assert float(unit.max()) == 1.0
    np.testing.assert_array_equal(pixels.from_unit(unit, jnp.dtype("uint8")), ALL_LEVELS)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_to_float_leaves_floating_point_alone(dtype):
    image = jnp.full((2, 2, 1), 0.5, dtype)
    assert pixels.to_float(image).dtype == dtype


def test_from_unit_clips_and_rounds():
    values = jnp.asarray([-1.0, 0.0, 0.4 / 255, 0.6 / 255, 1.0, 7.0])
    levels = pixels.from_unit(values, jnp.dtype("uint8"))
    np.testing.assert_array_equal(levels, [0, 0, 0, 1, 255, 255])
    np.testing.assert_allclose(pixels.from_unit(values, jnp.dtype("float32"))[::5], [0, 1])


def test_from_float32_rounds_integers_and_stays_in_their_range():
    values = jnp.asarray([-3.0, 1.4, 1.6, 300.0])
    np.testing.assert_array_equal(pixels.from_float32(values, jnp.dtype("uint8")), [0, 1, 2, 255])
    np.testing.assert_array_equal(pixels.from_float32(values, jnp.dtype("int32")), [-3, 1, 2, 300])
    assert pixels.from_float32(values, jnp.dtype("bool")).tolist() == [False, True, True, True]


def test_numpy_images_are_taken(photo):
    np.testing.assert_array_equal(pixels.check_image(photo), photo)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"image\[..., None\]"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((4, 4, 3), np.int32), "int32"),
    ],
)
def test_wrong_images_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        pixels.check_image(image)


def test_wrong_channel_count_is_refused():
    with pytest.raises(ValueError, match="1 or 3 channels"):
        pixels.check_image(np.zeros((4, 4, 4), np.uint8), channels=(1, 3))


def test_single_image_is_demanded():
    with pytest.raises(ValueError, match="vmap"):
        pixels.check_single(np.zeros((2, 4, 4, 3), np.uint8))


@pytest.mark.parametrize("size", [0, -1, (3,), (3, 0), (3, 4, 5), (2.5, 3)])
def test_sizes_that_are_none(size):
    with pytest.raises(ValueError, match="size"):
        pixels.check_size(size)


def test_one_number_is_a_square():
    assert pixels.check_size(3) == (3, 3)
    assert pixels.check_size((3, 4)) == (3, 4)
