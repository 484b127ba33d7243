"""Regression losses: by hand, by differences, beside PyTorch, optax and scikit-learn."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sklearn.metrics

from jaxcv.losses import (
    euclidean_distance,
    huber,
    log_cosh,
    mean_absolute_error,
    mean_squared_error,
)
from tests.losses.compilation import quick_jit
from tests.losses.finite_differences import check_gradient

LOSSES = [mean_squared_error, mean_absolute_error, huber, log_cosh, euclidean_distance]


def draw(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, 4, 3)).astype(np.float32) * 2


def test_known_values():
    values = quick_jit(lambda p, t: [loss(p, t) for loss in LOSSES])(
        np.array([[1.5, 2.0]], np.float32), np.array([[1.0, 5.0]], np.float32)
    )  # errors 1/2 and -3
    expected = [
        (0.25 + 9) / 2,
        3.5 / 2,
        (0.125 + 2.5) / 2,
        (math.log(math.cosh(0.5)) + math.log(math.cosh(3))) / 2,
        math.sqrt(9.25),
    ]
    np.testing.assert_allclose(np.ravel(values), expected, rtol=1e-6)


def test_gradients_by_float64_differences():
    predictions, targets = draw()
    targets[0, 0] = predictions[0, 0] + 1e-3  # a small error, beside errors of order one
    factors = np.sqrt(np.arange(1.0, len(LOSSES) + 1))[:, None]
    check_gradient(
        lambda x: factors * jnp.stack([loss(x, targets.astype(np.float64)) for loss in LOSSES]),
        predictions,
        second=True,
    )


def test_gradients_by_closed_form():
    predictions, targets = draw(1)
    error = predictions - targets
    closed_forms = {
        mean_squared_error: 2 * error / 3,
        mean_absolute_error: np.sign(error) / 3,
        functools.partial(huber, delta=0.7): np.clip(error, -0.7, 0.7) / 3,
        log_cosh: np.tanh(error) / 3,
        euclidean_distance: error / np.linalg.norm(error, axis=-1, keepdims=True),
    }
    gradients = quick_jit(
        lambda x: [jax.grad(lambda x, f=f: f(x, targets).sum())(x) for f in closed_forms]
    )(predictions)
    for gradient, (loss, expected) in zip(gradients, closed_forms.items()):
        np.testing.assert_allclose(gradient, expected, atol=2e-7, err_msg=str(loss))


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


def test_finite_at_equality_and_far_away():
    predictions = np.array([[0.0, 0.0], [1e4, -1e4], [1e15, 1.0]], np.float32)

    @quick_jit
    def of_all(x):
        zero = jnp.zeros_like(x)
        return [jax.value_and_grad(lambda x, f=f: f(x, zero).sum())(x) for f in LOSSES]

    for dtype in ("float32", "bfloat16"):
        for loss, (value, gradient) in zip(LOSSES, of_all(jnp.asarray(predictions, dtype))):
            assert value.dtype == jnp.float32
            assert gradient.dtype == dtype
            assert jnp.isfinite(value), loss
            assert np.all(np.isfinite(gradient.astype(jnp.float32))), loss
            np.testing.assert_array_equal(gradient[0].astype(jnp.float32), 0, err_msg=str(loss))


def test_log_cosh_and_distance_keep_their_digits():
    tiny = jnp.array([[1e-4], [1e-3]])
    np.testing.assert_allclose(log_cosh(tiny, jnp.zeros_like(tiny)), [0.5e-8, 0.5e-6], rtol=1e-6)
    far = euclidean_distance(jnp.array([[3e30, 4e30], [3e-30, 4e-30]]), jnp.zeros((2, 2)))
    np.testing.assert_allclose(far, [5e30, 5e-30], rtol=1e-6)


def test_axes():
    x = jax.ShapeDtypeStruct((2, 3, 4, 5), jnp.float32)
    one = jax.ShapeDtypeStruct((5,), jnp.float32)  # [B]: one number an example
    for loss in LOSSES:
        assert jax.eval_shape(loss, x, x).shape == (2,)
        assert jax.eval_shape(functools.partial(loss, batch_ndim=3), x, x).shape == (2, 3, 4)
        assert jax.eval_shape(loss, one, one).shape == (5,)
    ones = jnp.ones((2, 3))
    mapped = jax.vmap(functools.partial(huber, batch_ndim=0))(ones, 3 * ones)
    np.testing.assert_allclose(mapped, [1.5, 1.5])


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"predictions has shape \[2\] but targets has"):
        mean_squared_error(jnp.zeros(2), jnp.zeros((2, 1)))
    with pytest.raises(ValueError, match=r"batch_ndim is 2, but predictions have 1 axes"):
        huber(jnp.zeros(2), jnp.zeros(2), batch_ndim=2)
    with pytest.raises(ValueError, match=r"delta is 0.0"):
        huber(jnp.zeros(2), jnp.zeros(2), delta=0.0)
