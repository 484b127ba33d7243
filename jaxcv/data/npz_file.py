"""Arrays of numbers from .npz files, whose sizes are looked at before anything is inflated."""

import math
import pathlib
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from jaxcv.limits import MAX_ARRAY_BYTES
from jaxcv.regular_file import open_file

_BLOCK = 1 << 20
# What zipfile, zlib and NumPy raise on damaged files and on those that ask for what they have not.
_ERRORS = (
    *(ValueError, OSError, EOFError, KeyError, TypeError, SyntaxError, NotImplementedError),
    *(RuntimeError, RecursionError, MemoryError, OverflowError),
    *(zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError),
)


def read_arrays(
    path: pathlib.Path,
    names: Sequence[str],
    optional: Sequence[str] = (),
    max_bytes: int = MAX_ARRAY_BYTES,
) -> dict[str, np.ndarray]:
    """Reads named arrays of numbers; nothing in the file is run.

    Args:
      path: the .npz file.
      names: arrays that must be there.
      optional: arrays that are read where all of them are there.
      max_bytes: the largest sum of their sizes.

    Raises:
      ValueError: the file cannot be read, lacks an array, or holds one that is too large, is damaged or
        holds Python objects. One line, which names the file.
    """
    try:
        with open_file(path) as file:
            return _read(file, names, optional, max_bytes)
    except _ERRORS as error:
        raise ValueError(f"{path}: cannot be read as .npz: {_reason(error)}") from error


def _read(
    file: BinaryIO, names: Sequence[str], optional: Sequence[str], max_bytes: int
) -> dict[str, np.ndarray]:
    if file.read(6) == b"\x93NUMPY":
        raise ValueError("it holds one array, not named arrays")
    with zipfile.ZipFile(file) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        for name in names:
            if name not in members:
                found = ", ".join(ascii(name)[1:-1] for name in members) or "nothing"
                raise ValueError(f"there is no array {name!r} in it; it holds {found[:500]}")
        wanted = [*names, *(optional if all(name in members for name in optional) else ())]
        # Of all before the first is read: the sum is what memory must hold.
        total = sum(_size(archive, members[name], name) for name in wanted)
        if total > max_bytes:
            raise ValueError(
                f"its arrays {', '.join(wanted)} take {total} bytes, above the limit {max_bytes}; "
                "raise max_bytes if that is meant"
            )
        return {name: _array(archive, members[name], name) for name in wanted}


def _size(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> int:
    """Bytes of an array, by its header and, which must agree, by the archive."""
    with archive.open(member) as stream:
        shape, _, dtype = _header(stream, name)
        begin = stream.tell()
    size = math.prod(shape) * dtype.itemsize
    if begin + size != member.file_size:
        raise ValueError(
            f"the header of {name!r} claims {dtype} {shape}, {size} bytes, but the file holds "
            f"{member.file_size - begin}"
        )
    return size


def _header(stream: Any, name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, whether by columns, type) of an array of numbers."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"{name!r} is of version {version}, which arrays of numbers do not need")
    read = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
    shape, by_columns, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError(
            f"{name!r} holds Python objects, which are never loaded (allow_pickle=False)"
        )
    if any(side < 0 for side in shape):
        raise ValueError(f"{name!r} has the shape {shape}")
    return shape, by_columns, dtype


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> np.ndarray:
    """Inflates an array into its memory; a wrong checksum raises."""
    with archive.open(member) as stream:
        shape, by_columns, dtype = _header(stream, name)
        data = np.empty(math.prod(shape) * dtype.itemsize, np.uint8)
        for start in range(0, len(data), _BLOCK):
            piece = data[start : start + _BLOCK]
            read = stream.read(len(piece))
            if len(read) != len(piece):
                raise EOFError(f"{name!r} is cut off")
            piece[:] = np.frombuffer(read, np.uint8)
        if stream.read(1):  # and so has the checksum looked at
            raise ValueError(f"{name!r} is longer than its header claims")
    return data.view(dtype).reshape(shape, order="F" if by_columns else "C")


def _reason(error: BaseException) -> str:
    """One line, whatever was raised."""
    if isinstance(error, MemoryError):
        return "there is not enough memory for its arrays"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split()) or "it is damaged"
    known = isinstance(error, ValueError | OSError | EOFError | zipfile.BadZipFile)
    known = known or type(error) in (NotImplementedError, RuntimeError)  # not supported; encrypted
    return text if known else f"it is damaged ({text[:200]})"
