"""TIFF: what its samples mean, and a directory of only those tags that decide them (TIFF 6.0, BigTIFF).

Pillow looks at some of the tags, guesses where one is absent, and turns the picture while it decodes it.
Here every tag that decides the pixels is read; what is not understood is refused by its name. The file
is handed on with another directory in the place of its own, in which white-is-zero is black-is-zero, so
that levels stay as they are stored, and nothing tells an orientation, so that it is applied once, as for
other formats.
"""

import struct
from typing import NamedTuple

from jaxcv.data.encoded.samples import Encoded, FormatError, Number, Samples, check_pixels
from jaxcv.limits import MAX_STRIPS, MAX_TIFF_TAGS

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_OFFSETS, _ORIENTATION, _SAMPLES, _ROWS, _PLANAR = 273, 274, 277, 278, 284
_INKS, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _EXTRA, _FORMAT = 332, 322, 323, 324, 338, 339
# What Pillow and libtiff need besides: fill order, byte counts, options of fax, the predictor, the
# palette, tables and old ways of JPEG, how YCbCr is meant.
_BESIDES = (266, 279, 292, 293, 317, 320, 325, 347, *range(512, 522), 529, 530, 532)
_STRIPS = (_OFFSETS, _ROWS, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS)
_KIND = (_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR, _INKS, _EXTRA, _FORMAT)
_KEPT = frozenset((_WIDTH, _HEIGHT, *_STRIPS, *_KIND, *_BESIDES))
# Type -> struct's code: bytes, short, long, rational (two longs), signed ones, long8.
_TYPES = {1: "B", 3: "H", 4: "I", 5: "II", 6: "b", 7: "B", 8: "h", 9: "i"}
_TYPES |= {13: "I", 16: "Q", 18: "Q"}
_PLAIN, _OLD_JPEG, _JPEG, _WEBP = 1, 6, 7, 50001
_LOSSY = {_OLD_JPEG: "JPEG", _JPEG: "JPEG", _WEBP: "WebP", 34676: "LogLuv", 34677: "LogLuv"}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_COLOURS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3}
_GREY = (_WHITE_IS_ZERO, _BLACK_IS_ZERO)
_NAMES = {_WHITE_IS_ZERO: "grey", _BLACK_IS_ZERO: "grey", _PALETTE: "a palette", _YCBCR: "YCbCr"}
_NOT_SUPPORTED = {
    4: "a transparency mask",
    8: "CIELab",
    9: "ICCLab",
    32803: "a colour filter array",
}
_NUMBERS: dict[int, Number] = {1: "unsigned", 2: "signed", 3: "float"}
# The bits of a sample, by the kind of number, for grey; colours have 8 or 16, indices at most 8.
_GREY_BITS = {"unsigned": (1, 2, 4, 8, 12, 16, 32), "signed": (8, 16, 32), "float": (32,)}
_COLOUR_BITS = {_RGB: (8, 16), _CMYK: (8, 16), _YCBCR: (8,), _PALETTE: (1, 2, 4, 8)}


class _Entry(NamedTuple):
    """One tag of a directory: its bytes as they stand there, its values, and how many there are."""

    raw: bytes
    values: tuple[int, ...]
    number: int


class _Layout(NamedTuple):
    """How a TIFF's numbers are written: byte order, and the sizes of classic TIFF or of BigTIFF."""

    order: str
    big: bool

    @property
    def number(self) -> str:
        """Struct's code of an offset."""
        return self.order + ("Q" if self.big else "I")

    @property
    def entry(self) -> int:
        """Bytes of an entry: tag, type, count, value or offset."""
        return 20 if self.big else 12


def is_tiff(data: bytes) -> bool:
    """Whether a file begins as TIFF or BigTIFF does, or as one that mixes the byte orders."""
    return data[:2] in (b"II", b"MM") and data[2:4] in (b"*\0", b"\0*", b"+\0", b"\0+")


def prepare(data: bytes, max_pixels: int) -> Encoded:
    """Reads the directory of the first picture and writes a plain one.

    Raises:
      FormatError: it is too large or cut off, or something in it is not understood.
    """
    layout = _Layout("<" if data[:2] == b"II" else ">", 43 in data[2:4])
    if data[2 if layout.order == ">" else 3]:
        raise FormatError("its TIFF header mixes the byte orders")
    if layout.big and layout.order == ">":
        raise FormatError("a big-endian BigTIFF is not supported")
    start, tags = _directory(data, layout)
    width, height = _one(tags, _WIDTH), _one(tags, _HEIGHT)
    check_pixels(width, height, max_pixels)
    samples = _meaning(tags)
    if samples.maximum == 4095 and layout.order == ">":
        raise FormatError("12-bit samples in a big-endian TIFF are not supported")
    _check_tiles(tags, width, height, max_pixels)
    orientation = _one(tags, _ORIENTATION, 1)
    return Encoded(
        data=_with_directory(data, layout, start, tags, samples.white_is_zero),
        samples=samples,
        orientation=orientation if 1 <= orientation <= 8 else 1,
        name=_name(tags),
    )


