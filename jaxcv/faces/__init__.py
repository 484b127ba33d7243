"""Faces: detection, alignment and galleries of enrolled people."""

from jaxcv.faces.alignment import align_pixels, aligned_face
from jaxcv.faces.detector import (
    CascadeDetector,
    Face,
    FaceDetector,
    NoFaceError,
    SeveralFacesError,
    landmarks_from_eyes,
    one_face,
)

__all__ = [
    "CascadeDetector",
    "Face",
    "FaceDetector",
    "NoFaceError",
    "SeveralFacesError",
    "align_pixels",
    "aligned_face",
    "landmarks_from_eyes",
    "one_face",
]
