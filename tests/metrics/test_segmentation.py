"""Segmentation metrics: by hand, beside scikit-learn on the same pixels, however images are divided."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxcv.metrics.confusion import class_counts, confusion_matrices, count_by_product
from jaxcv.metrics.segmentation import SegmentationMetrics, summary

AXIS = "shards"
IMAGES, HEIGHT, WIDTH, CLASSES = 8, 6, 7, 5
MASK = np.array([True] * 5 + [False, True, False])


@jax.jit
def count(logits, labels, mask=None):
    return SegmentationMetrics.from_logits(logits, labels, mask=mask)


def draw(seed=0, absent=(3,)):
    """Logits that are often right; no label and no prediction is an absent class."""
    rng = np.random.default_rng(seed)
    shape = (IMAGES, HEIGHT, WIDTH)
    labels = rng.choice([c for c in range(CLASSES) if c not in absent], shape)
    logits = rng.normal(size=(*shape, CLASSES)) + 1.5 * np.eye(CLASSES)[labels]
    logits[..., list(absent)] = -30.0
    labels[rng.random(shape) < 0.2] = 255
    labels[2] = 255  # An image without a label.
    return logits.astype(np.float32), labels.astype(np.uint8)


def pixels_of(logits, labels):
    """True and predicted classes of the pixels that count."""
    valid = (labels != 255) & MASK[:, None, None]
    return labels[valid], logits.argmax(-1)[valid]


def assert_equal(actual, wanted):
    for a, w in zip(jax.tree.leaves(actual), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, w, rtol=0 if np.asarray(w).dtype.kind == "i" else 1e-5)


def test_values_found_by_hand():
    """Truth 0 0 1 1 and a pixel to ignore, prediction 0 1 1 1 2: class 3 is nowhere."""
    logits = 9.0 * jnp.eye(4)[jnp.array([[[0, 1, 1, 1, 2]]])]
    labels = jnp.array([[[0, 0, 1, 1, 255]]], jnp.uint8)
    result = summary(count(logits, labels))
    assert result["confusion_matrix"][:2] == [[1, 1, 0, 0], [0, 2, 0, 0]]
    assert (result["count"], result["pixels"]) == (1, 4)
    assert result["per_class"]["iou"] == pytest.approx([1 / 2, 2 / 3, None, None])
    assert result["per_class"]["dice"] == pytest.approx([2 / 3, 4 / 5, None, None])
    assert result["per_class"]["accuracy"] == [1 / 2, 1, None, None]
    assert result["per_class"]["pixels"] == [2, 2, 0, 0]
    assert result["mean_iou"] == pytest.approx(7 / 12)
    assert result["image_mean_iou"] == pytest.approx(7 / 12)
    assert result["frequency_weighted_iou"] == pytest.approx(7 / 12)
    assert result["pixel_accuracy"] == result["mean_class_accuracy"] == 3 / 4
    assert result["mean_dice"] == pytest.approx(11 / 15)
    right, wrong = (np.log(np.exp(9.0) + 3) - logit for logit in (9.0, 0.0))
    assert result["loss"] == pytest.approx((3 * right + wrong) / 4, rel=1e-5)


def test_a_class_that_is_only_predicted_counts_and_one_that_is_nowhere_does_not():
    logits = 9.0 * jnp.eye(3)[jnp.array([[[0, 1]]])]
    result = summary(count(logits, jnp.array([[[0, 0]]])))
    assert result["per_class"]["iou"] == [0.5, 0.0, None]
    assert result["mean_iou"] == result["image_mean_iou"] == 0.25
    assert result["mean_class_accuracy"] == 0.5  # Class 1 has no pixel to be right about.


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_scikit_learn(seed):
    logits, labels = draw(seed)
    true, predicted = pixels_of(logits, labels)
    result = summary(count(logits, labels, MASK))
    classes = [c for c in range(CLASSES) if c != 3]
    np.testing.assert_array_equal(
        result["confusion_matrix"],
        sklearn.metrics.confusion_matrix(true, predicted, labels=range(CLASSES)),
    )
    per_class = result["per_class"]
    for name, score in (
        ("iou", sklearn.metrics.jaccard_score),
        ("dice", sklearn.metrics.f1_score),
        ("precision", sklearn.metrics.precision_score),
        ("accuracy", sklearn.metrics.recall_score),
    ):
        assert per_class[name][3] is None
        wanted = score(true, predicted, labels=classes, average=None)
        np.testing.assert_allclose([per_class[name][c] for c in classes], wanted, rtol=1e-12)
    assert result["mean_iou"] == pytest.approx(
        sklearn.metrics.jaccard_score(true, predicted, labels=classes, average="macro")
    )
    assert result["frequency_weighted_iou"] == pytest.approx(
        sklearn.metrics.jaccard_score(true, predicted, labels=classes, average="weighted")
    )
    assert result["pixel_accuracy"] == sklearn.metrics.accuracy_score(true, predicted)
    assert result["mean_class_accuracy"] == pytest.approx(
        sklearn.metrics.balanced_accuracy_score(true, predicted)
    )
    own = []
    for i in np.flatnonzero(MASK & (labels != 255).any((1, 2))):
        valid = labels[i] != 255
        pair = labels[i][valid], logits[i].argmax(-1)[valid]
        own.append(sklearn.metrics.jaccard_score(*pair, average="macro"))
    assert result["count"] == len(own) == 5
    assert result["image_mean_iou"] == pytest.approx(np.mean(own), rel=1e-6)
    probabilities = np.asarray(jax.nn.softmax(logits.astype(np.float64)))
    wanted = sklearn.metrics.log_loss(
        true, probabilities[(labels != 255) & MASK[:, None, None]], labels=range(CLASSES)
    )
    assert result["loss"] == pytest.approx(wanted, rel=1e-5)


def test_a_masked_image_does_not_count_in_any_batch_or_on_any_device():
    logits, labels = draw()
    wild, dirty = labels.copy(), logits.copy()
    wild[~MASK], dirty[~MASK] = 77, np.nan
    whole = count(dirty, wild, MASK)
    assert_equal(whole, count(logits, labels, MASK))
    halves = [count(dirty[i::2], wild[i::2], MASK[i::2]) for i in range(2)]
    assert_equal(jax.tree.map(jnp.add, *halves), whole)
    mesh = Mesh(np.array(jax.devices()), (AXIS,))

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=P(AXIS), out_specs=P(), check_vma=False)
    def mapped(logits, labels, mask):
        return jax.lax.psum(SegmentationMetrics.from_logits(logits, labels, mask=mask), AXIS)

    assert_equal(mapped(dirty, wild, MASK), whole)


def test_labels_out_of_range_are_left_out_and_counted():
    logits, labels = draw()
    wild = labels.copy()
    wild[0, 0, :3] = (CLASSES, 254, 99)
    labels[0, 0, :3] = 255
    metrics = count(logits, wild)
    assert_equal(metrics.replace(out_of_range=jnp.int32(0)), count(logits, labels))
    assert summary(metrics)["out_of_range_pixels"] == 3
    assert "out_of_range_pixels" not in summary(count(logits, labels))


def test_extremes_give_finite_sums_and_no_pixel_gives_nan_without_a_warning():
    logits, labels = draw()
    metrics = count(1e4 * logits, labels)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(metrics))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = summary(count(logits, np.full_like(labels, 255)))
    assert (result["count"], result["pixels"]) == (0, 0)
    assert result["per_class"]["iou"] == [None] * CLASSES
    for name in ("loss", "mean_iou", "frequency_weighted_iou", "pixel_accuracy", "image_mean_iou"):
        assert np.isnan(result[name]), name


@pytest.mark.parametrize("block", [2**16, 16])
def test_both_ways_of_counting_agree(block, monkeypatch):
    """The product, for TPU, also where the last block is not full."""
    monkeypatch.setattr("jaxcv.metrics.confusion.PRODUCT_BLOCK", block)
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(-1, 6, (2, 3, 37)).astype(np.int32)
    valid = rng.random((3, 37)) < 0.7
    known = valid & (np.minimum(labels, predictions) >= 0) & (np.maximum(labels, predictions) < 5)
    wanted = [
        sklearn.metrics.confusion_matrix(t[k], p[k], labels=range(5))
        for t, p, k in zip(labels, predictions, known)
    ]
    np.testing.assert_array_equal(confusion_matrices(labels, predictions, 5, valid), wanted)
    np.testing.assert_array_equal(count_by_product(labels, predictions, known, 5), wanted)
    inside = (labels >= 0) & (labels < 5) & valid
    np.testing.assert_array_equal(
        class_counts(labels, 5, valid),
        [np.bincount(row[chosen], minlength=5) for row, chosen in zip(labels, inside)],
    )


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ((2, 4, 3), jnp.zeros((2, 4), int), r"want logits \[B, H, W, C\], found \(2, 4, 3\)"),
        ((2, 4, 4, 3), jnp.zeros((2, 4, 5), int), r"found \(2, 4, 5\) for logits \(2, 4, 4, 3\)"),
        ((2, 4, 4, 3), jnp.zeros((2, 4, 4)), "must be integers, found float32"),
    ],
)
def test_what_does_not_fit_is_refused(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        SegmentationMetrics.from_logits(jnp.zeros(logits), labels)
