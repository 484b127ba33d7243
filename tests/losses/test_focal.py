"""Focal, poly-1 and asymmetric losses: by hand, at their limits, beside optax, Keras, PyTorch."""

import math
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcv.losses import (
    asymmetric_loss,
    poly1_cross_entropy,
    sigmoid_cross_entropy,
    sigmoid_focal_loss,
    softmax_cross_entropy,
    softmax_focal_loss,
)
from tests.losses.compilation import quick_jit

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 4)).astype(np.float32) * 2
LABELS = RNG.integers(0, 4, 6)
BINARY = RNG.integers(0, 2, (6, 4))
LOG3 = math.log(3.0)


def test_known_values():
    """p = 3/4 at logit log 3."""
    pair = jnp.array([[0.0, LOG3]])
    label = jnp.array([1])
    surprisal = math.log(4 / 3)
    np.testing.assert_allclose(softmax_focal_loss(pair, label), surprisal / 16, rtol=1e-5)
    np.testing.assert_allclose(
        softmax_focal_loss(pair, label, gamma=0.5, class_weights=jnp.array([9.0, 2.0])),
        2 * 0.5 * surprisal,
        rtol=1e-5,
    )
    np.testing.assert_allclose(poly1_cross_entropy(pair, label), surprisal + 2 / 4, rtol=1e-5)
    single, yes, no = jnp.array([LOG3]), jnp.ones(1), jnp.zeros(1)
    np.testing.assert_allclose(
        sigmoid_focal_loss(single, yes, alpha=0.25), 0.25 / 16 * surprisal, rtol=1e-5
    )
    np.testing.assert_allclose(
        sigmoid_focal_loss(single, no, alpha=0.25), 0.75 * 9 / 16 * math.log(4), rtol=1e-5
    )
    np.testing.assert_allclose(asymmetric_loss(single, yes), surprisal / 4, rtol=1e-5)
    np.testing.assert_allclose(asymmetric_loss(single, no), -(0.7**4) * math.log(0.3), rtol=1e-5)
    # A negative at p = 1/28 lies below the shift of 1/20.
    np.testing.assert_array_equal(asymmetric_loss(-3 * single, no), 0)


def test_limits_are_cross_entropy():
    @quick_jit
    def pairs(z):
        cross_entropy = softmax_cross_entropy(z, LABELS)
        asymmetric = asymmetric_loss(z, BINARY, gamma_positive=2.0, gamma_negative=2.0, shift=0.0)
        return {
            "focal": (softmax_focal_loss(z, LABELS, gamma=0.0), cross_entropy),
            "poly-1": (poly1_cross_entropy(z, LABELS, epsilon=0.0), cross_entropy),
            "dense": (
                softmax_focal_loss(z, jax.nn.one_hot(LABELS, 4)),
                softmax_focal_loss(z, LABELS),
            ),
            "binary": (
                sigmoid_focal_loss(z, BINARY, gamma=0.0),
                sigmoid_cross_entropy(z, BINARY),
            ),
            "asymmetric": (asymmetric, sigmoid_focal_loss(z, BINARY, gamma=2.0)),
        }

    for name, (found, expected) in pairs(LOGITS).items():
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6, err_msg=name)


def test_gradient_by_closed_form():
    """With s = -log p: ((1 - p)^g + g (1 - p)^(g - 1) p s) (softmax(z) - y)."""
    gamma = 1.7
    gradient = quick_jit(jax.grad(lambda z: softmax_focal_loss(z, LABELS, gamma=gamma).sum()))(
        LOGITS
    )
    z = LOGITS.astype(np.float64)
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    own = p[np.arange(6), LABELS][:, None]
    slope = (1 - own) ** gamma - gamma * (1 - own) ** (gamma - 1) * own * np.log(own)
    np.testing.assert_allclose(gradient, slope * (p - np.eye(4)[LABELS]), atol=1e-6)


