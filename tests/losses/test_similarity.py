"""Distances and lengths: digits of close points, gradients at zero, memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.losses.similarity import (
    EMPTY,
    embedding_norm,
    l2_normalize,
    log_sum_exp,
    pairwise_cosine,
    pairwise_distance,
    pairwise_squared_distance,
)
from tests.losses.finite_differences import check_gradient

ROWS = np.random.default_rng(0).normal(size=(4, 3))


def test_close_points_keep_their_digits():
    """|a|^2 + |b|^2 - 2ab would give 0 or noise: the squares are 30,000, the distance 0.0002."""
    first = jnp.full((1, 3), 100.0)
    second = first + jnp.array([[0.0001220703125, 0.0, 0.0], [0.0, 0.0, 0.0]])  # 2^-13
    np.testing.assert_allclose(pairwise_distance(first, second), [[2**-13, 0.0]], rtol=1e-6)


def test_distances_have_exact_first_and_second_derivatives():
    check_gradient(
        lambda x: pairwise_squared_distance(x, jnp.asarray(ROWS)[:2]) ** 2, ROWS, second=True
    )
    check_gradient(lambda x: pairwise_distance(x, x[::-1] + 1), ROWS, tolerance=1e-6)


def test_zero_rows_have_gradient_zero():
    x = jnp.array([[0.0, 0.0], [3.0, 4.0]])
    np.testing.assert_allclose(l2_normalize(x), [[0, 0], [0.6, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(embedding_norm(x), [0, 5], rtol=1e-6)
    for function in (l2_normalize, embedding_norm, lambda x: pairwise_cosine(x, x)):
        slope = jax.jacobian(function)(x)
        assert np.isfinite(slope).all()
    assert not np.any(jax.grad(lambda x: embedding_norm(x).sum())(x)[0])
    short = l2_normalize(jnp.array([[1e-10, 0.0]]))  # Short, but a direction.
    np.testing.assert_allclose(short, [[1.0, 0.0]], rtol=1e-6)


def test_log_sum_exp_of_some_and_of_none():
    x = jnp.array([[1e4, 1.0, 1e4], [-1e4, 0.0, 0.0], [1.0, 2.0, 3.0]])
    where = jnp.array([[True, False, True], [True, False, False], [False] * 3])
    values = log_sum_exp(x, where)
    np.testing.assert_allclose(values, [1e4 + np.log(2), -1e4, EMPTY], rtol=1e-6)
    slope = jax.grad(lambda x: log_sum_exp(x, where).sum())(x)
    np.testing.assert_allclose(slope, [[0.5, 0, 0.5], [1, 0, 0], [0, 0, 0]], rtol=1e-6)


@pytest.mark.fused_sums
def test_nothing_of_the_size_of_all_differences_is_stored():
    n, d = 256, 64
    run = jax.jit(jax.grad(lambda x: jnp.sum(jnp.sin(pairwise_squared_distance(x, x)))))
    compiled = run.lower(jax.ShapeDtypeStruct((n, d), jnp.float32)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * n * n * d / 8


def test_half_precision_goes_up():
    half = functools.partial(jnp.asarray, dtype=jnp.bfloat16)
    for function in (l2_normalize, embedding_norm):
        assert function(half(ROWS)).dtype == jnp.float32
    assert pairwise_distance(half(ROWS), half(ROWS)).dtype == jnp.float32
