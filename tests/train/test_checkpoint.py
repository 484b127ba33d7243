"""Checkpoints: whole or set aside, kept by rule, the same bytes in and out."""

import errno
import json
import logging
import math
import os
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.train import CheckpointError, Checkpoints, Keep
from jaxcv.train import manifest as manifests
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


def manifest(checkpoints):
    return checkpoints.path(30) / "manifest.json"


def rewrite(checkpoints, content):
    manifest(checkpoints).write_bytes(content)


def resign(checkpoints, step, change):
    """Changes what a manifest says, under a digest that is right."""
    path = checkpoints.path(step)
    body = json.loads((path / "manifest.json").read_bytes())
    del body["digest"]
    change(body)
    manifests.write_manifest(path, body)


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
    "manifest empty": lambda c: rewrite(c, b""),
    "manifest a list": lambda c: rewrite(c, b"[1]"),
    "manifest a number": lambda c: rewrite(c, b"20261128"),
    "manifest null": lambda c: rewrite(c, b"null"),
    "manifest nested for ever": lambda c: rewrite(c, b"[" * 100_000),
    "manifest nested and closed": lambda c: rewrite(c, b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "manifest not UTF-8": lambda c: rewrite(c, b'{"step": "\xff"}'),
    "manifest a number without end": lambda c: rewrite(c, b'{"step": ' + b"9" * 10_000 + b"}"),
    "manifest a directory": lambda c: (rewrite(c, b""), manifest(c).unlink(), manifest(c).mkdir()),
    "manifest huge": lambda c: os.truncate(manifest(c), 2**40),
    "manifest a pipe": lambda c: (manifest(c).unlink(), os.mkfifo(manifest(c))),
    "manifest linked to itself": lambda c: (
        manifest(c).unlink(),
        manifest(c).symlink_to(manifest(c)),
    ),
    "a file too many": lambda c: (c.path(30) / "extra").touch(),
    "a file too many among the arrays": lambda c: (c.path(30) / "state" / "d" / "0f").touch(),
    "a link too many": lambda c: (c.path(30) / "state" / "x").symlink_to("/nowhere"),
    "a file that is a directory": lambda c: (
        array_files(c, 30)[0].rename(c.path(30).parent / "gone"),
        array_files(c, 30),
        (c.path(30) / "state" / "manifest.ocdbt").unlink(missing_ok=True),
        (c.path(30) / "state" / "manifest.ocdbt").mkdir(),
    ),
    "another checkpoint under its name": lambda c: (
        c.path(30).rename(c.directory / "aside"),
        os.system(f"cp -r {c.path(20)} {c.path(30)}"),
    ),
    "arrays gone": lambda c: os.system(f"rm -r {c.path(30) / 'state'}"),
}
RESIGNED = {
    "a key missing": lambda body: body.pop("files"),
    "files a list": lambda body: body.update(files=list(body["files"])),
    "a digest that is a number": lambda body: body["files"].update({"state/_METADATA": 7}),
    "a file outside": lambda body: body["files"].update({"../20/manifest.json": "0" * 64}),
    "an absolute file": lambda body: body["files"].update({"/etc/hostname": "0" * 64}),
    "leaves a number": lambda body: body.update(leaves=3),
    "a leaf without its shape": lambda body: body["leaves"]["['kernel']"].pop("shape"),
    "a shape of text": lambda body: body["leaves"]["['kernel']"].update(shape=["32", "8"]),
    "a leaf that is null": lambda body: body["leaves"].update({"['kernel']": None}),
    "metrics of text": lambda body: body.update(metrics={"test/loss": "low"}),
    "another step": lambda body: body.update(step=31),
    "a step of text": lambda body: body.update(step="30"),
    "evaluated a text": lambda body: body.update(evaluated="no"),
    "a run's digest that is a list": lambda body: body.update(run_digest=[]),
}
for _name, _change in RESIGNED.items():
    DAMAGE[f"signed anew with {_name}"] = lambda c, change=_change: resign(c, 30, change)


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


