"""PBM, PGM and PPM: levels as stored, of any maxval (Netpbm's formats P1 to P6).

Pillow scales them to 0..255 or 0..65535 - in Python, a pixel at a time - and takes levels above maxval
for maxval.
"""

import re

import numpy as np
from PIL import Image

from jaxcv.data.encoded.samples import Encoded, FormatError, Samples, check_pixels
from jaxcv.limits import MAX_METADATA

_SPACE = rb"(?:\s|#[^\r\n]*[\r\n])"
_NUMBER = _SPACE + rb"+(\d{1,9})"
# A bitmap has no maxval. One blank ends the header of P4 to P6.
_BITS = re.compile(rb"P([14])" + 2 * _NUMBER + rb"\s")
_LEVELS = re.compile(rb"P([2356])" + 3 * _NUMBER + rb"\s")
_DIGITS_AND_BLANKS = b"0123456789 \t\n\r\v\f"
_COMMENT = re.compile(rb"#[^\r\n]*")


def is_portable_map(data: bytes) -> bool:
    """Whether a file begins as P1 to P6 do."""
    return data[:1] == b"P" and data[1:2] in b"123456" and not data[2:3].isalnum()


def prepare(data: bytes, max_pixels: int) -> Encoded:
    """Reads the levels; colours of another maxval than 255 are brought to 8 bits by rounding.

    Raises:
      FormatError: it is cut off, too large, or has a level above its maxval.
    """
    head = data[:MAX_METADATA]  # comments may be long
    found = _BITS.match(head) or _LEVELS.match(head)
    if not found:
        raise FormatError(f"its header {ascii(data[:24])[1:]} is not one of P1 to P6")
    kind, width, height, *rest = map(int, found.groups())
    maximum = rest[0] if rest else 1
    if not 0 < maximum < 65536 or not width * height:
        raise FormatError(f"its header claims {width}x{height} pixels up to {maximum}")
    check_pixels(width, height, max_pixels)
    shape = (height, width, 3) if kind in (3, 6) else (height, width)
    body = memoryview(data)[found.end() :]
    if kind == 4:
        levels = _packed_bits(body, height, width)
    elif kind > 4:
        levels = np.frombuffer(
            _cut(body, int(np.prod(shape)) * (1 + (maximum > 255))),
            np.uint8 if maximum < 256 else ">u2",
        )
    else:
        levels = _plain(bytes(body), int(np.prod(shape)), bits=kind == 1)
    levels = levels.reshape(shape)
    if maximum not in (255, 65535) or kind < 4:
        _check_levels(levels, maximum)
    return _encoded(levels, maximum, white_is_zero=kind in (1, 4))


def _check_levels(levels: np.ndarray, maximum: int) -> None:
    if int(levels.max()) > maximum:
        raise FormatError(f"it has the level {int(levels.max())}, above its maxval {maximum}")


def _encoded(levels: np.ndarray, maximum: int, white_is_zero: bool) -> Encoded:
    if maximum == 255:
        return Encoded(data=Image.fromarray(levels.astype(np.uint8, copy=False)))
    if levels.ndim == 2:  # 16-bit modes, since Pillow's L would count as scaled
        samples = Samples(maximum=maximum, white_is_zero=white_is_zero)
        return Encoded(data=Image.fromarray(levels.astype(np.uint16)), samples=samples)
    scaled = (levels.astype(np.uint32) * 510 + maximum) // (2 * maximum)
    coarse = f"its colours go up to {maximum} and would be scaled to 255"
    return Encoded(data=Image.fromarray(scaled.astype(np.uint8)), samples=Samples(coarse=coarse))


def _cut(body: memoryview, wanted: int) -> memoryview:
    if len(body) < wanted:
        raise FormatError(f"it is cut off: {len(body)} of {wanted} bytes of pixels")
    return body[:wanted]


def _packed_bits(body: memoryview, height: int, width: int) -> np.ndarray:
    """Eight pixels per byte, each row in whole bytes."""
    row = -(-width // 8)
    packed = np.frombuffer(_cut(body, height * row), np.uint8).reshape(height, row)
    return np.unpackbits(packed, axis=1)[:, :width]


def _plain(body: bytes, wanted: int, bits: bool) -> np.ndarray:
    """Levels as decimal text; bits need no blanks between them."""
    if b"#" in body:
        body = _COMMENT.sub(b" ", body)
    if body.translate(None, _DIGITS_AND_BLANKS):
        raise FormatError("its levels are not all whole numbers")
    if bits:
        levels = np.frombuffer(b"".join(body.split()), np.uint8) - np.uint8(ord("0"))
    else:
        levels = np.fromstring(
            body, np.int64, sep=" "
        )  # what is too long for it is above any maxval
    if len(levels) < wanted:
        raise FormatError(f"it is cut off: {len(levels)} of {wanted} levels")
    return levels[:wanted]
