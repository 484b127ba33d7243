"""What the numbers stored in an image file mean: Pillow's mode does not tell.

Pillow scales grey levels of few bits to 0..255, keeps those of 12 bits as they are, inverts white-is-zero
at 8 bits and not at 16, and shows signed numbers as unsigned. `Samples` holds what the file's header says,
and the two functions here turn Pillow's pixels into the numbers as stored, and into brightness.
"""

import dataclasses
from typing import Literal

import numpy as np
from PIL import Image

Number = Literal["unsigned", "signed", "float"]


class FormatError(ValueError):
    """An image file whose header or structure is refused; the text says why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Samples:
    """What the numbers of an image file mean. The defaults are those of most files: 8 bits, unsigned.

    Attributes:
      maximum: the grey level of full brightness.
      white_is_zero: whether that level is black, and 0 is white.
      number: how a sample is stored.
      transparent: the grey level that is declared transparent.
      lossy: what keeps colours and levels from being those that were given to the encoder; None where
        nothing does.
      coarse: why Pillow's 8-bit colours are not all that the file holds; None where they are.
    """

    maximum: int = 255
    white_is_zero: bool = False
    number: Number = "unsigned"
    transparent: int | None = None
    lossy: str | None = None
    coarse: str | None = None

    @property
    def plain(self) -> bool:
        """Whether grey levels are brightness as they are: 8 bits, black at 0, none transparent."""
        meaning = (self.maximum, self.white_is_zero, self.number, self.transparent)
        return meaning == (255, False, "unsigned", None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoded:
    """An image file as it is handed to Pillow.

    Attributes:
      data: the bytes, without the parts that are not used; or, of formats that are read here, the image.
      samples: what its numbers mean.
      orientation: 1 to 8 where the format tells it; None where EXIF may.
      name: what kind of file it is, for a message that Pillow does not read it; None: by its format.
    """

    data: bytes | Image.Image
    samples: Samples = Samples()
    orientation: int | None = None
    name: str | None = None


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raises FormatError for a size above the limit."""
    if width * height > max_pixels:
        raise FormatError(
            f"its header claims {width}x{height} pixels, above the limit {max_pixels}"
        )


def is_grey(image: Image.Image) -> bool:
    """Whether an image, as opened, has one number per pixel that is a level and no index."""
    return image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16")


def stored_levels(image: Image.Image, samples: Samples) -> np.ndarray:
    """The grey levels of a loaded image as its file holds them, [H, W]."""
    levels = np.array(image)
    if samples.number == "signed" and levels.dtype == np.uint8:
        return levels.view(np.int8)
    if image.mode == "L" and samples.maximum < 255:  # of 2 or 4 bits, which Pillow scales to 0..255
        return levels // np.uint8(255 // samples.maximum)
    return levels.astype(np.uint8) if levels.dtype == bool else levels


def shades(image: Image.Image, samples: Samples) -> Image.Image:
    """A grey image in 8 bits: round(255 v / maximum), mode L, or LA where a level is transparent.

    Raises:
      FormatError: the range of the levels is not known.
    """
    if samples.number != "unsigned" or samples.maximum > 65535:
        bits = samples.maximum.bit_length()
        raise FormatError(
            f"its samples are {samples.number} numbers of {bits} bits: the file does not tell which is "
            "black and which is white, so they have no known range; save it as 8- or 16-bit grey"
        )
    levels = stored_levels(image, samples)
    scale = (np.arange(samples.maximum + 1) * 510 + samples.maximum) // (2 * samples.maximum)
    if samples.white_is_zero:
        scale = 255 - scale
    picture = Image.fromarray(scale.astype(np.uint8)[levels])
    if samples.transparent is not None:
        opaque = np.where(levels == samples.transparent, 0, 255).astype(np.uint8)
        picture.putalpha(Image.fromarray(opaque))
    return picture
