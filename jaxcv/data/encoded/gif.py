"""GIF: the first frame alone, and whether it covers the picture (GIF89a, sections 18 to 25)."""

import struct

from jaxcv.data.encoded.samples import Encoded, FormatError, Samples
from jaxcv.limits import MAX_PARTS

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, b"\x3b"
_GRAPHIC_CONTROL = 0xF9  # which index is transparent
_PARTIAL = Samples(lossy="its first frame covers only a part of the GIF")


def prepare(data: bytes, max_pixels: int) -> Encoded:
    """Leaves out comments, animation and frames but the first; a file that is cut off stays as it is.

    Raises:
      FormatError: too many blocks.
    """
    if len(data) < 13:
        return Encoded(data=data)
    position = 13 + _table_length(data[10])
    head, control, parts = data[:position], b"", 0
    try:
        while data[position] == _EXTENSION:
            end = _blocks_end(data, position + 2)
            parts += 1
            if parts > MAX_PARTS:
                raise FormatError(f"it has more extensions than the limit {MAX_PARTS} (MAX_PARTS)")
            if data[position + 1] == _GRAPHIC_CONTROL:
                control = data[position:end]
            position = end
        if data[position] != _IMAGE:
            return Encoded(data=data)
        place = struct.unpack_from("<HHHH", data, position + 1)
        # Ten bytes of the descriptor, its colours, the smallest code.
        end = _blocks_end(data, position + 10 + _table_length(data[position + 9]) + 1)
    except (IndexError, struct.error):
        return Encoded(data=data)
    whole = place == (0, 0, *struct.unpack_from("<HH", data, 6))
    samples = Samples() if whole else _PARTIAL
    return Encoded(data=b"".join((head, control, data[position:end], _TRAILER)), samples=samples)


def _table_length(flags: int) -> int:
    """Bytes of the colour table that a descriptor's flags announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _blocks_end(data: bytes, position: int) -> int:
    """Where a chain of blocks, each with its length before it, has ended; IndexError if it has not."""
    for _ in range(MAX_PARTS):
        length = data[position]
        position += 1 + length
        if not length:
            return position
    raise FormatError(f"it has more blocks in a row than the limit {MAX_PARTS} (MAX_PARTS)")
