"""Counts of classes and of pairs of classes: each way of counting, in one piece and in blocks."""

from functools import partial

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics

from jaxcv.metrics.blocks import fold_blocks, map_blocks
from jaxcv.metrics.confusion import (
    class_counts,
    confusion_matrices,
    count_by_product,
    count_by_scatter,
)

WAYS = {
    "as on this machine": confusion_matrices,
    "scatter": partial(count_by_scatter, num_classes=3),
    "scatter in blocks": partial(count_by_scatter, num_classes=3, block=8),
    "product": partial(count_by_product, num_classes=3),
}


def count_pairs(way, labels, predictions, valid):
    if way == "as on this machine":
        return confusion_matrices(labels, predictions, 3, valid)
    return WAYS[way](labels, predictions, valid)


@pytest.mark.parametrize("way", WAYS)
def test_known_values(way):
    labels = jnp.array([[0, 0, 1, 2, 2, 2], [1, 1, 1, 1, 1, 1]])
    predictions = jnp.array([[0, 1, 1, 0, 2, 2], [0, 0, 0, 1, 1, 2]])
    found = count_pairs(way, labels, predictions, jnp.ones((2, 6), bool))
    assert found.dtype == jnp.int32
    assert found.tolist() == [
        [[1, 1, 0], [0, 1, 0], [1, 0, 2]],
        [[0, 0, 0], [3, 2, 1], [0, 0, 0]],
    ]
    masked = count_pairs(way, labels, predictions, jnp.arange(6) % 2 == jnp.zeros((2, 1), int))
    assert masked.tolist() == [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0, 0, 0], [2, 1, 0], [0, 0, 0]],
    ]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int16])
def test_labels_to_ignore_and_what_is_no_class_count_nowhere(way, dtype):
    labels = np.array([[255, 0, 1, 3, 2]]).astype(dtype)
    predictions = np.array([[0, 255, 1, 1, 200]]).astype(dtype)
    if dtype != np.uint8:
        labels[0, 3], predictions[0, 4] = -1, -2
    found = count_pairs(way, *jax.device_put((labels, predictions, np.ones((1, 5), bool))))
    assert found.tolist() == [[[0, 0, 0], [0, 1, 0], [0, 0, 0]]]


# Below, at and above the borders of blocks of 32, none, and more examples than a block has numbers.
SHAPES = [(1, 32), (1, 33), (2, 50), (40, 3), (2, 0)]


@partial(jax.jit, static_argnums=3)
def all_ways(labels, predictions, valid, classes):
    return (
        confusion_matrices(labels, predictions, classes, valid),
        count_by_scatter(labels, predictions, valid, classes, block=32),
        count_by_product(labels, predictions, valid, classes),
    )


count_classes = jax.jit(class_counts, static_argnums=1)


@hypothesis.settings(deadline=None, max_examples=40)
@hypothesis.given(shape=st.sampled_from(SHAPES), seed=st.integers(0, 10**6))
def test_all_ways_agree_with_scikit_learn(shape, seed):
    rng = np.random.default_rng(seed)
    C = 5
    labels, predictions = rng.integers(-1, C + 1, (2, *shape)).astype(np.int32)
    valid = rng.random(shape) < 0.7
    known = valid & (np.minimum(labels, predictions) >= 0) & (np.maximum(labels, predictions) < C)
    wanted = [
        sklearn.metrics.confusion_matrix(t[k], p[k], labels=range(C))
        if k.any()
        else np.zeros((C, C))
        for t, p, k in zip(labels, predictions, known, strict=True)
    ]
    for found in all_ways(labels, predictions, valid, C):
        np.testing.assert_array_equal(found, wanted)
    alone = [
        np.bincount(row[chosen & (row >= 0) & (row < C)], minlength=C)
        for row, chosen in zip(labels, valid, strict=True)
    ]
    np.testing.assert_array_equal(count_classes(labels, C, valid), alone)


@pytest.mark.parametrize("rows", [2**16 - 1, 2**16, 2**16 + 1, 3 * 2**16 + 5])
@pytest.mark.parametrize("classes", [2, 300])
def test_many_rows_are_those_of_numpy(rows, classes):
    rng = np.random.default_rng(rows)
    labels, predictions = rng.integers(0, classes, (2, 1, rows)).astype(np.int32)
    wanted = np.bincount((labels * classes + predictions).ravel(), minlength=classes**2)
    found = confusion_matrices(labels, predictions, classes)
    np.testing.assert_array_equal(found.ravel(), wanted)
    np.testing.assert_array_equal(
        class_counts(labels, classes).ravel(), np.bincount(labels.ravel(), minlength=classes)
    )


def test_a_cell_counts_on_where_float32_stops():
    # 2^24 + 1 is no float32: one more of the same would be lost.
    rows = 2**24 + 3
    labels = jnp.zeros((1, rows), jnp.int32).at[0, 0].set(1)
    predictions = jnp.zeros_like(labels)
    valid = jnp.ones((1, rows), bool)
    wanted = [[[rows - 1, 0], [1, 0]]]
    assert confusion_matrices(labels, predictions, 2).tolist() == wanted
    assert count_by_scatter(labels, predictions, valid, 2).tolist() == wanted
    assert count_by_product(labels, predictions, valid, 2).tolist() == wanted
    assert class_counts(labels, 2).tolist() == [[rows - 1, 1]]
    # And so do sums over batches.
    total = jnp.full((2, 2), 2**30 + 1) + confusion_matrices(labels, predictions, 2)[0]
    assert total.tolist() == [[2**30 + rows, 2**30 + 1], [2**30 + 2, 2**30 + 1]]


@pytest.mark.parametrize("count", [3, 4, 10])
def test_batches_of_calls_and_devices(count):
    """Inside `vmap` and `jit`: what a mapped evaluation step does."""
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 3, (2, 2, count, 9)).astype(np.int32)
    mapped = jax.jit(jax.vmap(partial(confusion_matrices, num_classes=3)))
    blocks = jax.vmap(partial(count_by_scatter, num_classes=3, block=8))
    valid = np.ones_like(labels, bool)
    wanted = [confusion_matrices(*pair, 3) for pair in zip(labels, predictions, strict=True)]
    np.testing.assert_array_equal(mapped(labels, predictions), wanted)
    np.testing.assert_array_equal(blocks(labels, predictions, valid), wanted)


@pytest.mark.parametrize("rows", [0, 1, 4, 8, 9, 23])
def test_blocks_cover_each_row_once(rows):
    numbers = jnp.arange(3 * rows).reshape(rows, 3)
    doubled, largest = map_blocks(lambda x: (2 * x, x.max(-1)), numbers, block=12)
    np.testing.assert_array_equal(doubled, 2 * numbers)
    np.testing.assert_array_equal(largest, numbers.max(-1))
    total = fold_blocks(
        lambda total, x: total + x.sum(1), jnp.zeros(3, int), (numbers.T,), block=12
    )
    np.testing.assert_array_equal(total, numbers.sum(0))


def test_more_numbers_in_a_row_than_in_a_block():
    numbers = jnp.arange(20).reshape(4, 5)
    np.testing.assert_array_equal(map_blocks(lambda x: x.sum(-1), numbers, block=2), numbers.sum(1))
