"""Tasks of faces: what the head tells while it trains, and verification over the test pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from jaxcv import losses
from jaxcv.losses import CosFace, NormFace
from jaxcv.models import EmbeddingOutputs
from jaxcv.tasks import FaceRecognition, MetricLearning, SupervisedContrastive, Triplet
from jaxcv.train import DeviceMap

P = jax.sharding.PartitionSpec
DEVICES = DeviceMap(jax.devices()[:2])
RNG = np.random.default_rng(0)


def on_two_devices(task, embedding, classifier, batch):
    """Runs a task's loss and metrics on two devices; values [B], summed metrics."""

    def step(embedding, classifier, batch):
        outputs = EmbeddingOutputs(embedding, classifier)
        state, key = task.init_state(), jax.random.key(0)
        values, weights, metrics, _ = task.loss_and_metrics(outputs, batch, state, key)
        return values, weights, jax.lax.psum(metrics, "devices")

    layout = (P("devices"), P("devices"), P())
    mapped = DEVICES.map(step, (0, 0, 0), out=layout)
    return mapped(*DEVICES.split((embedding, classifier, batch)))


def test_head_by_hand():
    # Two people at right angles; the first picture 30 degrees from its own, the second 60.
    classifier = np.eye(2, dtype=np.float32) * 5
    angles = np.deg2rad([30.0, 60.0, 45.0, 0.0])
    embedding = 2 * np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    batch = {"label": np.array([0, 0, 0, 1], np.int32), "mask": np.array([True, True, True, False])}
    task = FaceRecognition(num_classes=2, margin=CosFace(scale=1.0, margin=0.2))
    values, weights, metrics = on_two_devices(task, embedding, classifier, batch)
    cos, sin = np.cos(angles[:3]), np.sin(angles[:3])
    np.testing.assert_allclose(values[:3], np.log1p(np.exp(sin - (cos - 0.2))), rtol=1e-5)
    assert float(values[3]) == 0
    assert weights.tolist() == [1, 1, 1, 0]
    found = task.summary(metrics)
    assert found["count"] == 3
    assert found["accuracy"] == pytest.approx(1 / 3)  # A draw at 45 degrees is no hit.
    # cos 30 - 0.2 = 0.67 is still above sin 30 = 0.5.
    assert found["margin_violations"] == pytest.approx(2 / 3)
    assert found["target_angle"] == pytest.approx(45.0, abs=1e-3)
    assert found["embedding_norm"] == pytest.approx(2.0, rel=1e-6)
    assert found["loss"] == pytest.approx(float(np.mean(values[:3])), rel=1e-6)


def test_sampling_everything_is_the_full_softmax():
    classifier = RNG.normal(size=(8, 4)).astype(np.float32)
    embedding = RNG.normal(size=(6, 4)).astype(np.float32)
    batch = {"label": RNG.integers(0, 7, 6).astype(np.int32), "mask": np.ones(6, bool)}
    tasks = [
        FaceRecognition(num_classes=7, margin=NormFace(scale=4.0), sampling_rate=rate)
        for rate in (1.0, 0.999)  # All rows, once without and once with a sample of all.
    ]
    full, sampled = (on_two_devices(task, embedding, classifier, batch)[0] for task in tasks)
    np.testing.assert_allclose(full, sampled, rtol=1e-6)
    dense = losses.softmax_cross_entropy(
        4 * losses.l2_normalize(embedding) @ losses.l2_normalize(classifier[:7]).T, batch["label"]
    )
    np.testing.assert_allclose(full, dense, rtol=1e-5)


@pytest.mark.parametrize(
    ("objective", "reference"),
    [
        (
            Triplet(mining="semi_hard", margin=0.3),
            lambda e, y: losses.batch_triplet_loss(
                losses.l2_normalize(e), y, mining="semi_hard", margin=0.3
            ),
        ),
        (
            SupervisedContrastive(temperature=0.2),
            lambda e, y: losses.supervised_contrastive_loss(e, y, temperature=0.2),
        ),
    ],
    ids=["triplet", "contrastive"],
)
def test_pairs_are_those_of_the_whole_batch(objective, reference):
    embedding = RNG.normal(size=(8, 4)).astype(np.float32)
    batch = {"label": np.array([0, 1, 2, 3, 0, 1, 2, 3], np.int32), "mask": np.ones(8, bool)}
    task = MetricLearning(num_classes=4, objective=objective)
    values, _, metrics = on_two_devices(task, embedding, np.zeros((2, 4), np.float32), batch)
    # No person has two pictures on one device: without a gather there would be no pair.
    wanted = reference(jnp.asarray(embedding), jnp.asarray(batch["label"]))
    np.testing.assert_allclose(jnp.mean(values), jnp.mean(wanted), rtol=1e-5)
    assert float(jnp.mean(wanted)) > 0
    assert task.summary(metrics) == {"count": 8}


def test_verification_over_all_pairs():
    task = FaceRecognition(num_classes=9, false_accept_rates=(0.1,))
    labels = np.repeat(np.arange(5), 3)
    embedding = RNG.normal(size=(5, 8))[labels] + RNG.normal(size=(15, 8))
    found = task.aggregate({"embedding": embedding, "label": labels})
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    i, j = np.triu_indices(15, 1)
    wanted = roc_auc_score(labels[i] == labels[j], (unit @ unit.T)[i, j])
    assert found["area_under_roc"] == pytest.approx(wanted)
    assert found["genuine_pairs"] == 15
    assert "true_accept_rate_at_far_0.1" in found
    # Without a genuine or without an impostor pair there is nothing to tell.
    assert task.aggregate({"embedding": embedding[:3], "label": labels[:3]}) == {}
    assert task.aggregate({"embedding": embedding[::3], "label": labels[::3]}) == {}
