"""Image bytes to pixels: the one decoding policy of jaxcv.

Every encoded image of every source goes through `decode_image`. What it returns is always a uint8
array [H, W, C] with C = 1 or 3. What it does on the way:

- Format: JPEG, PNG, GIF, WebP, BMP, TIFF, PPM/PGM/PBM; AVIF, JPEG 2000, HEIC and JPEG XL where Pillow
  or an installed plug-in decodes them (see `formats`). Anything else raises.
- Several frames (GIF, WebP, TIFF, APNG, MPO): the first.
- EXIF orientation: applied (`apply_exif=False` keeps the stored order); EXIF that cannot be read
  counts as none. A TIFF's or HEIC's orientation belongs to the format and is always applied.
- Grey of 1 to 16 bits (PNG, TIFF) and of any maxval (PGM): round(255 v / maximum), so that 0 -> 0 and
  4095 or 65535 -> 255; white-is-zero (TIFF, PBM) is inverted. 8-bit grey: as it is. Palette: looked up.
- Alpha, or a colour or level declared transparent: laid over a uniform `background` (255: white).
- 16-bit colour and grey with alpha (PNG, TIFF): the high byte, v >> 8 (what Pillow does; at most one
  level from v / 257). Colour of another maxval (PPM): round(255 v / maxval).
- CMYK: R = (255 - C)(255 - K) / 255 and so on (what Pillow does, without a colour profile).
- YCbCr: ITU-R BT.601, full range, the JPEG convention.
- Signed numbers, 32-bit integers, floats, Lab, samples per pixel that nothing explains: raise, since
  their range or meaning is not known.
- Colour profile (ICC), gamma, texts, comments: ignored, however large or damaged they are.
- `channels=1` from colour: luma of ITU-R BT.601, 0.299 R + 0.587 G + 0.114 B.
- `channels=3` from grey: repeated.
- Cut off, empty, or no image: raises.
- More than `max_pixels` in the header, or more work than `jaxcv.limits` allows for it: raises before
  the pixels are allocated.

"Raises" means `DecodeError`, whose text names the record; no other exception leaves it. What a file's
numbers mean is read from its header by `jaxcv.data.encoded`; Pillow decodes the pixels.

Known limit: a JPEG whose compressed data are damaged but whose markers are whole decodes without an
error in every decoder built on libjpeg. Only a digest of the file can tell; TFDS's array_record
files carry one.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, TiffImagePlugin

from jaxcv.data.encoded import bmp, gif, jpeg, png, portable_map, tiff, webp
from jaxcv.data.encoded.samples import (
    Encoded,
    FormatError,
    Samples,
    check_pixels,
    is_grey,
    shades,
)
from jaxcv.data.formats import accepted_formats, advice
from jaxcv.limits import MAX_PIXELS

_ORIENTATION_TAG = 0x0112
_SIZE_TAGS = (0x0101, 0x0100)  # ImageLength, ImageWidth
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
_UNKNOWN = Samples(
    lossy="a mask must be a PNG, TIFF, BMP, GIF, PGM or lossless WebP; save it as PNG"
)
# How a file begins -> what looks at its header.
_PREPARE: tuple[tuple[bytes, Callable[[bytes, int], Encoded]], ...] = (
    (b"\xff\xd8", jpeg.prepare),
    (png.SIGNATURE, png.prepare),
    (b"GIF8", gif.prepare),
    (b"BM", bmp.prepare),
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
        lambda image, samples: to_array(to_picture(image, samples, channels, background)),
        record=record,
        max_pixels=max_pixels,
        apply_exif=apply_exif,
    )


def decode_with(
    data: bytes,
    convert: Callable[[Image.Image, Samples], np.ndarray],
    *,
    record: str,
    max_pixels: int = MAX_PIXELS,
    apply_exif: bool = True,
    before: Callable[[Image.Image, tuple[int, int]], None] | None = None,
) -> np.ndarray:
    """Opens one encoded image with all the checks of this module and hands it to `convert`.

    Args:
      data: the bytes of the file.
      convert: from the upright image, whole and in its stored mode, and from what its numbers mean, to
        pixels; a `FormatError` that it raises becomes a `DecodeError`.
      record: as in `decode_image`.
      max_pixels: as in `decode_image`.
      apply_exif: as in `decode_image`.
      before: is shown the image, and its upright (height, width), when its header is read and checked,
        before its pixels are decoded; it may ask the decoder for a reduced scale.

    Raises:
      DecodeError: as `decode_image`.
    """
    if not data:
        raise DecodeError(record, "the file is empty (0 bytes)")
    try:
        encoded = prepared(data, max_pixels)
        with opened(encoded) as image:
            check_pixels(*image.size, max_pixels)
            if before is not None:
                orientation = _orientation(encoded, image, apply_exif)
                height, width = image.height, image.width
                sideways = orientation in _SIDEWAYS
                before(image, (width, height) if sideways else (height, width))
            image.load()
            orientation = _orientation(encoded, image, apply_exif)  # EXIF may follow the pixels
            if (transpose := _UPRIGHT.get(orientation)) is not None:
                return convert(image.transpose(transpose), encoded.samples)
            return convert(image, encoded.samples)
    except DecodeError:
        raise
    except FormatError as error:
        raise DecodeError(record, str(error)) from None
    except Image.UnidentifiedImageError:
        raise DecodeError(
            record,
            f"not a whole image of a known format ({', '.join(accepted_formats())}); "
            f"{len(data)} bytes starting with {data[:12]!r}{advice(data)}",
        ) from None
    except MemoryError:
        raise DecodeError(record, "there is not enough memory to decode it") from None
    except Exception as error:
        # Pillow's parsers raise OSError, SyntaxError, ValueError, struct.error and, on hostile
        # bytes, nearly anything else.
        raise DecodeError(record, f"cannot be decoded: {type(error).__name__}: {error}") from error


def prepared(data: bytes, max_pixels: int = MAX_PIXELS) -> Encoded:
    """What is handed to Pillow, and what its numbers mean, by how the file begins.

    Raises:
      FormatError: the file is refused by its header or its structure.
    """
    for signature, prepare in _PREPARE:
        if data.startswith(signature):
            return prepare(data, max_pixels)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return webp.prepare(data, max_pixels)
    if tiff.is_tiff(data):
        return tiff.prepare(data, max_pixels)
    if portable_map.is_portable_map(data):
        return portable_map.prepare(data, max_pixels)
    return Encoded(data=data, samples=_UNKNOWN)


def _orientation(encoded: Encoded, image: Image.Image, apply_exif: bool) -> int:
    if encoded.orientation is not None:
        return encoded.orientation
    return exif_orientation(image) if apply_exif else 1


def opened(encoded: Encoded) -> Image.Image:
    """The image, its pixels not decoded; raises as `PIL.Image.open`, or FormatError."""
    if isinstance(encoded.data, Image.Image):
        return encoded.data
    try:
        return Image.open(io.BytesIO(encoded.data), formats=accepted_formats())
    except Image.UnidentifiedImageError:
        if encoded.name is None:
            raise
        raise FormatError(f"{encoded.name} is cut off or not supported") from None


def to_picture(
    image: Image.Image, samples: Samples, channels: int, background: int = 255
) -> Image.Image:
    """A loaded image in Pillow's mode L (channels=1) or RGB, by the table above.

    Raises:
      FormatError: its numbers have no known range.
    """
    if is_grey(image) and not samples.plain:
        image = shades(image, samples)
    if image.mode in ("I", "F", "LAB") or image.mode.startswith("I;16"):
        raise FormatError(f"pixels of Pillow's mode {image.mode!r} have no known range")
    if image.mode == "La":  # which Pillow converts to nothing else
        image = image.convert("LA")
    if image.has_transparency_data or image.mode == "RGBa":
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, (background, background, background, 255))
        image = Image.alpha_composite(canvas, image)
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)  # convert() would copy it


def to_array(picture: Image.Image) -> np.ndarray:
    """A picture of mode L or RGB as uint8 [H, W, 1 or 3]."""
    pixels = np.array(picture)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def upright_size(image: Image.Image, apply_exif: bool = True) -> tuple[int, int]:
    """Returns (height, width) as `decode_image` gives it, of an image opened by Pillow, not decoded."""
    height, width = image.height, image.width
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # of which Pillow tells the upright size
        height, width = (image.tag_v2[tag] for tag in _SIZE_TAGS)
        apply_exif = True
    sideways = apply_exif and exif_orientation(image) in _SIDEWAYS
    return (width, height) if sideways else (height, width)


def exif_orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8, of an image as opened; 1, upright, where it is not told.

    Of a TIFF it is that of its own tag.
    """
    try:
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            found = image.tag_v2.get(_ORIENTATION_TAG, 1)
            return found if isinstance(found, int) and 1 <= found <= 8 else 1
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # A camera's broken EXIF block does not make its pixels worse.
        return 1
