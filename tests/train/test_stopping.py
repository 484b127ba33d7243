"""Runs that are ended early: nothing is lost, the status says why, and the next start is exact."""

import contextlib
import dataclasses
import errno
import os
import shutil
import signal
import sys
import threading

import pytest

from jaxcv.cli.main import main
from jaxcv.data import DecodeError, Synthetic
from jaxcv.errors import Interrupted, OutputError
from jaxcv.lock import LOCK_FILE, LockError, WorkdirLock
from jaxcv.models import MLP
from jaxcv.tasks import Classification
from jaxcv.train import (
    Adam,
    Checkpoints,
    EarlyStopping,
    Experiment,
    Keep,
    Optimizer,
    Runtime,
    loop,
    open_workdir,
    recorder,
    train,
)
from jaxcv.train import manifest as manifests
from jaxcv.train.logging import MetricLog, read_rows

pytestmark = pytest.mark.usefixtures("quick_compilation")

EXPERIMENT = Experiment(
    data=Synthetic(num_examples=40, num_test_examples=12, image_size=8, channels=1, num_classes=3),
    model=MLP(num_classes=3, hidden=(4,)),
    task=Classification(num_classes=3, top_k=2),
    optimizer=Optimizer(learning_rate=0.01, algorithm=Adam()),
    batch_size=8,
    steps=12,
    ema_decay=0.9,
    eval_batch_size=6,
    eval_every=4,
    log_every=2,
    keep=Keep(last=2, best="test/loss", mode="min"),
)
ONE_DEVICE = Runtime(devices=1)


class Kill(BaseException):
    """Ends a run as SIGKILL does: nothing of ours may catch it."""


def run(workdir, **changes):
    return train(dataclasses.replace(EXPERIMENT, **changes), workdir, ONE_DEVICE)


def left_behind(workdir):
    """What a run ends in: rows but for times, digests of the last weights, steps on disk, the best."""
    checkpoints = Checkpoints(workdir / "checkpoints", EXPERIMENT.keep)
    rows = [
        {name: value for name, value in row.items() if name != "images_per_second"}
        for row in read_rows(workdir / "metrics.jsonl")
    ]
    steps = checkpoints.steps()
    recorded = {
        step: {k: v for k, v in checkpoints.verify(step)["metrics"].items() if "second" not in k}
        for step in steps
    }
    return rows, checkpoints.manifest(steps[-1])["leaves"], recorded, checkpoints.best_step()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    return run(workdir), left_behind(workdir)


def at(monkeypatch, place, name, call, error, *, after=False):
    """Raises an error at the N-th call of a function, before it or after it; returns what undoes that."""
    real, count = getattr(place, name), [0]

    def counted(*args, **kwargs):
        count[0] += 1
        if count[0] == call and not after:
            raise error
        result = real(*args, **kwargs)
        if count[0] == call:
            raise error
        return result

    monkeypatch.setattr(place, name, counted)
    return lambda: monkeypatch.setattr(place, name, real)


