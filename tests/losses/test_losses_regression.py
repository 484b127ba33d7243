"""Regression losses: by hand, by differences, beside PyTorch, optax and scikit-learn."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sklearn.metrics
from finite_differences import check_gradient

from jaxcv.losses import (
    euclidean_distance,
    huber,
    log_cosh,
    mean_absolute_error,
    mean_squared_error,
)

LOSSES = [mean_squared_error, mean_absolute_error, huber, log_cosh, euclidean_distance]


def draw(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, 4, 3)).astype(np.float32) * 2


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (mean_squared_error, (0.25 + 9) / 2),
        (mean_absolute_error, 3.5 / 2),
        (huber, (0.125 + 2.5) / 2),
        (log_cosh, (math.log(math.cosh(0.5)) + math.log(math.cosh(3))) / 2),
        (euclidean_distance, math.sqrt(9.25)),
    ],
)
def test_known_value(loss, expected):
    value = loss(jnp.array([[1.5, 2.0]]), jnp.array([[1.0, 5.0]]))  # errors 1/2 and -3
    np.testing.assert_allclose(value, [expected], rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_by_float64_differences(loss):
    predictions, targets = draw()
    targets[0, 0] = predictions[0, 0] + 1e-3  # a small error, beside errors of order one
    check_gradient(lambda x: loss(x, targets.astype(np.float64)), predictions, second=True)


@pytest.mark.parametrize(
    ("loss", "closed_form"),
    [
        (mean_squared_error, lambda e: 2 * e / 3),
        (mean_absolute_error, lambda e: np.sign(e) / 3),
        (functools.partial(huber, delta=0.7), lambda e: np.clip(e, -0.7, 0.7) / 3),
        (log_cosh, lambda e: np.tanh(e) / 3),
        (euclidean_distance, lambda e: e / np.linalg.norm(e, axis=-1, keepdims=True)),
    ],
)
def test_gradient_by_closed_form(loss, closed_form):
    predictions, targets = draw(1)
    gradient = jax.jit(jax.grad(lambda x: loss(x, targets).sum()))(predictions)
    np.testing.assert_allclose(gradient, closed_form(predictions - targets), atol=2e-7)


def test_parity_with_torch_optax_and_sklearn():
    predictions, targets = draw(2)
    scikit = sklearn.metrics
    np.testing.assert_allclose(
        mean_squared_error(predictions, targets).mean(),
        scikit.mean_squared_error(targets, predictions),
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        mean_absolute_error(predictions, targets).mean(),
        scikit.mean_absolute_error(targets, predictions),
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        log_cosh(predictions, targets), optax.log_cosh(predictions, targets).mean(-1), rtol=1e-5
    )
    torch = pytest.importorskip("torch")
    a, b = torch.tensor(predictions), torch.tensor(targets)
    theirs = torch.nn.functional.huber_loss(a, b, reduction="none", delta=0.7).mean(-1)
    np.testing.assert_allclose(huber(predictions, targets, delta=0.7), theirs, rtol=1e-5)
    theirs = torch.nn.functional.pairwise_distance(a, b, eps=0)
    np.testing.assert_allclose(euclidean_distance(predictions, targets), theirs, rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_finite_at_equality_and_far_away(loss):
    predictions = jnp.array([[0.0, 0.0], [1e4, -1e4], [1e15, 1.0]])
    value, gradient = jax.value_and_grad(lambda x: loss(x, jnp.zeros((3, 2))).sum())(predictions)
    assert jnp.isfinite(value)
    assert jnp.all(jnp.isfinite(gradient))
    np.testing.assert_array_equal(gradient[0], 0)
    half = loss(predictions[:2].astype(jnp.bfloat16), jnp.zeros((2, 2), jnp.bfloat16))
    assert half.dtype == jnp.float32


def test_log_cosh_and_distance_keep_their_digits():
    tiny = jnp.array([[1e-4], [1e-3]])
    np.testing.assert_allclose(log_cosh(tiny, jnp.zeros_like(tiny)), [0.5e-8, 0.5e-6], rtol=1e-6)
    far = euclidean_distance(jnp.array([[3e30, 4e30], [3e-30, 4e-30]]), jnp.zeros((2, 2)))
    np.testing.assert_allclose(far, [5e30, 5e-30], rtol=1e-6)


def test_axes():
    x = jnp.ones((2, 3, 4, 5))
    assert mean_squared_error(x, x).shape == (2,)
    assert mean_squared_error(x, x, batch_ndim=3).shape == (2, 3, 4)
    assert mean_squared_error(x[0, 0, 0], x[0, 0, 0]).shape == (5,)  # [B]: one number an example
    mapped = jax.vmap(functools.partial(huber, batch_ndim=0))(x, 3 * x)
    np.testing.assert_allclose(mapped, [1.5, 1.5])


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"predictions has shape \[2\] but targets has"):
        mean_squared_error(jnp.zeros(2), jnp.zeros((2, 1)))
    with pytest.raises(ValueError, match=r"batch_ndim is 2, but predictions have 1 axes"):
        huber(jnp.zeros(2), jnp.zeros(2), batch_ndim=2)
    with pytest.raises(ValueError, match=r"delta is 0.0"):
        huber(jnp.zeros(2), jnp.zeros(2), delta=0.0)