def _directory(data: bytes, layout: _Layout) -> tuple[int, dict[int, _Entry]]:
    """Where the directory of the first picture begins, and its tags that matter."""
    try:
        (start,) = struct.unpack_from(layout.number, data, 8 if layout.big else 4)
        (count,) = struct.unpack_from(layout.order + ("Q" if layout.big else "H"), data, start)
        if count > MAX_TIFF_TAGS:
            raise FormatError(
                f"it has {count} tags, above the limit {MAX_TIFF_TAGS} (MAX_TIFF_TAGS)"
            )
        first = start + (8 if layout.big else 2)
        tags: dict[int, _Entry] = {}
        for place in range(first, first + count * layout.entry, layout.entry):
            (tag,) = struct.unpack_from(layout.order + "H", data, place)
            if tag in tags:
                raise FormatError(f"its tag {tag} is there twice")
            if tag in _KEPT or tag == _ORIENTATION:
                raw = data[place : place + layout.entry]
                tags[tag] = _Entry(raw, *_values(data, layout, place, tag))
    except struct.error:
        raise FormatError("its directory of tags is cut off") from None
    return start, tags


def _values(data: bytes, layout: _Layout, place: int, tag: int) -> tuple[tuple[int, ...], int]:
    """The values of a tag, and how many; none of one that is long, such as the offsets, or odd."""
    kind, count = struct.unpack_from(layout.order + ("HQ" if layout.big else "HI"), data, place + 2)
    code = _TYPES.get(kind)
    if code is None:
        if tag == _ORIENTATION:
            return (), 0
        raise FormatError(f"its tag {tag} is of type {kind}, which is no whole number")
    size, inline = count * struct.calcsize("=" + code), 8 if layout.big else 4
    at = place + layout.entry - inline
    if size > inline:
        (at,) = struct.unpack_from(layout.number, data, at)
    if at + size > len(data):
        raise FormatError(f"it is cut off: its tag {tag} lies beyond the {len(data)} bytes")
    values = struct.unpack_from(layout.order + code * count, data, at) if count <= 64 else ()
    return values, count


def _one(tags: dict[int, _Entry], tag: int, default: int | None = None) -> int:
    """The only value of a tag."""
    values = tags[tag].values if tag in tags else ()
    if len(values) == 1:
        return values[0]
    if default is None:
        raise FormatError(f"its tag {tag} is missing or has not one value")
    return default


def _meaning(tags: dict[int, _Entry]) -> Samples:
    """What the samples are; FormatError where that is not told or not understood."""
    compression = _one(tags, _COMPRESSION, _PLAIN)
    photometric = _one(tags, _PHOTOMETRIC, _YCBCR if compression == _OLD_JPEG else None)
    if photometric not in _COLOURS:
        name = _NOT_SUPPORTED.get(photometric, "not known")
        raise FormatError(f"its PhotometricInterpretation {photometric} ({name}) is not supported")
    if compression == _OLD_JPEG:
        return Samples(lossy=_lossy(compression))  # libjpeg decides
    colours = _COLOURS[photometric]
    count = _one(tags, _SAMPLES, 3 if compression == _JPEG and colours == 3 else 1)
    bits = _uniform(tags, _BITS, "BitsPerSample", count, 1)
    number = _NUMBERS.get(_uniform(tags, _FORMAT, "SampleFormat", count, 1))
    if number is None:
        raise FormatError("its SampleFormat is void or complex, which is not supported")
    extra = tags[_EXTRA].values if _EXTRA in tags else ()
    if count != colours + len(extra) or not set(extra) <= {0, 1, 2}:
        raise FormatError(
            f"it has {count} samples per pixel for {colours} of colour, and ExtraSamples "
            f"{list(extra)} does not tell what the others are"
        )
    _check_supported(tags, photometric, compression, bits, number, extra)
    return Samples(
        maximum=(1 << bits) - 1,
        white_is_zero=photometric == _WHITE_IS_ZERO,
        number=number,
        lossy=_lossy(compression),
        coarse=_coarse(photometric, bits, extra),
    )


