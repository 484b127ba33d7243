"""Depthwise convolutions beside Flax's grouped ones."""

import doctest
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcv.models import depthwise
from jaxcv.models.depthwise import DepthwiseConv, GlobalDepthwiseConv
from tests.models.drawn_variables import draw_variables


@pytest.mark.parametrize(
    ("size", "stride"), [((8, 6), 1), ((8, 6), 2), ((7, 5), 2), ((1, 2), 1), ((1, 2), 2)]
)
def test_values_and_gradients_are_those_of_a_grouped_convolution(size, stride):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, *size, 3)), jnp.float32)
    ours = DepthwiseConv(stride=stride)
    variables = draw_variables(ours, x)
    theirs = nn.Conv(3, (3, 3), (stride, stride), padding=1, use_bias=False, feature_group_count=3)

    @jax.jit
    def both(variables, x):
        results = []
        for layer in (ours, theirs):
            y, pull_back = jax.vjp(layer.apply, variables, x)
            results.append((y, pull_back(jnp.sin(3 * y))))
        return results

    actual, wanted = both(variables, x)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5), actual, wanted)


def test_half_precision_is_summed_in_float32():
    x = jnp.ones((1, 64, 64, 1), jnp.bfloat16)
    kernel = jnp.full((3, 3, 1, 1), 1.0).at[1, 1].set(1.0 + 2**-10)

    def total(x, kernel):
        return jnp.sum(depthwise.depthwise_conv_3x3(x, kernel, 1).astype(jnp.float32))

    y = depthwise.depthwise_conv_3x3(x, kernel, 1)
    assert y.dtype == jnp.bfloat16
    by_x, by_kernel = jax.jit(jax.grad(total, argnums=(0, 1)))(x, kernel)
    assert by_x.dtype == jnp.bfloat16
    # bfloat16 would stop counting at 256.
    np.testing.assert_array_equal(by_kernel[1, 1, 0, 0], 64 * 64)
    np.testing.assert_array_equal(by_kernel[0, 1, 0, 0], 63 * 64)


def test_global_convolution_is_a_grouped_one_of_the_whole_image():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 3, 5)), jnp.float32)
    ours = GlobalDepthwiseConv()
    theirs = nn.Conv(5, (4, 3), padding="VALID", use_bias=False, feature_group_count=5)
    variables = draw_variables(ours, x)
    wanted = theirs.apply(variables, x)[:, 0, 0]
    np.testing.assert_allclose(ours.apply(variables, x), wanted, atol=1e-6)


def test_examples_run():
    result = doctest.testmod(depthwise)
    assert result.attempted
    assert not result.failed
