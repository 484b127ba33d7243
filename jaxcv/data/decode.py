"""Image bytes to pixels: the one decoding policy of jaxcv.

Every encoded image of every source goes through `decode_image`. What it returns is always a uint8
array [H, W, C] with C = 1 or 3. What it does on the way:

- Format: JPEG, PNG, GIF, WebP, BMP, TIFF, PPM/PGM/PBM; AVIF, JPEG 2000, HEIC and JPEG XL where Pillow
  or an installed plug-in decodes them (see `formats`). Anything else raises.
- Several frames (GIF, WebP, TIFF, APNG, MPO): the first.
- EXIF orientation: applied (`apply_exif=False` keeps the stored order); EXIF that cannot be read
  counts as none. A TIFF's or HEIC's orientation belongs to the format and is always applied.
- 8-bit grey: as it is. 1-bit: 0 and 255. Palette: looked up.
- Alpha, or a colour declared transparent: laid over a uniform `background` (255: white).
- 16-bit grey (PNG, TIFF, PGM): round(v / 257), so that 0 -> 0 and 65535 -> 255; no transparency.
- 16-bit colour: the high byte, v >> 8 (what Pillow does; at most one level from v / 257).
- CMYK: R = (255 - C)(255 - K) / 255 and so on (what Pillow does, without a colour profile).
- YCbCr: ITU-R BT.601, full range, the JPEG convention.
- 32-bit integers, floats, Lab: raise, since their range is not known.
- Colour profile (ICC) and gamma: ignored.
- `channels=1` from colour: luma of ITU-R BT.601, 0.299 R + 0.587 G + 0.114 B.
- `channels=3` from grey: repeated.
- Cut off, empty, or no image: raises.
- More than `max_pixels` in the header: raises before the pixels are allocated.

"Raises" means `DecodeError`, whose text names the record; no other exception leaves it.

Known limit: a JPEG whose compressed data are damaged but whose markers are whole decodes without an
error in every decoder built on libjpeg. Only a digest of the file can tell; TFDS's array_record
files carry one.
"""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image, TiffImagePlugin

from jaxcv.data.formats import accepted_formats, advice

MAX_PIXELS = 50_000_000

_ORIENTATION_TAG = 0x0112
_PLANAR_TAG = 0x011C  # 2: one plane after another
# EXIF orientation -> what brings the stored pixels upright (EXIF 2.32, table of tag 274).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)  # those that exchange height and width
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # colour type -> samples per pixel
# Adam7: (first column, first row, column step, row step) of each pass (PNG specification, 8.2).
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


class DecodeError(ValueError):
    """A record that cannot be turned into an image; the text names the record and the reason.

    Attributes:
      record: the name of the record.
      reason: what is wrong with it.
    """

    def __init__(self, record: str, reason: str):
        super().__init__(f"{record}: {reason}")
        self.record = record
        self.reason = reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return DecodeError, (self.record, self.reason)


def decode_image(
    data: bytes,
    *,
    channels: int = 3,
    record: str = "image",
    max_pixels: int = MAX_PIXELS,
    apply_exif: bool = True,
    background: int = 255,
) -> np.ndarray:
    """Decodes one encoded image by the policy in this module's table.

    Args:
      data: the bytes of the file.
      channels: 1 (grey) or 3 (RGB).
      record: what to call the image in an error message.
      max_pixels: largest accepted width x height. Above twice `PIL.Image.MAX_IMAGE_PIXELS` Pillow
        refuses by itself.
      apply_exif: bring the image upright by its EXIF orientation.
      background: grey level, 0 to 255, under transparent pixels.

    Returns:
      uint8 [H, W, channels].

    Raises:
      DecodeError: the bytes are not a whole image of an accepted format and size.

    Example:
      >>> import io
      >>> from PIL import Image
      >>> file = io.BytesIO()
      >>> Image.new("L", (3, 2), 7).save(file, "PNG")
      >>> decode_image(file.getvalue(), channels=1).shape
      (2, 3, 1)
    """
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, not {channels}")
    return decode_with(
        data,
        lambda image: to_array(to_picture(image, channels, record, background)),
        record=record,
        max_pixels=max_pixels,
        apply_exif=apply_exif,
    )


