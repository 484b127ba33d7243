"""Where the faces are in a picture, and where their eyes, nose and mouth are.

A detector is anything with the method of `FaceDetector`. The one here, `CascadeDetector`, needs no
download: the cascades come with OpenCV's wheel (pip install "jaxcv[faces]"). It finds upright
faces seen from the front, within about 20 degrees; for others, plug in a detector of your own.

Colours are RGB throughout. OpenCV's own `imread` gives BGR: a detector hardly minds, but a network
that embeds faces does, silently. Coordinates are those of `jaxcv.image.warping`: (0, 0) is the
corner of the first pixel. To landmarks of a detector that counts from its centre, add 0.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from jaxcv.faces.cascades import cascade, opencv
from jaxcv.faces.eyes import find_eyes

_BOX_CASCADE = "frontalface_alt2"
# Where they are in the cascade's box: the median of the 400 ORL faces.
_EYES_IN_BOX = np.array([[0.295, 0.39], [0.695, 0.39]], np.float32)
# A face seen from the front: x and y from the middle of the eyes, in distances between the eyes.
# Read off 20 of the ORL faces to about 0.05. (The template is of faces seen from all sides, whose
# eyes are nearer to each other on average: its mouth is 1.15 below the eyes.)
_FRONTAL_FACE = np.array([[-0.5, 0.0], [0.5, 0.0], [0.0, 0.46], [-0.4, 0.96], [0.4, 0.96]])


class NoFaceError(ValueError):
    """No face was found in a picture."""


class SeveralFacesError(ValueError):
    """Several faces were found in a picture where one was wanted."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Face:
    """One face in a picture.

    Attributes:
        box: float32 [4], x0, y0, x1, y1 in pixels; it may reach beyond the picture.
        landmarks: float32 [5, 2], x and y of the eyes, the nose tip and the corners of the mouth,
            in the order of `jaxcv.image.alignment`.
        score: how sure the detector is, in its own unit; more is surer.
        landmarks_found: False where the landmarks are only those of an average face in the box.
    """

    box: np.ndarray
    landmarks: np.ndarray
    score: float
    landmarks_found: bool = True

    @property
    def area(self) -> float:
        """Of the box, in pixels squared."""
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))


class FaceDetector(Protocol):
    """What finds faces."""

    def detect(self, image: np.ndarray) -> Sequence[Face]:
        """All faces in an RGB picture uint8 [H, W, 3], in any order."""
        ...


@dataclass(frozen=True, kw_only=True)
class CascadeDetector:
    """OpenCV's boosted cascades: a face, then the eyes in it (Viola & Jones 2004; Lienhart 2002).

    Nose and mouth are not looked for: they are put where an average face has them relative to the
    eyes, so that alignment is by the eyes alone. Where not both eyes are found, all five are those
    of an average face in the box. A face's score is the number of windows that agreed on it.

    On the 400 ORL faces it finds one face in each, and both eyes in 393. `margin` is what finds
    faces that fill the picture: without it, 48 of them are missed.

    Attributes:
        smallest: side of the smallest face, in pixels, after the reduction to `max_side`.
        max_side: a larger picture is reduced to this many pixels along its longer side.
        scale_step: ratio of the sizes tried, > 1; 1.05 finds more faces, and more that are none.
        min_agreement: windows that have to agree on a face; more means fewer false alarms.
        margin: part of the shorter side that the picture is enlarged by, on each side.
    """

    smallest: int = 32
    max_side: int = 1024
    scale_step: float = 1.1
    min_agreement: int = 5
    margin: float = 0.15

    def __post_init__(self) -> None:
        for name, low in (("smallest", 20), ("max_side", 20), ("min_agreement", 1), ("margin", 0)):
            if not getattr(self, name) >= low:
                raise ValueError(
                    f"CascadeDetector needs {name} >= {low}, but it is {getattr(self, name)}"
                )
        if not self.scale_step > 1:
            raise ValueError(f"CascadeDetector needs scale_step > 1, but it is {self.scale_step}")

    def detect(self, image: np.ndarray) -> list[Face]:
        """Faces in a picture, the surest first.

        Args:
            image: RGB uint8 [H, W, 3], or grey uint8 [H, W, 1] or [H, W].

        Raises:
            ValueError: the array is no such picture.
            ImportError: OpenCV is missing, or too new to have cascades.
        """
        cv2 = opencv()
        grey = _grey(image)
        scale = min(1.0, self.max_side / max(grey.shape))
        if scale < 1:
            size = [max(round(side * scale), 1) for side in (grey.shape[1], grey.shape[0])]
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        # What one pixel of the reduced picture is in the given one, across and down.
        pixel = np.array(image.shape[1::-1]) / np.array(grey.shape[::-1])
        border = round(self.margin * min(grey.shape))
        grey = cv2.copyMakeBorder(grey, *(border,) * 4, cv2.BORDER_REPLICATE)
        boxes, agreement = cascade(_BOX_CASCADE).detectMultiScale2(
            grey,
            scaleFactor=self.scale_step,
            minNeighbors=self.min_agreement,
            minSize=(self.smallest, self.smallest),
        )
        order = sorted(range(len(boxes)), key=lambda i: (-agreement[i], tuple(boxes[i])))
        faces: list[Face] = []
        for i in order:
            x, y, width, height = (int(v) for v in boxes[i])
            corner, side = np.array([x, y]), np.array([width, height])
            eyes = find_eyes(grey, (x, y, width, height))
            found = eyes is not None
            landmarks = landmarks_from_eyes(corner + _EYES_IN_BOX * side if eyes is None else eyes)
            landmarks = (landmarks - border) * pixel
            box = np.concatenate([(corner - border) * pixel, (corner + side - border) * pixel])
            face = Face(
                box=box.astype(np.float32),
                landmarks=landmarks.astype(np.float32),
                score=float(agreement[i]),
                landmarks_found=found,
            )
            if not any(_inside(face, other) for other in faces):
                faces.append(face)
        return faces