def test_gradients_fade_for_certain_examples():
    """Where p rounds to 1, a plain (1 - p)^gamma with gamma < 1 has gradient inf * 0."""
    logits = jnp.array([[200.0, 0.0], [20.0, 0.0], [1e4, -1e4]])
    labels = jnp.zeros(3, jnp.int32)

    @quick_jit
    def gradients(gamma):
        return (
            jax.grad(lambda z: softmax_focal_loss(z, labels, gamma=gamma).sum())(logits),
            jax.grad(lambda z: sigmoid_focal_loss(z, 1.0 - labels, gamma=gamma).sum())(
                logits[:, 0]
            ),
        )

    for gamma in (0.0, 0.3, 0.5, 1.0, 2.0, 5.0):
        for gradient in gradients(gamma):
            np.testing.assert_allclose(gradient, 0, atol=1e-7, err_msg=str(gamma))


def test_parity_with_optax():
    theirs = optax.sigmoid_focal_loss(
        jnp.asarray(LOGITS), jnp.asarray(BINARY), alpha=0.25, gamma=2.0
    )
    np.testing.assert_allclose(
        sigmoid_focal_loss(LOGITS, BINARY, alpha=0.25), theirs, rtol=1e-4, atol=1e-7
    )
    theirs = optax.losses.poly_loss_cross_entropy(LOGITS, jax.nn.one_hot(LABELS, 4), epsilon=1.5)
    np.testing.assert_allclose(poly1_cross_entropy(LOGITS, LABELS, epsilon=1.5), theirs, rtol=1e-5)


@pytest.mark.slow
def test_parity_with_keras():
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    theirs = keras.losses.CategoricalFocalCrossentropy(
        alpha=1.0, gamma=2.0, from_logits=True, reduction=None
    )(jax.nn.one_hot(LABELS, 4), LOGITS)
    np.testing.assert_allclose(softmax_focal_loss(LOGITS, LABELS), theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_asymmetric_loss_and_gradient_beside_torch(dtype):
    torch = pytest.importorskip("torch")
    logits = np.asarray(jnp.asarray(LOGITS, dtype).astype(jnp.float32))
    z, y = torch.tensor(logits, requires_grad=True), torch.tensor(BINARY)
    p = torch.sigmoid(z)
    shifted = (p - 0.05).clamp(min=0)
    theirs = -y * (1 - p) * torch.log(p) - (1 - y) * shifted**4 * torch.log(1 - shifted)
    theirs.sum().backward()
    given = jnp.asarray(logits, dtype)
    ours, gradient = quick_jit(
        lambda z: (
            asymmetric_loss(z, BINARY),
            jax.grad(lambda z: asymmetric_loss(z, BINARY).sum())(z),
        )
    )(given)
    np.testing.assert_allclose(ours, theirs.detach(), rtol=1e-4, atol=1e-6)
    tolerance = 1e-4 if dtype == "float32" else 2**-7
    np.testing.assert_allclose(gradient.astype(jnp.float32), z.grad, rtol=tolerance, atol=1e-5)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"gamma is -1"):
        softmax_focal_loss(LOGITS, LABELS, gamma=-1.0)
    with pytest.raises(ValueError, match=r"gamma is -1"):
        sigmoid_focal_loss(LOGITS, BINARY, gamma=-1.0)
    with pytest.raises(ValueError, match=r"alpha is 1.5"):
        sigmoid_focal_loss(LOGITS, BINARY, alpha=1.5)
    with pytest.raises(ValueError, match=r"class_weights has shape \[3\], but \[4\]"):
        softmax_focal_loss(LOGITS, LABELS, class_weights=jnp.ones(3))
    with pytest.raises(ValueError, match=r"ignore_label is 0, but labels are dense"):
        softmax_focal_loss(LOGITS, np.abs(LOGITS), ignore_label=0)
    with pytest.raises(ValueError, match=r"epsilon is -2"):
        poly1_cross_entropy(LOGITS, LABELS, epsilon=-2.0)
    with pytest.raises(ValueError, match=r"gamma_negative is -1"):
        asymmetric_loss(LOGITS, BINARY, gamma_negative=-1.0)
    with pytest.raises(ValueError, match=r"shift is 1.0, but must be in \[0.0, 1.0\)"):
        asymmetric_loss(LOGITS, BINARY, shift=1.0)
