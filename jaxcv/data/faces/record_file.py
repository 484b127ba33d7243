"""MXNet's RecordIO files, read at random places without MXNet.

The layout (dmlc-core, `recordio.h`; MXNet, `recordio.py`), all numbers little-endian:

- A record: magic 0xced7230a, a word whose upper 3 bits are a part flag and whose lower 29 bits are
  a length, that many bytes, zeros up to a multiple of 4.
- Part flag 0: a whole record; 1, 2, 3: first, middle and last part of one whose bytes contained the
  magic at a multiple of 4. The magic between two parts is left out.
- A packed image in a record: IRHeader (flag uint32, label float32, two uint64 ids), then, where flag
  is above 0, that many float32 labels in place of the one, then the encoded image.
- The index, a text file: key, tab, position of the record, one line each.
"""

import os
import pathlib
import struct
import weakref
from typing import NamedTuple

import numpy as np

from jaxcv.data.decode import DecodeError

MAGIC = 0xCED7230A

_PREFIX = struct.Struct("<II")  # magic; part flag and length
_HEADER = struct.Struct("<IfQQ")  # IRHeader
_LENGTH_BITS = 29
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
_MAX_LABELS = 1 << 16


class PackedRecord(NamedTuple):
    """A record's IRHeader and what follows it.

    Attributes:
      labels: float32 [L], one label or, where the header's flag is above 0, that many.
      several: whether the flag is above 0.
      payload: the encoded image; empty in a record that describes others.
    """

    labels: np.ndarray
    several: bool
    payload: bytes


class RecordFile:
    """A .rec file and its .idx, for reading any record; safe to use in several threads.

    Args:
      record_path: the .rec file.
      index_path: the .idx file.

    Attributes:
      keys: int64 [N], ascending.

    Raises:
      ValueError: a file is absent or empty; the index is malformed or points outside the file; the
        record file is cut off. The message names the file and the place.
    """

    def __init__(self, record_path: pathlib.Path, index_path: pathlib.Path):
        for path in (record_path, index_path):
            if not path.is_file():
                raise ValueError(f"{path}: no such file")
        self.path, self._index_path = record_path, index_path
        self.keys, self._offsets = _read_index(index_path)
        self._file = os.open(record_path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        self._size = os.fstat(self._file).st_size
        outside = np.flatnonzero((self._offsets < 0) | (self._offsets + _PREFIX.size > self._size))
        if len(outside):
            first = outside[0]
            raise ValueError(
                f"{index_path}: key {self.keys[first]} is at byte {self._offsets[first]}, but "
                f"{record_path} has {self._size} bytes; it is cut off, or not this index's"
            )
        # A file cut off inside its last record is found now, not after an hour of training.
        self.read(int(self.keys[np.argmax(self._offsets)]))

    def __contains__(self, key: int) -> bool:
        place = np.searchsorted(self.keys, key)
        return bool(place < len(self.keys) and self.keys[place] == key)

    def name(self, key: int) -> str:
        """`file, key 17 at byte 4096`, for messages."""
        return f"{self.path}, key {key} at byte {self._offset(key)}"

    def read(self, key: int) -> PackedRecord:
        """Reads and unpacks one record.

        Raises:
          KeyError: the index has no such key.
          DecodeError: there is no whole record at its place.
        """
        name, data = self.name(key), self._bytes(key)
        if len(data) < _HEADER.size:
            raise DecodeError(name, f"{len(data)} bytes are too few for an image header")
        flag, label, _, _ = _HEADER.unpack_from(data)
        if not flag:
            return PackedRecord(np.asarray([label], np.float32), False, data[_HEADER.size :])
        end = _HEADER.size + 4 * flag
        if flag > _MAX_LABELS or end > len(data):
            raise DecodeError(
                name, f"its header claims {flag} labels, which do not fit its {len(data)} bytes"
            )
        labels = np.frombuffer(data[_HEADER.size : end], "<f4").astype(np.float32)
        return PackedRecord(labels, True, data[end:])

    def first_labels(self, keys: np.ndarray) -> np.ndarray:
        """The (first) label of many records, float32 [N], without reading the images.

        Records whose prefix or header is not as it should be get NaN; `read` says why.
        """
        words = np.memmap(self.path, "<u4", "r", shape=(self._size // 4,))
        places = self._offsets[np.searchsorted(self.keys, keys)]
        labels = np.full(len(keys), np.nan, np.float32)
        # Words of a record: magic, length, flag, label, ids (4 words), further labels.
        good = (places % 4 == 0) & (places // 4 + 8 <= len(words))
        places = np.where(good, places // 4, 0)
        if len(words) < 8:
            return labels
        good &= words[places] == MAGIC
        several = words[places + 2] > 0
        good &= ~several | (places + 8 < len(words))
        at = np.where(good, places + np.where(several, 8, 3), 0)
        labels[good] = words[at].view("<f4")[good]
        return labels

    def _offset(self, key: int) -> int:
        if key not in self:
            raise KeyError(key)
        return int(self._offsets[np.searchsorted(self.keys, key)])

    def _bytes(self, key: int) -> bytes:
        """A record's bytes, its parts put together."""
        name, start = self.name(key), self._offset(key)
        position, parts = start, []
        while True:
            part, data = self._part(name, position)
            parts.append(data)
            wanted = (_WHOLE, _FIRST) if position == start else (_MIDDLE, _LAST)
            if part not in wanted:
                raise DecodeError(name, f"part flag {part} at byte {position} is out of order")
            if part in (_WHOLE, _LAST):
                return _PREFIX.pack(MAGIC, 0)[:4].join(parts)
            position += _PREFIX.size + -(-len(data) // 4) * 4

    def _part(self, name: str, position: int) -> tuple[int, bytes]:
        prefix = os.pread(self._file, _PREFIX.size, position)
        if len(prefix) < _PREFIX.size:
            raise DecodeError(name, f"the file is cut off at byte {self._size}")
        magic, word = _PREFIX.unpack(prefix)
        if magic != MAGIC:
            raise DecodeError(
                name,
                f"no record begins at byte {position}: found {magic:#010x}, not {MAGIC:#010x}; the "
                f"file is damaged, or {self._index_path.name} is not its index",
            )
        part, length = word >> _LENGTH_BITS, word & ((1 << _LENGTH_BITS) - 1)
        left = self._size - position - _PREFIX.size
        # Compared before reading: a hostile length allocates nothing.
        if length > left:
            raise DecodeError(name, f"it claims {length} bytes, but the file ends after {left}")
        data = os.pread(self._file, length, position + _PREFIX.size)
        if len(data) < length:
            raise DecodeError(name, "the file has been cut off since it was opened")
        return part, data


def _read_index(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """(keys, offsets), int64 [N] each, by ascending key."""
    with path.open("rb") as file:
        if not file.read(1024).strip():
            raise ValueError(f"{path}: it is empty")
    try:
        table = np.loadtxt(path, np.int64, comments=None, ndmin=2)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path}: not an index of key and byte in each line: {error}") from None
    if table.ndim != 2 or table.shape[1] != 2:
        raise ValueError(
            f"{path}: not an index of key and byte in each line: {table.shape[1]} columns"
        )
    keys, offsets = table[np.argsort(table[:, 0], kind="stable")].T
    twice = np.flatnonzero(keys[1:] == keys[:-1])
    if len(twice):
        raise ValueError(f"{path}: key {keys[twice[0]]} is there twice")
    return keys, offsets
