"""Information measures: textbook values, identities, beside SciPy and scikit-learn."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special
import scipy.stats
import sklearn.metrics

from jaxcv import losses
from tests.losses.compilation import quick_jit
from tests.losses.finite_differences import check_gradient

RNG = np.random.default_rng(0)
P = RNG.dirichlet(np.ones(6), 5).astype(np.float32)
Q = RNG.dirichlet(np.ones(6), 5).astype(np.float32)
JOINT = RNG.dirichlet(np.ones(12), 5).reshape(5, 3, 4).astype(np.float32)


def test_textbook_values_in_bits():
    """Cover and Thomas, example 2.2.1: H(X) = 7/4, H(Y) = 2, H(X|Y) = 11/8, H(X, Y) = 27/8."""
    joint = jnp.array([[4, 2, 1, 1], [2, 4, 1, 1], [2, 2, 2, 2], [8, 0, 0, 0]]) / 32  # [Y, X]

    @quick_jit
    def measures(joint):
        return (
            losses.entropy(joint.sum(0), unit="bits"),
            losses.entropy(joint.sum(1), unit="bits"),
            losses.joint_entropy(joint, unit="bits"),
            losses.conditional_entropy(joint, unit="bits"),
            losses.conditional_entropy(joint.T, unit="bits"),
            losses.mutual_information(joint, unit="bits"),
        )

    expected = (7 / 4, 2, 27 / 8, 11 / 8, 13 / 8, 3 / 8)
    np.testing.assert_allclose(measures(joint), expected, rtol=1e-6)


def test_known_divergences():
    """Cover and Thomas, example 2.3.1, r = 1/2, s = 1/4: D(p || q) = 0.2075, D(q || p) = 0.1887."""
    p, q = jnp.array([0.5, 0.5]), jnp.array([0.75, 0.25])
    np.testing.assert_allclose(
        losses.kl_divergence(p, q, unit="bits"), 1 - math.log2(3) / 2, rtol=1e-6
    )
    np.testing.assert_allclose(
        losses.kl_divergence(q, p, unit="bits"), 0.75 * math.log2(3) - 1, rtol=1e-6
    )
    one, other = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])
    np.testing.assert_allclose(losses.js_divergence(one, other, unit="bits"), 1, rtol=1e-6)
    np.testing.assert_allclose(losses.cross_entropy(one, p), math.log(2), rtol=1e-6)


@pytest.mark.parametrize("from_logits", [False, True])
def test_beside_scipy_and_sklearn(from_logits):
    def given(p):
        return jnp.log(p) + 3 if from_logits else p

    @quick_jit
    def measures(p, q, joint):
        options = {"from_logits": from_logits}
        return {
            "entropy": losses.entropy(p, **options),
            "cross_entropy": losses.cross_entropy(p, q, **options),
            "kl": losses.kl_divergence(p, q, **options),
            "js": losses.js_divergence(p, q, **options),
            "joint": losses.joint_entropy(joint, **options),
            "conditional": losses.conditional_entropy(joint, **options),
            "mutual": losses.mutual_information(joint, **options),
        }

    ours = measures(given(P), given(Q), given(JOINT))
    flat = JOINT.reshape(5, 12)
    theirs = {
        "entropy": scipy.stats.entropy(P, axis=-1),
        "cross_entropy": scipy.stats.entropy(P, axis=-1) + scipy.special.rel_entr(P, Q).sum(-1),
        "kl": scipy.special.rel_entr(P, Q).sum(-1),
        "js": scipy.spatial.distance.jensenshannon(P, Q, axis=-1) ** 2,
        "joint": scipy.stats.entropy(flat, axis=-1),
        "conditional": scipy.stats.entropy(flat, axis=-1)
        - scipy.stats.entropy(JOINT.sum(-1), axis=-1),
        "mutual": [
            sklearn.metrics.mutual_info_score(None, None, contingency=1e6 * j.astype(np.float64))
            for j in JOINT
        ],
    }
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=2e-5, atol=1e-6, err_msg=name)


def test_gradients_by_float64_differences():
    probabilities = np.concatenate([P[0], Q[0]])
    table = JOINT[0].reshape(-1)

    def measures(x):
        p, q, joint = x[:6], x[6:12], x[12:].reshape(3, 4)
        total = losses.js_divergence(p, q) + losses.kl_divergence(q, p) + losses.entropy(p)
        total += losses.conditional_entropy(joint) + 2 * losses.mutual_information(joint)
        total += losses.js_divergence(p, q, from_logits=True)
        total += losses.mutual_information(joint, from_logits=True)
        return total + losses.conditional_entropy(joint, from_logits=True)

    # Away from 0, where the curvature 1 / p would spoil the differences.
    point = np.concatenate([probabilities, table]) + 0.05
    check_gradient(measures, point)


def test_gradient_of_kl_in_logits_is_q_minus_p():
    p, q = jnp.log(P), jnp.log(Q)
    gradient = quick_jit(jax.grad(lambda q: losses.kl_divergence(p, q, from_logits=True).sum()))(q)
    np.testing.assert_allclose(gradient, Q - P, atol=1e-6)


def test_identities():
    @quick_jit
    def measures(p, q):
        return {
            "independent": losses.mutual_information(p[:, :, None] * q[:, None, :]),
            "itself": losses.kl_divergence(p, p),
            "asymmetry": losses.js_divergence(p, q) - losses.js_divergence(q, p),
            "excess": losses.cross_entropy(p, q) - losses.entropy(p) - losses.kl_divergence(p, q),
            "uniform": losses.entropy(jnp.full(8, 1 / 8), unit="bits") - 3,
        }

    for name, value in measures(P, Q).items():
        np.testing.assert_allclose(value, 0, atol=1e-6, err_msg=name)


def test_finite_where_probabilities_are_0_and_1():
    one, other = jnp.array([1.0, 0.0, 0.0]), jnp.array([0.0, 1.0, 0.0])
    joint = jnp.diag(one)

    def measures(one, other, joint, from_logits):
        options = {"from_logits": from_logits}
        return jnp.stack(
            [
                losses.entropy(one, **options),
                losses.cross_entropy(one, other, **options),
                losses.kl_divergence(one, other, **options),
                losses.js_divergence(one, other, **options),
                losses.joint_entropy(joint, **options),
                losses.conditional_entropy(joint, **options),
                losses.mutual_information(joint, **options),
            ]
        )

    both = quick_jit(
        lambda a, b, c, from_logits: (
            measures(a, b, c, from_logits),
            jax.jacrev(measures, (0, 1, 2))(a, b, c, from_logits),
        ),
        static_argnums=3,
    )
    tiny = -math.log(np.finfo(np.float32).tiny)
    value, jacobian = both(one, other, joint, False)
    np.testing.assert_allclose(value, [0, tiny, tiny, math.log(2), 0, 0, 0], rtol=1e-6)
    assert all(np.all(np.isfinite(j)) for j in jacobian)
    for far in (1e4, np.inf):
        logits = [jnp.where(x > 0, 0.0, -far) for x in (one, other, joint)]
        value, jacobian = both(*logits, True)
        assert np.all(np.isfinite(value))
        assert all(np.all(np.isfinite(j)) for j in jacobian)
        np.testing.assert_allclose(value[jnp.array([0, 3, 4, 5, 6])], [0, math.log(2), 0, 0, 0])


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"unit is 'bit', but must be 'nats' or 'bits'"):
        losses.entropy(P, unit="bit")
    with pytest.raises(ValueError, match=r"q has shape \[5, 5\] but p has shape \[5, 6\]"):
        losses.kl_divergence(P, Q[:, :5])
    with pytest.raises(ValueError, match=r"joint has shape \[6\], but \[..., X, Y\]"):
        losses.mutual_information(P[0])
    with pytest.raises(ValueError, match=r"distribution has dtype int"):
        losses.entropy(np.ones(3, int))
