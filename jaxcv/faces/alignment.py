"""From a picture file to an aligned face."""

import logging
import os

import jax
import numpy as np
from PIL import Image

from jaxcv.data.decode import decode_image
from jaxcv.data.fit import Fit, convert_channels, fit_image
from jaxcv.data.image_reader import read_file
from jaxcv.faces.detector import FaceDetector, one_face
from jaxcv.image import face_template, similarity_matrix

logger = logging.getLogger(__name__)

_to_template = jax.jit(similarity_matrix)


def aligned_face(
    picture: str | os.PathLike[str] | np.ndarray,
    size: int = 112,
    *,
    channels: int = 3,
    detector: FaceDetector | None = None,
    largest: bool = False,
    aligned: bool = False,
    fit: Fit = "crop",
    name: str | None = None,
) -> np.ndarray:
    """Finds the face in a picture and brings its landmarks to the template.

    Args:
        picture: a file, decoded by the policy of `jaxcv.data.decode`; or the pixels, uint8
            [H, W, 3] RGB, or [H, W, 1] or [H, W] grey.
        size: height and width S of the result.
        channels: 3 for RGB, 1 for grey.
        detector: what finds the face; None for a `CascadeDetector`.
        largest: take the largest face where there are several.
        aligned: the picture is a cropped and aligned face already: only resize it.
        fit: how to resize such a picture that is not square, see `jaxcv.data.fit_image`.
        name: what to call the picture in error messages; None for the file's path.

    Returns:
        uint8 [S, S, channels]; what lies outside the picture is black.

    Raises:
        DecodeError: the file is missing, or is no picture.
        NoFaceError: no face was found.
        SeveralFacesError: several were, and `largest` is False.
        ValueError: pixels of another dtype or shape, or a size or number of channels out of range.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, not {channels}")
    image, name = _pixels(picture, name)
    if aligned:
        return convert_channels(fit_image(image, size, fit), channels)
    face = one_face(convert_channels(image, 3), detector, largest=largest, name=name)
    if not face.landmarks_found:
        logger.warning(
            "%s: eyes not found: aligned by the outline of the face, which moves more from one photo to "
            "another; a comparison tells less",
            name,
        )
    return convert_channels(align_pixels(image, face.landmarks, size), channels)


def align_pixels(image: np.ndarray, landmarks: np.ndarray, size: int = 112) -> np.ndarray:
    """`jaxcv.image.align_face` on the host, for pictures of all sizes, without aliasing.

    A picture whose face is at least twice too large is first averaged over blocks of pixels, since
    bilinear interpolation would skip most of them. Pillow draws it: nothing is compiled for a new
    size of picture.

    Args:
        image: uint8 [H, W, C], C = 1 or 3.
        landmarks: [5, 2], see `jaxcv.image.alignment`.
        size: height and width S of the result.

    Returns:
        uint8 [S, S, C].
    """
    matrix = np.asarray(_to_template(landmarks, face_template(size)), np.float64)
    scale = np.hypot(matrix[0, 0], matrix[1, 0])
    if not np.isfinite(matrix).all() or scale < 1e-6:
        raise ValueError(f"the landmarks {np.asarray(landmarks).tolist()} are not those of a face")
    source = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    block = min(int(1 / scale), *source.size)
    if block > 1:
        source = source.reduce(block)
        matrix = matrix @ np.diag([block, block, 1.0])
    back = np.linalg.inv(matrix)[:2].reshape(-1)
    face = source.transform(
        (size, size), Image.Transform.AFFINE, tuple(back), Image.Resampling.BILINEAR
    )
    return np.array(face).reshape(size, size, image.shape[2])


def _pixels(
    picture: str | os.PathLike[str] | np.ndarray, name: str | None
) -> tuple[np.ndarray, str]:
    """uint8 [H, W, 1 or 3] and what to call it."""
    if isinstance(picture, str | os.PathLike):
        name = os.fspath(picture) if name is None else name
        return decode_image(read_file(picture, name), channels=3, record=name), name
    name = "the picture" if name is None else name
    image = np.asarray(picture)
    image = image[..., None] if image.ndim == 2 else image
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(
            f"{name}: a picture is uint8 [H, W, 3] in RGB, or [H, W, 1] grey, found {image.dtype} "
            f"of shape {image.shape}"
        )
    return image, name
