"""BMP: a palette that is always a palette."""

import struct

from jaxcv.data.encoded.samples import Encoded, FormatError

_PLAIN = 0  # compression: none
_UNLIKE_GREY = b"\1\2\3\0"


def prepare(data: bytes, max_pixels: int) -> Encoded:
    """Makes sure that indices of 1 to 8 bits are read as such.

    Pillow drops a palette that is a ramp of greys and then reads the indices as if they had the bits of
    the mode that it chose, which is wrong for 4 bits, and for 8 bits with two colours. One colour more
    in the palette, which no index means, keeps it from that.

    Raises:
      FormatError: where such a colour cannot be added.
    """
    if len(data) < 54:
        return Encoded(data=data)
    offset, header = struct.unpack_from("<II", data, 10)
    if header == 12:
        (bits,) = struct.unpack_from("<H", data, 24)
        if bits == 4 and _is_ramp(data[26 : 26 + 48], 3):
            raise FormatError(
                "a BMP of 4 bits with OS/2's header and a grey palette is not supported"
            )
        return Encoded(data=data)
    bits, compression = struct.unpack_from("<HI", data, 28)
    (colours,) = struct.unpack_from("<I", data, 46)
    palette = 14 + header
    colours = colours or 1 << bits
    wrong = (bits == 4 or (bits == 8 and colours <= 2)) and compression == _PLAIN
    if not wrong or header < 40 or palette + 4 * colours > min(offset, len(data)):
        return Encoded(data=data)
    changed = bytearray(
        data[: palette + 4 * colours] + _UNLIKE_GREY + data[palette + 4 * colours :]
    )
    struct.pack_into("<I", changed, 10, offset + 4)
    struct.pack_into("<I", changed, 46, colours + 1)
    return Encoded(data=bytes(changed))


def _is_ramp(palette: bytes, width: int) -> bool:
    return all(palette[i : i + 3] == bytes([i // width] * 3) for i in range(0, len(palette), width))
