"""How a data set reads images: one object, which training, evaluation and prediction all use."""

import dataclasses
import os
from typing import Literal

import numpy as np

from jaxcv import regular_file
from jaxcv.data.decode import MAX_PIXELS, DecodeError, decode_image
from jaxcv.data.fit import Fit, Size, View, convert_channels, fit_image, fitting, size_pair
from jaxcv.data.view import DECODE_MARGIN, decode_view
from jaxcv.limits import MAX_IMAGE_BYTES


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageReader:
    """From encoded images, files and arrays to pixels of one kind and size.

    A data set makes one of its settings, and every source hands it over as `image_reader`: a file that
    is read by it looks to a model as the records do.

    Attributes:
      size: bring images to this size, see `fit_image`; None leaves each at its own.
      fit: how.
      channels: 1 (grey) or 3 (RGB).
      max_pixels: images with more pixels raise, see `decode_image`.
      apply_exif: bring images upright by their EXIF orientation.
      decode_margin: how far a JPEG may be scaled down while it is decoded, see `jaxcv.data.view`;
        None decodes it whole.

    Raises:
      ValueError: a setting out of range.

    Example:
      >>> reader = ImageReader(size=(4, 6), channels=1)
      >>> reader.fit_pixels(np.zeros((10, 10, 3), np.uint8)).shape
      (4, 6, 1)
    """

    size: Size = None
    fit: Fit = "crop"
    channels: Literal[1, 3] = 3
    max_pixels: int = MAX_PIXELS
    apply_exif: bool = True
    decode_margin: float | None = DECODE_MARGIN

    def __post_init__(self) -> None:
        size_pair(self.size)
        if self.fit not in ("stretch", "crop", "pad"):
            raise ValueError(f"fit must be 'stretch', 'crop' or 'pad', not {self.fit!r}")
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, not {self.channels}")
        if self.decode_margin is not None and not self.decode_margin >= 1:
            raise ValueError(f"decode_margin must be at least 1, or None, not {self.decode_margin}")

    @property
    def target(self) -> tuple[int, int] | None:
        """(height, width) of what is read; None where each image keeps its own."""
        return size_pair(self.size)

    def with_size(self, size: tuple[int, int]) -> "ImageReader":
        """The reader itself where it has a size, else one that brings images to `size`."""
        return self if self.size is not None else dataclasses.replace(self, size=size)

    def decode(self, data: bytes, record: str = "image") -> np.ndarray:
        """Decodes an encoded image and brings it to the size.

        Args:
          data: the bytes of the file.
          record: what to call the image in an error message.

        Returns:
          uint8 [height, width, channels].

        Raises:
          DecodeError: the bytes are not a whole image of an accepted format and size.
        """
        target = self.target
        if target is None:
            return self.decode_whole(data, record)
        return self.decode_view(data, fitting(target, self.fit), target, record)

    def decode_whole(self, data: bytes, record: str = "image") -> np.ndarray:
        """Decodes an encoded image at its own size: uint8 [H, W, channels]; see `decode`."""
        return decode_image(
            data,
            channels=self.channels,
            record=record,
            max_pixels=self.max_pixels,
            apply_exif=self.apply_exif,
        )

    def decode_view(
        self, data: bytes, view: View, target: tuple[int, int], record: str = "image"
    ) -> np.ndarray:
        """Decodes what a view shows of an image: uint8 [*target, channels]; see `decode`."""
        return decode_view(
            data,
            view,
            target,
            channels=self.channels,
            record=record,
            max_pixels=self.max_pixels,
            apply_exif=self.apply_exif,
            decode_margin=self.decode_margin,
        )

    def read(self, path: str | os.PathLike[str]) -> np.ndarray:
        """Reads an image file and brings it to the size: uint8 [height, width, channels].

        Raises:
          DecodeError: the file cannot be read, or `decode` refuses it; it is named.
        """
        return self.decode(read_file(path), os.fspath(path))

    def read_whole(self, path: str | os.PathLike[str]) -> np.ndarray:
        """Reads an image file at its own size: uint8 [H, W, channels]; see `read`."""
        return self.decode_whole(read_file(path), os.fspath(path))

    def fit_pixels(self, image: np.ndarray) -> np.ndarray:
        """Brings pixels in memory to the channels and the size.

        Args:
          image: uint8 [H, W, 1 or 3].

        Returns:
          uint8 [height, width, channels]; the input itself where it has that shape.
        """
        return fit_image(convert_channels(image, self.channels), self.size, self.fit)


def read_file(path: str | os.PathLike[str], record: str | None = None) -> bytes:
    """The bytes of a record's file: a regular one, read without waiting, of a size that is limited.

    Args:
      path: the file.
      record: what to call it in an error message; None: the path.

    Raises:
      DecodeError: it cannot be read, or is a pipe, a device, a folder, or above `MAX_IMAGE_BYTES`.
    """
    try:
        return regular_file.read_file(path, MAX_IMAGE_BYTES)
    except OSError as error:
        raise DecodeError(record or os.fspath(path), f"cannot be read: {error.strerror}") from error
