"""Classification metrics: by hand, beside scikit-learn, and however the rows are divided."""

import functools
import itertools
import warnings

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import sklearn.metrics
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxcv.metrics.calibration import CalibrationBins
from jaxcv.metrics.classification import ClassificationMetrics, _first_highest, summary
from jaxcv.metrics.confusion import confusion_matrices

AXIS = "shards"
ROWS, CLASSES = 64, 7


@functools.partial(jax.jit, static_argnames="top_k")
def count(logits, labels, mask=None, losses=None, top_k=3):
    return ClassificationMetrics.from_logits(logits, labels, mask=mask, losses=losses, top_k=top_k)


def draw(seed=0, rows=ROWS, absent=(5,)):
    """Logits that are often right; no label and no prediction is an absent class."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([c for c in range(CLASSES) if c not in absent], rows)
    logits = rng.normal(size=(rows, CLASSES)) * 2
    logits[np.arange(rows), labels] += 1.5
    logits[:, list(absent)] = -30.0
    return logits.astype(np.float32), labels.astype(np.int32)


def assert_equal(actual, wanted, rtol=1e-6):
    """Integers exactly, sums of floats up to their order."""
    assert jax.tree.structure(actual) == jax.tree.structure(wanted)
    for a, w in zip(jax.tree.leaves(actual), jax.tree.leaves(wanted)):
        np.testing.assert_allclose(a, w, rtol=0 if np.asarray(w).dtype.kind == "i" else rtol)


def test_values_found_by_hand():
    logits = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6]]))
    result = summary(count(logits, jnp.array([0, 1, 2]), top_k=2))
    assert result["count"] == 3
    assert result["loss"] == pytest.approx(-np.log([0.7, 0.3, 0.6]).mean(), rel=1e-6)
    assert result["accuracy"] == pytest.approx(2 / 3)
    assert result["top_2_accuracy"] == 1.0
    assert result["confusion_matrix"] == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]
    assert result["per_class"]["precision"] == [0.5, 0.0, 1.0]
    assert result["per_class"]["recall"] == [1.0, 0.0, 1.0]
    assert result["per_class"]["f1"] == pytest.approx([2 / 3, 0.0, 1.0])
    assert result["per_class"]["support"] == [1, 1, 1]
    brier = (0.3**2 + 0.2**2 + 0.1**2) + (0.6**2 + 0.7**2 + 0.1**2) + (0.2**2 + 0.2**2 + 0.4**2)
    assert result["brier_score"] == pytest.approx(brier / 3, rel=1e-6)
    # Three bins of one prediction each: |1 - 0.7|, |0 - 0.6|, |1 - 0.6| share a bin of 0.6 and 0.6.
    assert result["expected_calibration_error"] == pytest.approx((0.3 + abs(1 - 1.2)) / 3, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_scikit_learn(seed):
    logits, labels = draw(seed)
    result = summary(count(logits, labels))
    predicted = logits.argmax(1)
    classes = range(CLASSES)
    scores = functools.partial(
        sklearn.metrics.precision_recall_fscore_support, labels, predicted, zero_division=0
    )
    names = ("precision", "recall", "f1")
    for name, wanted in zip(names, scores(labels=classes)):
        np.testing.assert_allclose(result["per_class"][name], wanted, rtol=1e-12)
    for average in ("macro", "micro", "weighted"):
        for name, wanted in zip(names, scores(average=average)):
            assert result[f"{average}_{name}"] == pytest.approx(wanted, rel=1e-12), (average, name)
    probabilities = scipy.special.softmax(logits.astype(np.float64), -1)
    assert result["confusion_matrix"] == (
        sklearn.metrics.confusion_matrix(labels, predicted, labels=classes).tolist()
    )
    assert result["accuracy"] == sklearn.metrics.accuracy_score(labels, predicted)
    assert result["loss"] == pytest.approx(
        sklearn.metrics.log_loss(labels, probabilities, labels=classes), rel=1e-6
    )
    assert result["top_3_accuracy"] == (
        sklearn.metrics.top_k_accuracy_score(labels, logits, k=3, labels=classes)
    )
    assert result["brier_score"] == pytest.approx(
        np.square(probabilities - np.eye(CLASSES)[labels]).sum(1).mean(), rel=1e-5
    )


@hypothesis.given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 5, 12]),
    st.sampled_from([0.01, 1.0, 10.0, 100.0]),
)
@hypothesis.settings(max_examples=60, deadline=None)
def test_sums_of_classes_are_those_of_float64(seed, classes, spread):
    rng = np.random.default_rng(seed)
    logits = (spread * rng.normal(size=(20, classes))).astype(np.float32)
    labels = rng.integers(0, classes, 20).astype(np.int32)
    one_hot = np.eye(classes)[labels]
    exact = scipy.special.log_softmax(logits.astype(np.float64), -1)
    found = jax.vmap(lambda z, y: count(z[None], y[None]))(logits, labels)
    np.testing.assert_allclose(found.loss_sum, -(exact * one_hot).sum(-1), rtol=2e-6, atol=3e-7)
    # Relative to itself, however small it is: it is the sum of squares of what is missing.
    other = np.where(one_hot, -np.inf, exact)
    missing = np.exp(scipy.special.logsumexp(other, -1)) if classes > 1 else np.zeros(20)
    brier = np.exp(2 * other).sum(-1) + np.square(missing)
    np.testing.assert_allclose(
        found.brier_sum, brier, rtol=1e-4 if spread > 10 else 1e-5, atol=1e-37
    )


def test_classes_and_distributions_that_are_certain_agree():
    logits, labels = draw(seed=3)
    of_classes = count(logits, labels)
    assert_equal(of_classes, count(logits, np.eye(CLASSES, dtype=np.float32)[labels]), rtol=1e-5)


def test_an_impossible_class_costs_nothing_unless_it_is_the_label():
    logits = jnp.array([[0.0, 0.0, -jnp.inf]])
    metrics = count(logits, jnp.array([0]))
    assert metrics.loss_sum == pytest.approx(np.log(2))
    assert metrics.brier_sum == pytest.approx(0.5)
    metrics = count(logits, jnp.array([2]))
    assert metrics.loss_sum == np.inf
    assert metrics.brier_sum == pytest.approx(1.5)


def test_more_cells_than_an_index_reaches_are_refused():
    labels = jax.ShapeDtypeStruct((2**11, 4), jnp.int32)
    with pytest.raises(ValueError, match="count fewer examples at a time"):
        jax.eval_shape(lambda x: confusion_matrices(x, x, 1024), labels)


@pytest.mark.slow
def test_counts_are_exact_beyond_two_to_the_24():
    # float32 stops counting at 2^24; so would any sum of ones in it.
    rows = 2**24 + 3
    labels = jnp.zeros(rows, jnp.int32).at[0].set(1)
    metrics = count(jnp.stack([0 * labels, labels - 1], -1).astype(jnp.float32), labels)
    assert (metrics.count, metrics.correct, metrics.top_k_correct) == (rows, rows - 1, rows)
    assert metrics.calibration.count.sum() == rows
    assert metrics.confusion.tolist() == [[rows - 1, 0], [1, 0]]


@pytest.mark.parametrize("labels_of", ["classes", "distributions"])
def test_many_rows_are_the_sum_of_a_few_at_a_time(labels_of):
    # More logits than a block of `metrics.blocks` holds, and a last block that is not full.
    logits, labels = draw(rows=2**16 // CLASSES * 2 + 101)
    if labels_of == "distributions":
        labels = np.eye(CLASSES, dtype=np.float32)[labels]
    parts = [count(z, y) for z, y in zip(*(np.array_split(x, 3) for x in (logits, labels)))]
    whole = count(logits, labels)
    assert_equal(jax.tree.map(lambda *leaves: sum(leaves), *parts), whole, rtol=1e-5)


def test_the_first_of_the_highest_is_predicted_as_by_argmax():
    logits = np.random.default_rng(0).integers(0, 4, (200, 7)).astype(np.float32)
    logits[::3, 2] = np.nan
    logits[::6, 1] = np.nan
    logits[::5] = -np.inf
    logits[1::5, 3] = np.inf
    np.testing.assert_array_equal(_first_highest(jnp.array(logits)), jnp.argmax(logits, -1))


def test_confidences_of_many_rows_add_up_as_in_float64():
    rng = np.random.default_rng(0)
    confidence = rng.random(2_000_000, dtype=np.float32)
    correct, valid = rng.random((2, len(confidence))) < 0.5
    found = CalibrationBins.from_confidences(*jax.device_put((confidence, correct, valid)))
    index = np.clip(np.ceil(confidence * np.float32(15)).astype(int) - 1, 0, 14)
    np.testing.assert_array_equal(found.count, np.bincount(index[valid], minlength=15))
    right = correct & valid
    np.testing.assert_array_equal(found.correct, np.bincount(index[right], minlength=15))
    sums = np.bincount(index[valid], confidence[valid], minlength=15)
    np.testing.assert_allclose(found.confidence_sum, sums, rtol=2e-6)


def test_calibration_is_the_definition():
    logits, labels = draw(rows=4000)
    confidence = scipy.special.softmax(logits.astype(np.float64), -1).max(1)
    right = logits.argmax(1) == labels
    error = 0.0
    edges = np.linspace(0, 1, 16)
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    result = summary(count(logits, labels))
    assert result["expected_calibration_error"] == pytest.approx(error, abs=2e-4)
    assert sum(result["calibration"]["count"]) == 4000


@hypothesis.settings(deadline=None, max_examples=25)
@hypothesis.given(
    seed=st.integers(0, 1000),
    mask=st.lists(st.booleans(), min_size=ROWS, max_size=ROWS),
)
def test_a_masked_row_does_not_count_in_any_batch(seed, mask):
    logits, labels = draw(seed)
    mask = np.array(mask)
    dirty, wild = logits.copy(), labels.copy()
    dirty[~mask], wild[~mask] = np.nan, 10**6
    whole = count(dirty, wild, mask)
    halves = [count(dirty[i::2], wild[i::2], mask[i::2]) for i in range(2)]
    assert_equal(jax.tree.map(jnp.add, *halves), whole, rtol=1e-5)
    assert_equal(whole, count(logits, labels, mask), rtol=1e-5)


def test_masking_equals_removing():
    logits, labels = draw()
    mask = np.random.default_rng(3).random(ROWS) < 0.6
    assert_equal(count(logits, labels, mask), count(logits[mask], labels[mask]), rtol=1e-5)


def test_devices_add_up_to_the_whole():
    logits, labels = draw()
    mask = np.random.default_rng(1).random(ROWS) < 0.6
    alone = count(logits, labels, mask)
    for devices in (2, 8):
        mesh = Mesh(np.array(jax.devices()[:devices]), (AXIS,))

        def shard(logits, labels, mask):
            metrics = ClassificationMetrics.from_logits(logits, labels, mask=mask, top_k=3)
            return jax.lax.psum(metrics, AXIS)

        mapped = jax.jit(
            jax.shard_map(shard, mesh=mesh, in_specs=P(AXIS), out_specs=P(), check_vma=False)
        )
        assert_equal(mapped(logits, labels, mask), alone, rtol=1e-5)


def test_distributions_count_as_their_most_probable_class():
    logits, labels = draw()
    soft = 0.8 * np.eye(CLASSES, dtype=np.float32)[labels] + 0.2 / CLASSES
    hard_metrics = count(logits, labels)
    soft_metrics = count(logits, soft, top_k=3)
    assert_equal(soft_metrics.confusion, hard_metrics.confusion)
    log_probabilities = scipy.special.log_softmax(logits.astype(np.float64), -1)
    wanted = -(soft * log_probabilities).sum()
    np.testing.assert_allclose(soft_metrics.loss_sum, wanted, rtol=1e-5)


def test_given_losses_are_added_up():
    logits, labels = draw(rows=3)
    metrics = count(
        logits, labels, losses=jnp.array([1.0, 2.0, jnp.inf]), mask=jnp.array([True, True, False])
    )
    assert metrics.loss_sum == 3.0


def test_of_equal_logits_the_first_is_higher():
    metrics = count(jnp.zeros((4, 4)), jnp.arange(4), top_k=2)
    assert (metrics.correct, metrics.top_k_correct) == (1, 2)
    lost = count(jnp.full((4, 4), jnp.nan), jnp.arange(4), top_k=2)
    assert lost.top_k_correct == 0


def test_a_label_outside_the_classes_is_left_out_and_counted():
    logits, labels = draw()
    labels = labels.copy()
    labels[:3] = [-1, CLASSES, 255]
    metrics = count(logits, labels)
    masked = count(logits, labels, np.arange(ROWS) >= 3)
    assert_equal(metrics.replace(out_of_range=masked.out_of_range), masked)
    assert summary(metrics)["out_of_range_labels"] == 3
    assert summary(metrics)["count"] == ROWS - 3
    assert "out_of_range_labels" not in summary(count(*draw()))


def test_logits_at_extremes_give_finite_sums():
    logits = jnp.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0], [-jnp.inf, 0.0, 0.0]])
    metrics = count(logits, jnp.array([0, 0, 1]))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(metrics))
    assert metrics.loss_sum == pytest.approx(2e4 + np.log(2))


def test_no_example_gives_nan_without_a_warning():
    logits, labels = draw()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = summary(count(logits, labels, np.zeros(ROWS, bool)))
    assert result["count"] == 0
    for name in ("loss", "accuracy", "top_3_accuracy", "macro_f1", "expected_calibration_error"):
        assert np.isnan(result[name]), name
    assert result["calibration"]["accuracy"] == [None] * 15


def test_very_many_classes_keep_their_scores_without_a_matrix():
    classes = 1001
    logits = jnp.eye(classes)[:8] * 5
    result = summary(count(logits, jnp.arange(8)))
    assert result["confusion_matrix"] is None
    assert result["macro_f1"] == 1.0


def test_top_k_is_left_out_where_it_says_nothing():
    two = count(jnp.zeros((2, 2)), jnp.array([0, 1]), top_k=5)
    assert not [name for name in summary(two) if name.startswith("top_")]


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ((4,), jnp.zeros(4, jnp.int32), r"logits \[B, C\], found shape \(4,\)"),
        ((4, 3), jnp.zeros(5, jnp.int32), r"found \(5,\) for logits \(4, 3\)"),
        ((4, 3), jnp.zeros(4), "must be integers, found float32"),
    ],
)
def test_what_does_not_fit_is_refused(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        ClassificationMetrics.from_logits(jnp.zeros(logits), labels)
