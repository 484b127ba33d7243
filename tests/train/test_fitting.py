"""What a step knows of its rows, and models that look at data before the first step."""

from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.data import Batches, Synthetic
from jaxcv.image import AlternatingHorizontalFlip, Normalize
from jaxcv.tasks import AXIS, Classification
from jaxcv.train import (
    SGD,
    Checkpoints,
    DeviceMap,
    Experiment,
    Keep,
    Optimizer,
    Runtime,
    fit_to_data,
    open_run,
    open_workdir,
    train,
)
from jaxcv.train.batch import augment_batch
from jaxcv.train.feed import ResidentFeed, StreamFeed

DATA = Synthetic(num_examples=23, num_test_examples=8, image_size=4, channels=2, num_classes=3)


class Centered(nn.Module):
    """A linear classifier of images less the mean of the first training images."""

    num_classes: int = 3
    fit_examples: int = 7

    @nn.compact
    def __call__(self, images, *, train=False, mask=None):
        mean = self.variable("centre", "mean", jnp.zeros, images.shape[1:])
        x = (images - mean.value).reshape(len(images), -1)
        return nn.Dense(self.num_classes)(x)

    @nn.nowrap
    def fit_to_data(self, variables, images):
        return {**variables, "centre": {"mean": images.mean(0)}}


EXPERIMENT = Experiment(
    data=DATA,
    model=Centered(),
    task=Classification(num_classes=3, top_k=2),
    optimizer=Optimizer(learning_rate=0.01, algorithm=SGD()),
    batch_size=8,
    steps=4,
    augment=(AlternatingHorizontalFlip(),),
    preprocess=(Normalize(mean=(0.25,), std=(0.5,)),),
    ema_decay=0.9,
    eval_every=2,
    keep=Keep(last=9),
)


def first_images(count):
    source = DATA.open("train")
    return np.stack([source[i]["image"] for i in range(count)])


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize(("asked", "given"), [(7, 7), (100, 23)])
def test_model_is_fitted_to_the_first_preprocessed_images(devices, asked, given):
    run = open_run(
        replace(EXPERIMENT, model=Centered(fit_examples=asked)), Runtime(devices=devices)
    )
    state = run.create_state()
    fitted = fit_to_data(run, state)
    wanted = (first_images(given).astype(np.float64) / 255 - 0.25) / 0.5
    np.testing.assert_allclose(
        fitted.model_state["centre"]["mean"], wanted.mean(0), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(
        fitted.ema["centre"]["mean"], fitted.model_state["centre"]["mean"]
    )
    jax.tree.map(np.testing.assert_array_equal, fitted.params, state.params)
    assert jax.tree.map(jnp.shape, fitted) == jax.tree.map(jnp.shape, state)


def test_a_model_that_asks_for_no_images_is_left_alone():
    run = open_run(replace(EXPERIMENT, model=Centered(fit_examples=0)), Runtime(devices=1))
    state = run.create_state()
    assert fit_to_data(run, state) is state


def test_training_fits_once_and_resumes_to_the_same_bytes(tmp_path):
    one = Runtime(devices=1)
    train(EXPERIMENT, tmp_path / "whole", one)
    digests = Checkpoints(tmp_path / "whole" / "checkpoints").verify(4)["leaves"]
    _, state = open_workdir(tmp_path / "whole", one, experiment=EXPERIMENT)
    assert np.asarray(state.model_state["centre"]["mean"]).any()

    train(EXPERIMENT, tmp_path / "killed", one)
    (tmp_path / "killed" / "checkpoints" / "4").rename(tmp_path / "gone")
    train(EXPERIMENT, tmp_path / "killed", one)
    assert Checkpoints(tmp_path / "killed" / "checkpoints").verify(4)["leaves"] == digests


# ---- Where rows come from ----------------------------------------------------------------------


def test_origins_name_record_and_epoch():
    batches = Batches(DATA.open("train"), 10, shuffle=True, seed=3, multiple_of=4)
    seen = {}
    for step in range(9):
        origins, mask = batches.origins(step), batches.indices(step)[1]
        assert {k: (v.dtype, v.shape) for k, v in origins.items()} == {
            "record": (np.int32, (12,)),
            "epoch": (np.int32, (12,)),
        }
        assert not origins["epoch"][~mask].any()
        for record, epoch in zip(origins["record"][mask], origins["epoch"][mask], strict=True):
            seen.setdefault(int(epoch), []).append(int(record))
    # 90 rows: three whole epochs of 23 and a part of the fourth.
    assert {epoch: len(records) for epoch, records in seen.items()} == {0: 23, 1: 23, 2: 23, 3: 21}
    assert all(sorted(seen[epoch]) == list(range(23)) for epoch in range(3))
    evaluation = Batches(DATA.open("test"), 6, shuffle=False).origins(1)
    assert evaluation["record"].tolist() == [6, 7, 0, 0, 0, 0]
    assert not evaluation["epoch"].any()


def collected(feed, steps):
    """What the devices see of record, epoch and image after an alternating flip."""

    def see(carry, batch):
        batch = augment_batch(
            jax.random.key(1), batch, EXPERIMENT.augment, visit_key=jax.random.key(2)
        )
        shown = {name: batch[name] for name in ("record", "epoch", "image")}
        return carry, jax.lax.all_gather(shown, AXIS, tiled=True)

    if steps == 1:
        call = feed.bind(see)
        parts = [call(0, step)[1] for step in range(6)]
        return jax.tree.map(lambda *x: np.concatenate(x), *parts)
    call = feed.bind_many(see, steps)
    parts = [call(jnp.zeros(()), step)[1] for step in range(0, 6, steps)]
    joined = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), joined)


def test_flips_alternate_whatever_feeds_the_step():
    source = DATA.open("train")
    batches = Batches(source, 8, shuffle=True, seed=3)
    arrays = {
        "image": first_images(23),
        "label": np.asarray(source.labels),
        "mask": np.ones(23, bool),
    }
    one = collected(ResidentFeed(batches, arrays, DeviceMap(jax.devices()[:1])), 1)
    for feed, steps in [
        (StreamFeed(batches, DeviceMap(jax.devices()[:4])), 1),
        (ResidentFeed(batches, arrays, DeviceMap(jax.devices()[:2])), 3),
    ]:
        jax.tree.map(np.testing.assert_array_equal, collected(feed, steps), one)

    plain, flips = first_images(23), {}
    for record, epoch, image in zip(one["record"], one["epoch"], one["image"], strict=True):
        flipped = bool((image != plain[record]).any())
        np.testing.assert_array_equal(image, plain[record][:, ::-1] if flipped else plain[record])
        flips[int(record), int(epoch)] = flipped
    assert all(flips[r, 0] != flips[r, 1] for r in range(23))
    assert {flips[r, 0] for r in range(23)} == {True, False}


def test_other_arrays_take_the_place_of_resident_ones():
    batches = Batches(DATA.open("train"), 8, shuffle=False)
    arrays = {"image": first_images(23), "mask": np.ones(23, bool)}
    feed = ResidentFeed(batches, arrays, DeviceMap(jax.devices()[:1]))
    call = feed.bind(lambda carry, batch: batch["image"].sum())
    feed.replace(batches, {"image": np.ones_like(arrays["image"]), "mask": np.ones(23, bool)})
    assert int(call(0, 0)) == 8 * 4 * 4 * 2