def one_face(
    image: np.ndarray,
    detector: FaceDetector | None = None,
    *,
    largest: bool = False,
    name: str = "the picture",
) -> Face:
    """The one face of a picture.

    Args:
        image: RGB uint8 [H, W, 3].
        detector: what finds it; None for a `CascadeDetector`.
        largest: take the face with the largest box where there are several.
        name: the file, for error messages.

    Raises:
        NoFaceError: there is none.
        SeveralFacesError: there are several, and `largest` is False.
    """
    faces = (CascadeDetector() if detector is None else detector).detect(image)
    size = f"{image.shape[1]}x{image.shape[0]} pixels"
    if not faces:
        raise NoFaceError(
            f"{name}: no face found in {size}; wanted is an upright face seen from the front. Give "
            "another photo, or say --aligned (aligned=True) where it is a cropped face already"
        )
    if len(faces) > 1 and not largest:
        places = ", ".join(
            f"{face.box[2] - face.box[0]:.0f} pixels wide at ({face.box[0]:.0f}, {face.box[1]:.0f})"
            for face in sorted(faces, key=lambda face: -face.area)
        )
        raise SeveralFacesError(
            f"{name}: {len(faces)} faces found in {size} ({places}); cut out the one that is meant, "
            "or say --largest (largest=True)"
        )
    return max(faces, key=lambda face: face.area)


def landmarks_from_eyes(eyes: np.ndarray) -> np.ndarray:
    """Five landmarks float32 [5, 2] of an average face, seen from the front, with these eyes.

    Args:
        eyes: [2, 2], x and y of the eye on the left of the picture, then of the other.

    Example:
        >>> landmarks_from_eyes(np.array([[10.0, 50.0], [60.0, 50.0]]))[2].tolist()
        [35.0, 73.0]
    """
    # A similarity of the plane is z -> a z + b of complex numbers.
    left, right = np.asarray(eyes, np.float64) @ [1, 1j]
    points = (left + right) / 2 + (_FRONTAL_FACE @ [1, 1j]) * (right - left)
    return np.stack([points.real, points.imag], axis=-1).astype(np.float32)


def _inside(face: Face, other: Face) -> bool:
    """Whether the middle of either box lies within the other: then they are one face."""
    for inner, outer in ((face.box, other.box), (other.box, face.box)):
        middle = (inner[:2] + inner[2:]) / 2
        if np.all((outer[:2] <= middle) & (middle <= outer[2:])):
            return True
    return False


def _grey(image: np.ndarray) -> np.ndarray:
    """Luma [H, W] uint8 of an RGB or grey picture."""
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    wanted = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    if image.dtype != np.uint8 or not wanted or 0 in image.shape:
        raise ValueError(
            f"a detector looks at RGB pictures uint8 [H, W, 3], found {image.dtype} of shape "
            f"{image.shape}"
        )
    if image.ndim == 2:
        return np.ascontiguousarray(image)
    cv2 = opencv()
    return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
