"""WebP: size and whether it is lossless, before a decoder reserves its canvas (RFC 9649)."""

import struct

from jaxcv.data.encoded.samples import Encoded, Samples, check_pixels
from jaxcv.limits import MAX_PARTS

_LOSSY = Samples(lossy="a lossy WebP does not keep the values of a mask; save it as PNG")


def prepare(data: bytes, max_pixels: int) -> Encoded:
    """Checks the size that the container claims.

    Raises:
      FormatError: it is too large.
    """
    position, lossless = 12, False
    for _ in range(MAX_PARTS):
        if position + 18 > len(data):
            break
        kind, length = struct.unpack_from("<4sI", data, position)
        body = position + 8
        if kind == b"VP8X":
            sides = int.from_bytes(data[body + 4 : body + 10], "little")
            check_pixels(1 + (sides & 0xFFFFFF), 1 + (sides >> 24), max_pixels)
        elif kind == b"ANMF":  # a frame: what it holds begins after its own header of 16 bytes
            position += 8 + 16
            continue
        elif kind == b"VP8L":
            (word,) = struct.unpack_from("<I", data, body + 1)
            check_pixels(1 + (word & 0x3FFF), 1 + (word >> 14 & 0x3FFF), max_pixels)
            lossless = True
            break
        elif kind == b"VP8 ":
            width, height = struct.unpack_from("<HH", data, body + 6)
            check_pixels(width & 0x3FFF, height & 0x3FFF, max_pixels)
            break
        position = body + length + (length & 1)
    return Encoded(data=data, samples=Samples() if lossless else _LOSSY)
