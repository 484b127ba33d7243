"""Binary metrics beside scikit-learn, under masks and at extremes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import sklearn.metrics

from jaxcv.metrics.binary import BinaryMetrics, summary

ROWS = 100


def draw(seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, ROWS).astype(np.int32)
    return (rng.normal(size=ROWS) + labels - 0.4).astype(np.float32), labels


@jax.jit
def count(logits, labels, mask=None):
    return BinaryMetrics.from_logits(logits, labels, mask=mask)


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_scikit_learn(seed):
    logits, labels = draw(seed)
    mask = np.random.default_rng(seed + 10).random(ROWS) < 0.7
    dirty = np.where(mask, logits, np.nan).astype(np.float32)
    result = summary(count(dirty, labels, mask))
    labels, predicted = labels[mask], logits[mask] > 0
    assert result["count"] == mask.sum()
    assert result["accuracy"] == sklearn.metrics.accuracy_score(labels, predicted)
    assert result["precision"] == sklearn.metrics.precision_score(labels, predicted)
    assert result["recall"] == sklearn.metrics.recall_score(labels, predicted)
    assert result["f1"] == pytest.approx(sklearn.metrics.f1_score(labels, predicted), rel=1e-12)
    assert result["confusion_matrix"] == (
        sklearn.metrics.confusion_matrix(labels, predicted).tolist()
    )
    probabilities = scipy.special.expit(logits[mask].astype(np.float64))
    assert result["loss"] == pytest.approx(sklearn.metrics.log_loss(labels, probabilities))


def test_batches_add_up():
    logits, labels = draw()
    mask = np.ones(ROWS, bool)
    parts = [count(logits[i::2], labels[i::2], mask[i::2]) for i in range(2)]
    jax.tree.map(
        lambda a, b, whole: np.testing.assert_allclose(a + b, whole, rtol=1e-5),
        *parts,
        count(logits, labels, mask),
    )


def test_values_found_by_hand():
    logits = jnp.array([[0.0], [2.0], [-1.0], [3.0]])
    result = summary(count(logits, jnp.array([[1], [1], [0], [0]])))
    # A logit of exactly 0 predicts 0.
    assert result["confusion_matrix"] == [[1, 1], [1, 1]]
    wanted = np.log([2, 1 + np.exp(-2), 1 + np.exp(-1), 1 + np.exp(3)]).mean()
    assert result["loss"] == pytest.approx(wanted, rel=1e-6)


def test_extremes_stay_finite_and_absent_positives_score_zero():
    metrics = count(jnp.array([1e4, -1e4]), jnp.array([0, 0]))
    assert metrics.loss_sum == 1e4
    assert summary(metrics)["recall"] == 0.0
    empty = summary(count(jnp.zeros(2), jnp.zeros(2), jnp.zeros(2)))
    assert all(np.isnan(empty[name]) for name in ("loss", "accuracy", "precision", "f1"))


def test_a_label_that_is_neither_is_left_out_and_counted():
    result = summary(count(jnp.ones(3), jnp.array([1, 2, -1])))
    assert (result["count"], result["out_of_range_labels"]) == (1, 2)


def test_two_logits_per_example_are_refused():
    with pytest.raises(ValueError, match=r"logits \(4, 2\)"):
        BinaryMetrics.from_logits(jnp.zeros((4, 2)), jnp.zeros(4))
