"""Long-tailed losses: by hand, by definition in NumPy, at their limits."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxcv import losses
from tests.losses.compilation import quick_jit
from tests.losses.finite_differences import check_gradient

RNG = np.random.default_rng(0)
B, C = 6, 4
LOGITS = RNG.normal(size=(B, C)).astype(np.float32) * 2
LABELS = np.array([0, 1, 2, 3, 0, 1])
BINARY = RNG.integers(0, 2, (B, C))
COUNTS = np.array([1000, 100, 10, 1])


def cross_entropy(z, labels):
    return -scipy.special.log_softmax(z, axis=-1)[np.arange(len(z)), labels]


def test_count_classes():
    labels = jnp.array([[0, 2, 2], [255, -1, 7]])
    np.testing.assert_array_equal(losses.count_classes(labels, 4), [1, 0, 2, 0])
    np.testing.assert_array_equal(losses.count_classes(labels, 4, ignore_label=2), [1, 0, 0, 0])


def test_class_balanced_weights():
    # beta = 1/2: 1 / (1 - 1/2) = 2 and 1 / (1 - 1/8) = 8/7, halved: 1 and 4/7, which sum to 11/7.
    weights = losses.class_balanced_weights(jnp.array([1, 3]), beta=0.5)
    np.testing.assert_allclose(weights, [14 / 11, 8 / 11], rtol=1e-6)
    np.testing.assert_allclose(losses.class_balanced_weights(COUNTS, beta=0.0), 1, rtol=1e-6)
    weights = losses.class_balanced_weights(COUNTS)
    exact = (1 - 0.9999) / (1 - 0.9999 ** COUNTS.astype(np.float64))
    np.testing.assert_allclose(weights, exact * C / exact.sum(), rtol=1e-5)
    inverse = losses.class_balanced_weights(COUNTS, beta=1 - 1e-12)
    np.testing.assert_allclose(inverse, (1 / COUNTS) * C / (1 / COUNTS).sum(), rtol=1e-3)
    np.testing.assert_allclose(losses.class_balanced_weights(jnp.array([0, 5])), [0, 2], rtol=1e-6)
    np.testing.assert_array_equal(losses.class_balanced_weights(jnp.zeros(3)), 0)


def test_deferred_weights_start_at_the_step():
    at = quick_jit(lambda step: losses.deferred_weights(COUNTS, step, start_step=10))
    np.testing.assert_array_equal(at(9), 1)
    np.testing.assert_allclose(at(10), losses.class_balanced_weights(COUNTS), rtol=1e-6)


def test_logit_adjustment_and_balanced_softmax():
    prior = COUNTS / COUNTS.sum()
    adjusted = losses.logit_adjusted_cross_entropy(LOGITS, LABELS, COUNTS, tau=0.5)
    np.testing.assert_allclose(
        adjusted, cross_entropy(LOGITS + 0.5 * np.log(prior), LABELS), rtol=1e-5
    )
    mass = COUNTS * np.exp(LOGITS.astype(np.float64))
    by_definition = -np.log(mass[np.arange(B), LABELS] / mass.sum(-1))
    balanced = losses.balanced_softmax_cross_entropy(LOGITS, LABELS, COUNTS)
    np.testing.assert_allclose(balanced, by_definition, rtol=1e-5)
    plain = losses.softmax_cross_entropy(LOGITS, LABELS)
    for same in (
        losses.logit_adjusted_cross_entropy(LOGITS, LABELS, COUNTS, tau=0.0),
        losses.balanced_softmax_cross_entropy(LOGITS, LABELS, jnp.full(C, 7)),
        losses.ldam_loss(LOGITS, LABELS, COUNTS, max_margin=0.0, scale=1.0),
        losses.seesaw_loss(LOGITS, LABELS, COUNTS, mitigation=0.0, compensation=0.0),
    ):
        np.testing.assert_allclose(same, plain, rtol=1e-4, atol=1e-5)


def test_ldam_by_hand():
    """Counts 16 and 1 have margins 1/4 and 1/2: both classes at cosine 0, margins only."""
    cosines, labels = jnp.zeros((2, 2)), jnp.array([0, 1])
    loss = losses.ldam_loss(cosines, labels, jnp.array([16, 1]), scale=4.0)
    np.testing.assert_allclose(loss, [math.log1p(math.e), math.log1p(math.e**2)], rtol=1e-5)
    weighted = losses.ldam_loss(
        cosines, labels, jnp.array([16, 1]), scale=4.0, class_weights=jnp.array([1.0, 3.0])
    )
    np.testing.assert_allclose(weighted, loss * jnp.array([1.0, 3.0]), rtol=1e-6)


def seesaw_factors(z, label, counts, p=0.8, q=2.0, floor=1e-2):
    """S of one example, term by term as the paper writes it."""
    sigma = scipy.special.softmax(z.astype(np.float64))
    factors = np.ones(len(z))
    for j in range(len(z)):
        if j != label:
            factors[j] = (counts[j] / counts[label]) ** p if counts[label] > counts[j] else 1
            ratio = sigma[j] / max(sigma[label], floor)
            factors[j] *= ratio**q if ratio > 1 else 1
    return factors


def test_seesaw_value_and_gradient_by_definition():
    ours, gradient = quick_jit(
        lambda z: (
            losses.seesaw_loss(z, LABELS, COUNTS),
            jax.grad(lambda z: losses.seesaw_loss(z, LABELS, COUNTS).sum())(z),
        )
    )(LOGITS)
    factors = np.stack([seesaw_factors(z, y, COUNTS) for z, y in zip(LOGITS, LABELS)])
    z = LOGITS + np.log(factors)
    np.testing.assert_allclose(ours, cross_entropy(z, LABELS), rtol=1e-4, atol=1e-6)
    expected = scipy.special.softmax(z, axis=-1) - np.eye(C)[LABELS]
    np.testing.assert_allclose(gradient, expected, atol=1e-5)  # S held constant


def test_equalized_focal_by_definition():
    balance = jnp.array([1.0, 0.5, 0.0, 0.25])
    ours = losses.equalized_focal_loss(LOGITS, BINARY, balance)
    p = scipy.special.expit(LOGITS.astype(np.float64))
    exponent = 2 + 8 * (1 - np.asarray(balance, np.float64))
    own = np.where(BINARY == 1, p, 1 - p)
    alpha = np.where(BINARY == 1, 0.25, 0.75)
    expected = -alpha * exponent / 2 * (1 - own) ** exponent * np.log(own)
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(
        losses.equalized_focal_loss(LOGITS, BINARY, jnp.ones(C)),
        losses.sigmoid_focal_loss(LOGITS, BINARY, alpha=0.25),
        rtol=1e-5,
    )


def test_gradient_balance_accumulates():
    state = losses.initial_gradient_balance(2)
    np.testing.assert_array_equal(state.ratio(), [1, 1])
    # At logit 0 every gradient is 1/2: class 0 has one positive, class 1 none, of two examples.
    state = losses.update_gradient_balance(state, jnp.zeros((2, 2)), jnp.array([[1, 0], [0, 0]]))
    np.testing.assert_array_equal(state.positive, [0.5, 0])
    np.testing.assert_array_equal(state.negative, [0.5, 1])
    np.testing.assert_array_equal(state.ratio(), [1, 0])
    state = quick_jit(losses.update_gradient_balance)(
        state, jnp.zeros((1, 2)), jnp.array([[1.0, 1.0]])
    )
    np.testing.assert_array_equal(state.ratio(), [1, 0.5])


def test_ldam_gradient_by_float64_differences_with_weights():
    weights = losses.class_balanced_weights(COUNTS)
    check_gradient(
        lambda z: losses.ldam_loss(z, LABELS, COUNTS, class_weights=weights), LOGITS / 10
    )


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"class_counts has shape \[3\], but \[4\] is wanted"):
        losses.seesaw_loss(LOGITS, LABELS, COUNTS[:3])
    with pytest.raises(ValueError, match=r"class_counts has shape \[2, 2\], but \[C\]"):
        losses.class_balanced_weights(COUNTS.reshape(2, 2))
    with pytest.raises(ValueError, match=r"class_counts is \[-1  2\]"):
        losses.class_balanced_weights(np.array([-1, 2]))
    with pytest.raises(ValueError, match=r"beta is 1.0"):
        losses.class_balanced_weights(COUNTS, beta=1.0)
    with pytest.raises(ValueError, match=r"cosines has shape"):
        losses.ldam_loss(jnp.zeros((2, 0)), jnp.zeros(2, int), COUNTS)
    with pytest.raises(ValueError, match=r"balance has shape \[3\], but \[4\]"):
        losses.equalized_focal_loss(LOGITS, BINARY, jnp.ones(3))
    with pytest.raises(ValueError, match=r"state.positive has shape \[3\]"):
        losses.update_gradient_balance(losses.initial_gradient_balance(3), LOGITS, BINARY)


def test_a_class_of_more_than_2_to_the_24_pixels_is_counted_exactly():
    labels = jnp.zeros(2**24 + 5, jnp.uint8).at[-2:].set(1)
    np.testing.assert_array_equal(losses.count_classes(labels, 2), [2**24 + 4, 2])  # 2^24 + 3