@pytest.mark.parametrize("kind", ["empty", "file", "folder", "link", "damaged"])
def test_what_is_not_ours_is_neither_counted_nor_deleted_nor_fatal(checkpoints, kind):
    names = [
        ".Trash-1000", ".sync-conflict", ".DS_Store", "._30", ".dropbox-cache", ".removing-it",
        ".saving-", ".jaxcv-notes", ".removing-80.txt", "20261128", "999", "040", "1e3", "\u0663\u0660",
        "\u00b2", "bad-7", "notes", "tmp.orbax-checkpoint-tmp", "9" * 30,
    ]  # fmt: skip
    for name in names:
        path = checkpoints.directory / name
        if kind in ("empty", "folder"):
            path.mkdir()
        if kind == "folder":
            (path / "mine.txt").write_text("mine")
        elif kind == "file":
            path.write_text("mine")
        elif kind == "link":
            path.symlink_to("/nowhere")
        elif kind == "damaged":
            path.mkdir()
            (path / "STATE").touch()
    assert checkpoints.steps() == [10, 20, 30]
    checkpoints.save(40, make_state(40))
    checkpoints.clean()
    assert checkpoints.steps() == [20, 30, 40]
    assert checkpoints.newest_whole() == 40
    assert {p.name for p in checkpoints.directory.iterdir()} == {"20", "30", "40", *names}
    if kind == "folder":
        assert all((checkpoints.directory / n / "mine.txt").is_file() for n in names)


@pytest.mark.parametrize("make", ["mkdir", "touch"])
def test_something_foreign_in_the_place_of_a_checkpoint_is_said_before_training(checkpoints, make):
    getattr(checkpoints.directory / "45", make)()
    with pytest.raises(
        CheckpointError, match=r"checkpoints/45 is in the way: .* move it elsewhere"
    ):
        checkpoints.save(45, make_state(45))
    assert (checkpoints.directory / "45").exists()
    for step, every, last in ((30, 15, 90), (30, 20, 45), (0, 45, 1000)):
        with pytest.raises(CheckpointError, match="45 is in the way"):
            checkpoints.check_free(step, every, last)
    for step, every, last in ((30, 20, 90), (45, 15, 90), (30, 15, 44)):
        checkpoints.check_free(step, every, last)


@pytest.mark.parametrize(
    "name", [".saving-40", ".removing-80", ".jaxcv-saving-40", ".jaxcv-removing-3"]
)
def test_what_a_kill_left_unfinished_is_cleaned_up(checkpoints, name):
    (checkpoints.directory / name / "state").mkdir(parents=True)
    checkpoints.save(50, make_state(50))
    assert {p.name for p in checkpoints.directory.iterdir()} == {"20", "30", "50"}


def test_files_that_a_file_manager_leaves_are_no_damage(checkpoints):
    for name in (".DS_Store", "state/._x", "Thumbs.db", "state/d/.nfs0001", ".jaxcv-new-17"):
        (checkpoints.path(30) / name).touch()
    checkpoints.verify(30)
    assert leaf_digests(checkpoints.restore(make_state(0), 30)) == leaf_digests(make_state(30))


def test_arrays_under_a_manifest_that_was_signed_anew_are_refused(tmp_path):
    """The files fit the manifest, but the arrays are not those that were saved."""
    ours, other = Checkpoints(tmp_path / "ours"), Checkpoints(tmp_path / "other")
    ours.save(5, make_state(5))
    other.save(5, {**make_state(5), "half": jnp.full((4,), 6, jnp.bfloat16)})
    (ours.path(5) / "state").rename(tmp_path / "gone")
    (other.path(5) / "state").rename(ours.path(5) / "state")
    resign(ours, 5, lambda body: body.update(files=manifests.file_digests(ours.path(5))))
    ours.verify(5)
    found, written = (leaf_digests(c)["['half']"]["sha256"] for c in (
        {"half": jnp.full((4,), 6, jnp.bfloat16)}, {"half": jnp.full((4,), 5, jnp.bfloat16)}
    ))  # fmt: skip
    message = rf"\['half'\] has the digest {found}, but the manifest says {written}"
    with pytest.raises(CheckpointError, match=message):
        ours.restore(make_state(0), 5)
    with pytest.raises(CheckpointError, match=message):
        ours.read(5, {"half": jax.ShapeDtypeStruct((4,), jnp.bfloat16)})
    ours.read(5, {"kernel": jax.ShapeDtypeStruct((32, 8), jnp.float32)})


