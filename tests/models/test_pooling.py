"""Pooling beside Flax's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcv.models.pooling import global_average_pool, max_pool, max_pool_2x2


@pytest.fixture(params=["cpu", "tpu"])
def backend(request, monkeypatch):
    """Both forms, whatever this machine is."""
    monkeypatch.setattr(jax, "default_backend", lambda: request.param)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("size", [(6, 8), (7, 5), (2, 3)])
def test_max_pool_is_flax_max_pool(size):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, *size, 3)), jnp.float32)

    def theirs(x):
        return nn.max_pool(x, (2, 2), strides=(2, 2), padding="VALID")

    results = [
        jax.jit(jax.value_and_grad(lambda x, f=f: (jnp.sum(f(x) ** 2), f(x)), has_aux=True))(x)
        for f in (max_pool_2x2, theirs)
    ]
    ((_, ours), our_gradient), ((_, wanted), wanted_gradient) = results
    np.testing.assert_array_equal(ours, wanted)
    np.testing.assert_array_equal(our_gradient, wanted_gradient)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize(
    ("size", "stride", "padding", "shape"),
    [
        (3, 2, 1, (8, 9)),
        (3, 2, 1, (7, 4)),
        (2, 2, 0, (5, 6)),
        (3, 1, 1, (4, 5)),
        (5, 3, 2, (11, 9)),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_max_pool_of_any_window_is_flax_max_pool(size, stride, padding, shape, dtype):
    # All different, so that there are no ties.
    x = np.random.default_rng(0).permutation(2 * shape[0] * shape[1]).reshape(1, *shape, 2)
    x = jnp.asarray(x - shape[0] * shape[1], dtype)

    def theirs(x):
        return nn.max_pool(x, (size, size), (stride, stride), ((padding, padding),) * 2)

    results = [
        jax.jit(jax.value_and_grad(lambda x, f=f: (jnp.sum(jnp.sin(f(x))), f(x)), has_aux=True))(x)
        for f in (lambda x: max_pool(x, size, stride, padding), theirs)
    ]
    ((_, ours), our_gradient), ((_, wanted), wanted_gradient) = results
    np.testing.assert_array_equal(ours, wanted)
    tolerance = 1e-6 if dtype == "float32" else 2e-2
    ours, wanted = (np.asarray(g, np.float32) for g in (our_gradient, wanted_gradient))
    np.testing.assert_allclose(ours, wanted, rtol=tolerance, atol=tolerance)


def test_a_tpu_pools_by_its_own_instruction(monkeypatch):
    def primitives():
        jaxpr = jax.make_jaxpr(lambda x: (max_pool_2x2(x), max_pool(x, 3, 2, 1)))(x)
        return [equation.primitive.name for equation in jaxpr.eqns]

    x = jnp.ones((1, 4, 4, 1))
    assert "reduce_window_max" not in primitives()
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert primitives() == ["reduce_window_max"] * 2


def test_ties_share_the_gradient():
    gradient = jax.grad(lambda x: jnp.sum(max_pool_2x2(x)))(jnp.ones((1, 2, 2, 1)))
    np.testing.assert_allclose(gradient, 0.25)


def test_average_of_half_precision_is_taken_in_float32():
    x = jnp.ones((1, 32, 32, 1), jnp.bfloat16).at[0, 0, 0].set(5.0)
    mean = global_average_pool(x)
    assert mean.dtype == jnp.float32
    np.testing.assert_allclose(mean, 1 + 4 / 1024, rtol=1e-6)
