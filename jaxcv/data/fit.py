"""Host-side resizing, so that all records of a source have one static shape."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
from PIL import Image

Fit = Literal["stretch", "crop", "pad"]
Size = int | tuple[int, int] | None


def size_pair(size: Size) -> tuple[int, int] | None:
    """`size` as (height, width): an int means a square, None stays None.

    Example:
      >>> size_pair(32), size_pair((24, 32)), size_pair(None)
      ((32, 32), (24, 32), None)
    """
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else (size[0], size[1])
    if min(pair) < 1:
        raise ValueError(f"size must be at least 1 pixel, not {size}")
    return pair


def fit_image(image: np.ndarray, size: Size, fit: Fit = "stretch") -> np.ndarray:
    """Resizes one image on the host: Pillow's bilinear filter, antialiased when it shrinks.

    Args:
      image: uint8 [H, W, C], C = 1 or 3.
      size: the side of a square, (height, width), or None to leave the image alone.
      fit: `stretch` ignores the aspect ratio; `crop` scales until the image covers the target and
        cuts the centre; `pad` scales until it fits inside and centres it on black (0).

    Returns:
      uint8 [height, width, C]; the input itself where it already has that shape.
    """
    target = size_pair(size)
    if target is None or image.shape[:2] == target:
        return image
    return view_image(image, fitting(target, fit), target)


@dataclasses.dataclass(frozen=True)
class Placement:
    """Which part of an image is shown, and where in the result: what `fit_image` decides.

    Attributes:
      box: the part of it that is shown, (left, top, right, bottom) in its pixels.
      size: (height, width) that this part is scaled to.
      corner: (top, left) of that in the result.
    """

    box: tuple[float, float, float, float]
    size: tuple[int, int]
    corner: tuple[int, int] = (0, 0)

    @property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns of the result that show the image."""
        (top, left), (height, width) = self.corner, self.size
        return slice(top, top + height), slice(left, left + width)


def placement(size: tuple[int, int], target: tuple[int, int], fit: Fit) -> Placement:
    """Where `fit_image` puts an image of `size` in a result of `target`, both (height, width).

    Example:
      >>> placement((10, 20), (30, 30), "pad")
      Placement(box=(0, 0, 20, 10), size=(15, 30), corner=(7, 0))
    """
    height, width = size
    whole = (0, 0, width, height)
    if fit == "stretch":
        return Placement(whole, target)
    if fit == "crop":
        scale = max(target[0] / height, target[1] / width)
        # Rounding must not carry an edge past the image's.
        rows, columns = min(height, target[0] / scale), min(width, target[1] / scale)
        top, left = (height - rows) / 2, (width - columns) / 2
        return Placement((left, top, left + columns, top + rows), target)
    if fit == "pad":
        scale = min(target[0] / height, target[1] / width)
        inner = (max(1, round(height * scale)), max(1, round(width * scale)))
        corner = ((target[0] - inner[0]) // 2, (target[1] - inner[1]) // 2)
        return Placement(whole, inner, corner)
    raise ValueError(f"fit must be 'stretch', 'crop' or 'pad', not {fit!r}")


View = Callable[[tuple[int, int]], Placement]
"""From the (height, width) of an upright image to the part of it that is shown, and where."""


def fitting(target: tuple[int, int], fit: Fit) -> View:
    """The view of `fit_image`.

    Example:
      >>> fitting((30, 30), "pad")((10, 20))
      Placement(box=(0, 0, 20, 10), size=(15, 30), corner=(7, 0))
    """
    return partial(placement, target=target, fit=fit)


def view_image(image: np.ndarray, view: View, target: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W, C] -> uint8 [*target, C]: what a view shows of an image."""
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    return show(picture, view((image.shape[0], image.shape[1])), target)


def convert_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """uint8 [H, W, 1 or 3] -> uint8 [H, W, channels]: grey is repeated, colour becomes luma."""
    if image.shape[-1] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=-1)
    return np.array(Image.fromarray(image).convert("L"))[..., None]


def show(picture: Image.Image, place: Placement, target: tuple[int, int]) -> np.ndarray:
    """Scales the part of a picture that is placed, over black: uint8 [*target, 1 or 3].

    Args:
      picture: of Pillow's mode L or RGB.
      place: where it goes.
      target: (height, width) of the result.
    """
    height, width = place.size
    pixels = np.array(picture.resize((width, height), Image.Resampling.BILINEAR, place.box))
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if place.size == target:
        return pixels
    canvas = np.zeros((*target, pixels.shape[2]), np.uint8)
    canvas[place.window] = pixels
    return canvas
