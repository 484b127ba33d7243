import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxcv import image as ji


@pytest.mark.parametrize("sigma", [0.5, 1.3])
def test_blur_equals_scipy(photo, sigma):
    unit = photo / 255
    expected = ndimage.gaussian_filter(unit, (sigma, sigma, 0), mode="nearest", radius=(5, 5, 0))
    ours = jax.jit(lambda x: ji.gaussian_blur(x, sigma, radius=5))(unit.astype(np.float32))
    np.testing.assert_allclose(ours, expected, atol=2e-6)


def test_blur_by_nothing_is_the_identity(photo):
    np.testing.assert_array_equal(jax.jit(lambda x: ji.gaussian_blur(x, 0.0))(photo), photo)
    traced = jax.jit(lambda image, sigma: ji.gaussian_blur(image, sigma, radius=2))
    np.testing.assert_array_equal(traced(photo, 0.0), photo)


def test_blur_keeps_flat_images_and_single_pixels():
    flat = np.full((3, 4, 1), 77, np.uint8)  # smaller than the kernel
    np.testing.assert_array_equal(jax.jit(lambda x: ji.gaussian_blur(x, 3.0))(flat), flat)


def test_blur_keeps_the_sum_away_from_the_border():
    point = jnp.zeros((21, 21, 1)).at[10, 10].set(1.0)
    blurred = jax.jit(lambda x: ji.gaussian_blur(x, 1.5))(point)
    np.testing.assert_allclose(jnp.sum(blurred), 1.0, rtol=1e-5)
    np.testing.assert_allclose(blurred, blurred.transpose(1, 0, 2), atol=1e-7)


def test_blur_gradient_to_sigma_is_finite():
    point = jnp.zeros((7, 7, 1)).at[3, 3].set(1.0)
    gradient = jax.jit(
        jax.vmap(jax.grad(lambda s: jnp.sum(ji.gaussian_blur(point, s, radius=2) ** 2)))
    )(np.asarray([0.0, 1.0], np.float32))
    assert np.all(np.isfinite(gradient))
    assert gradient[1] < 0


def test_noise_has_the_asked_mean_and_deviation():
    gray = jnp.full((64, 64, 3), 0.5)
    noise = jax.jit(ji.gaussian_noise)(jax.random.key(0), gray, 0.1) - gray
    # 12,288 values: standard errors 0.0009 and 0.0006.
    assert abs(float(jnp.mean(noise))) < 0.004
    assert abs(float(jnp.std(noise)) - 0.1) < 0.003


def test_no_noise_is_the_identity(photo):
    np.testing.assert_array_equal(ji.gaussian_noise(jax.random.key(0), photo, 0.0), photo)


def test_sharpness_of_an_image_that_is_all_border():
    image = jnp.asarray([[0.1, 0.9], [0.4, 0.2]])[..., None]
    np.testing.assert_array_equal(ji.adjust_sharpness(image, 5.0), image)


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda image: ji.gaussian_blur(image, -1.0), "sigma is -1.0"),
        (lambda image: ji.gaussian_blur(image, 1.0, radius=-1), "radius is -1"),
        (lambda image: jax.jit(ji.gaussian_blur)(image, 1.0), "radius="),
        (lambda image: ji.gaussian_noise(jax.random.key(0), image, -1.0), "sigma is -1.0"),
        (lambda image: ji.adjust_sharpness(image, -1.0), "factor is -1.0"),
        (lambda image: ji.adjust_sharpness(image[0], 1.0), "shape"),
    ],
)
def test_bad_input(photo, operation, message):
    with pytest.raises(ValueError, match=message):
        operation(photo)
