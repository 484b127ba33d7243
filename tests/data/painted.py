"""Images in which what is annotated can be seen: bright rectangles on black."""

import io

import numpy as np
from PIL import Image

ORIENTATION = 0x0112


def painted(size, boxes, levels=None):
    """uint8 [H, W, 3], black, with box i in grey level `levels[i]` (250 where None)."""
    image = np.zeros((*size, 3), np.uint8)
    for i, (x0, y0, x1, y1) in enumerate(np.asarray(boxes, int).reshape(-1, 4)):
        image[y0:y1, x0:x1] = 250 if levels is None else levels[i]
    return image


def encoded(image, orientation=None, file_format="JPEG"):
    """Bytes of a file whose pixels are `image` as stored, with an EXIF orientation or without."""
    file = io.BytesIO()
    picture, options = Image.fromarray(image), {}
    if orientation is not None:
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        options["exif"] = exif
    if file_format == "JPEG":
        options |= {"quality": 95, "subsampling": 0}
    picture.save(file, file_format, **options)
    return file.getvalue()


def bright_box(image):
    """(x0, y0, x1, y1) of the pixels above 125."""
    rows, columns = np.nonzero(image[..., 0] > 125)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
