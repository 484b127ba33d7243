"""Sigmoid cross-entropy: by hand, by differences, beside PyTorch and optax."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcv.losses import sigmoid_cross_entropy
from tests.losses.compilation import quick_jit
from tests.losses.finite_differences import check_gradient


def draw(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(4, 3)).astype(np.float32) * 3, rng.integers(0, 2, (4, 3))


@functools.partial(quick_jit, static_argnames=("ignore_label",))
def value_and_gradient(logits, labels, **options):
    value, pull = jax.vjp(lambda z: sigmoid_cross_entropy(z, labels, **options), logits)
    return value, pull(jnp.ones_like(value))[0]


def test_known_values():
    # sigmoid(log 3) = 3/4.
    logits = jnp.full(3, math.log(3.0))
    value, gradient = value_and_gradient(logits, jnp.array([1.0, 0.0, 0.5]))
    log4 = math.log(4)
    np.testing.assert_allclose(value, [log4 - math.log(3), log4, log4 - math.log(3) / 2], rtol=1e-6)
    np.testing.assert_allclose(gradient, [-0.25, 0.75, 0.25], rtol=1e-6)
    value, gradient = value_and_gradient(
        logits, jnp.array([1.0, 0.0, 0.5]), positive_weight=2.0, label_smoothing=0.2
    )
    # y = (.9, .1, .5): loss = -2 y log(3/4) - (1 - y) log(1/4); gradient 3/4 (1 - y) - 2/4 y.
    by_hand = [2 * y * math.log(4 / 3) + (1 - y) * log4 for y in (0.9, 0.1, 0.5)]
    np.testing.assert_allclose(value, by_hand, rtol=1e-6)
    np.testing.assert_allclose(
        gradient, [0.75 * (1 - y) - 0.5 * y for y in (0.9, 0.1, 0.5)], rtol=1e-5
    )


def test_gradient_by_float64_differences():
    logits, labels = draw()
    logits[0, 0] = 0.0  # where max(z, 0) and |z| have kinks that must cancel
    options = {"positive_weight": jnp.array([0.5, 1.0, 4.0]), "label_smoothing": 0.1}
    check_gradient(lambda z: sigmoid_cross_entropy(z, labels, **options), logits, second=True)

    def of_settings(x):
        return sigmoid_cross_entropy(
            jnp.asarray(logits, jnp.float64), x[:4], positive_weight=x[4], label_smoothing=x[5, 0]
        )

    point = np.concatenate([np.random.default_rng(1).random((4, 3)), [[1, 2, 3], [0.1, 0, 0]]])
    check_gradient(of_settings, point)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_parity_with_torch(dtype):
    torch = pytest.importorskip("torch")
    logits, labels = draw(1)
    logits = np.asarray(jnp.asarray(logits, dtype).astype(jnp.float32))
    weight = np.array([0.5, 1.0, 4.0], np.float32)
    z = torch.tensor(logits, requires_grad=True)
    theirs = torch.nn.functional.binary_cross_entropy_with_logits(
        z, torch.tensor(labels).float(), pos_weight=torch.tensor(weight), reduction="none"
    )
    theirs.sum().backward()
    ours, gradient = value_and_gradient(
        jnp.asarray(logits, dtype), labels, positive_weight=jnp.asarray(weight)
    )
    assert ours.dtype == jnp.float32
    assert gradient.dtype == dtype
    np.testing.assert_allclose(ours, theirs.detach(), rtol=1e-5, atol=1e-6)
    tolerance = 1e-6 if dtype == "float32" else 2**-8
    np.testing.assert_allclose(gradient.astype(jnp.float32), z.grad, atol=1e-6, rtol=tolerance)


def test_parity_with_optax():
    logits, labels = draw(2)
    ours, _ = value_and_gradient(logits, labels)
    theirs = optax.sigmoid_binary_cross_entropy(jnp.asarray(logits), jnp.asarray(labels))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_two_class_softmax_is_the_same_loss():
    from jaxcv.losses import softmax_cross_entropy

    logits, labels = draw(3)
    pair = jnp.stack([jnp.zeros_like(logits), jnp.asarray(logits)], axis=-1)
    ours, _ = value_and_gradient(logits, labels)
    np.testing.assert_allclose(ours, softmax_cross_entropy(pair, labels), rtol=1e-5, atol=1e-6)


def test_extremes_ignored_labels_and_precision():
    logits = np.array([1e4, -1e4, 1e4, np.nan, 20.0], np.float32)
    labels = np.array([1, 1, 0, -1, 1])
    for dtype in ("float32", "bfloat16"):
        value, gradient = value_and_gradient(jnp.asarray(logits, dtype), labels, ignore_label=-1)
        expected = [0, float(jnp.asarray(1e4, dtype)), float(jnp.asarray(1e4, dtype)), 0]
        np.testing.assert_allclose(value[:4], expected, rtol=1e-6)
        np.testing.assert_array_equal(gradient[:4].astype(jnp.float32), [0, -1, 1, 0])
    # log(1 + exp(-20)) is far below float32's resolution of 20, and yet exact.
    np.testing.assert_allclose(value[4], math.exp(-20), rtol=1e-5)


def test_bad_input_is_named():
    logits, labels = draw()
    with pytest.raises(ValueError, match=r"labels has shape \[4\] but logits has shape \[4, 3\]"):
        sigmoid_cross_entropy(logits, labels[:, 0])
    with pytest.raises(ValueError, match=r"logits have dtype int"):
        sigmoid_cross_entropy(labels, labels)
    with pytest.raises(ValueError, match=r"positive_weight has shape \[4\]"):
        sigmoid_cross_entropy(logits, labels, positive_weight=jnp.ones(4))
    with pytest.raises(ValueError, match=r"positive_weight has shape \[2, 4, 3\]"):
        sigmoid_cross_entropy(logits, labels, positive_weight=jnp.ones((2, 4, 3)))
    with pytest.raises(ValueError, match=r"positive_weight is -1"):
        sigmoid_cross_entropy(logits, labels, positive_weight=-1.0)
    with pytest.raises(ValueError, match=r"label_smoothing is 2"):
        sigmoid_cross_entropy(logits, labels, label_smoothing=2.0)
