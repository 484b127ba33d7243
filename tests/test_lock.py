"""The lock of a work directory: one holder, a dead one recognised, a live one never overruled."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from jaxcv import lock as locking
from jaxcv.lock import HEARTBEAT_SECONDS, LEASE_SECONDS, LOCK_FILE, LockError, WorkdirLock

HOLD = """
import sys
from jaxcv.lock import LockError, WorkdirLock
print("ready", flush=True)
sys.stdin.readline()
try:
    with WorkdirLock(sys.argv[1]) as lock:
        lock.take()
        print("held", flush=True)
        sys.stdin.readline()
except LockError as error:
    print(f"refused: {error}", flush=True)
"""


def holder(folder, code=HOLD):
    """A process that takes the lock at the first line it is sent, and gives it back at the second."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def send(process):
    process.stdin.write("\n")
    process.stdin.flush()


def record(**changes):
    return {**locking._own_record(), **changes}


def leave(folder, content, age=0.0):
    """A lock file that nobody holds the kernel's lock of."""
    path = folder / LOCK_FILE
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    os.utime(path, (time.time() - age,) * 2)
    return path


@pytest.fixture
def no_waiting(monkeypatch):
    """What the lock would have slept, in seconds; each may call something instead."""
    slept = []
    monkeypatch.setattr(locking.time, "sleep", lambda seconds: slept.append(seconds))
    return slept


@pytest.mark.parametrize("fresh", [True, False])
def test_of_five_that_start_at_once_one_gets_it(tmp_path, fresh):
    folder = tmp_path / "run" if fresh else tmp_path
    processes = [holder(folder) for _ in range(5)]
    for process in processes:
        send(process)
    said = [process.stdout.readline() for process in processes]
    assert said.count("held\n") == 1, said
    first = processes[said.index("held\n")]
    for line in said:
        if line != "held\n":
            assert f"process {first.pid} on {socket.gethostname()} since 20" in line
            assert "in use" in line
            assert "take another --workdir" in line
    with pytest.raises(LockError, match=f"process {first.pid} "):
        WorkdirLock(folder).take()
    send(first)
    for process in processes:
        process.communicate(timeout=60)
    assert not (folder / LOCK_FILE).exists()
    with WorkdirLock(folder):
        pass


def test_threads_of_one_process_exclude_each_other_too(tmp_path):
    taken, refused, done = [], [], threading.Event()

    def hold():
        try:
            with WorkdirLock(tmp_path) as lock:
                taken.append(lock)
                done.wait(60)
        except LockError as error:
            refused.append(error)
            if len(refused) == 7:
                done.set()

    threads = [threading.Thread(target=hold) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), len(refused)) == (1, 7)


def test_a_killed_holders_lock_is_taken_over_at_once(tmp_path, no_waiting):
    process = holder(tmp_path)
    send(process)
    assert process.stdout.readline() == "held\n"
    process.kill()
    process.communicate()
    assert json.loads((tmp_path / LOCK_FILE).read_bytes())["pid"] == process.pid
    with WorkdirLock(tmp_path) as lock:
        lock.check()
    assert not no_waiting


def test_a_child_that_was_forked_does_not_keep_it(tmp_path, no_waiting):
    code = HOLD.replace(
        'print("held", flush=True)',
        "import os, time\n"
        "        if not os.fork():\n"
        "            print(os.getpid(), flush=True); time.sleep(60); os._exit(0)",
    )
    process = holder(tmp_path, code)
    send(process)
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    try:
        os.kill(child, 0)  # alive
        WorkdirLock(tmp_path).take()
    finally:
        os.kill(child, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\x00",
        b"[" * 3000,
        b"17",
        b'{"pid": 4',
        b"x" * 100_000,
        record(),  # as if this very process held it: its id has been given away again
        record(pid=1),
        record(pid="seven", started=None),
    ],
    ids=lambda c: str(c)[:12],
)
def test_what_an_earlier_process_left_does_not_lock(tmp_path, content, no_waiting):
    leave(tmp_path, content)
    with WorkdirLock(tmp_path) as lock:
        lock.check()
    assert not (tmp_path / LOCK_FILE).exists()
    assert not no_waiting


