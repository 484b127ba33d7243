"""Hinge losses: by hand, beside optax, PyTorch and scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sklearn.metrics

from jaxcv.losses import hinge_loss, multiclass_hinge_loss
from tests.losses.compilation import quick_jit

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 4)).astype(np.float32)
LABELS = np.array([0, 1, 2, 3, 0, 1])
BINARY = RNG.integers(0, 2, (6, 4))


def test_known_values():
    scores = jnp.array([[2.0, 1.5, 1.25, 3.0]])
    label = jnp.array([0])  # violations 1/2, 1/4, 2
    np.testing.assert_array_equal(multiclass_hinge_loss(scores, label), [2.0])
    np.testing.assert_array_equal(multiclass_hinge_loss(scores, label, rivals="all"), [2.75])
    squared = multiclass_hinge_loss(scores, label, rivals="all", squared=True)
    np.testing.assert_array_equal(squared, [4 + 1 / 4 + 1 / 16])
    assert multiclass_hinge_loss(scores, jnp.array([3]), margin=0.5)[0] == 0
    binary = hinge_loss(jnp.array([0.5, 0.5, 2.0]), jnp.array([1, 0, 1]), squared=True)
    np.testing.assert_array_equal(binary, [0.25, 2.25, 0.0])


def test_gradient_by_hand():
    scores = jnp.array([[2.0, 1.5, 1.25, 3.0]])
    label = jnp.array([0])
    worst = quick_jit(jax.grad(lambda z: multiclass_hinge_loss(z, label).sum()))(scores)
    np.testing.assert_array_equal(worst, [[-1, 0, 0, 1]])
    every = quick_jit(jax.grad(lambda z: multiclass_hinge_loss(z, label, rivals="all").sum()))(
        scores
    )
    np.testing.assert_array_equal(every, [[-3, 1, 1, 1]])


def test_parity():
    np.testing.assert_allclose(
        hinge_loss(LOGITS, BINARY), optax.hinge_loss(LOGITS, 2.0 * BINARY - 1), rtol=1e-6
    )
    np.testing.assert_allclose(
        multiclass_hinge_loss(LOGITS, LABELS),
        jax.vmap(optax.losses.multiclass_hinge_loss)(jnp.asarray(LOGITS), jnp.asarray(LABELS)),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        multiclass_hinge_loss(LOGITS, LABELS).mean(),
        sklearn.metrics.hinge_loss(LABELS, LOGITS, labels=range(4)),
        rtol=1e-6,
    )
    torch = pytest.importorskip("torch")
    theirs = torch.nn.functional.multi_margin_loss(
        torch.tensor(LOGITS), torch.tensor(LABELS), reduction="none"
    )
    ours = multiclass_hinge_loss(LOGITS, LABELS, rivals="all") / 4
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"rivals is 'some', but must be 'worst' or 'all'"):
        multiclass_hinge_loss(LOGITS, LABELS, rivals="some")
    with pytest.raises(ValueError, match=r"margin is -1"):
        multiclass_hinge_loss(LOGITS, LABELS, margin=-1.0)
    with pytest.raises(ValueError, match=r"labels have dtype float32, but integers"):
        multiclass_hinge_loss(LOGITS, LOGITS)
    with pytest.raises(ValueError, match=r"labels has shape \[6\] but logits has shape \[6, 4\]"):
        hinge_loss(LOGITS, LABELS)
    assert np.isnan(multiclass_hinge_loss(LOGITS, LABELS + 1)[3])
