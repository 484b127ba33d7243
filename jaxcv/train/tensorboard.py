"""TensorBoard's event files, as far as scalars go: a few lines instead of an import that takes seconds.

A file is a sequence of records (TensorFlow's TFRecord framing), each a serialised `Event` message of
tensorflow/core/util/event.proto. The fields written here have had these numbers since 2015.
"""

from __future__ import annotations

import struct
import time
from pathlib import Path

_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5  # wire types of protocol buffers


class EventFile:
    """Appends scalars to a new event file in a directory.

    Args:
        directory: made when needed; files of earlier runs in it stay.
        purge_step: TensorBoard forgets what earlier files say of this step and later ones.

    Example:
        >>> import tempfile
        >>> events = EventFile(Path(tempfile.mkdtemp()), purge_step=0)
        >>> events.add_scalar("test/loss", 0.5, step=10)
        >>> events.close()
    """

    def __init__(self, directory: Path, purge_step: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files of a directory in the order of their names.
        self._file = (directory / f"events.out.tfevents.{time.time_ns()}").open("xb")
        self._write(_field(3, _BYTES, b"brain.Event:2"))  # file_version
        start = _field(1, _VARINT, 1)  # SessionLog.status = START
        self._write(_field(2, _VARINT, purge_step) + _field(7, _BYTES, start))
        self._file.flush()

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Writes one number; it reaches the disk with `flush`."""
        value_message = _field(1, _BYTES, name.encode()) + _field(2, _FLOAT, value)
        summary = _field(1, _BYTES, value_message)
        self._write(_field(2, _VARINT, step) + _field(5, _BYTES, summary))

    def flush(self) -> None:
        """Hands what was written to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Flushes and closes."""
        self._file.close()

    def _write(self, event: bytes) -> None:
        self._file.write(record(_field(1, _DOUBLE, time.time()) + event))


def record(data: bytes) -> bytes:
    """Frames bytes as a TFRecord: length, its checksum, the bytes, their checksum."""
    length = struct.pack("<Q", len(data))
    return length + _masked_checksum(length) + data + _masked_checksum(data)


def _masked_checksum(data: bytes) -> bytes:
    # Rotated and shifted, so that a checksum of data that hold checksums keeps its strength.
    crc = crc32c(data)
    rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)


def crc32c(data: bytes) -> int:
    """The CRC-32C of RFC 3720, appendix B.4.

    Example:
        >>> hex(crc32c(b"123456789"))
        '0xe3069283'
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _table_entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # Castagnoli's polynomial, reversed
    return value


_TABLE = tuple(map(_table_entry, range(256)))


def _field(number: int, wire_type: int, value: int | float | bytes) -> bytes:
    """One field of a protocol buffer message."""
    key = _varint(number << 3 | wire_type)
    if isinstance(value, bytes):
        return key + _varint(len(value)) + value
    if wire_type == _VARINT:
        return key + _varint(int(value))
    return key + struct.pack("<d" if wire_type == _DOUBLE else "<f", value)


def _varint(value: int) -> bytes:
    """Seven bits a byte, lowest first; the top bit says that more follow. `value` >= 0."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
