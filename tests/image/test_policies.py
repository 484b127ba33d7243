import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxcv import image as ji
from jaxcv.image import policies
from jaxcv.image.policies import OPERATIONS, apply_operation

KEY = jax.random.key(0)
LEVELS = (-0.5, 0.0)
STRENGTHS = ji.Strengths(
    enhance=0.8, posterize_bits=4, degrees=40.0, shear=0.2, shift_fraction=0.25
)


@pytest.fixture(scope="module")
def applied(photo):
    """Every operation at every level, [operation, level, H, W, C], from one compilation."""
    unit = ji.to_float(photo)

    # The image is an argument, not a constant: XLA would spend seconds on folding it.
    def apply(image, index, level):
        return apply_operation(image, index, level, STRENGTHS, interpolation="bilinear", fill=0.5)

    over_all = jax.vmap(jax.vmap(apply, (None, None, 0)), (None, 0, None))
    return unit, jax.jit(over_all)(unit, jnp.arange(len(OPERATIONS)), jnp.asarray(LEVELS))


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


def test_operations_are_the_plain_functions(applied):
    unit, results = applied
    expected = jax.jit(lambda image: expected_results(image, LEVELS[0]))(unit)
    assert set(expected) == set(OPERATIONS)
    for i, name in enumerate(OPERATIONS):
        np.testing.assert_allclose(results[i, 0], expected[name], atol=1e-4, err_msg=name)


def test_magnitude_zero_is_the_identity(applied):
    unit, results = applied
    for i, name in enumerate(OPERATIONS):
        if name not in ("autocontrast", "equalize"):  # these two have no strength
            np.testing.assert_allclose(results[i, 1], unit, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("policy", [ji.RandAugment(num_layers=1), ji.TrivialAugment()])
def test_every_operation_and_direction_is_drawn(policy, monkeypatch):
    def record(image, index, level, *_, **__):
        return jnp.stack([index / 16, (level + 1) / 2]).reshape(1, 2, 1)

    monkeypatch.setattr(policies, "apply_operation", record)
    keys = jax.random.split(jax.random.key(0), 3000)
    drawn = np.asarray(jax.jit(jax.vmap(policy, (0, None)))(keys, np.zeros((1, 2, 1), np.float32)))
    indices, levels = drawn[:, 0, 0, 0] * 16, drawn[:, 0, 1, 0] * 2 - 1
    counts = np.bincount(indices.astype(int), minlength=14)
    assert len(counts) == 14
    assert stats.chisquare(counts).pvalue > 0.01
    magnitudes = set(np.round(np.abs(levels) * 30, 3))
    assert magnitudes == ({9.0} if isinstance(policy, ji.RandAugment) else set(range(31)))
    for index in range(14):
        assert {-1.0, 1.0} <= set(np.sign(levels[indices == index]))


def test_no_layers_are_the_identity(photo):
    np.testing.assert_array_equal(ji.RandAugment(num_layers=0)(KEY, photo), photo)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ji.RandAugment(magnitude=31), "magnitude is 31"),
        (lambda: ji.RandAugment(num_layers=-1), "num_layers is -1"),
        (lambda: ji.RandAugment(interpolation="cubic"), "interpolation is 'cubic'"),
        (lambda: ji.TrivialAugment(fill=7.0), "fill=7.0"),
        (lambda: ji.Strengths(posterize_bits=9), "posterize_bits is 9"),
        (lambda: ji.Strengths(enhance=1.5), "enhance is 1.5"),
        (lambda: jax.eval_shape(ji.TrivialAugment(), KEY, jnp.zeros((4, 4, 4))), "channels"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
