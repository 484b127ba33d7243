"""Distillation: the formula, the teacher's own eyes, a run that outlives its teacher's directory."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcv import losses
from jaxcv.cli.options import load_preset
from jaxcv.data import Synthetic
from jaxcv.image import Normalize, RandomTranslation, Resize
from jaxcv.models import MLP, EmbeddingClassifier, LeNet
from jaxcv.tasks import (
    Classification,
    CrossEntropy,
    Distillation,
    EarlyLearning,
    MetricLearning,
    Segmentation,
    Sum,
    Teacher,
)
from jaxcv.train import (
    Adam,
    ConfigError,
    Experiment,
    Keep,
    Optimizer,
    Runtime,
    TrainedModel,
    open_run,
    open_workdir,
    read_config,
    train,
    write_config,
)
from jaxcv.train.checkpoint import leaf_digests

pytestmark = pytest.mark.usefixtures("quick_compilation")

C = 3
ONE = Runtime(devices=1)
DATA = Synthetic(num_examples=24, num_test_examples=8, image_size=8, channels=1, num_classes=C)
EXPERIMENT = Experiment(
    data=DATA,
    model=MLP(num_classes=C, hidden=(8,)),
    task=Classification(num_classes=C, top_k=2),
    optimizer=Optimizer(learning_rate=0.01, algorithm=Adam()),
    batch_size=16,
    steps=20,
    augment=(RandomTranslation(fraction=(0.2, 0.2)),),
    preprocess=(Normalize(mean=(0.3,), std=(0.5,)),),
    eval_batch_size=8,
    eval_every=20,
    checkpoint_every=10,
    log_every=1,
    keep=Keep(last=2),
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A run of another model, with other preprocessing and a moving average of its weights."""
    workdir = tmp_path_factory.mktemp("teacher") / "run"
    large = dataclasses.replace(
        EXPERIMENT,
        model=MLP(num_classes=C, hidden=(16,)),
        preprocess=(Normalize(mean=(0.5,), std=(0.1,)),),
        steps=6,
        ema_decay=0.5,
    )
    train(large, workdir, ONE)
    return workdir


def student(teacher, **changes):
    distillation = Distillation(teacher=str(teacher), temperature=3.0, weight=0.7)
    distillation = dataclasses.replace(distillation, **changes)
    return dataclasses.replace(
        EXPERIMENT, task=dataclasses.replace(EXPERIMENT.task, objective=distillation)
    )


def logged_losses(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if row["split"] == "train"]


@pytest.fixture(scope="module")
def finished(teacher, tmp_path_factory):
    """A student's whole run, and a copy of its first half; the teacher's directory is gone then."""
    folder = tmp_path_factory.mktemp("students")
    gone = folder / "gone"
    shutil.copytree(teacher, gone)
    experiment = student(gone)
    train(experiment, folder / "whole", ONE)
    shutil.rmtree(gone)
    shutil.copytree(
        folder / "whole", folder / "cut", ignore=shutil.ignore_patterns("20", "metrics.jsonl")
    )
    return experiment, folder


def test_a_model_is_read_without_its_data(teacher):
    run, state = open_workdir(teacher, ONE)
    trained = TrainedModel.open(teacher)
    assert trained.experiment == run.experiment
    assert trained.step == 6
    assert leaf_digests(trained.variables()) == leaf_digests(state.ema)
    assert leaf_digests(state.ema) != leaf_digests(state.variables)


def test_a_student_goes_on_and_is_evaluated_without_its_teacher(finished):
    experiment, folder = finished
    train(experiment, folder / "cut", ONE)  # the same command, the directory of the teacher is gone
    run, first = open_workdir(folder / "whole", ONE)
    _, second = open_workdir(folder / "cut", ONE)
    assert leaf_digests(first) == leaf_digests(second)
    network = run.experiment.task.objective.network
    assert network.model == MLP(num_classes=C, hidden=(16,))
    assert network.image_shape == (8, 8, 1)
    # In config.json, not in the preset.
    assert read_config(folder / "whole" / "config.json") == run.experiment
    assert experiment.task.objective.network is None


def test_the_teacher_stays_as_it_was(finished, teacher):
    _, folder = finished
    _, state = open_workdir(folder / "whole", ONE)
    variables, own = state.task_state
    assert leaf_digests(variables) == leaf_digests(TrainedModel.open(teacher).variables())
    assert own == ()


