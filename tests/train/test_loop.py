"""The loop: resumes to the same bytes, stops as asked, evaluates exactly, overwrites nothing."""

import dataclasses
import json
import math

import chex
import jax
import numpy as np
import pytest

from jaxcv.data import Arrays, DecodeError, Folder, Synthetic
from jaxcv.image import RandomTranslation
from jaxcv.models import MLP, LeNet
from jaxcv.tasks import Classification, Regression
from jaxcv.train import (
    Adam,
    Checkpoints,
    EarlyStopping,
    Experiment,
    Keep,
    NonFiniteError,
    Optimizer,
    Runtime,
    open_workdir,
    train,
)
from jaxcv.train.checkpoint import leaf_digests
from jaxcv.train.logging import read_rows
from jaxcv.train.loop import next_multiple
from jaxcv.train.recorder import metrics_at, stops_early

EXPERIMENT = Experiment(
    data=Synthetic(num_examples=60, num_test_examples=25, image_size=8, channels=1, num_classes=3),
    model=MLP(num_classes=3, hidden=(8,)),
    task=Classification(num_classes=3, top_k=2),
    optimizer=Optimizer(learning_rate=0.01, algorithm=Adam()),
    batch_size=16,
    steps=12,
    augment=(RandomTranslation(fraction=(0.2, 0.2)),),
    ema_decay=0.9,
    eval_batch_size=10,
    eval_every=4,
    log_every=2,
    keep=Keep(last=10),
)
ONE_DEVICE = Runtime(devices=1)


