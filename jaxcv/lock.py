"""One process at a time trains in a work directory: a lock that outlives no process.

The lock is a file, `.jaxcv-lock`, that says who holds it, where and since when. Three things are asked:

1. The kernel. The holder has a POSIX lock (`flock`) on the file, which ends with the process, however that
   ends. Over NFS, Lustre and CIFS the server keeps it, so that it holds between hosts.
2. The record. Where the kernel grants the lock although the file names a holder on this machine, that
   holder was killed: the lock is taken over at once. A recycled process id does not matter.
3. A heartbeat, for holders on other machines, since some network file systems (FUSE mounts of object
   stores above all) grant each host a lock of its own, and for file systems without locks. The holder
   touches the file every few seconds. One that has not been touched for `LEASE_SECONDS`, by the clock of
   the file server, is taken over; one that is younger is watched for so long.

A holder looks at each `check` whether the file is still its own: so one that was suspended while
another took over, one of two that started at the same moment on hosts that do not share locks, and one
whose directory was deleted notice it before they write again.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from jaxcv.signals import undone_at_end

try:
    import fcntl
except ImportError:  # Windows, where the heartbeat alone counts
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".jaxcv-lock"
HEARTBEAT_SECONDS = 5.0
LEASE_SECONDS = 30.0
# Where nothing arbitrates between two that take over at the same moment: the one that wrote last stays.
_SETTLING_SECONDS = 2.0
_MOST_BYTES = 4096  # of a record

Record = dict[str, Any]


class LockError(ValueError):
    """The work directory is another process's, or is not there any more."""


class WorkdirLock:
    """The right to write into a work directory. As a context manager it is given back at the end.

    Args:
        directory: the work directory; where it exists, it is locked on entering the context.

    Example:
        >>> import tempfile
        >>> with WorkdirLock(tempfile.mkdtemp()) as lock:
        ...     lock.check()  # before each write
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory).absolute()
        self._path = self.directory / LOCK_FILE
        self._file = -1
        self._record: Record = {}
        self._ended = threading.Event()
        self._undo = ExitStack()

    def __enter__(self) -> WorkdirLock:
        if self.directory.is_dir():
            self.take()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def take(self) -> None:
        """Takes the lock, and makes the directory, where this object has not done so already.

        Raises:
            LockError: another process has it; the message says which, where and since when.
            OSError: the directory cannot be made or written to.
        """
        if self._file >= 0:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        self._file, arbitrated = self._locked_file()
        try:
            earlier = _read(self._file)
            if earlier:
                self._take_over(earlier, arbitrated)
            self._record = _own_record()
            _write(self._file, self._record)
            if not arbitrated or (earlier and not _same_machine(earlier)):
                time.sleep(_SETTLING_SECONDS)
                self.check()
        except BaseException:
            self._close()
            raise
        self._ended.clear()
        self._undo.enter_context(undone_at_end(self.release))
        threading.Thread(target=self._beat, name="work directory lock", daemon=True).start()

    def check(self) -> None:
        """Makes sure that the work directory is there and still this process's.

        Raises:
            LockError: where it is not. Nothing may be written then.
        """
        try:
            found = _read_path(self._path)
        except FileNotFoundError:
            raise LockError(
                f"{self.directory} was deleted or moved while the run in it was under way; it cannot go on"
            ) from None
        if found.get("token") != self._record["token"]:
            raise LockError(
                f"{self.directory} was taken over while the run in it was under way, {_who(found)}; this "
                "process stops, and leaves it to the other"
            )

    def release(self) -> None:
        """Gives the lock back."""
        if self._file < 0:
            return
        self._undo.close()
        self._ended.set()
        with suppress(OSError, LockError):
            self.check()
            self._path.unlink()
        self._close()

    def _locked_file(self) -> tuple[int, bool]:
        """The open lock file, and whether the kernel arbitrates about it."""
        while True:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            _OPEN.add(file)
            try:
                arbitrated = _flock(file)
                # Its holder may have deleted it in between.
                if os.path.samestat(os.fstat(file), os.stat(self._path)):
                    return file, arbitrated
            except FileNotFoundError:
                pass
            except BlockingIOError:
                holder = _read(file)
                for _ in range(20):
                    if not holder:  # it has locked the file a moment ago, and writes it now
                        time.sleep(0.05)
                        holder = _read(file)
                _close(file)
                raise LockError(self._held(holder)) from None
            except BaseException:
                _close(file)
                raise
            _close(file)

    def _take_over(self, earlier: Record, arbitrated: bool) -> None:
        """Returns where the holder on record is dead; LockError where it lives."""
        if _same_machine(earlier):
            if not arbitrated and _runs(earlier):
                raise LockError(self._held(earlier))
            return
        stamp = os.stat(self._path).st_mtime_ns
        left = LEASE_SECONDS - (self._server_now() - stamp / 1e9)
        while left > 0:
            time.sleep(min(1.0, left))
            left -= 1.0
            # Opened anew: so an NFS client asks the server.
            if os.path.exists(self._path) and _touched(self._path) != stamp:
                raise LockError(self._held(earlier))

    def _server_now(self) -> float:
        """The time by the clock that stamps the files of the directory."""
        probe = self._path.with_name(f"{LOCK_FILE}-{secrets.token_hex(8)}")
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)

    def _held(self, holder: Record) -> str:
        return (
            f"{self.directory} is in use: another process trains in it, {_who(holder)}. Wait for it, stop "
            "it, or take another --workdir"
        )

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):
                os.utime(self._file)

    def _close(self) -> None:
        file, self._file = self._file, -1
        _close(file)


# A child that was forked must not keep the lock of a parent that was killed.
_OPEN: set[int] = set()


def _close_inherited() -> None:
    for file in _OPEN:
        with suppress(OSError):
            os.close(file)
    _OPEN.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)


def _close(file: int) -> None:
    _OPEN.discard(file)
    os.close(file)


def _flock(file: int) -> bool:
    """Locks; False where the file system knows no locks, BlockingIOError where another holds it."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            return False
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise BlockingIOError(error.errno, error.strerror) from None
        raise
    return True


