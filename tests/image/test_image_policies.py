import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv import image as ji
from jaxcv.image.policies import OPERATIONS, apply_operation

LEVELS = (-1.0, 0.0, 0.5)
STRENGTHS = ji.Strengths(
    enhance=0.8, posterize_bits=4, degrees=40.0, shear=0.2, shift_fraction=0.25
)


@pytest.fixture(scope="module")
def applied(photo):
    """Every operation at every level, [operation, level, H, W, C], from one compilation."""
    unit = ji.to_float(photo)

    def apply(index, level):
        return apply_operation(unit, index, level, STRENGTHS, interpolation="bilinear", fill=0.5)

    over_levels = jax.vmap(apply, (None, 0))
    return unit, jax.jit(jax.vmap(over_levels, (0, None)))(
        jnp.arange(len(OPERATIONS)), jnp.asarray(LEVELS)
    )


def expected_results(image, level):
    """What each operation means, by the plain functions."""
    factor, size = 1 + 0.8 * level, image.shape[:2]
    move = {
        "rotate": ji.affine_matrix(size, degrees=40 * level),
        "shear_x": ji.affine_matrix(size, shear=(0.2 * level, 0.0)),
        "shear_y": ji.affine_matrix(size, shear=(0.0, 0.2 * level)),
        "translate_x": ji.translation_matrix(14 * level, 0),
        "translate_y": ji.translation_matrix(0, 10 * level),
    }
    return {
        "identity": image,
        "autocontrast": ji.autocontrast(image),
        "equalize": ji.equalize(image),
        "posterize": ji.posterize(image, 8 - round(4 * abs(level))),
        "solarize": ji.solarize(image, (1 - abs(level)) * 256 / 255),
        "brightness": ji.adjust_brightness(image, factor),
        "contrast": ji.adjust_contrast(image, factor),
        "saturation": ji.adjust_saturation(image, factor),
        "sharpness": ji.adjust_sharpness(image, factor),
        **{name: ji.warp(image, matrix, fill=0.5) for name, matrix in move.items()},
    }


@pytest.mark.parametrize("level", LEVELS)
def test_operations_are_the_plain_functions(applied, level):
    unit, results = applied
    expected = jax.jit(lambda image: expected_results(image, level))(unit)
    assert set(expected) == set(OPERATIONS)
    for i, name in enumerate(OPERATIONS):
        ours = results[i, LEVELS.index(level)]
        np.testing.assert_allclose(ours, expected[name], atol=1e-4, err_msg=name)


def test_magnitude_zero_is_the_identity(applied):
    unit, results = applied
    for i, name in enumerate(OPERATIONS):
        if name not in ("autocontrast", "equalize"):  # these two have no strength
            np.testing.assert_allclose(results[i, 1], unit, atol=1e-6, err_msg=name)


def test_every_operation_and_direction_is_drawn(photo):
    policy = ji.RandAugment(num_layers=1, magnitude=20.0)
    small = photo[10:30, 10:30]
    keys = jax.random.split(jax.random.key(0), 300)
    results = jax.jit(jax.vmap(lambda key: policy(key, small)))(keys)
    # Nine of the fourteen have two directions.
    assert len({np.asarray(result).tobytes() for result in results}) == 14 + 9


def test_no_layers_are_the_identity(photo):
    np.testing.assert_array_equal(ji.RandAugment(num_layers=0)(jax.random.key(0), photo), photo)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ji.RandAugment(magnitude=31), "magnitude=31"),
        (lambda: ji.RandAugment(num_layers=-1), "num_layers=-1"),
        (lambda: ji.RandAugment(interpolation="cubic"), "interpolation='cubic'"),
        (lambda: ji.TrivialAugment(fill=7.0), "fill=7.0"),
        (lambda: ji.Strengths(posterize_bits=9), "posterize_bits=9"),
        (lambda: ji.Strengths(enhance=1.5), "enhance=1.5"),
        (lambda: ji.TrivialAugment()(jax.random.key(0), jnp.zeros((4, 4, 4))), "channels"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
