"""Reading files that really are files: never a pipe, a device or a folder with a file's name."""

import os
import stat
from typing import BinaryIO

from jaxcv.limits import MAX_FILE_BYTES

# Without O_NONBLOCK a pipe would be waited for before it can be seen that it is one.
_AT_ONCE = sum(getattr(os, flag, 0) for flag in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
_KINDS = {
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def open_file(path: str | os.PathLike[str], max_bytes: int = MAX_FILE_BYTES) -> BinaryIO:
    """Opens a regular file for reading, or fails at once: opening a pipe would wait for a writer.

    Args:
      path: the file; a link to a regular file is one.
      max_bytes: the largest size that is accepted.

    Raises:
      OSError: it is absent, not readable, no regular file or too large; `strerror` says which.
    """
    descriptor = os.open(path, os.O_RDONLY | _AT_ONCE)
    try:
        found = os.fstat(descriptor)
        kind = stat.S_IFMT(found.st_mode)
        if kind != stat.S_IFREG:
            what = _KINDS.get(kind, "no regular file")
            raise OSError(0, f"it is {what}, not a regular file", os.fspath(path))
        if found.st_size > max_bytes:
            raise OSError(
                0, f"it has {found.st_size} bytes, above the limit {max_bytes}", os.fspath(path)
            )
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_file(path: str | os.PathLike[str], max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a regular file.

    Raises:
      OSError: as `open_file`; and the file grew above the limit while it was read.
    """
    with open_file(path, max_bytes) as file:
        data = file.read()
    if len(data) > max_bytes:  # it grew
        raise OSError(0, f"it has {len(data)} bytes, above the limit {max_bytes}", os.fspath(path))
    return data