def test_other_settings_of_a_run_are_refused(finished):
    experiment, folder = finished
    objective = dataclasses.replace(experiment.task.objective, weight=0.5)
    other = dataclasses.replace(
        experiment, task=dataclasses.replace(experiment.task, objective=objective)
    )
    with pytest.raises(ConfigError, match="weight was 0.7 and is now 0.5"):
        train(other, folder / "whole", ONE)


def test_a_student_is_the_same_on_eight_devices(teacher, tmp_path):
    found = []
    for count in (1, 8):
        train(
            dataclasses.replace(student(teacher), steps=3, eval_every=3),
            tmp_path / str(count),
            Runtime(devices=count),
        )
        found.append(open_workdir(tmp_path / str(count), ONE)[1].params)
    for one, eight in zip(*map(jax.tree.leaves, found)):
        np.testing.assert_allclose(one, eight, rtol=1e-5, atol=1e-6)


def settled_objective(teacher, **changes):
    return open_run(student(teacher, **changes), ONE).experiment.task.objective


BATCH = {
    "label": jnp.array([0, 2, 1, 1]),
    "mask": jnp.array([True, True, True, False]),
    "record": jnp.arange(4),
    "epoch": jnp.zeros(4, jnp.int32),
    "unprocessed_image": jnp.asarray(
        np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1)), jnp.uint8
    ),
}


def test_a_loss_is_the_formula_and_the_teacher_preprocesses_by_itself(teacher):
    objective = settled_objective(teacher, objective=CrossEntropy(label_smoothing=0.1))
    task = Classification(num_classes=C, objective=objective)
    logits = jnp.asarray(np.random.default_rng(1).normal(size=(4, C)), jnp.float32)
    trained = TrainedModel.open(teacher)
    state = (trained.variables(), ())

    def total(logits, variables):
        values, weights, after = task.loss(logits, BATCH, (variables, ()))
        assert jax.tree.structure(after) == jax.tree.structure(state)
        return jnp.sum(values), (values, weights)

    slopes, (values, weights) = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(
        logits, state[0]
    )
    # As the teacher's own run prepares it: mean 0.5 and deviation 0.1, where the student's are others.
    images = (BATCH["unprocessed_image"] / 255 - 0.5) / 0.1
    seen = trained.experiment.model.apply(state[0], images, train=False)
    own = losses.softmax_cross_entropy(logits, BATCH["label"], label_smoothing=0.1)
    imitation = losses.distillation_loss(logits, seen, temperature=3.0)
    wanted = jnp.where(BATCH["mask"], 0.3 * own + 0.7 * imitation, 0)
    np.testing.assert_allclose(values, wanted, rtol=1e-5)
    assert weights.tolist() == [1, 1, 1, 0]
    assert np.any(slopes[0] != 0)
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(slopes[1]))


class Pixels(nn.Module):
    """Logits of each pixel, of a main and a second head."""

    @nn.compact
    def __call__(self, images, *, train=False, mask=None):
        return {"logits": nn.Dense(C)(images), "auxiliary": nn.Dense(C)(images)}


def test_pixels_are_distilled_too():
    images, model = (
        jnp.asarray(np.random.default_rng(2).random((2, 4, 4, 1)), jnp.float32),
        Pixels(),
    )
    variables = model.init(jax.random.key(0), images)
    objective = Distillation(
        teacher="nowhere",
        weight=0.4,
        temperature=2.0,
        network=Teacher(model=model, preprocess=(), image_shape=(4, 4, 1)),
    )
    labels = np.random.default_rng(3).integers(0, C, (2, 4, 4))
    labels[0, :2] = 255
    logits = jnp.asarray(np.random.default_rng(4).normal(size=(2, 4, 4, C)), jnp.float32)
    batch = {"label": jnp.asarray(labels), "mask": jnp.ones(2, bool), "unprocessed_image": images}
    task = Segmentation(num_classes=C, objective=objective)
    values, weights, _ = jax.jit(task.loss)(logits, batch, (variables, ()))
    valid = labels != 255

    @jax.jit
    def formula(logits, labels, images):
        own = losses.softmax_cross_entropy(logits, labels)
        seen = model.apply(variables, images)["logits"]
        return 0.6 * own + 0.4 * losses.distillation_loss(logits, seen, temperature=2.0)

    each = formula(logits, np.where(valid, labels, 0), images)
    np.testing.assert_allclose(values, np.where(valid, each, 0).sum((1, 2)), rtol=1e-5)
    assert weights.tolist() == [8, 16]