def digests(workdir, step):
    return Checkpoints(workdir / "checkpoints").verify(step)["leaves"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished")
    return workdir, train(EXPERIMENT, workdir, ONE_DEVICE)


def test_run_leaves_what_it_promises(finished):
    workdir, results = finished
    assert {"config.json", "metrics.jsonl", "checkpoints", "tensorboard"} <= {
        p.name for p in workdir.iterdir()
    }
    rows = read_rows(workdir / "metrics.jsonl")
    assert [r["step"] for r in rows if r["split"] == "train"] == [2, 4, 6, 8, 10, 12]
    assert [r["step"] for r in rows if r["split"] == "test"] == [4, 8, 12]
    assert [r["step"] for r in rows if r["split"] == "test_ema"] == [4, 8, 12]
    assert rows[-2]["accuracy"] == results["test"]["accuracy"]
    assert results["test"]["count"] == results["test_ema"]["count"] == 25
    assert Checkpoints(workdir / "checkpoints").steps() == [4, 8, 12]


def test_tensorboard_events_hold_the_same_numbers(finished):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator(str(finished[0] / "tensorboard"))
    accumulator.Reload()
    values = {event.step: event.value for event in accumulator.Scalars("test/loss")}
    rows = [r for r in read_rows(finished[0] / "metrics.jsonl") if r["split"] == "test"]
    assert values == pytest.approx({r["step"]: r["loss"] for r in rows}, rel=1e-6)


@pytest.mark.parametrize("kept_until", [0, 4, 8])
def test_resumed_run_ends_in_the_same_bytes(finished, kept_until, tmp_path):
    # As after a kill: checkpoints up to some step, and a log that runs on beyond it.
    shorter = dataclasses.replace(EXPERIMENT, steps=12)
    train(shorter, tmp_path, ONE_DEVICE)
    for step in Checkpoints(tmp_path / "checkpoints").steps():
        if step > kept_until:
            (tmp_path / "checkpoints" / str(step)).rename(tmp_path / f"gone-{step}")
    train(EXPERIMENT, tmp_path, ONE_DEVICE)
    assert digests(tmp_path, 12) == digests(finished[0], 12)
    timeless = [
        {k: v for k, v in row.items() if k != "images_per_second"}
        for row in read_rows(tmp_path / "metrics.jsonl")
    ]
    wanted = [
        {k: v for k, v in row.items() if k != "images_per_second"}
        for row in read_rows(finished[0] / "metrics.jsonl")
    ]
    assert timeless == wanted


def test_finished_run_is_a_no_op(finished):
    workdir, results = finished
    before = {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file()}
    again = train(EXPERIMENT, workdir, ONE_DEVICE)
    after = {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file()}
    assert after == before
    assert again["test"]["accuracy"] == results["test"]["accuracy"]


@pytest.mark.parametrize(
    "runtime",
    [
        Runtime(devices=8),
        Runtime(devices=2, strategy="shard_map"),
        Runtime(devices=1, resident=False),
        Runtime(devices=1, steps_per_dispatch=3),
    ],
    ids=str,
)
def test_runtime_changes_speed_not_results(finished, runtime, tmp_path):
    results = train(EXPERIMENT, tmp_path, runtime)
    wanted_run, wanted = open_workdir(finished[0], ONE_DEVICE)
    _, found = open_workdir(tmp_path, ONE_DEVICE)
    chex.assert_trees_all_close(found.params, wanted.params, rtol=1e-4, atol=1e-5)
    assert results["test"]["confusion_matrix"] == finished[1]["test"]["confusion_matrix"]
    assert wanted_run.total_steps == 12


def test_evaluation_does_not_depend_on_batch_size_or_devices(finished, tmp_path):
    from jaxcv.train import evaluate_state, make_evaluator, open_run

    _, state = open_workdir(finished[0], ONE_DEVICE)
    state = jax.device_get(state)
    wanted = finished[1]["test"]
    for batch_size, devices, resident in [
        (1, 1, True),
        (7, 4, False),
        (25, 8, True),
        (999, 2, True),
    ]:
        experiment = dataclasses.replace(EXPERIMENT, eval_batch_size=batch_size)
        run = open_run(experiment, Runtime(devices=devices, resident=resident))
        found = evaluate_state(make_evaluator(run), run.device_map.replicate(state))["test"]
        assert found["confusion_matrix"] == wanted["confusion_matrix"]
        assert found["count"] == 25
        assert found["loss"] == pytest.approx(wanted["loss"], rel=1e-6)


def test_another_experiment_in_the_same_directory_is_refused(finished):
    before = (finished[0] / "config.json").read_bytes()
    with pytest.raises(ValueError, match="seed was 0 and is now 1"):
        train(dataclasses.replace(EXPERIMENT, seed=1), finished[0], ONE_DEVICE)
    assert (finished[0] / "config.json").read_bytes() == before


def test_damaged_newest_checkpoint_is_set_aside_and_the_run_goes_on(finished, tmp_path):
    train(dataclasses.replace(EXPERIMENT), tmp_path, ONE_DEVICE)
    victim = max(
        (p for p in (tmp_path / "checkpoints/12/state").rglob("*") if p.is_file()),
        key=lambda p: p.stat().st_size,
    )
    victim.write_bytes(victim.read_bytes()[:-1])
    train(EXPERIMENT, tmp_path, ONE_DEVICE)
    assert (tmp_path / "checkpoints/bad-12").is_dir()
    assert digests(tmp_path, 12) == digests(finished[0], 12)


def array_experiment(**changes):
    images = np.arange(40 * 16, dtype=np.uint8).reshape(40, 4, 4, 1)
    labels = np.linspace(0, 1, 40).astype(np.float32)
    return Experiment(
        data=Arrays(images=images, labels=labels),
        model=MLP(num_classes=1, hidden=(4,)),
        task=Regression(),
        batch_size=10,
        **{"optimizer": Optimizer(learning_rate=0.01), "steps": 4, **changes},
    )


def test_non_finite_steps_stop_the_run_and_leave_good_weights(tmp_path):
    # A learning rate at which the second gradient overflows.
    experiment = array_experiment(
        optimizer=Optimizer(learning_rate=1e25), steps=50, max_skipped=4, eval_every=1, log_every=3
    )
    with pytest.raises(NonFiniteError, match=r"in 4 steps in a row, the last of them step 5;"):
        train(experiment, tmp_path, ONE_DEVICE)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.steps()
    run, state = open_workdir(tmp_path, ONE_DEVICE, experiment=experiment)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
    assert int(state.skipped) == checkpoints.steps()[-1] - 1 == 3
    assert run.total_steps == 50


def test_arrays_in_memory_are_told_apart_by_their_digest(tmp_path):
    train(array_experiment(), tmp_path, ONE_DEVICE)
    other = array_experiment()
    other.data.images[3, 0, 0, 0] ^= 1
    with pytest.raises(ValueError, match="data.images.array was"):
        train(other, tmp_path, ONE_DEVICE)
    with pytest.raises(ValueError, match="arrays of the program"):
        open_workdir(tmp_path, ONE_DEVICE)
    _, state = open_workdir(tmp_path, ONE_DEVICE, experiment=array_experiment())
    assert int(state.step) == 4


def test_unreadable_records_are_skipped_and_counted_in_the_log(tmp_path):
    from PIL import Image

    for index in range(12):
        folder = tmp_path / "pictures" / f"class{index % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (20 * index, 0, 0)).save(folder / f"{index:02}.png")
    for bad in ("class0/bad1.png", "class1/bad2.png"):
        (tmp_path / "pictures" / bad).write_bytes(b"no image")
    experiment = dataclasses.replace(
        EXPERIMENT,
        data=Folder(root=str(tmp_path / "pictures"), size=8, channels=1),
        model=MLP(num_classes=2, hidden=(4,)),
        task=Classification(num_classes=2),
    )
    with pytest.raises(DecodeError, match="bad"):
        train(experiment, tmp_path / "raises", ONE_DEVICE)
    skipping = dataclasses.replace(experiment, on_bad_record="skip")
    results = train(skipping, tmp_path / "skips", ONE_DEVICE)
    rows = read_rows(tmp_path / "skips" / "metrics.jsonl")
    skipped = [row["bad_records"] for row in rows if row["split"] == "train"][-1]
    held_out = len(Folder(root=str(tmp_path / "pictures")).open("test"))
    assert skipped + held_out - results["test"]["count"] == 2
    capped = dataclasses.replace(skipping, max_bad_records=0)
    with pytest.raises(ValueError, match="max_bad_records=0"):
        train(capped, tmp_path / "capped", ONE_DEVICE)


def test_early_stopping_ends_the_run_and_stays_ended(tmp_path):
    rule = EarlyStopping(metric="test/accuracy", mode="max", patience=1, min_change=2.0)
    experiment = dataclasses.replace(EXPERIMENT, early_stopping=rule)
    train(experiment, tmp_path, ONE_DEVICE)
    assert max(r["step"] for r in read_rows(tmp_path / "metrics.jsonl")) == 8
    assert Checkpoints(tmp_path / "checkpoints").steps() == [4, 8]
    train(experiment, tmp_path, ONE_DEVICE)
    assert max(r["step"] for r in read_rows(tmp_path / "metrics.jsonl")) == 8


def rows_of(values):
    return [{"step": i, "split": "test", "loss": v} for i, v in enumerate(values)]


def test_early_stopping_counts_evaluations_without_improvement():
    rule = EarlyStopping(metric="test/loss", patience=2)
    assert not stops_early(rule, rows_of([3, 2, 2.5]))
    assert stops_early(rule, rows_of([3, 2, 2.5, 2]))
    assert stops_early(rule, rows_of([3, math.nan, math.nan]))
    assert not stops_early(rule, rows_of([3, 2.5, 2.6, 2]))
    assert not stops_early(EarlyStopping(), rows_of([1, 2, 3]))
    with pytest.raises(ValueError, match="lost"):
        stops_early(EarlyStopping(metric="test/lost", patience=1), rows_of([1]))


def test_boundaries_and_rows():
    assert next_multiple(0, 5, 7) == 5
    assert next_multiple(5, 5, 7) == 7
    assert next_multiple(7, 5, 7) == 10
    rows = [*rows_of([1.0, 2.0]), {"step": 1, "split": "train", "loss": 9.0}]
    assert metrics_at(1, rows) == {"test/loss": 2.0, "train/loss": 9.0}


def test_log_cut_short_by_a_kill_is_read_up_to_the_cut(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"step": 1, "split": "train"}) + '\n{"step": 2, "spl')
    assert read_rows(path) == [{"step": 1, "split": "train"}]


