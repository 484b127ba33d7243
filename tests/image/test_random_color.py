import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv import image as ji

KEY = jax.random.key(1)
KEYS = jax.random.split(KEY, 300)


def test_nothing_asked_is_the_identity(photo):
    transforms = [
        ji.ColorJitter(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0),
        ji.RandomGrayscale(0.0),
        ji.GaussianNoise(0.0),
        ji.GaussianBlur(probability=0.0),
    ]
    for result in jax.jit(lambda image: [t(KEY, image) for t in transforms])(photo):
        np.testing.assert_array_equal(result, photo)


def test_grayscale_for_sure(photo):
    np.testing.assert_array_equal(ji.RandomGrayscale(1.0)(KEY, photo), ji.grayscale(photo))


def test_blur_for_sure_with_a_known_sigma(photo):
    blurred = jax.jit(ji.GaussianBlur(sigma=(1.5, 1.5), probability=1.0))(KEY, photo)
    expected = jax.jit(lambda image: ji.gaussian_blur(image, 1.5, radius=5))(photo)
    np.testing.assert_array_equal(blurred, expected)


def test_brightness_factors_fill_their_range():
    transform = ji.ColorJitter(brightness=0.5, contrast=0.0, saturation=0.0)
    image = jnp.full((1, 1, 3), 0.5)
    factors = 2 * jax.jit(jax.vmap(transform, (0, None)))(KEYS, image).ravel()
    assert 0.5 <= float(factors.min()) < 0.52
    assert 1.48 < float(factors.max()) <= 1.5
    assert abs(float(factors.mean()) - 1.0) < 0.07


def test_amounts_above_one_do_not_make_negative_factors():
    transform = ji.ColorJitter(brightness=3.0, contrast=3.0, saturation=3.0)
    image = jnp.asarray([[0.2, 0.3, 0.1], [0.3, 0.1, 0.1]])[None]
    results = jax.jit(jax.vmap(transform, (0, None)))(KEYS, image)
    assert 0.0 <= float(results.min()) <= float(results.max()) <= 1.0


def test_jitter_is_the_four_adjustments_in_order(photo):
    draws = jax.random.uniform(KEY, (4,))
    unit = ji.to_float(photo)

    @jax.jit
    def both(unit):
        values = ji.adjust_brightness(unit, 0.8 + 0.4 * draws[0])
        values = ji.adjust_contrast(values, 0.7 + 0.6 * draws[1])
        values = ji.adjust_saturation(values, 0.6 + 0.8 * draws[2])
        values = ji.adjust_hue(values, 0.1 * (2 * draws[3] - 1))
        return values, ji.ColorJitter(0.2, 0.3, 0.4, 0.1)(KEY, unit)

    expected, ours = both(unit)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ji.ColorJitter(brightness=-0.1), "brightness is -0.1"),
        (lambda: ji.ColorJitter(hue=0.6), "hue is 0.6"),
        (lambda: ji.RandomGrayscale(1.1), "probability is 1.1"),
        (lambda: ji.GaussianNoise(-0.1), "sigma is -0.1"),
        (lambda: ji.GaussianBlur(sigma=(2.0, 1.0)), "smallest, largest"),
        (lambda: ji.GaussianBlur(sigma=(-1.0, 1.0)), "sigma"),
        (lambda: ji.ColorJitter()(KEY, jnp.zeros((4, 4, 2))), "1 or 3 channels"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