def test_a_student_learns(finished):
    values = logged_losses(finished[1] / "whole")
    assert len(values) == 20
    assert np.mean(values[-3:]) < 0.9 * np.mean(values[:3])


def test_an_objective_within_others_is_settled_and_keeps_its_state(teacher):
    inner = Distillation(teacher=str(teacher), objective=EarlyLearning())
    experiment = dataclasses.replace(
        EXPERIMENT, task=Classification(num_classes=C, objective=Sum((inner, 1.0)))
    )
    run = open_run(experiment, ONE)
    (found, _) = run.experiment.task.objective.terms[0]
    assert found.network.image_shape == (8, 8, 1)
    ((variables, targets),) = run.create_state().task_state
    assert leaf_digests(variables) == leaf_digests(TrainedModel.open(teacher).variables())
    assert jax.tree.leaves(targets)[0].shape[0] == 24
    ((empty, _),) = run.create_state(to_restore=True).task_state
    assert jax.tree.map(jnp.shape, empty) == jax.tree.map(jnp.shape, variables)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"num_classes": 4},
            r"tells 3 classes apart, but the data have 4; take a teacher that was trained on the same",
        ),
        ({"image_size": 12}, r"cannot see images of \[12, 12, 1\].*its weights have other shapes"),
        ({"channels": 3}, r"cannot see images of \[8, 8, 3\]"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(teacher, tmp_path, changes, message):
    data = dataclasses.replace(DATA, **changes)
    experiment = dataclasses.replace(
        student(teacher),
        data=data,
        model=LeNet(num_classes=data.num_classes),
    )
    task = dataclasses.replace(experiment.task, num_classes=data.num_classes)
    with pytest.raises(ValueError, match=message):
        train(dataclasses.replace(experiment, task=task), tmp_path / "run", ONE)
    assert not (tmp_path / "run").exists()


def test_settings_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match="no directory nowhere/at/all, which should hold a trained"
    ):
        train(student("nowhere/at/all"), tmp_path / "run", ONE)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match=r"temperature is 0.0"):
        Distillation(teacher="a", temperature=0.0)
    with pytest.raises(ValueError, match=r"weight is 1.5"):
        Distillation(teacher="a", weight=1.5)
    write_config(tmp_path / "config.json", EXPERIMENT)
    with pytest.raises(ValueError, match="holds no checkpoint"):
        TrainedModel.open(tmp_path)


def test_a_teacher_without_logits_is_refused(tmp_path):
    embedder = dataclasses.replace(
        EXPERIMENT,
        model=EmbeddingClassifier(MLP(num_classes=2, hidden=()), num_classes=0, embedding_size=2),
        task=MetricLearning(num_classes=C),
        steps=1,
        eval_every=1,
        checkpoint_every=1,
    )
    train(embedder, tmp_path, ONE)
    with pytest.raises(ValueError, match="MetricLearning cannot be distilled"):
        open_run(student(tmp_path), ONE)


def test_a_teacher_that_resizes_sees_images_of_any_size(tmp_path):
    resizing = dataclasses.replace(
        EXPERIMENT, preprocess=(Resize(size=8),), steps=1, eval_every=1, checkpoint_every=1
    )
    train(resizing, tmp_path / "teacher", ONE)
    larger = dataclasses.replace(
        student(tmp_path / "teacher"), data=dataclasses.replace(DATA, image_size=12)
    )
    network = open_run(larger, ONE).experiment.task.objective.network
    assert network.image_shape == (8, 8, 1)


def test_the_settings_are_options_of_the_command_line():
    import tyro

    task = dataclasses.replace(
        load_preset("digits_lenet").task, objective=Distillation(teacher="a")
    )
    words = ["--objective.teacher", "runs/large", "--objective.weight", "0.5"]
    found = tyro.cli(Classification, default=task, args=words)
    assert found.objective == Distillation(teacher="runs/large", weight=0.5)
