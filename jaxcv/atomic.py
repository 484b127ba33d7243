"""Files that are whole or not there: written beside their target, synced, and renamed over it.

Whatever ends the process or the machine meanwhile, a reader finds what was there before or what is there
now, and nothing in between. The rename is atomic on POSIX file systems and on Windows.
"""

from __future__ import annotations

import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jaxcv.signals import undone_at_end

# What a file is called until it is whole; a kill may leave one behind.
TEMPORARY = ".jaxcv-new-"
# Nobody still writes to one that has not been touched for so long.
_LEFT_OVER_SECONDS = 3600.0


@contextmanager
def replacing(path: str | Path, mode: int | None = None) -> Iterator[Path]:
    """A temporary path in the target's directory, with its suffix, which becomes the target at the end.

    Where the body raises, the target stays as it was. A symbolic link is followed; a device or a pipe,
    such as /dev/stdout, which cannot be replaced, is handed over itself.

    Args:
        path: the target.
        mode: its permissions; None keeps those of the file that is there, or takes the process's default.

    Raises:
        OSError: where it cannot be written. The target is as before.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "notes.txt"
        >>> with replacing(target) as part:
        ...     _ = part.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    path = Path(path)
    path = path.resolve() if path.is_symlink() else path
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    part = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}{path.suffix[:16]}")
    try:
        with undone_at_end(part.unlink):
            _create(part, path, mode)
            yield part
            sync(part)
            os.replace(part, path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(part):
            # A person knows the file by its own name.
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    sync(path.parent)


def write_text(path: str | Path, text: str) -> None:
    """Writes a text as UTF-8, whole or not at all; see `replacing`."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_bytes(path: str | Path, data: bytes, mode: int | None = None) -> None:
    """Writes bytes, whole or not at all; see `replacing`."""
    with replacing(path, mode) as part:
        part.write_bytes(data)


def sync(path: Path) -> None:
    """Waits until a file, or the names in a directory, have reached the medium."""
    if os.name == "nt":  # where neither a directory nor a file to be read can be synced
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(directory: Path) -> None:
    """`sync` for a directory and everything below it."""
    for root, _, names in os.walk(directory):
        for name in names:
            sync(Path(root, name))
        sync(Path(root))


def remove_leftovers(directory: Path) -> None:
    """Deletes what killed processes were writing into a directory an hour ago or earlier."""
    for path in directory.glob(f"{TEMPORARY}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _LEFT_OVER_SECONDS:
                path.unlink()


def _create(part: Path, path: Path, mode: int | None) -> None:
    descriptor = os.open(
        part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode
    )
    os.close(descriptor)
    if mode is None and path.is_file():
        with suppress(OSError):  # a file of somebody else's, in a directory that is shared
            os.chmod(part, stat.S_IMODE(path.stat().st_mode))
