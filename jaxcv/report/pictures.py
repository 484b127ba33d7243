"""Images as data URLs, so that the page needs no other file."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from jaxcv.report.markup import Markup, tag

SHOWN = 112
"""Width and height in CSS pixels of the box in which a picture is shown."""

_STORED = 2 * SHOWN
"""A larger image is reduced to this many pixels: screens have up to two per CSS pixel."""


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


def to_png(image: np.ndarray) -> bytes:
    """An image [H, W], [H, W, 1] or [H, W, 3+] uint8 as PNG, at most 224 pixels wide and high.

    Raises:
        ValueError: If the shape is another.
    """
    if image.ndim == 3:
        image = image[..., 0] if image.shape[-1] < 3 else image[..., :3]
    if image.ndim != 2 and not (image.ndim == 3 and image.shape[-1] == 3):
        raise ValueError(f"a picture must be [H, W, C] or [H, W], found shape {image.shape}.")
    picture = Image.fromarray(np.ascontiguousarray(image))
    if max(picture.size) > _STORED:
        picture.thumbnail((_STORED, _STORED), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def picture(image: np.ndarray, *, description: str) -> Markup:
    """An `img` element that holds a uint8 image; a small one is enlarged without blurring."""
    height, width = image.shape[:2]
    scale = SHOWN / max(height, width)
    data = base64.b64encode(to_png(image)).decode("ascii")
    return tag(
        "img",
        src=f"data:image/png;base64,{data}",
        alt=description,
        width=max(round(width * scale), 1),
        height=max(round(height * scale), 1),
        class_="pixels" if scale > 1 else None,
    )
