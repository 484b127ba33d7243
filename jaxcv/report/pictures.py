"""Images as data URLs, so that the page needs no other file."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from jaxcv.report.markup import Markup, tag

SHOWN = 112
"""Width and height in CSS pixels of the box in which a picture is shown."""

_DENSITY = 2  # A larger image is reduced: screens have up to two pixels per CSS pixel.

_EXACT = 160  # Pixels up to which a picture is kept as it is.


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Images [..., H, W, C] of any number type as uint8.

    Floats within [0, 1] (a trace of noise beyond is cut off) are scaled by 255; any other floats,
    normalized ones for instance, are stretched between the least and the greatest. NaN becomes 0.
    """
    if images.dtype == np.uint8:
        return images
    values = np.nan_to_num(np.asarray(images, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    if low < -0.1 or high > 1.1:
        values = (values - low) / max(high - low, 1e-12)
    return np.round(255 * np.clip(values, 0.0, 1.0)).astype(np.uint8)


def to_png(image: np.ndarray, limit: int = _DENSITY * SHOWN) -> bytes:
    """An image [H, W], [H, W, 1] or [H, W, 3+] uint8 as PNG, at most `limit` pixels wide and high.

    Raises:
        ValueError: If the shape is another.
    """
    stream = io.BytesIO()
    _reduced(image, limit).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _reduced(image: np.ndarray, limit: int) -> Image.Image:
    if image.ndim == 3:
        image = image[..., 0] if image.shape[-1] < 3 else image[..., :3]
    if image.ndim != 2 and not (image.ndim == 3 and image.shape[-1] == 3):
        raise ValueError(f"a picture must be [H, W, C] or [H, W], found shape {image.shape}.")
    picture = Image.fromarray(np.ascontiguousarray(image))
    if max(picture.size) > limit:
        picture.thumbnail((limit, limit), Image.Resampling.LANCZOS)
    return picture


def photo_url(image: np.ndarray, *, side: int) -> str:
    """A data URL of an image that is shown with a longer side of `side` CSS pixels.

    A large picture is a JPEG, in which a photograph takes a fifth of what it takes as PNG.

    Raises:
        ValueError: If the shape is not one that `to_png` takes.
    """
    if max(image.shape[:2]) <= _EXACT:
        return f"data:image/png;base64,{base64.b64encode(to_png(image)).decode('ascii')}"
    stream = io.BytesIO()
    picture = _reduced(image, _DENSITY * side)
    picture.save(stream, format="JPEG", quality=88, subsampling=0, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def picture(image: np.ndarray, *, description: str, side: int = SHOWN) -> Markup:
    """An `img` element that holds a uint8 image; a small one is enlarged without blurring.

    Its longer side has `side` CSS pixels.
    """
    height, width = image.shape[:2]
    scale = side / max(height, width)
    data = base64.b64encode(to_png(image, _DENSITY * side)).decode("ascii")
    return tag(
        "img",
        src=f"data:image/png;base64,{data}",
        alt=description,
        width=max(round(width * scale), 1),
        height=max(round(height * scale), 1),
        class_="pixels" if scale > 1 else None,
    )