def decode_with(
    data: bytes,
    convert: Callable[[Image.Image], np.ndarray],
    *,
    record: str,
    max_pixels: int = MAX_PIXELS,
    apply_exif: bool = True,
    before: Callable[[Image.Image], None] | None = None,
) -> np.ndarray:
    """Opens one encoded image with all the checks of this module and hands it to `convert`.

    Args:
      data: the bytes of the file.
      convert: from the upright image, whole and in its stored mode, to pixels.
      record: as in `decode_image`.
      max_pixels: as in `decode_image`.
      apply_exif: as in `decode_image`.
      before: is shown the image when its header is read and checked, before its pixels are decoded;
        it may ask the decoder for a reduced scale.

    Raises:
      DecodeError: as `decode_image`, and whatever `convert` raises.
    """
    if not data:
        raise DecodeError(record, "the file is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(data), formats=accepted_formats()) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise DecodeError(
                    record,
                    f"its header claims {width}x{height} pixels, above the limit {max_pixels}",
                )
            if image.format == "PNG":
                _check_png(data, record)
            elif isinstance(image, TiffImagePlugin.TiffImageFile):
                _check_tiff(image, record)
            if before is not None:
                before(image)
            image.load()
            if apply_exif and (transpose := _UPRIGHT.get(exif_orientation(image))) is not None:
                return convert(image.transpose(transpose))
            return convert(image)
    except DecodeError:
        raise
    except Image.UnidentifiedImageError:
        raise DecodeError(
            record,
            f"not a whole image of a known format ({', '.join(accepted_formats())}); "
            f"{len(data)} bytes starting with {data[:12]!r}{advice(data)}",
        ) from None
    except Exception as error:
        # Pillow's parsers raise OSError, SyntaxError, ValueError, struct.error and, on hostile
        # bytes, nearly anything else.
        raise DecodeError(record, f"cannot be decoded: {type(error).__name__}: {error}") from error


def to_picture(
    image: Image.Image, channels: int, record: str = "image", background: int = 255
) -> Image.Image:
    """A loaded image in Pillow's mode L (channels=1) or RGB, by the table above."""
    if is_grey_16(image):
        values = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F", "LAB"):
        raise DecodeError(record, f"pixels of Pillow's mode {image.mode!r} have no known range")
    if image.has_transparency_data or image.mode in ("RGBa", "La"):
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, (background, background, background, 255))
        image = Image.alpha_composite(canvas, image)
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)  # convert() would copy it


def to_array(picture: Image.Image) -> np.ndarray:
    """A picture of mode L or RGB as uint8 [H, W, 1 or 3]."""
    pixels = np.array(picture)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def is_grey_16(image: Image.Image) -> bool:
    """Whether an image, as loaded, holds 16-bit grey levels (Pillow calls some of them 32-bit)."""
    return image.mode.startswith("I;16") or (
        image.mode == "I" and image.format in (None, "PNG", "PPM")
    )


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Returns (height, width) by the EXIF orientation, without decoding the pixels."""
    width, height = image.size
    return (width, height) if exif_orientation(image) in _SIDEWAYS else (height, width)


def exif_orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8, of an image as opened; 1, upright, where it is not told."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # A camera's broken EXIF block does not make its pixels worse.
        return 1


def _check_tiff(image: TiffImagePlugin.TiffImageFile, record: str) -> None:
    """Refuses a TIFF whose strips do not cover it; Pillow would leave the rest black."""
    planes = len(image.getbands()) if image.tag_v2.get(_PLANAR_TAG) == 2 else 1
    wanted = image.width * image.height * planes
    boxes = [tile.extents or (0, 0, *image.size) for tile in image.tile]
    found = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)
    if found < wanted:
        raise DecodeError(record, f"the TIFF's strips hold {found} of {wanted} pixels")


def _check_png(data: bytes, record: str) -> None:
    """Refuses a PNG whose pixel stream is short or damaged; Pillow would fill it with black."""
    stream, header = bytearray(), b""
    ended, position = False, len(_PNG_SIGNATURE)
    while not ended and position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + length]
        if position + 12 + length > len(data):
            break
        if kind in (b"IHDR", b"IDAT"):
            (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
            if zlib.crc32(body, zlib.crc32(kind)) != checksum:
                raise DecodeError(
                    record, f"PNG chunk {kind.decode()} is damaged (its CRC is wrong)"
                )
        if kind == b"IHDR":
            header = body
        elif kind == b"IDAT":
            stream += body
        ended = kind == b"IEND"
        position += 12 + length
    if not ended:
        raise DecodeError(record, "the PNG is cut off (no IEND chunk)")
    wanted, found = _png_bytes(header), _inflated_length(bytes(stream), _png_bytes(header))
    if found < wanted:
        raise DecodeError(record, f"the PNG's pixel stream is cut off: {found} of {wanted} bytes")


def _png_bytes(header: bytes) -> int:
    """Length of the inflated pixel stream that an IHDR chunk promises: filter bytes and rows."""
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", header)
    bits = depth * _PNG_SAMPLES[colour]
    passes = _ADAM7 if interlace else ((0, 0, 1, 1),)
    total = 0
    for left, top, column_step, row_step in passes:
        columns = max(0, -(-(width - left) // column_step))
        rows = max(0, -(-(height - top) // row_step))
        total += rows * (1 + (columns * bits + 7) // 8) if columns else 0
    return total


def _inflated_length(stream: bytes, limit: int) -> int:
    """How many bytes a zlib stream inflates to, counted up to about `limit`, none kept."""
    inflate, count = zlib.decompressobj(), 0
    while count < limit and not inflate.eof:
        piece = inflate.decompress(stream, 1 << 20)
        if not piece:
            break
        count += len(piece)
        stream = inflate.unconsumed_tail
    return count