# Saved and evaluated are steps 4, 8 and 12.
MOMENTS = {
    "before the checkpoint": (Checkpoints, "save", 2, False),
    "before the evaluation": (recorder, "evaluate_state", 2, False),
    "after the evaluation": (recorder, "evaluate_state", 2, True),
    "between its two rows": (MetricLog, "write", 10, False),
    "before it is recorded": (Checkpoints, "record", 2, False),
    "while it is recorded": (manifests, "write_manifest", 4, False),
    "after it was written": (manifests, "write_manifest", 4, True),
    "after it was recorded": (Checkpoints, "record", 2, True),
    "before the last evaluation": (recorder, "evaluate_state", 3, False),
    "before the last is recorded": (Checkpoints, "record", 3, False),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_around_an_evaluation_changes_no_byte(whole, tmp_path, monkeypatch, moment):
    place, name, call, after = MOMENTS[moment]
    undo = at(monkeypatch, place, name, call, Kill(), after=after)
    with pytest.raises(Kill):
        run(tmp_path)
    undo()
    reached = Checkpoints(tmp_path / "checkpoints").steps()[-1]
    assert reached == {"before the checkpoint": 4}.get(moment, 12 if "last" in moment else 8)
    results = run(tmp_path)
    assert left_behind(tmp_path) == whole[1]
    assert results["test"]["confusion_matrix"] == whole[0]["test"]["confusion_matrix"]


@pytest.mark.parametrize(
    ("changes", "call", "step"),
    [({}, 2, 8), ({"checkpoint_every": 12}, 1, 4), ({"checkpoint_every": 6}, 2, 8), ({}, 3, 12)],
)
def test_an_evaluation_that_fails_costs_no_step(whole, tmp_path, monkeypatch, changes, call, step):
    undo = at(monkeypatch, recorder, "evaluate_state", call, DecodeError("bad.png", "truncated"))
    with pytest.raises(DecodeError, match=r"bad\.png"):
        run(tmp_path, **changes)
    undo()
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.steps()[-1] == step
    assert not checkpoints.is_evaluated(step)
    run(tmp_path, **changes)
    assert left_behind(tmp_path)[:2] == whole[1][:2]


def test_a_training_record_that_fails_costs_no_step(whole, tmp_path, monkeypatch):
    real = loop.make_advance

    def failing(*args):
        advance = real(*args)

        def counted(state, step, at_most):
            if step == 6:
                raise DecodeError("bad.png", "truncated")
            return advance(state, step, at_most)

        return counted

    monkeypatch.setattr(loop, "make_advance", failing)
    with pytest.raises(DecodeError, match=r"bad\.png"):
        run(tmp_path)
    monkeypatch.setattr(loop, "make_advance", real)
    assert Checkpoints(tmp_path / "checkpoints").steps() == [4, 6]
    run(tmp_path)
    assert left_behind(tmp_path)[:2] == whole[1][:2]


def test_early_stopping_decided_by_an_evaluation_that_was_cut_short(tmp_path, monkeypatch):
    rule = EarlyStopping(metric="test/accuracy", mode="max", patience=1, min_change=2.0)
    undo = at(monkeypatch, recorder, "evaluate_state", 2, Kill())
    with pytest.raises(Kill):
        run(tmp_path, early_stopping=rule)
    undo()
    run(tmp_path, early_stopping=rule)
    assert max(row["step"] for row in read_rows(tmp_path / "metrics.jsonl")) == 8
    assert Checkpoints(tmp_path / "checkpoints").steps() == [4, 8]


def when_a_row_is_logged(monkeypatch, step, action):
    """Calls something as soon as the training row of a step has been written."""
    real = MetricLog.write

    def write(self, at_step, split, values):
        real(self, at_step, split, values)
        if (at_step, split) == (step, "train"):
            action()

    monkeypatch.setattr(MetricLog, "write", write)


@pytest.mark.parametrize(
    ("number", "step"),
    [(signal.SIGTERM, 4), (signal.SIGINT, 2), (signal.SIGHUP, 4), (signal.SIGHUP, 12)],
)
def test_a_signal_is_obeyed_after_saving(whole, tmp_path, monkeypatch, number, step):
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        when_a_row_is_logged(patch, step, lambda: os.kill(os.getpid(), number))
        with pytest.raises(Interrupted, match=signal.Signals(number).name) as caught:
            run(tmp_path)
    assert caught.value.signal_number == number
    assert signal.getsignal(number) == before
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert f"saved step {checkpoints.steps()[-1]};" in str(caught.value)
    assert step <= checkpoints.steps()[-1] <= step + 4
    assert not (tmp_path / LOCK_FILE).exists()
    run(tmp_path)
    assert left_behind(tmp_path)[1] == whole[1][1]
    rows = [row for row in left_behind(tmp_path)[0] if row["split"] != "train"]
    assert rows == [row for row in whole[1][0] if row["split"] != "train"]


def test_under_nohup_a_hangup_is_ignored(whole, tmp_path, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        when_a_row_is_logged(monkeypatch, 4, lambda: os.kill(os.getpid(), signal.SIGHUP))
        run(tmp_path)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert left_behind(tmp_path) == whole[1]


@pytest.mark.parametrize("place", ["open_run", "make_advance"])
def test_an_interrupt_that_a_callback_swallows_is_obeyed_at_the_first_boundary(
    tmp_path, monkeypatch, place
):
    real = getattr(loop, place)

    def swallowing(*args):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(60)
        except KeyboardInterrupt:
            return real(*args)
        pytest.fail("not interrupted")

    with monkeypatch.context() as patch:
        patch.setattr(loop, place, swallowing)
        with pytest.raises(Interrupted, match="SIGINT: saved step"):
            run(tmp_path)
    assert Checkpoints(tmp_path / "checkpoints").steps()[-1] <= 4


def test_an_interrupt_swallowed_by_a_run_that_has_nothing_to_do_is_not_forgotten(
    tmp_path, monkeypatch
):
    run(tmp_path, steps=2)

    def swallowing(*args):
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(60)
        return {}

    monkeypatch.setattr(loop, "evaluate_state", swallowing)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, steps=2)


def test_a_second_interrupt_ends_at_once(tmp_path, monkeypatch):
    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    when_a_row_is_logged(monkeypatch, 4, twice)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)


class Broken:
    """A stream whose other end is gone, from some line on."""

    encoding = "utf-8"

    def __init__(self, number, lines=1):
        self.number, self.lines = number, lines

    def write(self, text):
        self.lines -= "\n" in text
        if self.lines < 0:
            raise OSError(self.number, os.strerror(self.number))
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return False


LOST = {
    errno.EPIPE: Interrupted(signal.SIGPIPE, 2),
    errno.EIO: Interrupted(signal.SIGHUP, 2),
    errno.ENOSPC: OutputError(errno.ENOSPC, 2),
    errno.EAGAIN: OutputError(errno.EAGAIN, 2),
}


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("number", LOST, ids=errno.errorcode.get)
def test_output_that_goes_nowhere_ends_the_run_after_saving(
    whole, tmp_path, monkeypatch, number, terminal
):
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Broken(number))
        with pytest.raises(type(LOST[number]), match="saved step") as caught:
            run(tmp_path)
    assert str(caught.value).partition(":")[0] == str(LOST[number]).partition(":")[0]
    step = Checkpoints(tmp_path / "checkpoints").steps()[-1]
    assert f"saved step {step}" in str(caught.value)
    if number == errno.EPIPE:
        run(tmp_path)
        assert left_behind(tmp_path)[1] == whole[1][1]


