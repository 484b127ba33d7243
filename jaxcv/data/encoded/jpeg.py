"""JPEG: what a file would cost to decode, and the segments that decide nothing (ITU-T T.81, annex B)."""

import itertools
import re
import struct

from jaxcv.data.encoded.samples import Encoded, FormatError, Samples
from jaxcv.limits import MAX_PARTS, MAX_SCAN_RATIO, MAX_SCANS

_LOSSY = Samples(lossy="a JPEG does not keep the values of a mask; save it as PNG")
_APP0, _APP1, _APP14, _COM = 0xE0, 0xE1, 0xEE, 0xFE
_SOS, _EOI = 0xDA, 0xD9
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15
_SEQUENTIAL = (0xC0, 0xC1, 0xC9)  # baseline, extended, and that with arithmetic coding
# A marker that has a segment. In entropy-coded data, 0xFF is followed by 0 (stuffing) or a restart
# marker; fill bytes and junk may stand before any.
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd8-\xfe])")
# Smallest length of a segment that says something: JFIF and Adobe decide the colour space.
_WHOLE = {_APP0: (b"JFIF\0", 14), _APP14: (b"Adobe", 12)}
_SCAN = re.compile(rb"\xff\xda")
# What may tell the orientation: the first of each.
_ORIENTING = (b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0")


def prepare(data: bytes, max_pixels: int) -> Encoded:
    """Checks what decoding would cost and leaves out profiles, comments and further pictures.

    Raises:
      FormatError: too many scans or segments.
    """
    position, kept, parts = 2, [], 0
    begin = 0  # of the bytes since the last segment that was left out
    size, seen = [0, 0], set[bytes]()
    components = 0  # of a sequential frame
    while (found := _MARKER.search(data, position)) is not None:
        position, marker = found.start(), data[found.start() + 1]
        if position + 4 > len(data):
            break
        if marker == _SOS:
            # One scan of all components is the only one: libjpeg reads no other.
            if not components or data[position + 4 : position + 5] != bytes([components]):
                _check_scans(data, position, size, max_pixels)
            break
        (length,) = struct.unpack_from(">H", data, position + 2)
        end = position + 2 + length
        if marker in _FRAMES and length >= 8 and position + 10 <= len(data):
            *size, components = struct.unpack_from(">HHB", data, position + 5)
            components *= marker in _SEQUENTIAL
        if not _is_used(marker, data[position + 4 : min(end, position + 40)], length, seen):
            kept.append(data[begin:position])
            begin = end
        position = end
        parts += 1
        if parts > MAX_PARTS:
            raise FormatError(f"it has more segments than the limit {MAX_PARTS} (MAX_PARTS)")
    kept.append(data[begin:])
    return Encoded(data=b"".join(kept) if begin else data, samples=_LOSSY)


def _is_used(marker: int, start: bytes, length: int, seen: set[bytes]) -> bool:
    """Whether a segment may decide pixels or orientation."""
    if marker in _WHOLE:
        name, whole = _WHOLE[marker]
        return length >= 2 + whole and start.startswith(name)
    if marker == _APP1:
        begins = {name for name in _ORIENTING if start.startswith(name)}
        new = begins - seen
        seen |= begins
        return bool(new)
    return not (_APP0 <= marker <= 0xEF or marker == _COM)


def _check_scans(data: bytes, first: int, size: list[int], max_pixels: int) -> None:
    """Refuses more scans than a picture of this size may have; `first` is where the first begins."""
    pixels = max(1, size[0] * size[1])
    allowed = min(MAX_SCANS, max(1, MAX_SCAN_RATIO * max_pixels // pixels))
    # Every scan begins with these two bytes, so that this counts too many at most.
    if sum(1 for _ in itertools.islice(_SCAN.finditer(data, first), allowed + 1)) <= allowed:
        return
    scans, position = 0, first
    while position + 4 <= len(data):
        marker = data[position + 1]
        if marker == _EOI:
            return
        scans += marker == _SOS
        if scans > allowed:
            raise FormatError(
                f"it has more than {allowed} scans, each of which passes over all of its "
                f"{size[1]}x{size[0]} pixels; the limits are {MAX_SCANS} scans (MAX_SCANS) and "
                f"{MAX_SCAN_RATIO} x max_pixels in all (MAX_SCAN_RATIO)"
            )
        (length,) = struct.unpack_from(">H", data, position + 2)
        found = _MARKER.search(data, position + 2 + length)
        if found is None:
            return
        position = found.start()
