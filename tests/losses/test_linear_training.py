"""Training on synthetic identities: the fused loss, whole and in shards, beside the dense one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxcv.losses import AdaFace, linear_softmax_cross_entropy, margin_softmax_cross_entropy

IDENTITIES, PIXELS, WIDTH, BATCH, STEPS = 61, 24, 16, 32, 200
MARGIN = AdaFace(scale=16.0, margin=0.3, rate=0.1)
OPTIMIZER = optax.sgd(0.05, momentum=0.9)


def photographs():
    """STEPS batches: each identity is a point, each photograph lies near it."""
    rng = np.random.default_rng(0)
    faces = rng.normal(size=(IDENTITIES, PIXELS))
    labels = rng.integers(0, IDENTITIES, (STEPS, BATCH)).astype(np.int32)
    images = faces[labels] + 0.4 * rng.normal(size=(STEPS, BATCH, PIXELS))
    return images.astype(np.float32), labels


def start(rows=IDENTITIES):
    rng = np.random.default_rng(1)
    network = (rng.normal(size=(PIXELS, WIDTH)) * 0.3).astype(np.float32)
    classifier = np.zeros((rows, WIDTH), np.float32)
    classifier[:IDENTITIES] = 0.1 * rng.normal(size=(IDENTITIES, WIDTH))
    return network, classifier


def train(loss, params, images, labels, axis_name=None):
    """The loss of every step; `loss(embeddings, classifier, labels, state)` per row and state."""

    def total(params, images, labels, state):
        values, state = loss(jnp.tanh(images @ params[0]), params[1], labels, state)
        return jnp.sum(values) / BATCH, state

    def step(carry, batch):
        params, slots, state = carry
        run = jax.value_and_grad(total, has_aux=True)
        (value, state), (to_network, to_classifier) = run(params, *batch, state)
        if axis_name is not None:  # the classifier's gradient is complete on every shard
            value, to_network = jax.lax.psum((value, to_network), axis_name)
        updates, slots = OPTIMIZER.update((to_network, to_classifier), slots)
        return (optax.apply_updates(params, updates), slots, state), value

    carry = params, OPTIMIZER.init(params), MARGIN.init()
    return jax.lax.scan(step, carry, (images, labels))[1]


def dense(embeddings, classifier, labels, state):
    return margin_softmax_cross_entropy(embeddings, classifier, labels, MARGIN, state)


def fused(embeddings, classifier, labels, state, **settings):
    found = linear_softmax_cross_entropy(
        embeddings, classifier, labels, margin=MARGIN, margin_state=state, block_size=8, **settings
    )
    return found.loss, found.margin_state


@pytest.mark.slow
def test_loss_curves_are_equal():
    images, labels = photographs()
    wanted = jax.jit(functools.partial(train, dense))(start(), images, labels)
    assert wanted[-20:].mean() < wanted[:5].mean() / 4  # it learns
    found = jax.jit(functools.partial(train, fused))(start(), images, labels)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)

    devices = 8
    loss = functools.partial(fused, axis_name="shards", num_classes=IDENTITIES)
    run = jax.shard_map(
        functools.partial(train, loss, axis_name="shards"),
        mesh=Mesh(np.array(jax.devices()[:devices]), ("shards",)),
        in_specs=((P(), P("shards")), P(None, "shards"), P(None, "shards")),
        out_specs=P(),
        check_vma=False,
    )
    found = jax.jit(run)(start(64), images, labels)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
