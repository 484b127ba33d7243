"""BMP: indices that are read as the palette's, and run lengths expanded in time that the file pays for."""

import struct

import numpy as np

from jaxcv.data.encoded.samples import Encoded, FormatError, check_pixels

_PLAIN, _RUNS_8, _RUNS_4 = 0, 1, 2  # compression
_END_OF_LINE, _END, _DELTA = 0, 1, 2
_UNLIKE_GREY = b"\1\2\3\0"
_FILE_HEADER, _OS2_HEADER, _HEADER = 14, 12, 40  # bytes


def prepare(data: bytes, max_pixels: int) -> Encoded:
    """Makes sure that indices of 1 to 8 bits are read as such.

    Pillow drops a palette that is a ramp of greys and then reads the indices as if they had the bits of
    the mode that it chose, which is wrong for 4 bits, and for 8 bits with two colours. One colour more
    in the palette, which no index means, keeps it from that. It also expands run lengths in Python, a
    pixel at a time; they are expanded here, to indices of 8 bits.

    Raises:
      FormatError: it is too large or cut off, or such a colour cannot be added.
    """
    if len(data) < _FILE_HEADER + _HEADER:
        return Encoded(data=data)
    offset, header = struct.unpack_from("<II", data, 10)
    if header == _OS2_HEADER:
        (bits,) = struct.unpack_from("<H", data, 24)
        if bits == 4 and _is_ramp(data[26 : 26 + 48]):
            raise FormatError(
                "a BMP of 4 bits with OS/2's header and a grey palette is not supported"
            )
        return Encoded(data=data)
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    (colours,) = struct.unpack_from("<I", data, 46)
    colours = colours or 1 << bits
    end = _FILE_HEADER + header + 4 * colours  # of the palette
    if bits > 8 or header < _HEADER or end > min(offset or end, len(data)):
        return Encoded(data=data)
    pixels = data[offset or end :]
    if compression in (_RUNS_8, _RUNS_4):
        if width <= 0 or height <= 0:
            raise FormatError(f"its header claims {width}x{height} pixels, in runs")
        check_pixels(width, height, max_pixels)
        rows = _expanded(pixels, width, height, four_bits=compression == _RUNS_4)
        pixels = np.pad(rows, ((0, 0), (0, -width % 4))).tobytes()
        bits = 8
    elif compression != _PLAIN or not (bits == 4 or colours <= 2):
        return Encoded(data=data)
    if colours > 256 - (bits == 8):
        return Encoded(data=b"".join((_changed(data[:end], bits, colours, end), pixels)))
    head = _changed(data[:end], bits, colours + 1, end + 4)
    return Encoded(data=b"".join((head, _UNLIKE_GREY, pixels)))


def _changed(head: bytes, bits: int, colours: int, offset: int) -> bytes:
    """A header of uncompressed indices."""
    changed = bytearray(head)
    struct.pack_into("<I", changed, 10, offset)
    struct.pack_into("<HI", changed, 28, bits, _PLAIN)
    struct.pack_into("<I", changed, 46, colours)
    return bytes(changed)


def _expanded(data: bytes, width: int, height: int, *, four_bits: bool) -> np.ndarray:
    """uint8 [height, width], the indices that run lengths stand for, in the order of the file's rows."""
    rows = np.zeros((height, width), np.uint8)
    row = column = position = 0
    try:
        while True:
            count, value = data[position], data[position + 1]
            position += 2
            if count:
                run = np.array([value >> 4, value & 15] if four_bits else [value], np.uint8)
                piece = np.resize(run, count)
            elif value == _END:
                return rows
            elif value == _END_OF_LINE:
                row, column = row + 1, 0
                continue
            elif value == _DELTA:
                column, row = column + data[position], row + data[position + 1]
                position += 2
                continue
            else:  # as many indices as they stand, padded to 16 bits
                size = -(-value // 2) if four_bits else value
                stored = np.frombuffer(data, np.uint8, size, position)
                both = np.stack((stored >> 4, stored & 15), axis=1).ravel()
                piece = both[:value] if four_bits else stored
                position += size + size % 2
            if row >= height:
                raise FormatError("its run lengths go beyond its rows")
            free = rows[row, column : column + len(piece)]
            free[:] = piece[: len(free)]
            column += len(piece)
    except FormatError:
        raise
    except (IndexError, ValueError):
        raise FormatError("its run lengths are cut off") from None


def _is_ramp(palette: bytes) -> bool:
    return all(palette[i : i + 3] == bytes([i // 3] * 3) for i in range(0, len(palette), 3))
