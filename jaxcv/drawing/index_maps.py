"""Index maps as pictures: laid over their image, and as PNG files that keep every index."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jaxcv.atomic import write_bytes
from jaxcv.data.segmentation.masks import class_colors, encode_mask


def overlay(
    image: np.ndarray,
    index_map: np.ndarray,
    palette: np.ndarray | None = None,
    *,
    opacity: float = 0.5,
) -> np.ndarray:
    """Lays the colours of classes over an image.

    Args:
        image: [H, W, 3] or [H, W, 1], uint8 in [0, 255] or floating point in [0, 1].
        index_map: [H, W] integer classes; a pixel whose class has no colour, such as the ignored
            label, shows the image alone.
        palette: [C, 3] uint8; None takes `jaxcv.data.segmentation.masks.class_colors`.
        opacity: of the colours, in [0, 1].

    Returns:
        [H, W, 3] uint8.

    Raises:
        ValueError: If the two have different sizes.

    Example:
        >>> overlay(np.zeros((1, 2, 3), np.uint8), np.array([[0, 255]]), np.array([[200, 100, 0]]))
        array([[[100,  50,   0],
                [  0,   0,   0]]], dtype=uint8)
    """
    image, index_map = np.asarray(image), np.asarray(index_map)
    if image.ndim != 3 or image.shape[:2] != index_map.shape:
        raise ValueError(
            f"the image has shape {image.shape} and the index map {index_map.shape}; an image "
            "[H, W, C] and a map [H, W] of the same size are wanted."
        )
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity is {opacity}, but a number in [0, 1] is wanted.")
    palette = class_colors(255) if palette is None else np.asarray(palette)
    values = image.astype(np.float32) * (1.0 if image.dtype == np.uint8 else 255.0)
    values = np.broadcast_to(values, (*index_map.shape, 3))
    colored = (index_map >= 0) & (index_map < len(palette))
    colors = palette[np.where(colored, index_map, 0)].astype(np.float32)
    fraction = np.where(colored, opacity, 0.0)[..., None]
    return np.clip(np.rint(values * (1 - fraction) + colors * fraction), 0, 255).astype(np.uint8)


def write_index_map(
    path: str | Path, index_map: np.ndarray, palette: np.ndarray | None = None
) -> None:
    """Writes a map [H, W] of indices 0 .. 255 as a palette PNG of its own size.

    The indices are read back exactly (`np.asarray(PIL.Image.open(path))`); the palette is only for
    looking at.

    Args:
        path: of the file, which is replaced if it is there.
        index_map: [H, W] integers.
        palette: [C, 3] uint8; None takes `jaxcv.data.segmentation.masks.class_colors`.

    Raises:
        ValueError: For indices that a PNG with a palette cannot hold.
    """
    write_bytes(path, encode_mask(index_map, palette))
