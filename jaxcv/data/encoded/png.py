"""PNG: the chunks that decide pixels and orientation, whole; the others left out (PNG, third edition)."""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from jaxcv.data.encoded.samples import Encoded, FormatError, Samples, check_pixels
from jaxcv.limits import MAX_METADATA, MAX_PARTS

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # colour type -> samples per pixel
_GREY, _RGB, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 4, 6
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
# Adam7: (first column, first row, column step, row step) of each pass (section 8.1).
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
_BLOCK = 1 << 14  # of a zlib stream: it inflates to at most 17 MB
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
# Keywords of texts in which programs keep EXIF or XMP, which may tell the orientation.
_ORIENTING = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")


class _Chunk(NamedTuple):
    """A chunk: where it begins and ends, what it holds, and whether its checksum is right."""

    kind: bytes
    start: int
    end: int
    body: memoryview
    whole: bool


def prepare(data: bytes, max_pixels: int) -> Encoded:
    """Checks a PNG and leaves out what does not matter: profiles, long texts, further frames.

    Pillow would refuse a sound picture for a long text or a damaged note, and would fill with black what
    a short pixel stream lacks.

    Raises:
      FormatError: it is cut off, damaged, too large, or has a critical chunk that is not known.
    """
    view = memoryview(data)
    kept: list[memoryview] = []
    stream: list[memoryview] = []
    header, transparent = b"", b""
    begin = 0  # of the bytes since the last chunk that was left out
    for chunk in _chunks(view):
        decides = chunk.kind in _CRITICAL or chunk.kind == b"tRNS"
        if decides and not chunk.whole:
            raise FormatError(f"PNG chunk {chunk.kind.decode()} is damaged (its CRC is wrong)")
        if chunk.kind == b"IHDR":
            if header or len(chunk.body) != 13:
                raise FormatError("its PNG header (IHDR) is not one of 13 bytes")
            header = bytes(chunk.body)
            width, height = struct.unpack_from(">II", header)
            check_pixels(width, height, max_pixels)
        elif chunk.kind == b"IDAT":
            stream.append(chunk.body)
            decides = len(chunk.body) > 0
        elif chunk.kind == b"tRNS":
            transparent = bytes(chunk.body)
        if not decides and not (chunk.whole and _orients(chunk.kind, bytes(chunk.body))):
            kept.append(view[begin : chunk.start])
            begin = chunk.end
    kept.append(view[begin : chunk.end])
    samples = _samples(header, transparent)
    wanted = _stream_length(header)
    found = _inflated_length(stream, wanted)
    if found < wanted:
        raise FormatError(f"the PNG's pixel stream is cut off: {found} of {wanted} bytes")
    return Encoded(data=data if len(kept) == 1 else b"".join(kept), samples=samples)


def _chunks(view: memoryview) -> Iterator[_Chunk]:
    """All chunks up to the last, IEND; at least one."""
    start = len(SIGNATURE)
    for _ in range(MAX_PARTS):
        if start + 12 > len(view):
            break
        length, kind = struct.unpack_from(">I4s", view, start)
        end = start + 12 + length
        if end > len(view):
            break
        if not kind[0] & 0x20 and kind not in _CRITICAL:
            raise FormatError(f"its PNG chunk {ascii(kind)[1:]} is critical and not known")
        body = view[start + 8 : end - 4]
        (checksum,) = struct.unpack_from(">I", view, end - 4)
        yield _Chunk(kind, start, end, body, zlib.crc32(body, zlib.crc32(kind)) == checksum)
        if kind == b"IEND":
            return
        start = end
    else:
        raise FormatError(f"it has more chunks than the limit {MAX_PARTS} (MAX_PARTS)")
    raise FormatError("the PNG is cut off (no IEND chunk)")


def _orients(kind: bytes, body: bytes) -> bool:
    """Whether an ancillary chunk may tell the orientation, and is short enough to be read."""
    if kind == b"eXIf":
        return True
    if kind not in _TEXTS or not body.startswith(_ORIENTING) or len(body) > MAX_METADATA:
        return False
    rest = body[body.index(b"\0") + 1 :]
    if kind == b"zTXt":
        packed = rest[1:]
    elif kind == b"iTXt" and rest[:1] == b"\1":
        packed = rest[2:].split(b"\0", 2)[-1]
    else:
        return True
    try:
        inflate = zlib.decompressobj()
        inflate.decompress(packed, MAX_METADATA)
    except zlib.error:
        return False
    return not inflate.unconsumed_tail


def _samples(header: bytes, transparent: bytes) -> Samples:
    """What the numbers mean, from the chunks IHDR and tRNS."""
    if not header:
        raise FormatError("the PNG has no header (IHDR)")
    depth, colour = header[8], header[9]
    if colour not in _SAMPLES:
        raise FormatError(f"its PNG colour type {colour} is not known")
    if colour == _GREY:
        level = struct.unpack(">H", transparent)[0] if len(transparent) == 2 else None
        maximum = (1 << depth) - 1
        # Of the two bytes only as many bits count as a sample has (section 11.3.1.1).
        return Samples(maximum=maximum, transparent=None if level is None else level & maximum)
    if depth < 16:
        return Samples()
    if colour == _RGB and transparent:
        raise FormatError(
            "a PNG of 16-bit colours with one that is transparent (tRNS) is not supported"
        )
    return Samples(coarse="its colours have 16 bits, of which 8 would be kept")


def _stream_length(header: bytes) -> int:
    """Length of the inflated pixel stream that an IHDR chunk promises: filter bytes and rows."""
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", header)
    bits = depth * _SAMPLES[colour]
    passes = _ADAM7 if interlace else ((0, 0, 1, 1),)
    total = 0
    for left, top, column_step, row_step in passes:
        columns = max(0, -(-(width - left) // column_step))
        rows = max(0, -(-(height - top) // row_step))
        total += rows * (1 + (columns * bits + 7) // 8) if columns else 0
    return total


def _inflated_length(stream: list[memoryview], limit: int) -> int:
    """How many bytes a zlib stream, in pieces, inflates to, counted up to about `limit`, none kept."""
    inflate, count = zlib.decompressobj(), 0
    try:
        for piece in stream:
            for start in range(0, len(piece), _BLOCK):
                count += len(inflate.decompress(piece[start : start + _BLOCK]))
                if count >= limit or inflate.eof:
                    return count
    except zlib.error as error:
        raise FormatError(f"the PNG's pixel stream is damaged: {error}") from error
    return count
