"""Photos on disk: whose they are, and the faces in them as a run wants them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from jaxcv.data.decode import DecodeError
from jaxcv.data.files import class_folders
from jaxcv.data.finding import find_files, folders_in, loose_files, one_file
from jaxcv.data.fit import fit_image
from jaxcv.data.image_reader import ImageReader
from jaxcv.data.passed_over import PassedOver
from jaxcv.faces.alignment import aligned_face
from jaxcv.faces.detector import FaceDetector, NoFaceError, SeveralFacesError

# Photos named in an error about many.
_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class FaceReader:
    """Reads a photo into the face in it, of one size.

    Attributes:
        image_reader: reads photos as those of training were read, and brings them to a size.
        aligned: photos are cropped and aligned already: they are only resized, as in training.
        largest: take the largest face where there are several.
        detector: what finds faces; None for a `CascadeDetector`.

    Raises:
        ValueError: the reader has no size.
    """

    image_reader: ImageReader
    aligned: bool = False
    largest: bool = False
    detector: FaceDetector | None = None

    def __post_init__(self) -> None:
        if self.image_reader.target is None:
            raise ValueError("faces are read at one size; give the image_reader a size")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of a face."""
        height, width = self.image_reader.target or (0, 0)
        return height, width, self.image_reader.channels

    def __call__(self, file: str) -> np.ndarray:
        """uint8 [H, W, C]: the face of one photo.

        A face that was found is aligned to the template of the longer side; where H and W differ,
        the middle of that is cut out.

        Raises:
            DecodeError, NoFaceError, SeveralFacesError: naming the file.
        """
        height, width, channels = self.shape
        if self.aligned:
            return self.image_reader.read(file)
        # Faces are found in colour, whatever is embedded.
        face = aligned_face(
            replace(self.image_reader, channels=3).read_whole(file),
            max(height, width),
            channels=channels,
            detector=self.detector,
            largest=self.largest,
            name=file,
        )
        return fit_image(face, (height, width), "crop")


@dataclass(frozen=True, kw_only=True)
class Faces:
    """Faces read from photos.

    Attributes:
        pictures: uint8 [N, H, W, C]; N may be 0.
        kept: [N] the place of each in the list of files.
        failed: reason by file of those without a usable face.
    """

    pictures: np.ndarray
    kept: list[int]
    failed: dict[str, str] = field(default_factory=dict)


def read_faces(
    files: Sequence[str], reader: FaceReader, *, skip_bad: bool = False, hint: str = ""
) -> Faces:
    """Reads the faces of many photos.

    Args:
        files: paths.
        reader: reads one.
        skip_bad: leave out photos without a usable face.
        hint: what the error advises.

    Raises:
        ValueError: with `skip_bad` False, naming the photos without a usable face, and why.
    """
    pictures, kept = [], []
    failed: dict[str, str] = {}
    for place, file in enumerate(files):
        try:
            pictures.append(reader(file))
        except (DecodeError, NoFaceError, SeveralFacesError) as error:
            failed[file] = str(error)
        else:
            kept.append(place)
    if failed and not skip_bad:
        reasons = list(failed.values())
        if len(reasons) == 1:
            raise ValueError(reasons[0] + hint)
        more = f"; and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
        raise ValueError(
            f"{len(failed)} of {len(files)} photos cannot be used: {'; '.join(reasons[:_NAMED])}{more}"
            f"{hint}"
        )
    shape = (len(pictures), *reader.shape)
    return Faces(pictures=np.array(pictures, np.uint8).reshape(shape), kept=kept, failed=failed)


def find_people(folders: Iterable[str]) -> list[tuple[str, str]]:
    """(person, photo) of every photo in folders that hold a folder for each person.

    People are called as their folders, in the form of `class_name`: folders of one name in several of
    `folders` are of one person. What counts as a photo is told by `jaxcv.data.finding`.

    Raises:
        ValueError: a folder is none, holds photos of nobody in particular, or none at all; or a
            person's folder is empty; or two people share a name or, by links, a photo.
    """
    found: list[tuple[str, str]] = []
    places: list[str] = []
    for folder in folders:
        root = Path(folder)
        if not root.exists():
            raise ValueError(f"{folder}: no such folder")
        if not root.is_dir():
            raise ValueError(f"{folder} is a file; say whose photo it is: --subject NAME")
        if loose := loose_files(root):
            raise ValueError(
                f"{root / loose[0]} lies in no person's folder. Wanted is {folder}/PERSON/PHOTO; if "
                f"all photos in {folder} are of one person, say whose: --subject NAME"
            )
        if not folders_in(root):
            raise ValueError(f"{folder}: there are no folders of people in it")
        passed_over = PassedOver()
        for person, inner in class_folders(root).items():
            photos = find_files(root, inner)
            if not photos.files:
                raise ValueError(
                    f"{root / inner}: there are no photos in this person's folder"
                    f"{photos.passed_over.hint()}"
                )
            passed_over.update(photos.passed_over)
            found.extend((person, str(root / file)) for file in photos.files)
            places.extend(photos.real_paths(root))
        passed_over.say(root)
    if twice := one_file((person, place) for (person, _), place in zip(found, places)):
        raise ValueError(f"{twice}, in the folders of two people")
    by_place = dict(zip(reversed(places), reversed(found)))  # of two paths to a file, the first
    return list(dict.fromkeys(by_place[place] for place in places))
