"""Partial FC: which classes are drawn, the loss over them, and the two optimiser steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxcv.losses import (
    ArcFace,
    dense_row_update,
    lazy_row_update,
    linear_softmax_cross_entropy,
    sample_classes,
)
from tests.losses.compilation import QUICK, quick_jit
from tests.losses.linear_cases import batch, check_near

ROWS, CLASSES, WIDTH = 8, 37, 4
X, W, LABELS, BIAS, WEIGHTS = batch(ROWS, CLASSES, WIDTH)
draw = jax.jit(sample_classes, static_argnames=("total_rows", "rate", "num_classes"))


@pytest.mark.parametrize(
    ("rate", "size"),
    [(1.0, 37), (0.5, 18), (0.1, 8), (1e-9, 8)],  # never fewer than the batch may need
)
def test_the_batch_is_always_drawn(rate, size):
    labels = np.arange(0, 32, 4)  # all different
    for seed in range(5):
        rows = np.asarray(draw(jax.random.key(seed), labels, 37, rate=rate).rows)
        assert rows.shape == (size,)
        assert (np.diff(rows) > 0).all()
        assert rows[0] >= 0
        assert rows[-1] < 37
        assert np.isin(labels, rows).all()


def test_all_other_classes_are_drawn_equally_often():
    keys = jax.random.split(jax.random.key(0), 2000)
    labels = jnp.array([3, 3, -1, 50])  # one class; the others name none
    rows = jax.vmap(lambda key: sample_classes(key, labels, 11, rate=0.5).rows)(keys)
    often = np.bincount(np.ravel(rows), minlength=11) / 2000
    assert often[3] == 1
    others = np.delete(often, 3)
    # Five more from ten classes, if round(5.5) = 6; four standard deviations of a mean of 2000.
    np.testing.assert_allclose(others, 0.5, atol=4 * 0.5 / np.sqrt(2000))


def test_padding_is_drawn_last():
    rows = draw(jax.random.key(0), np.array([1]), 10, rate=0.8, num_classes=7).rows
    np.testing.assert_array_equal(rows, [0, 1, 2, 3, 4, 5, 6, rows[-1]])


def loss(x, w, bias, sample, axis_name=None, block=5, **settings):
    if sample is not None:
        w, bias = w[sample.rows], bias[sample.rows]
    return linear_softmax_cross_entropy(
        x, w, LABELS, bias=bias, sample=sample, block_size=block, axis_name=axis_name, **settings
    )


def test_loss_is_the_dense_one_over_the_drawn_classes():
    sample = draw(jax.random.key(1), LABELS, CLASSES, rate=0.3)
    rows = np.asarray(sample.rows)

    @quick_jit
    def run(x, w, bias):
        def total(x, w, bias):
            value = loss(x, w, bias, sample, label_smoothing=0.1)
            return jnp.sum(value.loss), (value.loss, value.correct)

        return jax.grad(total, (0, 1, 2), has_aux=True)(x, w, bias)

    gradients, (values, correct) = run(X, W, BIAS)
    z = X.astype(np.float64) @ W[rows].T + BIAS[rows]
    place = np.searchsorted(rows, LABELS)
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    q = 0.9 * np.eye(len(rows))[place] + 0.1 / len(rows)
    np.testing.assert_allclose(values, -(q * log_p).sum(1), rtol=1e-5)
    np.testing.assert_array_equal(correct, z.argmax(1) == place)
    # Differentiated through classifier[sample.rows]: a dense gradient, 0 where nothing was drawn.
    to_w = np.zeros(W.shape)
    to_w[rows] = (np.exp(log_p) - q).T @ X
    np.testing.assert_allclose(gradients[1], to_w, atol=2e-6)
    to_bias = np.zeros(CLASSES)
    to_bias[rows] = (np.exp(log_p) - q).sum(0)
    np.testing.assert_allclose(gradients[2], to_bias, atol=2e-6)


def test_rate_one_is_the_full_softmax():
    sample = draw(jax.random.key(1), LABELS, CLASSES, rate=1.0)

    @quick_jit
    def run(x, w):
        def total(x, w, sample):
            rows = w if sample is None else w[sample.rows]
            settings = {"margin": ArcFace(), "sample": sample, "block_size": 5}
            return jnp.sum(linear_softmax_cross_entropy(x, rows, LABELS, **settings).loss)

        return [jax.value_and_grad(total, (0, 1))(x, w, s) for s in (sample, None)]

    sampled, full = run(X, W)
    jax.tree.map(np.testing.assert_array_equal, sampled, full)


@pytest.mark.parametrize("devices", [4, pytest.param(8, marks=pytest.mark.slow)])
def test_over_devices(devices):
    """Each device draws of its own classes; the loss is that of all drawn, on one device."""
    here = -(-CLASSES // devices)
    w = np.pad(W, [(0, here * devices - CLASSES), (0, 0)])

    def step(key, x, w, labels):
        sample = sample_classes(
            key, labels, here, rate=0.25, num_classes=CLASSES, axis_name="shards"
        )

        def total(x, w):
            value = linear_softmax_cross_entropy(
                x,
                w[sample.rows],
                labels,
                sample=sample,
                num_classes=CLASSES,
                label_smoothing=0.1,
                axis_name="shards",
                block_size=2,
            )
            return jnp.sum(value.loss), value.loss

        gradients, values = jax.grad(total, (0, 1), has_aux=True)(x, w)
        return sample.rows + here * jax.lax.axis_index("shards"), values, gradients

    mapped = jax.shard_map(
        step,
        mesh=Mesh(np.array(jax.devices()[:devices]), ("shards",)),
        in_specs=(P(), P("shards"), P("shards"), P("shards")),
        out_specs=P("shards"),
        check_vma=False,
    )
    rows, values, gradients = jax.jit(mapped, compiler_options=QUICK)(
        jax.random.key(2), X, w, LABELS
    )
    rows = np.asarray(rows)
    assert np.isin(LABELS, rows).all()
    rows = rows[rows < CLASSES]
    z = X.astype(np.float64) @ W[rows].T
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    q = 0.9 * (rows == LABELS[:, None]) + 0.1 / len(rows)
    np.testing.assert_allclose(values, -(q * log_p).sum(1), rtol=1e-5)
    to_w = np.zeros(w.shape)
    to_w[rows] = (np.exp(log_p) - q).T @ X
    check_near(gradients, ((np.exp(log_p) - q) @ W[rows], to_w), 2e-6)


def sgd():
    return optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.5, momentum=0.9))


def test_two_meanings_of_a_step():
    """By hand: decay 0.1, momentum 0.9, rate 0.5, classifier 1, gradient 1 for row 1 alone."""
    optimizer, w = sgd(), jnp.ones((3, 2))
    sample = draw(jax.random.key(0), np.array([1]), 3, rate=0.1)
    np.testing.assert_array_equal(sample.rows, [1])
    slots = jax.tree.map(lambda s: s + 1.0, optimizer.init(w))  # momentum 1 from before
    gradient = jnp.ones((1, 2))
    # Momentum 0.9 * 1 + (gradient + 0.1 * 1): 2 where drawn, 1 elsewhere.
    dense, dense_slots = dense_row_update(optimizer, gradient, sample, slots, w)
    np.testing.assert_allclose(dense[:, 0], [0.5, 0.0, 0.5], atol=1e-6)
    lazy, lazy_slots = lazy_row_update(optimizer, gradient, sample, slots, w)
    np.testing.assert_allclose(lazy[:, 0], [1.0, 0.0, 1.0], atol=1e-6)
    np.testing.assert_allclose(jax.tree.leaves(dense_slots)[0][:, 0], [1, 2, 1], rtol=1e-6)
    np.testing.assert_allclose(jax.tree.leaves(lazy_slots)[0][:, 0], [1, 2, 1], rtol=1e-6)
    # Another step without any gradient: the dense momentum goes on, the lazy one rests.
    none = jnp.zeros((1, 2))
    _, dense_slots = dense_row_update(optimizer, none, sample, dense_slots, dense)
    _, lazy_slots = lazy_row_update(optimizer, none, sample, lazy_slots, lazy)
    np.testing.assert_allclose(jax.tree.leaves(dense_slots)[0][0, 0], 0.9 + 0.05, rtol=1e-6)
    assert jax.tree.leaves(lazy_slots)[0][0, 0] == 1


@pytest.mark.parametrize("optimizer", [sgd(), optax.adamw(0.1)], ids=["sgd", "adamw"])
def test_lazy_is_dense_when_all_rows_are_drawn(optimizer):
    sample = draw(jax.random.key(0), LABELS, CLASSES, rate=1.0)

    @functools.partial(jax.jit, static_argnums=0)
    def run(update, w):
        slots = optimizer.init(w)
        for step in range(3):
            w, slots = update(optimizer, jnp.cos(step + w), sample, slots, w)
        return w, slots

    check_near(run(lazy_row_update, W), run(dense_row_update, W), 1e-6)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1, float("nan")])
def test_bad_rate(rate):
    with pytest.raises(ValueError, match=r"rate is .*, but must be in \(0.0, 1.0\]"):
        sample_classes(jax.random.key(0), LABELS, CLASSES, rate=rate)


def test_bad_input():
    with pytest.raises(ValueError, match="labels have dtype float32"):
        sample_classes(jax.random.key(0), LABELS * 1.0, CLASSES, rate=0.5)
    with pytest.raises(ValueError, match="axis_name is 'shards', but no device axis"):
        sample_classes(jax.random.key(0), LABELS, CLASSES, rate=0.5, axis_name="shards")
    sample = draw(jax.random.key(1), LABELS, CLASSES, rate=0.3)
    with pytest.raises(ValueError, match="classifier has 37 rows, but the sample has 11"):
        linear_softmax_cross_entropy(X, W, LABELS, sample=sample)