def _check_supported(
    tags: dict[int, _Entry],
    photometric: int,
    compression: int,
    bits: int,
    number: Number,
    extra: tuple[int, ...],
) -> None:
    """Refuses what can be told but that Pillow does not read, or reads wrongly."""
    grey, plain = photometric in _GREY, compression == _PLAIN
    known = _GREY_BITS[number] if grey else ()
    if not grey and number == "unsigned":
        known = _COLOUR_BITS[photometric]
    if bits not in known or (grey and extra and bits != 8):
        name = _NAMES.get(photometric, "colours")
        raise FormatError(f"{name} of {bits}-bit {number} samples in a TIFF is not supported")
    if _one(tags, _PLANAR, 1) != 1 and (extra or not grey):
        hard = plain and (bits != 8 or not set(extra) <= {2})
        if hard or grey:
            raise FormatError("such samples in planes (PlanarConfiguration 2) are not supported")
    if photometric == _WHITE_IS_ZERO and extra:
        raise FormatError("white-is-zero with further samples is not supported")
    if photometric == _YCBCR and plain:
        raise FormatError("YCbCr, uncompressed, in a TIFF is not supported; save it as RGB")
    if _one(tags, _INKS, 1) != 1:
        raise FormatError("its inks are not cyan, magenta, yellow and black")


def _coarse(photometric: int, bits: int, extra: tuple[int, ...]) -> str | None:
    """Why the colours that Pillow makes of a TIFF's are not those that are stored."""
    if photometric in _GREY:
        return None
    if bits == 16:
        return "its colours have 16 bits, of which 8 would be kept"
    if 1 in extra:
        return "its colours are multiplied by their alpha"
    return None if photometric in (_RGB, _PALETTE) else "its colours are not stored as RGB"


def _lossy(compression: int) -> str | None:
    if compression not in _LOSSY:
        return None
    return f"{_LOSSY[compression]} in a TIFF does not keep the values of a mask; save it as PNG"


def _uniform(tags: dict[int, _Entry], tag: int, name: str, count: int, default: int) -> int:
    """The value that is the same for all samples of a pixel."""
    values = set(tags[tag].values[:count]) if tag in tags else {default}
    if len(values) != 1:
        raise FormatError(f"its samples differ in {name}: {sorted(values)}")
    return values.pop()


def _check_tiles(tags: dict[int, _Entry], width: int, height: int, max_pixels: int) -> None:
    """Refuses strips or tiles that do not cover the picture once, and tiles above any picture's size.

    Pillow would leave black what is not covered, and decode again what is covered twice; a tile is
    decoded as a whole, however small the picture.
    """
    planes = _one(tags, _SAMPLES, 1) if _one(tags, _PLANAR, 1) == 2 else 1
    if _TILE_WIDTH in tags:
        wide, high = _one(tags, _TILE_WIDTH), _one(tags, _TILE_HEIGHT)
        if wide * high > max(max_pixels, 1 << 16):
            raise FormatError(f"its tiles have {wide}x{high} pixels, above the limit {max_pixels}")
        name, offsets = "tiles", _TILE_OFFSETS
    else:
        wide, high = width, min(height, _one(tags, _ROWS, height))
        name, offsets = "strips", _OFFSETS
    if not wide * high:
        raise FormatError(f"its {name} have {wide}x{high} pixels")
    wanted = -(-width // wide) * -(-height // high) * planes
    found = tags[offsets].number if offsets in tags else 0
    old_jpeg = _one(tags, _COMPRESSION, _PLAIN) == _OLD_JPEG  # which has a way without strips
    if found != wanted and not (old_jpeg and not found):
        raise FormatError(f"it has {found} {name}, but its size needs {wanted}")
    if found > MAX_STRIPS:
        raise FormatError(f"it has {found} {name}, above the limit {MAX_STRIPS} (MAX_STRIPS)")


def _name(tags: dict[int, _Entry]) -> str:
    """What to call a TIFF that Pillow does not read."""
    wanted = {"Compression": _COMPRESSION, "PhotometricInterpretation": _PHOTOMETRIC}
    wanted |= {"BitsPerSample": _BITS, "SampleFormat": _FORMAT, "ExtraSamples": _EXTRA}
    found = {name: tags[tag].values for name, tag in wanted.items() if tag in tags}
    return "a TIFF of " + ", ".join(
        f"{name} {' '.join(map(str, values))}" for name, values in found.items()
    )


def _with_directory(
    data: bytes, layout: _Layout, start: int, tags: dict[int, _Entry], white_is_zero: bool
) -> bytes:
    """The file with a directory of the tags that are kept in the place of its own, which has more."""
    raw = {tag: entry.raw for tag, entry in tags.items() if tag in _KEPT}
    if white_is_zero:
        code = layout.order + ("HHQH6x" if layout.big else "HHIH2x")
        raw[_PHOTOMETRIC] = struct.pack(code, _PHOTOMETRIC, 3, 1, _BLACK_IS_ZERO)
    count = struct.pack(layout.order + ("Q" if layout.big else "H"), len(raw))
    no_other_picture = struct.pack(layout.number, 0)
    directory = b"".join((count, *(raw[tag] for tag in sorted(raw)), no_other_picture))
    return b"".join((data[:start], directory, data[start + len(directory) :]))
