import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv import image as ji

KEY = jax.random.key(3)


def test_each_transform_gets_the_key_of_its_place(photo):
    noise, flip = ji.GaussianNoise(0.1), ji.RandomHorizontalFlip(0.5)
    expected = noise(jax.random.fold_in(KEY, 0), photo)
    expected = flip(jax.random.fold_in(KEY, 1), expected)
    np.testing.assert_array_equal(ji.apply_sequence((noise, flip), KEY, photo), expected)


def test_equal_transforms_are_independent():
    def draw(key, image):
        return image + jax.random.uniform(key)

    one = ji.apply_sequence((draw,), KEY, jnp.zeros(()))
    two = ji.apply_sequence((draw, draw), KEY, jnp.zeros(()))
    assert float(two) != 2 * float(one)


def test_no_transforms_are_the_identity(photo):
    assert ji.apply_sequence((), KEY, photo) is photo


def test_random_apply_with_probability_0_and_1(photo):
    def negative(key, image):
        return ji.invert(image)

    np.testing.assert_array_equal(ji.RandomApply(negative, 0.0)(KEY, photo), photo)
    np.testing.assert_array_equal(ji.RandomApply(negative, 1.0)(KEY, photo), ji.invert(photo))


def test_random_apply_needs_the_shape_kept(photo):
    with pytest.raises(ValueError, match="keeps shape"):
        ji.RandomApply(ji.RandomCrop(size=(8, 8)))(KEY, photo)
    with pytest.raises(ValueError, match="probability is 2"):
        ji.RandomApply(ji.GaussianNoise(), 2)
