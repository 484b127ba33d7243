"""Writing: the old content or the new, whatever ends the process in between."""

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxcv import atomic
from jaxcv.cli.options import load_preset
from jaxcv.drawing.index_maps import write_index_map
from jaxcv.report import write_report
from jaxcv.train import write_config
from jaxcv.train.config_file import ConfigError, read_config
from jaxcv.train.environment import write_environment
from jaxcv.train.logging import MetricLog


def names(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("before", [None, b"old"], ids=["new file", "replaced"])
def test_a_failing_body_leaves_the_target_as_it_was(tmp_path, before):
    target = tmp_path / "a.json"
    if before is not None:
        target.write_bytes(before)

    def fail(part):
        part.write_text("ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), atomic.replacing(target) as part:
        fail(part)
    assert names(tmp_path) == ([] if before is None else ["a.json"])
    assert before is None or target.read_bytes() == before


def test_content_is_synced_before_it_gets_its_name(tmp_path, monkeypatch):
    done = []
    for name in "fsync", "replace":
        real = getattr(os, name)
        monkeypatch.setattr(
            atomic.os, name, lambda *a, name=name, real=real: (done.append(name), real(*a))[1]
        )
    atomic.write_text(tmp_path / "a.json", "ä")
    assert done == ["fsync", "replace", "fsync"]  # the file, then its directory
    assert (tmp_path / "a.json").read_bytes() == "ä".encode()


def test_permissions_and_links_stay_and_devices_are_written_to(tmp_path):
    target = tmp_path / "there" / "a.txt"
    target.parent.mkdir()
    target.write_text("old")
    target.chmod(0o640)
    (tmp_path / "link").symlink_to(target)
    atomic.write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    atomic.write_bytes(tmp_path / "secret", b"", mode=0o600)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    umask = os.umask(0)
    os.umask(umask)
    atomic.write_bytes(tmp_path / "plain", b"")
    assert stat.S_IMODE((tmp_path / "plain").stat().st_mode) == 0o666 & ~umask
    atomic.write_text("/dev/null", "anything")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("target", ["missing/a.json", "folder", "file/a.json"])
def test_errors_name_the_target_and_leave_nothing(tmp_path, target):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=rf"{target}'$"):
        atomic.write_text(tmp_path / target, "text")
    assert names(tmp_path) == ["file", "folder"]


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path):
    contents = [bytes([i]) * (100_000 + i) for i in range(4)]

    def write(content):
        for _ in range(10):
            atomic.write_bytes(tmp_path / "a", content)

    threads = [threading.Thread(target=write, args=(c,)) for c in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a").read_bytes() in contents
    assert names(tmp_path) == ["a"]


def test_old_leftovers_are_removed_and_nothing_else(tmp_path):
    for name in (".jaxcv-new-old", ".jaxcv-new-fresh", ".jaxcv-news", "old"):
        (tmp_path / name).touch()
        if name != ".jaxcv-new-fresh":
            os.utime(tmp_path / name, (0, 0))
    atomic.remove_leftovers(tmp_path)
    assert names(tmp_path) == [".jaxcv-new-fresh", ".jaxcv-news", "old"]


WRITERS = {
    "config.json": lambda f: write_config(f / "config.json", load_preset("digits_lenet")),
    "environment.json": write_environment,
    "metrics.jsonl": lambda f: MetricLog(f, 0).close(),
    "report.html": lambda f: write_report(f / "report.html", title="t", summary={"loss": 1.0}),
    "map.png": lambda f: write_index_map(f / "map.png", np.zeros((4, 4), np.uint8)),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, name, failing):
    before = b"" if name == "metrics.jsonl" else b"whole before"
    if name != "config.json":
        (tmp_path / name).write_bytes(before)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="No space"):
        WRITERS[name](tmp_path)
    assert names(tmp_path) == ([] if name == "config.json" else [name])
    assert name == "config.json" or (tmp_path / name).read_bytes() == before


CUT = {
    "empty": lambda whole: b"",
    "zeros, as after a power failure": lambda whole: b"\0" * len(whole),
    "half": lambda whole: whole[: len(whole) // 2],
    "without its end": lambda whole: whole[:-3],
    "not UTF-8": lambda whole: whole[:40] + b"\xff" + whole[41:],
    "nested for ever": lambda whole: b"[" * 100_000,
}


@pytest.mark.parametrize("case", CUT)
def test_a_damaged_configuration_says_so_and_what_to_do(tmp_path, case):
    path, experiment = tmp_path / "config.json", load_preset("digits_lenet")
    write_config(path, experiment)
    whole = path.read_bytes()
    path.write_bytes(CUT[case](whole))
    for use in (lambda: read_config(path), lambda: write_config(path, experiment)):
        with pytest.raises(ConfigError, match=r"config\.json .*\. Delete it and train"):
            use()
    path.unlink()
    write_config(path, experiment)
    assert path.read_bytes() == whole


def test_a_kill_while_writing_leaves_the_old_file(tmp_path):
    code = (
        "import os, signal, sys; from jaxcv import atomic\n"
        "with atomic.replacing(sys.argv[1]) as part:\n"
        "    part.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    target = tmp_path / "predictions.jsonl"
    target.write_text("old")
    assert subprocess.run([sys.executable, "-c", code, str(target)]).returncode == -9
    assert target.read_text() == "old"


def test_no_module_writes_a_file_any_other_way():
    """Writing in place goes unnoticed until a process dies at the wrong moment."""
    direct = ("write_text(", "write_bytes(", "savefig(", 'open("w"', 'open("wb"', "json.dump(")
    root = Path(atomic.__file__).parent
    found = {
        f"{path.relative_to(root)}: {line.strip()}"
        for path in root.rglob("*.py")
        for line in path.read_text().splitlines()
        if any(f".{call}" in line for call in direct)
        and not line.strip().startswith((">>>", "..."))
    }
    # Each of these writes a temporary file that `replacing` handed over, or is an example.
    assert {line.partition(":")[0] for line in found} <= {
        "atomic.py",
        "cli/data.py",
        "cli/predict.py",
        "cli/verify.py",
        "faces/pair_figure.py",
        "data/sheet.py",
    }, found


def test_pictures_keep_their_format(tmp_path):
    with atomic.replacing(tmp_path / "a.jpg") as part:
        Image.new("RGB", (4, 4)).save(part)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "JPEG"
