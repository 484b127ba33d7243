"""A command as a process: signals end it at any moment, nothing outlives it, its status says why."""

import os
import signal
import subprocess
import sys

import pytest

START = """
import contextlib, os, signal, sys, threading, time
from jaxcv.cli.process import run_as_process
from jaxcv import atomic, lock
os.environ["GLIBC_TUNABLES"] = os.environ.get("GLIBC_TUNABLES", "")  # no second start

def command():
{body}

run_as_process(command)
"""


@pytest.fixture
def started(tmp_path):
    """Starts processes that run a command's body; none of them outlives its test."""
    processes = []

    def start(body, **options):
        code = START.format(body="\n".join(f"    {line}" for line in body.strip().splitlines()))
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=tmp_path, text=True, stderr=subprocess.PIPE, **options
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


MOMENTS = {
    "where Python prints exceptions and goes on": """
class Callback:
    def __del__(self): ready(); time.sleep(60)
Callback()
time.sleep(60)
""",
    "where they are caught": """
while True:
    with contextlib.suppress(BaseException): ready(); time.sleep(60)
""",
    "in a call that does not return to Python": """
ready()
import ctypes
ctypes.CDLL(None).select(0, None, None, None, None)
""",
    "while a thread keeps the process": """
threading.Thread(target=time.sleep, args=(60,)).start()
ready(); time.sleep(60)
""",
    "while a file is written in a directory that is locked": """
with lock.WorkdirLock("."), atomic.replacing("report.html") as part:
    part.write_text("half"); ready(); time.sleep(60)
""",
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_at_once(started, tmp_path, moment, number):
    ready = "def ready(): os.write(1, b'.')\n"
    process = started(ready + MOMENTS[moment], stdout=subprocess.PIPE)
    process.stdout.read(1)
    process.send_signal(number)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 128 + number
    assert not list(tmp_path.iterdir())


def test_nohup_is_respected(started, tmp_path):
    body = "os.kill(os.getpid(), signal.SIGHUP); time.sleep(0.1); return 0"
    process = started(body, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_second_interrupt_ends_a_run_that_saves(started, tmp_path):
    body = """
from jaxcv.signals import NotedSignals
with NotedSignals() as signals:
    signals.defer()
    os.write(1, b".")
    while not signals.received: time.sleep(0.001)
    os.write(1, b".")
    while True:
        with contextlib.suppress(BaseException): time.sleep(60)
"""
    process = started(body, stdout=subprocess.PIPE)
    for _ in range(2):
        assert process.stdout.read(1) == "."
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("end", "status"),
    [("return 1", 1), ("sys.exit(2)", 2), ("raise RuntimeError", 1), ("return 143", 143)],
)
def test_no_failure_leaves_a_process_behind(started, tmp_path, end, status):
    """A thread that waits for ever, and another process that is asked to say good-bye and does not."""
    body = f"""
import atexit
threading.Thread(target=threading.Event().wait).start()
atexit.register(threading.Event().wait)
{end}
"""
    process = started(body)
    process.communicate(timeout=30)
    assert process.returncode == status


def test_a_success_waits_for_its_threads(started, tmp_path):
    body = """
def work():
    time.sleep(0.2)
    open("done", "w").close()
threading.Thread(target=work).start()
return 0
"""
    assert started(body).communicate(timeout=60)[1] == ""
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_has_gone_ends_a_command_silently(started, tmp_path, lines):
    reader, writer = os.pipe()
    os.close(reader)
    process = started(f"print('line\\n' * {lines}); return 0", stdout=writer)
    os.close(writer)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 141


def test_a_full_disk_is_said_and_fails(started, tmp_path):
    with open("/dev/full", "w") as full:
        process = started("print('line'); return 0", stdout=full)
    assert process.communicate(timeout=60)[1] == "jaxcv: [Errno 28] No space left on device\n"
    assert process.returncode == 1


def test_no_file_gets_the_number_of_a_stream_that_is_closed(started, tmp_path):
    body = """
with open("file", "w") as file:
    assert file.fileno() > 2
    print("out"); print("err", file=sys.stderr)
    os.write(1, b"1"); os.write(2, b"2")
return 0
"""
    process = started(body, preexec_fn=lambda: os.closerange(0, 3), close_fds=False)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert (tmp_path / "file").read_bytes() == b""
