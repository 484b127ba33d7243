"""Boxes and their names drawn over an image, at the image's own size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]
Corners = tuple[float, float, float, float]


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[str],
    colors: np.ndarray,
    *,
    dashed: Sequence[bool] | np.ndarray | None = None,
    width: int | None = None,
    font_size: float | None = None,
) -> np.ndarray:
    """Draws boxes and, on a strip of the box's colour, their labels.

    Large boxes come first, so that small ones lie on them; labels come last, where they hide each
    other least, and where they would hide each other all the same the one of the earlier box stays. A
    thin dark line around each box keeps it visible on ground of its own colour.

    Args:
        image: [H, W, 3] or [H, W, 1] uint8.
        boxes: [K, 4] (x0, y0, x1, y1) in pixels, x to the right, y down, (0, 0) the outer corner of
            the first pixel. What lies outside of the image is not seen.
        labels: K texts; "" for none.
        colors: [K, 3] uint8, one for each box.
        dashed: [K] bool, which boxes have a broken line; None for none.
        width: of the lines in pixels; None fits it to the image.
        font_size: of the labels in pixels; None fits it to the image.

    Returns:
        [H, W, 3] uint8; the image given stays as it is.

    Raises:
        ValueError: If shapes or dtypes are others.

    Example:
        >>> image = draw_boxes(np.zeros((8, 8, 3), np.uint8), [[1, 1, 7, 7]], [""], [[9, 8, 7]])
        >>> image[1, 1].tolist(), image[4, 4].tolist()
        ([9, 8, 7], [0, 0, 0])
    """
    image = np.asarray(image)
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    colors = np.asarray(colors).reshape(-1, 3)
    _check(image, boxes, labels, colors)
    H, W = image.shape[:2]
    width = width or max(1, round(max(H, W) / 400))
    font_size = font_size or min(max(max(H, W) / 50, 11.0), 40.0)
    font = ImageFont.load_default(font_size)
    broken = np.zeros(len(boxes), bool) if dashed is None else np.asarray(dashed, bool)
    picture = Image.fromarray(np.broadcast_to(image, (H, W, 3)).copy())
    pen = ImageDraw.Draw(picture)

    seen = [k for k in largest_first(boxes) if _meets(boxes[k], (W, H))]
    for k in seen:
        _outline(pen, boxes[k], _rgb(colors[k]), width, broken=bool(broken[k]))
    named = sorted(k for k in seen if labels[k])
    sizes = [strip_size(labels[k], font_size) for k in named]
    places = place_labels([boxes[k] for k in named], sizes, (W, H))
    for k, place, size in reversed(list(zip(named, places, sizes, strict=True))):
        if place is None:
            continue
        color = _rgb(colors[k])
        left, top, right, bottom = (round(v) for v in (*place, *np.add(place, size)))
        pen.rectangle((left, top, right - 1, bottom - 1), fill=color)
        middle = (place[0] + size[0] / 2, place[1] + size[1] / 2)
        pen.text(middle, labels[k], fill=readable_on(color), font=font, anchor="mm")
    return np.asarray(picture)


def _check(image: np.ndarray, boxes: np.ndarray, labels: Sequence[str], colors: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[-1] not in (1, 3) or image.dtype != np.uint8:
        raise ValueError(
            f"the image is {image.dtype} of shape {image.shape}; uint8 [H, W, 3] or [H, W, 1] is wanted."
        )
    if not len(boxes) == len(labels) == len(colors):
        raise ValueError(
            f"found {len(boxes)} boxes, {len(labels)} labels and {len(colors)} colors; one of each is "
            "wanted for each box."
        )


def _rgb(color: np.ndarray) -> Color:
    red, green, blue = (int(part) for part in color)
    return red, green, blue


def _meets(box: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether a box has an area that the image of (width, height) shares."""
    x0, y0, x1, y1 = box
    return bool(max(x0, 0) < min(x1, size[0]) and max(y0, 0) < min(y1, size[1]))


def _outline(
    pen: ImageDraw.ImageDraw, box: np.ndarray, color: Color, width: int, *, broken: bool
) -> None:
    """A frame within the box, and a dark line of one pixel around it."""
    x0, y0 = (round(float(v)) for v in box[:2])
    x1, y1 = (max(round(float(v)) - 1, least) for v, least in zip(box[2:], (x0, y0)))
    if not broken:
        pen.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=(0, 0, 0))
        pen.rectangle((x0, y0, x1, y1), outline=color, width=width)
        return
    dash = 4 * width + 2
    for start in range(x0, x1 + 1, 2 * dash):
        end = min(start + dash - 1, x1)
        for top in (y0, max(y1 - width + 1, y0)):
            pen.rectangle((start, top, end, min(top + width - 1, y1)), fill=color)
    for start in range(y0, y1 + 1, 2 * dash):
        end = min(start + dash - 1, y1)
        for left in (x0, max(x1 - width + 1, x0)):
            pen.rectangle((left, start, min(left + width - 1, x1), end), fill=color)


def strip_size(text: str, font_size: float) -> tuple[float, float]:
    """Width and height in pixels of the strip of a label; the height is that of all labels."""
    font = ImageFont.load_default(font_size)
    low, high = font.getbbox("Ág")[1::2]
    return float(font.getlength(text)) + 6.0, float(high - low) + 4.0


def readable_on(color: Color) -> Color:
    """Black or white, whichever contrasts more (by the relative luminance of WCAG 2)."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.divide(color, 255)
    ]
    luminance = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return (0, 0, 0) if luminance > 0.179 else (255, 255, 255)


def largest_first(boxes: np.ndarray) -> list[int]:
    """Order in which boxes [K, 4] are drawn, so that none hides a smaller one."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    area = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0), axis=1)
    return [int(k) for k in np.argsort(-area, kind="stable")]


def place_labels(
    boxes: Sequence[Sequence[float]] | Sequence[np.ndarray],
    sizes: Sequence[tuple[float, float]],
    frame: tuple[float, float],
) -> list[tuple[float, float] | None]:
    """Upper left corner of each box's label, within the frame and away from other labels.

    A label stands above its box, else within, below, or at the other end, wherever it and those before
    it have least in common; where that is more than a tenth of it there is no place for it: None.

    Args:
        boxes: K of (x0, y0, x1, y1); the earlier is placed first.
        sizes: K of (width, height).
        frame: (width, height) of the picture.

    Example:
        >>> place_labels([(10, 20, 40, 60), (10, 20, 50, 70)], [(30, 8), (30, 8)], (100, 100))
        [(10.0, 12.0), (10.0, 20.0)]
    """
    taken: list[Corners] = []
    places: list[tuple[float, float] | None] = []
    for box, (width, height) in zip(boxes, sizes, strict=True):
        x0, y0, x1, y1 = (float(v) for v in box)
        choices = []
        for x in (x0, x1 - width):
            for y in (y0 - height, y0, y1, y1 - height):
                left = min(max(x, 0.0), max(frame[0] - width, 0.0))
                top = min(max(y, 0.0), max(frame[1] - height, 0.0))
                choices.append((left, top, left + width, top + height))
        covered = [sum(_common_area(place, other) for other in taken) for place in choices]
        best = covered.index(min(covered))  # the first of those that are covered alike
        if covered[best] > width * height / 10:
            places.append(None)
            continue
        taken.append(choices[best])
        places.append(choices[best][:2])
    return places


def _common_area(first: Corners, second: Corners) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(width, 0.0) * max(height, 0.0)
