"""The bi-tempered loss beside a root finder, its closed-form gradient, and its limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxcv.losses import bi_tempered_loss, softmax_cross_entropy, tempered_log_softmax
from tests.losses.compilation import quick_jit

RNG = np.random.default_rng(0)
tempered = quick_jit(
    bi_tempered_loss, static_argnames=("bound_temperature", "tail_temperature", "label_smoothing")
)
cross_entropy = quick_jit(softmax_cross_entropy)
LOGITS = RNG.normal(size=(5, 4)).astype(np.float32) * 3
LABELS = RNG.integers(0, 4, 5)


def tempered_softmax(z, t):
    """One example, in float64, with SciPy's root finder."""

    def p(offset):
        return (1 + (1 - t) * (z - offset)) ** (1 / (1 - t))

    low, high = z.max(), z.max() + (len(z) ** (t - 1) - 1) / (t - 1)
    return p(scipy.optimize.brentq(lambda x: p(x).sum() - 1, low, high, xtol=1e-14))


@pytest.mark.parametrize(("t1", "t2"), [(0.8, 1.2), (0.0, 4.0), (0.9, 1.001), (1.0, 1.5)])
def test_value_and_gradient_by_definition(t1, t2):
    p = np.stack([tempered_softmax(z.astype(np.float64), t2) for z in LOGITS])
    own = p[np.arange(5), LABELS]
    log_own = np.log(own) if t1 == 1 else (own ** (1 - t1) - 1) / (1 - t1)
    expected = -log_own - (1 - (p ** (2 - t1)).sum(-1)) / (2 - t1)

    def loss(z):
        return bi_tempered_loss(z, LABELS, bound_temperature=t1, tail_temperature=t2)

    value, gradient, log_p = quick_jit(
        lambda z: (
            loss(z),
            jax.grad(lambda z: loss(z).sum())(z),
            tempered_log_softmax(z, temperature=t2),
        )
    )(LOGITS)
    np.testing.assert_allclose(np.exp(log_p), p, rtol=2e-5)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    d = p ** (t2 - t1) * (p - np.eye(4)[LABELS])
    escort = p**t2 / (p**t2).sum(-1, keepdims=True)
    by_hand = d - escort * d.sum(-1, keepdims=True)
    np.testing.assert_allclose(gradient, by_hand, rtol=1e-3, atol=1e-5)


def test_known_value():
    """Two equal logits, t1 = 0, t2 = 2: 1 / (1 - (z - lambda)) = 1/2; 1/2 - (1 - 1/2) / 2 = 1/4."""
    loss = tempered(jnp.zeros((1, 2)), jnp.array([0]), bound_temperature=0.0, tail_temperature=2.0)
    np.testing.assert_allclose(loss, [0.25], rtol=1e-6)


def test_temperatures_of_one_are_cross_entropy():
    options = {"bound_temperature": 1.0, "tail_temperature": 1.0}
    ours = tempered(LOGITS, LABELS, **options)
    np.testing.assert_allclose(ours, cross_entropy(LOGITS, LABELS), rtol=1e-4, atol=1e-6)
    dense = RNG.dirichlet(np.ones(4), 5).astype(np.float32)
    ours = tempered(LOGITS, dense, **options)
    entropy = -(dense * np.log(dense)).sum(-1)
    np.testing.assert_allclose(ours, cross_entropy(LOGITS, dense) - entropy, rtol=1e-4, atol=1e-5)


def test_newton_converges_for_many_classes_and_far_logits():
    with jax.enable_x64(True):
        logits = np.zeros((4, 50_000))
        logits[1] = np.linspace(-1e4, 1e4, 50_000)
        logits[2, 0] = 30.0
        logits[3, :100] = 8.0
        for t in (1.0001, 1.2, 2.0, 9.0):
            p = jnp.exp(jax.jit(lambda z, t=t: tempered_log_softmax(z, temperature=t))(logits))
            np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-9, err_msg=str(t))


def test_no_example_costs_more_than_the_bound():
    logits = jnp.array([[1e4, -1e4], [50.0, 0.0]])
    loss = tempered(logits, jnp.array([1, 1]), bound_temperature=0.5)
    assert np.all(loss <= 2.0)


def test_smoothing_and_unknown_labels():
    smooth = 0.8 * np.eye(4)[LABELS] + 0.05
    np.testing.assert_allclose(
        tempered(LOGITS, LABELS, label_smoothing=0.2),
        tempered(LOGITS, smooth.astype(np.float32)),
        rtol=1e-5,
    )
    assert np.isnan(tempered(LOGITS[:1], jnp.array([-1])))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"bound_temperature is 1.5"):
        bi_tempered_loss(LOGITS, LABELS, bound_temperature=1.5)
    with pytest.raises(ValueError, match=r"tail_temperature is 0.5"):
        bi_tempered_loss(LOGITS, LABELS, tail_temperature=0.5)