STATUS = [
    (LOST[errno.EPIPE], 141, "SIGPIPE: saved step 2"),
    (LOST[errno.EIO], 129, "SIGHUP: saved step 2"),
    (
        LOST[errno.ENOSPC],
        1,
        "jaxcv: No space left on device: nothing can be shown any more; saved step 2",
    ),
    (Interrupted(signal.SIGINT, 2), 130, "saved step 2"),
    (Interrupted(signal.SIGTERM, 2), 143, "saved step 2"),
    (KeyboardInterrupt(), 130, ""),
    (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141, ""),
    (OSError(errno.ENOSPC, "No space left on device", "x"), 1, "No space left on device"),
    (
        OSError(errno.ENOENT, "No such file or directory", "x"),
        2,
        "jaxcv: x: No such file or directory",
    ),
    (LockError("in use"), 2, "jaxcv: in use"),
]


@pytest.mark.parametrize(("error", "status", "message"), STATUS)
def test_the_status_says_why(monkeypatch, capsys, error, status, message):
    def command(words):
        raise error

    monkeypatch.setattr("jaxcv.cli.list.list_", command)
    assert main(["list"]) == status
    said = capsys.readouterr().err
    assert message in said if message else not said
    assert said.count("\n") == bool(message)
    monkeypatch.setattr(sys, "stderr", Broken(errno.EIO, lines=0))
    assert main(["list"]) == status


def test_a_row_that_cannot_be_written_ends_the_run_and_the_next_start_is_exact(
    whole, tmp_path, monkeypatch
):
    undo = at(monkeypatch, os, "fsync", 40, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(OSError, match="No space"):
        run(tmp_path)
    undo()
    run(tmp_path)
    assert left_behind(tmp_path) == whole[1]


@pytest.mark.parametrize(("step", "moved"), [(2, False), (4, True), (10, False)])
def test_a_work_directory_that_disappears_is_noticed(tmp_path, monkeypatch, capsys, step, moved):
    workdir = tmp_path / "run"

    def lose():
        if moved:
            workdir.rename(tmp_path / "elsewhere")
        else:
            shutil.rmtree(workdir)

    when_a_row_is_logged(monkeypatch, step, lose)
    monkeypatch.setattr("jaxcv.cli.list.list_", lambda words: run(workdir))
    assert main(["list"]) == 2
    assert f"jaxcv: {workdir} was deleted or moved while" in capsys.readouterr().err
    assert not workdir.exists()


def test_a_log_and_a_configuration_that_disappear_are_written_anew(whole, tmp_path, monkeypatch):
    def lose():
        (tmp_path / "metrics.jsonl").unlink()
        (tmp_path / "config.json").unlink()

    when_a_row_is_logged(monkeypatch, 6, lose)
    run(tmp_path)
    assert left_behind(tmp_path) == whole[1]
    assert open_workdir(tmp_path, ONE_DEVICE)[0].experiment == EXPERIMENT


@pytest.mark.parametrize("fresh", [True, False])
def test_a_second_run_is_refused_and_leaves_the_first_alone(tmp_path, monkeypatch, fresh):
    workdir = tmp_path / "run"
    if not fresh:
        run(workdir, steps=12)
    real, locks = loop.open_run, []

    def open_run(*args):
        if fresh:  # another process was quicker
            locks.append(WorkdirLock(workdir))
            locks[0].take()
        else:
            pytest.fail("refused late")
        return real(*args)

    monkeypatch.setattr(loop, "open_run", open_run)
    if not fresh:
        locks.append(WorkdirLock(workdir).__enter__())
    before = {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file()}
    with pytest.raises(LockError, match=rf"{workdir} is in use: .* process {os.getpid()} on"):
        run(workdir)
    if fresh:
        assert [p.name for p in workdir.iterdir()] == [LOCK_FILE]
    else:
        assert {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file()} == before
        open_workdir(workdir, ONE_DEVICE)  # reading is free
    locks[0].release()


def test_rows_that_are_damaged_are_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    row = b'{"step": 1, "split": "train"}\n'
    for damaged in (
        b"\n",
        b"12\n",
        b'{"step": "1", "split": "test"}\n',
        b"\xff\n",
        b"[" * 9999 + b"\n",
    ):
        path.write_bytes(row + damaged + row)
        with pytest.raises(
            ValueError, match=r"metrics\.jsonl is damaged: line 2 .* delete that line"
        ):
            read_rows(path)
    for cut in (b"", b"{", b"\0\0\0", row[:-1][:-3], b"\xff"):
        path.write_bytes(row + cut)
        assert read_rows(path) == [{"step": 1, "split": "train"}]