ELSEWHERE = record(machine="another boot", host="node17", pid=os.getpid())


def test_a_holder_on_another_machine_that_still_touches_the_file_is_not_overruled(
    tmp_path, monkeypatch
):
    """As on a file system that grants each host a lock of its own."""
    path, slept = leave(tmp_path, ELSEWHERE), []

    def sleep(seconds):
        slept.append(seconds)
        if sum(slept) >= HEARTBEAT_SECONDS:
            os.utime(path)

    monkeypatch.setattr(locking.time, "sleep", sleep)
    with pytest.raises(LockError, match=rf"in use: .* process {os.getpid()} on node17 since"):
        WorkdirLock(tmp_path).take()
    assert sum(slept) <= 2 * HEARTBEAT_SECONDS
    assert json.loads(path.read_bytes()) == ELSEWHERE


@pytest.mark.parametrize(("age", "waits"), [(0.0, True), (2 * LEASE_SECONDS, False)])
def test_one_on_another_machine_that_touches_it_no_more_is_taken_over(
    tmp_path, no_waiting, age, waits
):
    leave(tmp_path, ELSEWHERE, age)
    with WorkdirLock(tmp_path) as lock:
        lock.check()
    assert (sum(no_waiting) > LEASE_SECONDS - 2) == waits
    assert sum(no_waiting) < LEASE_SECONDS + 5


@pytest.fixture
def without_locks(monkeypatch):
    """A file system that knows no locks."""
    monkeypatch.setattr(locking, "_flock", lambda file: False)


def test_without_locks_a_live_process_is_respected_and_a_recycled_id_is_not(
    tmp_path, without_locks, no_waiting
):
    leave(tmp_path, record())
    with pytest.raises(LockError, match=f"process {os.getpid()} on"):
        WorkdirLock(tmp_path).take()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for earlier in (record(started="1"), record(pid=ended.pid), record(pid=10**12)):
        leave(tmp_path, earlier)
        with WorkdirLock(tmp_path) as lock:
            lock.check()


@pytest.mark.parametrize("earlier", [ELSEWHERE, b""], ids=["taken over", "fresh"])
def test_without_locks_the_one_that_wrote_last_stays(tmp_path, without_locks, monkeypatch, earlier):
    path = leave(tmp_path, earlier, age=10 * LEASE_SECONDS)
    other = record(host="node18")
    monkeypatch.setattr(locking.time, "sleep", lambda s: leave(tmp_path, other))
    with pytest.raises(LockError, match="taken over .* on node18"):
        WorkdirLock(tmp_path).take()
    assert json.loads(path.read_bytes()) == other


def test_the_holder_touches_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(locking, "HEARTBEAT_SECONDS", 0.01)
    touched = threading.Event()
    utime = os.utime
    monkeypatch.setattr(locking.os, "utime", lambda *a: (utime(*a), touched.set()))
    with WorkdirLock(tmp_path):
        assert touched.wait(60)


def test_a_lost_directory_and_another_holder_are_noticed(tmp_path):
    folder = tmp_path / "run"
    with WorkdirLock(folder) as lock:
        lock.take()
        lock.check()
        shutil.rmtree(folder)
        with pytest.raises(LockError, match=r"run was deleted or moved"):
            lock.check()
        folder.mkdir()
        leave(folder, ELSEWHERE)
        with pytest.raises(LockError, match="taken over .* on node17"):
            lock.check()
    assert (folder / LOCK_FILE).exists()  # the other's


def test_a_directory_that_does_not_exist_is_not_made_on_entering(tmp_path):
    with WorkdirLock(tmp_path / "run"):
        assert not (tmp_path / "run").exists()
