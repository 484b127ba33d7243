"""Which way up annotations are: EXIF orientation, applied to boxes and masks.

Images are always brought upright, as `decode_image` does. Boxes of annotation files are taken to be
those of the upright image, which is what a person at a screen marks (labelImg, CVAT, Label Studio and
VIA show it); where they were drawn on the pixels as they are stored, by a tool that passes EXIF over,
the source is told so by `boxes_on="stored"`, and the boxes are turned with the image. TFDS passes EXIF
over when it decodes, so that its boxes and masks are those of the stored pixels unless it is said
otherwise.
"""

import dataclasses
import io
import pathlib
from typing import Literal

import numpy as np
from PIL import Image

from jaxcv.data.decode import exif_orientation, opened, prepared, upright_size
from jaxcv.data.formats import accepted_formats
from jaxcv.limits import MAX_IMAGE_BYTES
from jaxcv.regular_file import open_file, read_file

MarkedOn = Literal["upright", "stored"]
_SIDEWAYS = (5, 6, 7, 8)  # those that exchange height and width


@dataclasses.dataclass(frozen=True)
class Header:
    """What the header of an image file tells.

    Attributes:
      upright_size: (height, width) of the image as `decode_image` gives it.
      orientation: EXIF orientation, 1 to 8.
    """

    upright_size: tuple[int, int]
    orientation: int = 1

    @property
    def stored_size(self) -> tuple[int, int]:
        """(height, width) of the pixels as stored."""
        height, width = self.upright_size
        return (width, height) if self.orientation in _SIDEWAYS else (height, width)

    def annotated_size(self, boxes_on: MarkedOn) -> tuple[int, int]:
        """(height, width) of the image that boxes were drawn on."""
        return self.stored_size if boxes_on == "stored" else self.upright_size


def read_header(file: bytes | pathlib.Path) -> Header | None:
    """Size and orientation of an encoded image, its pixels left alone; None where it is no image.

    Args:
      file: the bytes, or where they are.
    """
    try:
        with (
            io.BytesIO(file) if isinstance(file, bytes) else open_file(file) as stream,
            Image.open(stream, formats=accepted_formats()) as image,
        ):
            image.getexif()  # raises where a text behind a PNG's pixels keeps Pillow from reading it
            return Header(upright_size(image), exif_orientation(image))
    except Exception:  # Pillow raises nearly anything on what is no image.
        return _header_without_notes(file)


def _header_without_notes(file: bytes | pathlib.Path) -> Header | None:
    """The header of an image that Pillow does not open because of a profile or a text in it."""
    try:
        encoded = prepared(file if isinstance(file, bytes) else read_file(file, MAX_IMAGE_BYTES))
        with opened(encoded) as image:
            orientation = encoded.orientation or exif_orientation(image)
            height, width = image.height, image.width
    except Exception:
        return None
    upright = (width, height) if orientation in _SIDEWAYS else (height, width)
    return Header(upright, orientation)


def upright_pixels(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Brings pixels [H, W, ...] upright, as `decode_image` does by an EXIF orientation.

    Example:
      >>> upright_pixels(np.asarray([[1, 2, 3]]), 6).tolist()
      [[1], [2], [3]]
    """
    if orientation in _SIDEWAYS:
        pixels = np.swapaxes(pixels, 0, 1)
    # Orientations in which rows, then columns, run the other way after that.
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def upright_boxes(boxes: np.ndarray, header: Header) -> np.ndarray:
    """Turns boxes with the image that they were drawn on.

    Args:
      boxes: [N, 4], in pixels of the image as stored.
      header: that of its file.

    Returns:
      [N, 4] in the dtype of `boxes`, in pixels of the upright image.

    Example:
      >>> turned = Header((20, 10), orientation=6)  # stored 10 high and 20 wide
      >>> upright_boxes(np.asarray([[0, 0, 3, 2]]), turned).tolist()
      [[8, 0, 10, 3]]
    """
    height, width = header.stored_size
    x0, y0, x1, y1 = np.moveaxis(boxes, -1, 0)
    left, right = width - x1, width - x0  # counted from the right edge
    top, bottom = height - y1, height - y0  # counted from the lower edge
    # EXIF 2.32, table of tag 274; the same as `decode_image` does to the pixels.
    turned = {
        2: (left, y0, right, y1),
        3: (left, top, right, bottom),
        4: (x0, top, x1, bottom),
        5: (y0, x0, y1, x1),
        6: (top, x0, bottom, x1),
        7: (top, left, bottom, right),
        8: (y0, left, y1, right),
    }.get(header.orientation, (x0, y0, x1, y1))
    return np.stack(turned, axis=-1).astype(boxes.dtype)
