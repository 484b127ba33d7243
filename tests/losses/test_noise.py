"""Noise-robust losses: by hand, by definition in NumPy, at their limits."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxcv import losses
from tests.losses.compilation import quick_jit

RNG = np.random.default_rng(0)
B, C = 6, 4
LOGITS = RNG.normal(size=(B, C)).astype(np.float32) * 2
LABELS = np.array([0, 1, 2, 3, 0, 1])
P = scipy.special.softmax(LOGITS.astype(np.float64), axis=-1)
OWN = P[np.arange(B), LABELS]
LOG_1E4 = math.log(1e-4)


def focal(p, gamma):
    return -((1 - p) ** gamma) * np.log(p)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("generalized_cross_entropy", {}, (1 - OWN**0.7) / 0.7),
        ("generalized_cross_entropy", {"q": 1.0}, 1 - OWN),
        ("generalized_cross_entropy", {"q": 0.0}, -np.log(OWN)),
        ("softmax_absolute_error", {}, 1 - OWN),
        ("symmetric_cross_entropy", {}, -0.1 * np.log(OWN) - LOG_1E4 * (1 - OWN)),
        (
            "symmetric_cross_entropy",
            {"alpha": 6.0, "beta": 0.5, "log_zero": -4.0},
            -6 * np.log(OWN) + 2 * (1 - OWN),
        ),
        ("normalized_cross_entropy", {}, np.log(OWN) / np.log(P).sum(-1)),
        ("normalized_focal_loss", {}, focal(OWN, 0.5) / focal(P, 0.5).sum(-1)),
        (
            "active_passive_loss",
            {},
            np.log(OWN) / np.log(P).sum(-1) - LOG_1E4 * (1 - OWN),
        ),
        (
            "active_passive_loss",
            {"active": "normalized_focal", "passive": "mean_absolute_error", "beta": 2.0},
            focal(OWN, 0.5) / focal(P, 0.5).sum(-1) + 2 * (1 - OWN),
        ),
        (
            "bootstrapped_cross_entropy",
            {},
            -0.95 * np.log(OWN) - 0.05 * (P * np.log(P)).sum(-1),
        ),
        (
            "bootstrapped_cross_entropy",
            {"target": "hard", "beta": 0.8},
            -0.8 * np.log(OWN) - 0.2 * np.log(P.max(-1)),
        ),
    ],
)
def test_value_by_definition(name, options, expected):
    loss = quick_jit(lambda z: getattr(losses, name)(z, LABELS, **options))
    np.testing.assert_allclose(loss(LOGITS), expected, rtol=1e-5, atol=1e-6)


def test_known_values():
    """p = 3/4 for the label, of two classes."""
    logits, label = np.array([[0.0, math.log(3.0)]], np.float32), np.array([1])
    gce, nce, error = quick_jit(
        lambda z: (
            losses.generalized_cross_entropy(z, label, q=0.5),
            losses.normalized_cross_entropy(z, label),
            losses.softmax_absolute_error(z, label),
        )
    )(logits)
    np.testing.assert_allclose(gce, 2 - math.sqrt(3), rtol=1e-5)
    np.testing.assert_allclose(nce, math.log(4 / 3) / (math.log(4 / 3) + math.log(4)), rtol=1e-5)
    np.testing.assert_allclose(error, 0.25, rtol=1e-5)


def test_generalized_cross_entropy_tends_to_cross_entropy():
    plain = losses.softmax_cross_entropy(LOGITS, LABELS)
    near = losses.generalized_cross_entropy(LOGITS, LABELS, q=1e-6)
    np.testing.assert_allclose(near, plain, rtol=1e-4)
    q = jnp.float32(0.0)  # a traced q may be 0, too
    at = quick_jit(lambda q: losses.generalized_cross_entropy(LOGITS, LABELS, q=q))(q)
    np.testing.assert_allclose(at, plain, rtol=1e-6)


def test_generalized_cross_entropy_has_the_gradient_of_its_formula():
    """p^q (softmax - y): also where p is far below 1e-7, at which peers clip."""
    logits = np.array([[0.0, 3.0], [0.0, 30.0], [0.0, 60.0], [0.0, 1e4]], np.float32)
    labels = np.zeros(4, int)
    loss = losses.generalized_cross_entropy
    gradient = quick_jit(jax.grad(lambda z: loss(z, labels).sum()))(logits)
    z = logits.astype(np.float64)
    p = scipy.special.softmax(z, axis=-1)
    expected = p[:, :1] ** 0.7 * (p - np.eye(2)[labels])
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-30)


def test_robust_losses_sum_to_a_constant_over_the_labels():
    """The symmetry that makes a loss robust to noise (Ghosh et al. 2017, theorem 1)."""
    every = np.broadcast_to(np.arange(C), (B, C))
    logits = np.broadcast_to(LOGITS[:, None, :], (B, C, C))
    error, normalized = quick_jit(
        lambda z: (
            losses.softmax_absolute_error(z, every).sum(-1),
            losses.normalized_focal_loss(z, every).sum(-1),
        )
    )(logits)
    np.testing.assert_allclose(error, C - 1, rtol=1e-5)
    np.testing.assert_allclose(normalized, 1, rtol=1e-5)


def test_early_learning_by_hand():
    """p = (1/4, 3/4), t = (0, 1/2): log(1 - 3/8)."""
    logits, labels = jnp.array([[0.0, math.log(3.0)]]), jnp.array([0])
    targets = jnp.array([[0.0, 0.5]])
    loss = losses.early_learning_loss(logits, labels, targets, strength=2.0)
    np.testing.assert_allclose(loss, [math.log(4) + 2 * math.log(5 / 8)], rtol=1e-5)
    updated = losses.update_early_learning_targets(targets, logits, momentum=0.5)
    np.testing.assert_allclose(updated, [[0.125, 0.625]], rtol=1e-6)
    agreed = losses.early_learning_loss(jnp.array([[0.0, 1e4]]), labels + 1, jnp.array([[0, 1.0]]))
    np.testing.assert_allclose(agreed, [3 * LOG_1E4], rtol=1e-5)


def test_early_learning_gradient_by_closed_form():
    """Liu et al. 2020: p - y + strength g with g_c = p_c / (1 - <p, t>) sum_k (t_k - t_c) p_k."""
    targets = RNG.dirichlet(np.ones(C), B).astype(np.float32) * 0.8
    gradient, to_targets, to_update = quick_jit(
        lambda z, t: (
            *jax.grad(lambda z, t: losses.early_learning_loss(z, LABELS, t).sum(), (0, 1))(z, t),
            jax.grad(lambda z: losses.update_early_learning_targets(t, z).sum())(z),
        )
    )(LOGITS, targets)
    inner = (P * targets).sum(-1, keepdims=True)
    g = P / (1 - inner) * (inner - targets)
    np.testing.assert_allclose(gradient, P - np.eye(C)[LABELS] + 3 * g, atol=1e-5)
    np.testing.assert_array_equal(to_targets, 0)
    np.testing.assert_array_equal(to_update, 0)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"q is -0.1, but must be in \[0.0, 1.0\]"):
        losses.generalized_cross_entropy(LOGITS, LABELS, q=-0.1)
    with pytest.raises(ValueError, match=r"log_zero is 0.0"):
        losses.symmetric_cross_entropy(LOGITS, LABELS, log_zero=0.0)
    with pytest.raises(ValueError, match=r"alpha is -1"):
        losses.symmetric_cross_entropy(LOGITS, LABELS, alpha=-1.0)
    with pytest.raises(ValueError, match=r"gamma is -1"):
        losses.normalized_focal_loss(LOGITS, LABELS, gamma=-1.0)
    with pytest.raises(ValueError, match=r"active is 'ce'"):
        losses.active_passive_loss(LOGITS, LABELS, active="ce")
    with pytest.raises(ValueError, match=r"passive is 'mae'"):
        losses.active_passive_loss(LOGITS, LABELS, passive="mae")
    with pytest.raises(ValueError, match=r"target is 'both'"):
        losses.bootstrapped_cross_entropy(LOGITS, LABELS, target="both")
    with pytest.raises(ValueError, match=r"beta is 2"):
        losses.bootstrapped_cross_entropy(LOGITS, LABELS, beta=2.0)
    with pytest.raises(ValueError, match=r"labels have dtype float32, but integers"):
        losses.normalized_cross_entropy(LOGITS, LOGITS)
    with pytest.raises(ValueError, match=r"targets has shape \[6, 3\] but logits has"):
        losses.early_learning_loss(LOGITS, LABELS, LOGITS[:, :3])
    with pytest.raises(ValueError, match=r"momentum is 1.5"):
        losses.update_early_learning_targets(LOGITS, LOGITS, momentum=1.5)