def test_state_digest_tells_equal_from_unequal(finished):
    _, state = open_workdir(finished[0], ONE_DEVICE)
    assert leaf_digests(state) == digests(finished[0], 12)
    other = state.replace(step=state.step + 1)
    assert leaf_digests(other) != leaf_digests(state)


FITTING = {
    "classes": (
        {"task": Classification(num_classes=4)},
        r"data have 3 classes .* task has 4; say --task.num-classes 3",
    ),
    "outputs": ({"model": MLP(num_classes=5)}, r"outputs of shape \[B, 5\], but the task wants"),
    "small image": ({"model": LeNet(num_classes=3)}, "16"),
    "batch": ({"batch_size": 0}, "batch_size is 0"),
    "accumulation": ({"accumulation": 3}, "accumulation is 3"),
    "length": ({"epochs": 3}, "exactly one"),
    "no length": ({"steps": None}, "exactly one"),
    "negative": ({"steps": -5}, "at least 1"),
    "ema": ({"ema_decay": 1.5}, "ema_decay is 1.5"),
}


@pytest.mark.parametrize("case", FITTING)
def test_what_does_not_fit_is_said_before_anything_is_written(case, tmp_path):
    change, message = FITTING[case]
    workdir = tmp_path / "run"
    with pytest.raises(ValueError, match=message):
        train(dataclasses.replace(EXPERIMENT, **change), workdir, ONE_DEVICE)
    assert not workdir.exists()


def test_absent_devices_are_named(tmp_path):
    with pytest.raises(ValueError, match="--platform tpu was asked for, but JAX finds only cpu"):
        train(EXPERIMENT, tmp_path, Runtime(platform="tpu"))
    with pytest.raises(ValueError, match="--devices 99 was asked for, but there are 8"):
        train(EXPERIMENT, tmp_path, Runtime(devices=99))


def test_unsynchronised_batch_norm_is_refused(tmp_path):
    from jaxcv.models import SmallCNN

    model = SmallCNN(num_classes=3, axis_name=None)
    experiment = dataclasses.replace(EXPERIMENT, model=model)
    with pytest.raises(ValueError, match="--model.axis-name devices"):
        train(experiment, tmp_path / "run", Runtime(devices=2))
