"""Parameters sharded over the devices: the same training as whole ones, whatever the device count."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from jaxcv.data import Arrays
from jaxcv.losses import AdaFace, ArcFace, CosFace, Warmup
from jaxcv.models import EmbeddingClassifier, FaceCNN
from jaxcv.tasks import FaceRecognition
from jaxcv.train import (
    LARS,
    SGD,
    Adam,
    DeviceMap,
    Experiment,
    Muon,
    Optimizer,
    Runtime,
    SetupError,
    open_run,
    open_workdir,
    train,
)
from jaxcv.train.checkpoint import leaf_digests
from jaxcv.train.gradients import clip_by_global_norm, global_norm
from jaxcv.train.state import state_layout, variable_shapes

pytestmark = pytest.mark.usefixtures("quick_compilation")

PEOPLE, PICTURES = 13, 4  # 13 people share no device count evenly


def faces():
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(PEOPLE), PICTURES).astype(np.int32)
    prototype = rng.integers(0, 256, (PEOPLE, 8, 8, 1))
    image = np.clip(prototype[label] + rng.normal(0, 20, (len(label), 8, 8, 1)), 0, 255)
    order = rng.permutation(len(label))
    image, label = image.astype(np.uint8)[order], label[order]
    return Arrays(images=image, labels=label, test_images=image[:20], test_labels=label[:20])


def experiment(margin=None, **changes):
    settings = {
        "data": faces(),
        "model": EmbeddingClassifier(
            backbone=FaceCNN(num_classes=8, widths=(4,), hidden=16, dropout=0.0),
            num_classes=PEOPLE,
            embedding_size=8,
            multiple_of=16,
        ),
        "task": FaceRecognition(
            num_classes=PEOPLE, margin=margin or ArcFace(scale=16.0, margin=0.2)
        ),
        "optimizer": Optimizer(
            learning_rate=0.1, algorithm=SGD(momentum=0.9, weight_decay=1e-3), clip_norm=0.5
        ),
        "batch_size": 24,
        "steps": 6,
        "ema_decay": 0.9,
        "l2": 1e-4,
        "log_every": 2,
    }
    return Experiment(**{**settings, **changes})


def trained(tmp_path, devices, strategy="shard_map", **changes):
    train(experiment(**changes), tmp_path, Runtime(devices=devices, strategy=strategy))
    run, state = open_workdir(
        tmp_path, Runtime(devices=devices, strategy=strategy), experiment=experiment(**changes)
    )
    return run, state


@pytest.fixture(scope="module")
def on_one(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("one"), 1)


@pytest.mark.parametrize(
    ("devices", "strategy"),
    [pytest.param(2, "pmap", marks=pytest.mark.slow), (8, "shard_map")],
)
def test_devices_do_not_change_the_training(tmp_path, on_one, devices, strategy):
    _, wanted = on_one
    run, state = trained(tmp_path, devices, strategy)
    assert state.params["classifier"].shape == (16, 8)
    shards = {s.data.shape for s in state.params["classifier"].addressable_shards}
    assert shards == {(16 // devices, 8)}
    assert run.sharded["classifier"] is True
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        dataclasses.replace(state, key=0),
        dataclasses.replace(wanted, key=0),
    )
    # Padding rows decay and otherwise stay where they were made: no gradient reaches them.
    start = open_run(experiment(), Runtime(devices=1)).create_state().params["classifier"]
    ratio = (np.asarray(state.params["classifier"]) / np.asarray(start))[PEOPLE:]
    assert np.all((ratio > 0.99) & (ratio < 1))


def test_checkpoint_holds_the_whole_array_for_any_device_count(tmp_path, on_one):
    _run, state = trained(tmp_path, 4)
    found = {}
    for devices in (1, 8):
        runtime = Runtime(devices=devices)
        _, restored = open_workdir(tmp_path, runtime, experiment=experiment())
        found[devices] = leaf_digests(restored)
        assert len(restored.params["classifier"].addressable_shards) == devices
    assert found[1] == found[8] == leaf_digests(state)


@pytest.mark.parametrize(
    "margin",
    [Warmup(margin=CosFace(scale=16.0, margin=0.3), steps=4), AdaFace(scale=16.0)],
    ids=lambda margin: type(margin).__name__,
)
def test_state_of_a_margin_is_carried_and_saved(tmp_path, margin):
    _, state = trained(tmp_path, 2, margin=margin)
    start = margin.init()
    assert all(a != b for a, b in zip(jax.tree.leaves(state.task_state), jax.tree.leaves(start)))
    if isinstance(margin, Warmup):
        assert int(state.task_state.step) == 6


def test_sampled_classes_train(tmp_path):
    task = FaceRecognition(
        num_classes=PEOPLE, margin=CosFace(scale=16.0, margin=0.1), sampling_rate=0.25
    )
    longer = {
        "task": task,
        "steps": 60,
        "batch_size": 4,
        "optimizer": Optimizer(learning_rate=0.05),
    }
    results = train(experiment(**longer), tmp_path, Runtime(devices=1))
    untrained = open_run(experiment()).create_state()
    assert untrained.params["classifier"].shape == (16, 8)
    assert results["test"]["area_under_roc"] > 0.9


@pytest.mark.parametrize("algorithm", [SGD(momentum=0.9), Adam(), LARS(), Muon()])
def test_slots_lie_where_their_parameters_do(algorithm):
    one = experiment()
    optimizer = Optimizer(learning_rate=0.1, algorithm=algorithm).transformation(6)
    layout = state_layout(variable_shapes(one.model, (8, 8, 1)), optimizer, ema=True)
    abstract = jax.eval_shape(optimizer.init, {"classifier": jnp.zeros((16, 8))})
    slots = [leaf for leaf in jax.tree.leaves(abstract) if leaf.shape == (16, 8)]
    specs = jax.tree.leaves(layout.opt_state, is_leaf=lambda x: isinstance(x, P))
    assert sum(spec != P() for spec in specs) == len(slots) >= 1
    assert layout.ema["params"]["classifier"] == layout.params["classifier"] != P()


@pytest.mark.parametrize("count", [1, 4])
def test_norm_and_clipping_count_every_part_once(count):
    tree = {"own": jnp.arange(8.0).reshape(4, 2), "shared": jnp.array([3.0, -4.0])}
    sharded = {"own": True, "shared": False}
    mesh = DeviceMap(jax.devices()[:count]).mesh
    specs = {"own": P("devices"), "shared": P()}

    def both(tree):
        clipped, _ = clip_by_global_norm(1.0, sharded).update(tree, optax.EmptyState())
        return global_norm(tree, sharded), clipped

    norm, clipped = jax.jit(
        jax.shard_map(both, mesh=mesh, in_specs=(specs,), out_specs=(P(), specs), check_vma=False)
    )(tree)
    wanted = np.sqrt((np.arange(8.0) ** 2).sum() + 25)
    assert float(norm) == pytest.approx(wanted, rel=1e-6)
    np.testing.assert_allclose(clipped["own"], tree["own"] / wanted, rtol=1e-6)
    np.testing.assert_allclose(clipped["shared"], tree["shared"] / wanted, rtol=1e-6)


def test_what_cannot_be_divided_is_refused():
    with pytest.raises(SetupError, match="LARS needs whole matrices.*2 devices"):
        open_run(
            experiment(optimizer=Optimizer(learning_rate=1.0, algorithm=LARS())), Runtime(devices=2)
        )
    with pytest.raises(
        SetupError, match=r"'classifier'.* has 16 rows, which 3 devices cannot share"
    ):
        open_run(experiment(), Runtime(devices=3))
    few = EmbeddingClassifier(
        backbone=FaceCNN(num_classes=8), num_classes=3, embedding_size=8, multiple_of=4
    )
    with pytest.raises(SetupError, match="classifier has 4 rows, but the task has 13"):
        open_run(experiment(model=few), Runtime(devices=1))
    with pytest.raises(SetupError, match="wrap it as EmbeddingClassifier"):
        open_run(experiment(model=FaceCNN(num_classes=8, widths=(4,))))
