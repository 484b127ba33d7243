import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageOps

from jaxcv import image as ji

equalize, autocontrast = jax.jit(ji.equalize), jax.jit(ji.autocontrast)

# name -> (ours, Pillow's, levels of tolerance)
OPERATIONS = {
    "invert": (ji.invert, ImageOps.invert, 0),
    "solarize": (lambda x: ji.solarize(x, 100 / 255), lambda x: ImageOps.solarize(x, 100), 0),
    "posterize": (lambda x: ji.posterize(x, 3), lambda x: ImageOps.posterize(x, 3), 0),
    "equalize": (ji.equalize, ImageOps.equalize, 0),
    # Pillow cuts off the fraction where we round.
    "autocontrast": (ji.autocontrast, ImageOps.autocontrast, 1),
}


@pytest.fixture(scope="module")
def toned(photo, gray_photo):
    """Every operation on uint8 and float, colour and grey, from one compilation."""
    dull = (photo // 3 + 60).astype(np.uint8)
    images = {"photo": photo, "dull": dull, "gray": gray_photo}

    @jax.jit
    def all_of_them(images):
        return {
            (name, key): (ours(image), ours(ji.to_float(image)))
            for name, (ours, _, _) in OPERATIONS.items()
            for key, image in images.items()
        }

    return images, all_of_them(images)


@pytest.mark.parametrize("which", ["photo", "dull", "gray"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_equals_pillow(toned, name, which):
    images, results = toned
    _, pillow, atol = OPERATIONS[name]
    image = images[which]
    expected = np.asarray(pillow(Image.fromarray(image.squeeze()))).reshape(image.shape)
    ours, from_float = results[name, which]
    np.testing.assert_allclose(ours.astype(int), expected, atol=atol)
    np.testing.assert_allclose(from_float, ours / 255, atol=0.5 / 255 + 1e-6)


def test_invert_and_full_solarize_undo_themselves(photo):
    np.testing.assert_array_equal(ji.invert(ji.invert(photo)), photo)
    np.testing.assert_array_equal(ji.solarize(photo, 0.0), ji.invert(photo))


def test_identity_parameters(photo):
    np.testing.assert_array_equal(ji.solarize(photo, 1.01), photo)
    np.testing.assert_array_equal(ji.posterize(photo, 8), photo)
    np.testing.assert_array_equal(ji.posterize(photo, 0), np.zeros_like(photo))


@pytest.mark.parametrize("level", [0, 77, 255])
def test_flat_images_stay_as_they_are(level):
    flat = np.full((20, 20, 3), level, np.uint8)
    np.testing.assert_array_equal(autocontrast(flat), flat)
    np.testing.assert_array_equal(equalize(flat), flat)


def test_autocontrast_spans_the_range_of_each_channel():
    image = jnp.asarray([[0.2, 0.5], [0.4, 0.5]])[..., None] * jnp.asarray([1.0, 0.5])
    stretched = autocontrast(image)
    np.testing.assert_allclose(stretched.min(axis=(0, 1)), [0, 0], atol=1e-6)
    np.testing.assert_allclose(stretched.max(axis=(0, 1)), [1, 1], atol=1e-6)


def test_equalize_flattens_the_histogram():
    # 1024 pixels, each of 4 dark levels equally often: spread over the range, steps of 1/4 of it.
    image = np.tile(np.arange(4, dtype=np.uint8), 256).reshape(32, 32, 1)
    # s = (1024 - 256) // 255 = 3; level v becomes (1 + 256 v) // 3, at most 255.
    np.testing.assert_array_equal(np.unique(equalize(image)), [0, 85, 171, 255])


def test_small_images_are_not_equalized():
    tiny = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)  # fewer than 255 pixels: s = 0
    np.testing.assert_array_equal(equalize(tiny), tiny)


def test_leading_axes_are_images(photo):
    batch = np.stack([photo, photo // 2])
    for operation in (equalize, autocontrast):
        np.testing.assert_array_equal(operation(batch)[1], operation(batch[1]))


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda image: ji.posterize(image, 9), "bits is 9"),
        (lambda image: ji.solarize(image, -0.1), "threshold is -0.1"),
        (lambda image: ji.equalize(image[0]), "shape"),
        (lambda image: ji.autocontrast(image.astype(bool)), "bool"),
    ],
)
def test_bad_input(photo, operation, message):
    with pytest.raises(ValueError, match=message):
        operation(photo)
