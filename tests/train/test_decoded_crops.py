"""A run whose training images are random rectangles of JPEGs, cut while they are decoded."""

import dataclasses
import shutil

import chex
import jax
import numpy as np
import pytest
from PIL import Image

from jaxcv.data import Batches, DecodeRandomResizedCrop, Folder
from jaxcv.data.view import decode_view
from jaxcv.models import MLP
from jaxcv.tasks import Classification
from jaxcv.train import Adam, Experiment, Keep, Optimizer, Runtime, open_run, open_workdir, train
from jaxcv.train.checkpoint import Checkpoints
from jaxcv.train.feed import ResidentFeed, StreamFeed
from jaxcv.train.logging import read_rows

CUT = DecodeRandomResizedCrop(size=(8, 8), scale=(0.3, 1.0))
ONE_DEVICE = Runtime(devices=1)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """Two classes of ten JPEGs, of sizes which a JPEG decodes whole, at a half and at a quarter."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(20):
        folder = root / ("dark", "light")[number % 2]
        folder.mkdir(exist_ok=True)
        height, width = rng.integers(10, 100, 2)
        pixels = rng.integers(0, 128, (height, width, 3)) + 128 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:02}.jpg", quality=90)
    return Experiment(
        data=Folder(root=str(root), size=8, random_resized_crop=CUT),
        model=MLP(num_classes=2, hidden=(8,)),
        task=Classification(num_classes=2),
        optimizer=Optimizer(learning_rate=0.01, algorithm=Adam()),
        batch_size=8,
        steps=6,
        eval_batch_size=8,
        eval_every=3,
        log_every=1,
        keep=Keep(last=10),
    )


@pytest.fixture(scope="module")
def finished(experiment, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished")
    return workdir, train(experiment, workdir, ONE_DEVICE)


def seen(experiment, runtime, steps):
    """What a step gets of each batch, from all devices, in the order of the rows."""
    run = open_run(experiment, runtime)
    call = run.train_feed().bind(lambda carry, batch: batch, out=0)
    return [jax.device_get(call(np.int32(0), step)) for step in steps]


def test_the_training_records_stream_and_those_of_the_test_are_kept(experiment):
    run = open_run(experiment, ONE_DEVICE)
    assert isinstance(run.train_feed(), StreamFeed)
    assert isinstance(run.test_feed(), ResidentFeed)
    plain = dataclasses.replace(
        experiment, data=dataclasses.replace(experiment.data, random_resized_crop=None)
    )
    assert isinstance(open_run(plain, ONE_DEVICE).train_feed(), ResidentFeed)


def test_to_keep_them_is_refused_before_anything_is_written(experiment, tmp_path):
    with pytest.raises(ValueError, match="cannot be decoded once and kept"):
        train(experiment, tmp_path / "run", dataclasses.replace(ONE_DEVICE, resident=True))
    assert not (tmp_path / "run").exists()


def test_steps_see_the_rectangles_of_the_seed_and_their_place(experiment):
    source = experiment.data.open("train")
    batches = Batches(source, 8, shuffle=True, seed=experiment.seed)
    steps = (0, 1, 4)
    reduced = 0
    for step, batch in zip(steps, seen(experiment, ONE_DEVICE, steps), strict=True):
        views = CUT.views(experiment.seed, step, 8)
        np.testing.assert_array_equal(batch["record"], batches.indices(step)[0])
        for row, index in enumerate(batch["record"]):
            with open(source.record_name(index), "rb") as file:
                data = file.read()
            wanted = decode_view(data, views[row], CUT.size)
            np.testing.assert_array_equal(batch["image"][row], wanted)
            reduced += (wanted != decode_view(data, views[row], CUT.size, decode_margin=None)).any()
    assert 0 < reduced < 3 * 8  # Some were decoded at a fraction of their size, not all.


def test_one_and_eight_devices_see_the_same_records(experiment, finished, tmp_path):
    steps = range(4)
    chex.assert_trees_all_equal(
        seen(experiment, Runtime(devices=8), steps), seen(experiment, ONE_DEVICE, steps)
    )
    results = train(experiment, tmp_path, Runtime(devices=8))
    _, wanted = open_workdir(finished[0], ONE_DEVICE)
    _, found = open_workdir(tmp_path, ONE_DEVICE)
    chex.assert_trees_all_close(found.params, wanted.params, rtol=1e-4, atol=1e-5)
    assert results["test"]["confusion_matrix"] == finished[1]["test"]["confusion_matrix"]


def test_an_epoch_shows_other_rectangles_than_the_one_before(experiment):
    images = {}
    for batch in seen(experiment, ONE_DEVICE, range(4)):  # two epochs of 16 records
        for record, image in zip(batch["record"].tolist(), batch["image"], strict=True):
            images.setdefault(record, []).append(image)
    assert sorted(images) == list(range(16))
    assert all(len(two) == 2 and (two[0] != two[1]).any() for two in images.values())


def test_a_resumed_run_ends_in_the_same_bytes(experiment, finished, tmp_path):
    # As after a kill: the last checkpoint is missing, and the log runs on beyond the one before.
    shutil.copytree(finished[0], tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "6")
    train(experiment, tmp_path / "run", ONE_DEVICE)

    def leaves(workdir):
        return Checkpoints(workdir / "checkpoints").verify(6)["leaves"]

    def timeless(workdir):
        rows = read_rows(workdir / "metrics.jsonl")
        return [{k: v for k, v in row.items() if k != "images_per_second"} for row in rows]

    assert leaves(tmp_path / "run") == leaves(finished[0])
    assert timeless(tmp_path / "run") == timeless(finished[0])
