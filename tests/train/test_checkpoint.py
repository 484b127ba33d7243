"""Checkpoints: whole or set aside, kept by rule, the same bytes in and out."""

import json
import logging
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.train import CheckpointError, Checkpoints, Keep
from jaxcv.train.checkpoint import leaf_digests


def make_state(value):
    return {
        "kernel": jnp.full((32, 8), value, jnp.float32),
        "half": jnp.full((4,), value, jnp.bfloat16),
        "step": jnp.int32(value),
        "key": jax.random.key(int(value)),
        "nothing": None,
        "empty": {},
    }


@pytest.fixture
def checkpoints(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", Keep(last=3))
    for step in (10, 20, 30):
        checkpoints.save(step, make_state(step))
    return checkpoints


def array_files(checkpoints, step):
    """Files that hold the arrays' bytes, largest first."""
    files = [p for p in (checkpoints.path(step) / "state").rglob("*") if p.is_file()]
    return sorted(files, key=lambda p: -p.stat().st_size)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_state_comes_back_to_the_bit(checkpoints):
    restored = checkpoints.restore(make_state(0), 20)
    assert leaf_digests(restored) == leaf_digests(make_state(20))
    assert restored["half"].dtype == jnp.bfloat16
    assert jax.random.key_data(restored["key"]).tolist() == [0, 20]


def test_restores_onto_any_number_of_devices(checkpoints):
    mesh = jax.make_mesh((8,), ("d",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    like = jax.device_put(make_state(0), sharding)
    restored = checkpoints.restore(like, 30)
    assert restored["kernel"].sharding.num_devices == 8
    chex.assert_trees_all_equal(restored["kernel"], make_state(30)["kernel"])


DAMAGE = {
    "flipped bit in an array": lambda c: flip_a_bit(array_files(c, 30)[0]),
    "flipped bit in Orbax's metadata": lambda c: flip_a_bit(c.path(30) / "state" / "_METADATA"),
    "truncated": lambda c: array_files(c, 30)[0].write_bytes(
        array_files(c, 30)[0].read_bytes()[:-5]
    ),
    "emptied": lambda c: array_files(c, 30)[1].write_bytes(b""),
    "missing": lambda c: array_files(c, 30)[0].unlink(),
    "flipped bit in the manifest": lambda c: flip_a_bit(c.path(30) / "manifest.json"),
    "manifest missing": lambda c: (c.path(30) / "manifest.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_detected_named_and_set_aside(checkpoints, damage, caplog):
    DAMAGE[damage](checkpoints)
    with caplog.at_level(logging.WARNING):
        restored = checkpoints.restore_newest(make_state(0))
    assert leaf_digests(restored) == leaf_digests(make_state(20))
    assert checkpoints.steps() == [10, 20]
    assert (checkpoints.directory / "bad-30").is_dir()
    (message,) = [record.getMessage() for record in caplog.records]
    assert str(checkpoints.path(30)) in message
    assert "missing" in message or "damaged" in message


def test_every_bit_of_a_file_counts(checkpoints):
    path = array_files(checkpoints, 30)[0]
    original = path.read_bytes()
    for position in np.linspace(0, len(original) - 1, 25).astype(int):
        changed = bytearray(original)
        changed[position] ^= 0x10
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match="digest differs"):
            checkpoints.restore(make_state(0), 30)
    path.write_bytes(original)
    checkpoints.restore(make_state(0), 30)


def test_all_damaged_gives_none_and_deletes_nothing(checkpoints):
    for step in (10, 20, 30):
        flip_a_bit(array_files(checkpoints, step)[0])
    assert checkpoints.restore_newest(make_state(0)) is None
    assert {p.name for p in checkpoints.directory.iterdir()} == {"bad-10", "bad-20", "bad-30"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"kernel": jnp.zeros((32, 9))},
            r"\['kernel'\] is float32\[32, 8\] there, but float32\[32, 9\]",
        ),
        ({"kernel": jnp.zeros((32, 8), jnp.bfloat16)}, "bfloat16"),
        ({"more": jnp.zeros(1)}, r"\['more'\] is absent"),
    ],
)
def test_another_model_is_refused_and_nothing_set_aside(checkpoints, change, message):
    with pytest.raises(CheckpointError, match=message):
        checkpoints.restore_newest({**make_state(0), **change})
    assert checkpoints.steps() == [10, 20, 30]


def test_a_leaf_that_the_run_has_not_is_refused(checkpoints):
    like = make_state(0)
    del like["half"]
    with pytest.raises(CheckpointError, match="half"):
        checkpoints.restore(like, 30)


def test_half_written_checkpoint_is_ignored_and_cleaned_up(checkpoints):
    half = checkpoints.directory / ".saving-40"
    half.mkdir()
    (half / "something").write_text("unfinished")
    assert checkpoints.steps() == [10, 20, 30]
    checkpoints.save(50, make_state(50))
    assert not half.exists()
    assert checkpoints.steps() == [20, 30, 50]


def test_keeps_last_every_and_best_and_nan_is_never_best(tmp_path):
    checkpoints = Checkpoints(tmp_path, Keep(last=2, every=40, best="test/accuracy"))
    accuracies = {10: 0.5, 20: 0.9, 30: math.nan, 40: 0.7, 50: math.inf, 60: 0.9, 70: 0.1}
    for step, accuracy in accuracies.items():
        checkpoints.save(step, {"w": jnp.ones(2)}, {"test/accuracy": accuracy})
    # 20 and 60 tie: the earlier is the best.
    assert checkpoints.best_step() == 20
    assert checkpoints.steps() == [20, 40, 60, 70]


def test_best_may_be_the_smallest(tmp_path):
    checkpoints = Checkpoints(tmp_path, Keep(last=1, best="test/loss", mode="min"))
    for step, loss in {1: 0.4, 2: 0.2, 3: 0.3}.items():
        checkpoints.save(step, {"w": jnp.ones(2)}, {"test/loss": loss})
    assert checkpoints.steps() == [2, 3]


def test_without_any_finite_metric_only_the_last_stay(tmp_path):
    checkpoints = Checkpoints(tmp_path, Keep(last=1, best="test/accuracy"))
    for step in (1, 2):
        checkpoints.save(step, {"w": jnp.ones(2)}, {"test/accuracy": math.nan})
    assert checkpoints.steps() == [2]


def test_failed_save_leaves_the_old_ones_and_raises(checkpoints, monkeypatch):
    def no_space(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Checkpoints, "_write_manifest", no_space)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(40, make_state(40))
    assert checkpoints.steps() == [10, 20, 30]


def test_what_is_stored_is_arrays_and_json(checkpoints):
    manifest = json.loads((checkpoints.path(30) / "manifest.json").read_text())
    assert manifest["leaves"]["['kernel']"]["shape"] == [32, 8]
    for path in checkpoints.path(30).rglob("*"):
        if path.is_file():
            # Every pickle of protocol 2 or later starts with 0x80 and its version, 2 to 5.
            assert path.read_bytes()[:2] not in {bytes([0x80, n]) for n in range(2, 6)}