def test_a_checkpoint_of_another_run_is_refused_with_both_digests(tmp_path):
    state = {"w": jnp.ones(2)}
    Checkpoints(tmp_path, run_digest="abc").save(1, state)
    assert Checkpoints(tmp_path, run_digest="abc").restore_newest(state) is not None
    assert Checkpoints(tmp_path).restore_newest(state) is not None
    other = Checkpoints(tmp_path, run_digest="def")
    for use in (lambda: other.restore(state, 1), lambda: other.read(1, state)):
        with pytest.raises(CheckpointError, match=r"another run: .* digest abc, .* this run def"):
            use()
    assert other.steps() == [1]
    resign(other, 1, lambda body: body.pop("run_digest"))  # as earlier versions wrote it
    other.restore(state, 1)


def test_an_evaluation_is_recorded_afterwards_and_decides_what_stays(tmp_path):
    checkpoints = Checkpoints(tmp_path, Keep(last=1, best="test/accuracy"))
    for step, accuracy in {10: 0.9, 20: 0.5, 30: 0.95}.items():
        checkpoints.save(step, {"w": jnp.ones(2)}, {"train/loss": 1.0}, evaluated=False)
        assert not checkpoints.is_evaluated(step)
        checkpoints.record(step, {"train/loss": 1.0, "test/accuracy": accuracy})
        assert checkpoints.is_evaluated(step)
        checkpoints.verify(step)
        assert checkpoints.steps() == {10: [10], 20: [10, 20], 30: [30]}[step]
    assert checkpoints.manifest(30)["metrics"] == {"train/loss": 1.0, "test/accuracy": 0.95}


def test_a_bad_sector_is_damage_and_a_missing_permission_is_not(checkpoints, monkeypatch):
    def fail(number):
        def digest(path):
            raise OSError(number, os.strerror(number), str(path))

        monkeypatch.setattr(manifests, "file_digest", digest)

    fail(errno.EIO)
    with pytest.raises(CheckpointError, match="damaged: Input/output error"):
        checkpoints.verify(30)
    fail(errno.EACCES)
    with pytest.raises(PermissionError):
        checkpoints.newest_whole()
    assert checkpoints.steps() == [10, 20, 30]


def test_a_save_that_fails_leaves_no_thread_that_keeps_the_process(tmp_path):
    code = (
        "import sys, jax.numpy as jnp\n"
        "from jaxcv.train import Checkpoints\n"
        "from jaxcv.train import checkpoint\n"
        "with checkpoint._orbax() as checkpointer:\n"
        "    checkpointer.save(sys.argv[1] + '/file/state', {'w': jnp.ones((300, 300))})\n"
    )
    (tmp_path / "file").touch()
    # Orbax's own limit is ten minutes.
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 1
    assert "NotADirectoryError" in result.stderr


def test_a_checkpoint_is_chosen_by_step_or_by_what_it_is(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", Keep(last=9, best="test/accuracy"))
    with pytest.raises(CheckpointError, match="holds no checkpoint; train first"):
        checkpoints.choose()
    checkpoints.save(1, {"a": jnp.zeros(2)})
    with pytest.raises(CheckpointError, match="no checkpoint has test/accuracy; take --step last"):
        checkpoints.choose("best")
    for step, accuracy in ((2, 0.9), (3, 0.5), (4, float("nan"))):
        checkpoints.save(step, {"a": jnp.zeros(2)}, {"test/accuracy": accuracy})
    assert [checkpoints.choose(which) for which in ("best", "last", 3)] == [2, 4, 3]
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 7; it has 1, 2, 3, 4$"):
        checkpoints.choose(7)
    with pytest.raises(CheckpointError, match=r"keep\.best is not set; .* a step of 1, 2, 3, 4$"):
        Checkpoints(tmp_path / "checkpoints", Keep(last=9)).choose("best")
