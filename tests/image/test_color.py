import colorsys

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from jaxcv import image as ji

hue, saturation = jax.jit(ji.adjust_hue), jax.jit(ji.adjust_saturation)

FACTORS = (0.0, 0.4, 1.0, 1.7)
ENHANCERS = {
    ji.adjust_brightness: ImageEnhance.Brightness,
    ji.adjust_contrast: ImageEnhance.Contrast,
    ji.adjust_saturation: ImageEnhance.Color,
    ji.adjust_sharpness: ImageEnhance.Sharpness,
}


@pytest.fixture(scope="module")
def enhanced(photo, gray_photo):
    """Every function, for every factor, on the photo in colour and in grey."""

    @jax.jit
    @jax.vmap
    def all_of_them(factor):
        return {
            channels: [adjust(image, factor) for adjust in ENHANCERS]
            for channels, image in ((3, photo), (1, gray_photo))
        }

    return all_of_them(jnp.asarray(FACTORS))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("adjust", ENHANCERS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("factor", FACTORS)
def test_enhancement_equals_pillow(photo, gray_photo, enhanced, adjust, factor, channels):
    pillow = Image.fromarray(photo) if channels == 3 else Image.fromarray(gray_photo[..., 0])
    expected = np.asarray(ENHANCERS[adjust](pillow).enhance(factor)).reshape(40, 56, channels)
    ours = np.asarray(enhanced[channels][list(ENHANCERS).index(adjust)][FACTORS.index(factor)])
    # Pillow cuts off the fraction and rounds the degenerate image first; both are below one level,
    # and extrapolation (factor > 1) doubles the second.
    np.testing.assert_allclose(ours.astype(int), expected, atol=2 if factor > 1 else 1)
    if factor == 1:
        np.testing.assert_array_equal(ours, photo if channels == 3 else gray_photo)


def test_grayscale_equals_pillow(photo, gray_photo):
    ours = np.asarray(jax.jit(ji.grayscale)(photo)).astype(int)
    np.testing.assert_allclose(ours, np.repeat(gray_photo, 3, -1), atol=1)
    np.testing.assert_array_equal(ji.grayscale(gray_photo), gray_photo)


@pytest.fixture(scope="module")
def turned(photo):
    deltas = np.asarray([-0.5, -0.2, 0.0, 0.1, 0.5], np.float32)
    return deltas, jax.jit(jax.vmap(ji.adjust_hue, (None, 0)))(ji.to_float(photo), deltas)


def test_hue_equals_dm_pix(photo, turned):
    deltas, ours = turned
    expected = jax.jit(jax.vmap(dm_pix.adjust_hue, (None, 0)))(ji.to_float(photo), deltas)
    np.testing.assert_allclose(ours, expected, atol=2e-5)


def test_hue_equals_colorsys(photo, turned):
    delta, ours = float(turned[0][3]), np.asarray(turned[1][3])
    for row, column in ((0, 0), (20, 30), (39, 55), (10, 25)):
        h, s, v = colorsys.rgb_to_hsv(*(photo[row, column] / 255))
        np.testing.assert_allclose(
            ours[row, column], colorsys.hsv_to_rgb((h + delta) % 1, s, v), atol=1e-5
        )


def test_hue_known_values():
    red = np.asarray([1, 0, 0], np.float32).reshape(1, 1, 3)
    for delta, expected in ((1 / 3, [0, 1, 0]), (-1 / 3, [0, 0, 1]), (0.5, [0, 1, 1])):
        np.testing.assert_allclose(hue(red, delta)[0, 0], expected, atol=1e-6)


def test_hue_and_saturation_leave_what_has_no_color(gray_photo):
    gray = np.repeat(gray_photo, 3, axis=-1)
    for image in (gray_photo, gray):
        np.testing.assert_array_equal(hue(image, 0.3), image)
        np.testing.assert_array_equal(saturation(image, 0.3), image)


def test_hue_by_zero_and_by_a_whole_turn(photo, turned):
    np.testing.assert_allclose(turned[1][2], photo / 255, atol=1e-6)
    np.testing.assert_allclose(turned[1][0], turned[1][4], atol=1e-6)
    np.testing.assert_array_equal(hue(photo, 0.0), photo)


def test_leading_axes_are_images(photo):
    batch = np.stack([photo, photo // 2])
    for adjust, amount in ((ji.adjust_contrast, 0.5), (ji.adjust_hue, 0.1)):
        adjust = jax.jit(adjust)
        np.testing.assert_array_equal(adjust(batch, amount)[1], adjust(batch[1], amount))


def test_gradients_are_finite_at_the_corners_of_the_color_cube():
    corners = [[r, g, b] for r in (0, 1) for g in (0, 1) for b in (0, 1)]
    image = np.asarray([*corners, [0.5, 0.5, 0.5]], np.float32).reshape(3, 3, 3)

    @jax.jit
    def gradients(image):
        operations = [*ENHANCERS, ji.adjust_hue]
        return [jax.grad(lambda x, f=f: jnp.sum(f(x, 0.3) ** 2))(image) for f in operations]

    for gradient in gradients(image):
        assert bool(jnp.all(jnp.isfinite(gradient)))


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda image: ji.adjust_brightness(image, -0.1), "factor is -0.1"),
        (lambda image: ji.adjust_contrast(image, -1), "factor is -1"),
        (lambda image: ji.adjust_saturation(image, float("nan")), "factor is nan"),
        (lambda image: ji.adjust_hue(image, 0.6), "delta is 0.6"),
        (lambda image: ji.adjust_hue(image[..., :2], 0.1), "1 or 3 channels"),
        (lambda image: ji.adjust_contrast(np.tile(image, 2), 0.1), "so 6"),
        (lambda image: ji.grayscale(image[..., 0]), "channels|shape"),
        (lambda image: ji.grayscale(image.astype(np.int64)), "int"),
    ],
)
def test_bad_input(photo, operation, message):
    with pytest.raises(ValueError, match=message):
        operation(photo)
