"""The masked mean: by hand, with masked NaN, over nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.losses import masked_mean


def test_known_values():
    values = jnp.array([1.0, 2.0, 6.0])
    assert masked_mean(values) == 3.0
    assert masked_mean(values, jnp.array([True, True, False])) == 1.5
    assert masked_mean(values, jnp.array([1.0, 0.0, 3.0])) == 4.75  # (1 + 18) / 4


def test_gradient_is_weight_over_total():
    gradient = jax.grad(masked_mean)(jnp.zeros(3), jnp.array([1.0, 0.0, 3.0]))
    np.testing.assert_allclose(gradient, [0.25, 0.0, 0.75])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_masked_entries_do_not_count_whatever_they_are(bad):
    values = jnp.array([1.0, bad, 5.0])
    value, gradient = jax.value_and_grad(masked_mean)(values, jnp.array([1, 0, 1]))
    assert value == 3.0
    np.testing.assert_array_equal(gradient, [0.5, 0.0, 0.5])


def test_nothing_counts():
    value, gradient = jax.value_and_grad(masked_mean)(jnp.array([1.0, jnp.nan]), jnp.zeros(2, bool))
    assert value == 0
    np.testing.assert_array_equal(gradient, [0, 0])
    assert masked_mean(jnp.zeros((0,))) == 0
    assert masked_mean(jnp.zeros((0, 3)), jnp.zeros((0, 3), bool)) == 0


def test_half_precision_is_summed_in_float32():
    values = jnp.full((4096,), 1.0, jnp.bfloat16)  # bfloat16 cannot count beyond 256
    mean = masked_mean(values, jnp.ones(4096, jnp.bfloat16))
    assert mean.dtype == jnp.float32
    assert mean == 1.0


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"weights has shape \[3\] but values has shape \[2, 3\]"):
        masked_mean(jnp.zeros((2, 3)), jnp.ones(3))
