"""Objectives of metric learning: each is its loss over the global batch, learns, and goes on as it was."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv import losses
from jaxcv.data import Arrays
from jaxcv.losses import AdaCos
from jaxcv.models import MLP, EmbeddingClassifier, EmbeddingOutputs
from jaxcv.tasks import (
    Center,
    Circle,
    Contrastive,
    LiftedStructure,
    MarginSoftmax,
    MetricLearning,
    MultiSimilarity,
    NPairs,
    NTXent,
    ProxyAnchor,
    ProxyNCA,
    RankedList,
    Sum,
    SupervisedContrastive,
    Triplet,
)
from jaxcv.tasks.faces.objectives.pairs import first_pairs
from jaxcv.train import (
    SGD,
    DeviceMap,
    Experiment,
    Optimizer,
    Runtime,
    SetupError,
    TrainingData,
    open_run,
    open_workdir,
    train,
)
from jaxcv.train.checkpoint import Checkpoints, leaf_digests

P = jax.sharding.PartitionSpec
pytestmark = pytest.mark.usefixtures("quick_compilation")

# Three classes of 16 rows, two of them padding; every class is spread over several of 8 devices.
C, B, F, E = 3, 16, 6, 4
RNG = np.random.default_rng(0)
LABELS = np.tile(np.array([0, 1, 2, 0, 1], np.int32), 4)[:B]
BATCH = {
    "label": LABELS,
    "mask": np.arange(B) < B - 2,
    "record": np.arange(B, dtype=np.int32) // 2,
    "epoch": np.zeros(B, np.int32),
}
FEATURES = (RNG.normal(size=(B, F)) + 2 * np.eye(C, F)[LABELS]).astype(np.float32)
PARAMS = {
    "weights": RNG.normal(size=(F, E)).astype(np.float32),
    # Padded to 8 rows, one for each device.
    "classifier": RNG.normal(size=(8, E)).astype(np.float32),
}
DATA = TrainingData(num_examples=B, num_classes=C)
PAIRS = {"labels": jnp.asarray(LABELS), "mask": jnp.asarray(BATCH["mask"])}
RECORDS = {**PAIRS, "labels": jnp.asarray(BATCH["record"])}


def proxies(params):
    return params["classifier"][:C]


def n_pairs(e, params):
    """The first two valid rows of each class, found by NumPy."""
    first = [np.flatnonzero((c == LABELS) & BATCH["mask"])[:2] for c in range(C)]
    a, p = np.array(first).T
    return losses.n_pairs_loss(e[a], e[p])


def unit(loss, **options):
    return lambda e, params: loss(losses.l2_normalize(e), **PAIRS, **options)


def pairs(loss, **options):
    return lambda e, params: loss(e, **PAIRS, **options)


def softmax(e, params):
    margin = AdaCos(num_classes=C)
    return losses.margin_softmax_cross_entropy(
        e, proxies(params), PAIRS["labels"], margin, margin.init(), mask=PAIRS["mask"]
    )[0]


# Each objective, and the pure function whose mean over the rows that count it is.
OBJECTIVES = {
    "contrastive": (Contrastive(margin=1.5), unit(losses.batch_contrastive_loss, margin=1.5)),
    "triplet": (
        Triplet(mining="semi_hard", margin=0.3),
        unit(losses.batch_triplet_loss, mining="semi_hard", margin=0.3),
    ),
    "lifted": (LiftedStructure(margin=0.7), unit(losses.lifted_structure_loss, margin=0.7)),
    "multi_similarity": (
        MultiSimilarity(threshold=0.4),
        pairs(losses.multi_similarity_loss, threshold=0.4),
    ),
    "circle": (Circle(scale=16.0), pairs(losses.circle_loss, scale=16.0)),
    "ranked_list": (RankedList(margin=0.3), pairs(losses.ranked_list_loss, margin=0.3)),
    "supervised_contrastive": (
        SupervisedContrastive(average="inside"),
        pairs(losses.supervised_contrastive_loss, average="inside"),
    ),
    "ntxent_views": (
        NTXent(temperature=0.5),
        lambda e, params: losses.ntxent_loss(e, **RECORDS, temperature=0.5),
    ),
    "ntxent_label": (
        NTXent(temperature=0.3, positives="label"),
        pairs(losses.ntxent_loss, temperature=0.3),
    ),
    "n_pairs": (NPairs(), n_pairs),
    "proxy_nca": (
        ProxyNCA(scale=3.0, include_positive=True),
        lambda e, params: losses.proxy_nca_loss(
            e, proxies=proxies(params), **PAIRS, scale=3.0, include_positive=True
        ),
    ),
    "proxy_anchor": (
        ProxyAnchor(scale=8.0),
        lambda e, params: losses.proxy_anchor_loss(e, proxies=proxies(params), **PAIRS, scale=8.0),
    ),
    "margin_softmax": (MarginSoftmax(margin=AdaCos(num_classes=C)), softmax),
    "center": (
        Center(embedding_size=E),
        lambda e, params: losses.center_loss(e, centers=jnp.zeros((C, E)), **PAIRS),
    ),
}
STEPS = 20
# Those on embeddings of any length have steep slopes.
RATES = {name: 0.01 if name in ("center", "circle", "n_pairs") else 0.2 for name in OBJECTIVES}


@pytest.fixture(scope="module")
def courses():
    """The loss of each objective at 20 steps of gradient descent, and its last state, by devices."""

    def descend(params, features, batch):
        def of_task(task, rate):
            def total(params, state):
                outputs = EmbeddingOutputs(features @ params["weights"], params["classifier"])
                values, weights, state = task.loss(outputs, batch, state)
                weight = jax.lax.psum(jnp.sum(weights), "devices")
                return jnp.sum(values) / weight, state

            def step(carry, _):
                (value, state), slopes = jax.value_and_grad(total, has_aux=True)(*carry)
                # The rows of the classifier are of this device, and their gradient is complete.
                slopes["weights"] = jax.lax.psum(slopes["weights"], "devices")
                params = jax.tree.map(lambda p, g: p - rate * g, carry[0], slopes)
                return (params, state), jax.lax.psum(value, "devices")

            (_, state), values = jax.lax.scan(step, (params, task.init_state(DATA)), None, STEPS)
            return values, state

        tasks = {
            name: MetricLearning(num_classes=C, objective=o) for name, (o, _) in OBJECTIVES.items()
        }
        return {name: of_task(task, RATES[name]) for name, task in tasks.items()}

    found = {}
    layout = ({"weights": P(), "classifier": P("devices")}, 0, 0)
    for count in (1, 8):
        device_map = DeviceMap(jax.devices()[:count])
        placed = (
            device_map.place(PARAMS, layout[0]),
            device_map.split(FEATURES),
            device_map.split(BATCH),
        )
        found[count] = jax.device_get(device_map.map(descend, layout)(*placed))
    return found


@pytest.fixture(scope="module")
def expected():
    """The mean of each pure function over the rows that count."""
    mask = jnp.asarray(BATCH["mask"])

    @jax.jit
    def means(features, params):
        e = features @ params["weights"]
        values = {name: function(e, params) for name, (_, function) in OBJECTIVES.items()}
        return {
            name: jnp.mean(v)
            if name == "n_pairs"
            else jnp.sum(jnp.where(mask, v, 0)) / jnp.sum(mask)
            for name, v in values.items()
        }

    return jax.device_get(means(FEATURES, PARAMS))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_is_its_loss_on_any_number_of_devices_and_learns(name, courses, expected):
    one, eight = courses[1][name], courses[8][name]
    np.testing.assert_allclose(one[0][0], expected[name], rtol=1e-5)
    np.testing.assert_allclose(eight[0][:3], one[0][:3], rtol=1e-5)
    for a, b in zip(jax.tree.leaves(one[1]), jax.tree.leaves(eight[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    assert one[0][-1] < 0.97 * one[0][0]


def test_centers_move_to_their_classes(courses):
    # Towards the means of embeddings that shrink to them: none stays at the origin.
    centers = courses[1]["center"][1]
    assert centers.shape == (C, E)
    assert np.all(np.linalg.norm(centers, axis=1) > 0.1)


def test_pairs_are_the_first_two_of_each_class():
    labels = np.array([2, -1, 0, 2, 2, 0, 1, -1], np.int32)
    for count in (1, 4):
        device_map = DeviceMap(jax.devices()[:count])
        first, partner = device_map.map(first_pairs, (0,), out=(P("devices"), P("devices")))(
            device_map.split(labels)
        )
        assert np.flatnonzero(first).tolist() == [0, 2]
        assert np.asarray(partner)[[0, 2]].tolist() == [3, 5]


def experiment(objective, **changes):
    """Three classes of pictures, a network of one layer."""
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(C, dtype=np.int32), 8)
    pictures = rng.integers(0, 60, (24, 2, 3, 1)) + 60 * labels[:, None, None, None]
    pictures = pictures.astype(np.uint8)
    fields = {
        "data": Arrays(
            images=pictures,
            labels=labels,
            test_images=pictures[::3],
            test_labels=labels[::3],
        ),
        "model": EmbeddingClassifier(
            MLP(hidden=(), num_classes=E), num_classes=C, embedding_size=E, multiple_of=8
        ),
        "task": MetricLearning(num_classes=C, objective=objective),
        "optimizer": Optimizer(learning_rate=0.01, algorithm=SGD()),
        "batch_size": 8,
        "steps": 8,
        "eval_every": 8,
        "checkpoint_every": 4,
        "log_every": 1,
        "eval_batch_size": 8,
    }
    return Experiment(**{**fields, **changes})


def logged(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["split"] == "train"]


def test_a_run_goes_on_to_the_same_bytes(tmp_path):
    """All that have a state, one of each kind of the others, and two views of each image."""
    names = (
        "multi_similarity",
        "ntxent_views",
        "n_pairs",
        "proxy_anchor",
        "margin_softmax",
        "center",
    )
    objective = Sum(*((OBJECTIVES[name][0], 0.1) for name in names))
    runtime, whole = Runtime(devices=1), tmp_path / "whole"
    trained = experiment(objective)
    train(trained, whole, runtime)
    assert Checkpoints(whole / "checkpoints").steps() == [4, 8]
    cut = tmp_path / "cut"
    shutil.copytree(whole, cut, ignore=shutil.ignore_patterns("8", "metrics.jsonl"))
    train(trained, cut, runtime)
    _, first = open_workdir(whole, runtime, experiment=trained)
    _, second = open_workdir(cut, runtime, experiment=trained)
    assert leaf_digests(first) == leaf_digests(second)
    assert np.any(np.asarray(first.task_state[-1]) != 0)  # the centres
    # An image is there twice: 16 rows in a batch of 8.
    assert logged(whole)[0]["count"] == 16


@pytest.mark.parametrize(
    ("objective", "changes", "message"),
    [
        (ProxyNCA(), {"model": {"num_classes": 0}}, "proxies are the rows of the model's classifier"),
        (ProxyAnchor(), {"model": {"sub_centers": 2}}, "say --model.num-classes 3 --model.sub-centers 1"),
        (MarginSoftmax(), {"model": {"num_classes": 0}}, "say --model.num-classes 3"),
        (Center(embedding_size=7), {}, "say --task.objective.embedding-size 4"),
        (Sum((Triplet(), 1.0), (Center(embedding_size=7), 0.1)), {}, "embeddings of 4 numbers"),
    ],
)  # fmt: skip
def test_what_an_objective_misses_is_said_before_training(objective, changes, message):
    one = experiment(objective)
    one = dataclasses.replace(one, model=one.model.clone(**changes.get("model", {})))
    with pytest.raises(SetupError, match=message):
        open_run(one, Runtime(devices=1))


def test_views_are_not_mixed():
    from jaxcv.image import Mixup

    with pytest.raises(SetupError, match="2 views of each image"):
        open_run(experiment(NTXent(), mix=Mixup()), Runtime(devices=1))