def _own_record() -> Record:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "started": _start_time(os.getpid()),
        "machine": _machine(),
        "token": secrets.token_hex(16),
    }


def _machine() -> str:
    """The boot of the machine and the space of process ids, which in a container is its own."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    return socket.gethostname()


def _same_machine(record: Record) -> bool:
    return record.get("machine") == _machine()


def _start_time(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; "" for one that has ended, None if nobody knows."""
    with suppress(OSError, IndexError):
        # After the name, which is in brackets and may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    return None


def _runs(record: Record) -> bool:
    """Whether the process on record is alive, and not another one of the same id."""
    pid = record.get("pid")
    if type(pid) is not int or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # somebody else's
    started = _start_time(pid)
    return started is None or started == record.get("started")


def _who(record: Record) -> str:
    if not record:
        return "which has not said yet who it is"
    return f"process {record.get('pid')} on {record.get('host')} since {record.get('since')}"


def _write(file: int, record: Record) -> None:
    os.ftruncate(file, 0)
    os.lseek(file, 0, os.SEEK_SET)
    os.write(file, json.dumps(record).encode())
    os.fsync(file)


def _read(file: int) -> Record:
    """The record in a lock file; {} for an empty one, and for what is none."""
    os.lseek(file, 0, os.SEEK_SET)
    try:
        record = json.loads(os.read(file, _MOST_BYTES))
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _read_path(path: Path) -> Record:
    file = os.open(path, os.O_RDONLY)
    try:
        return _read(file)
    finally:
        os.close(file)


def _touched(path: Path) -> int:
    file = os.open(path, os.O_RDONLY)
    try:
        return os.fstat(file).st_mtime_ns
    finally:
        os.close(file)
