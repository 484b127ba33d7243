"""Pairs of faces to tell apart: what a verification set is, and InsightFace's .bin files."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from jaxcv.data.decode import DecodeError
from jaxcv.data.faces.plain_pickle import read_plain_pickle
from jaxcv.data.image_reader import ImageReader
from jaxcv.data.source import Record, Source

ColorOrder = Literal["rgb", "bgr"]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class VerificationPairs:
    """Images, and pairs of them that show the same person or two.

    An image that is in several pairs is there once, so that it is embedded once.

    Attributes:
      images: N records; `Batches(images, B, shuffle=False)` reads them.
      pairs: int [P, 2], positions in `images`.
      same: bool [P], whether a pair shows one person.
      folds: int [P], the fold of cross-validation of each pair, or None where the file tells none;
        the protocol then is ten runs of consecutive pairs.

    Raises:
      ValueError: the shapes do not fit together, or a pair names an image that is not there.
    """

    images: Source
    pairs: np.ndarray
    same: np.ndarray
    folds: np.ndarray | None = None

    def __post_init__(self) -> None:
        pairs, same = np.asarray(self.pairs), np.asarray(self.same)
        if pairs.ndim != 2 or pairs.shape[1] != 2 or same.shape != (len(pairs),):
            raise ValueError(
                f"pairs must be [P, 2] and same [P]; found {pairs.shape} and {same.shape}"
            )
        if same.dtype != bool or not np.issubdtype(pairs.dtype, np.integer):
            raise ValueError(
                f"pairs must be integers and same bools; found {pairs.dtype} and {same.dtype}"
            )
        if len(pairs) and not 0 <= pairs.min() <= pairs.max() < len(self.images):
            raise ValueError(f"a pair names an image outside of 0..{len(self.images) - 1}")
        if self.folds is not None and np.shape(self.folds) != same.shape:
            raise ValueError(f"folds must be [P] like same; found shape {np.shape(self.folds)}")

    def __len__(self) -> int:
        """Number of pairs, P."""
        return len(self.same)


class StoredImages:
    """Images of unknown people held in memory: encoded, or as pixels. Every label is -1.

    Args:
      stored: [N], each the bytes of an image file, or uint8 [H, W] or [H, W, C].
      names: [N], what messages call them.
      image_reader: brings them to channels and size.
      pixel_order: colour order of images that are held as pixels; encoded ones need none.
    """

    class_names: tuple[str, ...] = ()

    def __init__(
        self,
        stored: Sequence[bytes | np.ndarray],
        names: Sequence[str],
        image_reader: ImageReader,
        *,
        pixel_order: ColorOrder | None = None,
    ):
        self._stored, self._names = stored, names
        self.image_reader, self._pixel_order = image_reader, pixel_order
        self.labels = np.full(len(stored), -1, np.int32)

    def __len__(self) -> int:
        return len(self._stored)

    def __getitem__(self, index: int) -> Record:
        stored = self._stored[index]
        if isinstance(stored, bytes):
            image = self.image_reader.decode(stored, self.record_name(index))
        else:
            image = self.image_reader.fit_pixels(self._pixels(stored, index))
        return {"image": image, "label": self.labels[index]}

    def _pixels(self, pixels: np.ndarray, index: int) -> np.ndarray:
        image = pixels[..., None] if pixels.ndim == 2 else pixels
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3):
            raise DecodeError(
                self.record_name(index), f"{pixels.dtype} of shape {pixels.shape} is no image"
            )
        if image.shape[-1] == 3 and self._pixel_order == "bgr":
            image = image[..., ::-1]
        return np.ascontiguousarray(image)

    def record_name(self, index: int) -> str:
        """The name given."""
        return self._names[index]


def read_verification_bin(
    path: str | pathlib.Path,
    *,
    image_reader: ImageReader | None = None,
    pixel_order: ColorOrder | None = None,
) -> VerificationPairs:
    """Reads a verification set in InsightFace's format: lfw.bin, cfp_fp.bin, agedb_30.bin, ...

    Such a file is a pickle of (images, same): 2 P encoded images, of which the first two make the
    first pair, and so on, and P bools. It is read by `read_plain_pickle`, which runs nothing that
    is in it. Equal images are kept once. Encoded images are decoded to RGB; cv2 wrote BGR arrays
    into most of these files, but as JPEG, which is RGB for everyone.

    Args:
      path: the file.
      image_reader: brings the images to channels and size; None: RGB at their own size, 112x112.
      pixel_order: for files that hold colour images as arrays of pixels: "rgb" or "bgr", which
        nothing in such a file tells.

    Raises:
      ValueError: there is no such file; it is cut off or no pickle of such a pair; it asks for a
        function (its name is in the message); it holds colour pixels and `pixel_order` is None.
        Images are decoded when they are read, and raise `DecodeError` then.
    """
    path = pathlib.Path(path).expanduser()
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    content = read_plain_pickle(path)
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise ValueError(
            f"{path}: wanted two things, images and whether each two are the same person; "
            f"found {_described(content)}"
        )
    same = _bools(content[1], path)
    items = _items(content[0], path, "images")
    if len(items) != 2 * len(same) or not len(same):
        raise ValueError(
            f"{path}: {len(same)} pairs need {2 * len(same)} images; found {len(items)}"
        )
    # One object may be many of them: it is copied once.
    stored: dict[int, bytes | np.ndarray] = {}
    for number, item in enumerate(items):
        if id(item) not in stored:
            stored[id(item)] = _stored_image(item, f"{path}, image {number}", pixel_order)
    encoded = [stored[id(item)] for item in items]
    firsts, places = _distinct(encoded)
    images = StoredImages(
        [encoded[i] for i in firsts],
        [f"{path}, image {i}" for i in firsts],
        image_reader or ImageReader(),
        pixel_order=pixel_order,
    )
    return VerificationPairs(images=images, pairs=places.reshape(-1, 2), same=same)


def _distinct(images: Sequence[bytes | np.ndarray]) -> tuple[list[int], np.ndarray]:
    """(positions of the different images, place of every image among those).

    Arrays of pixels are not compared with each other.
    """
    place: dict[bytes | int, int] = {}
    firsts: list[int] = []
    places = np.zeros(len(images), np.int64)
    for number, image in enumerate(images):
        key = image if isinstance(image, bytes) else number
        if key not in place:
            place[key] = len(firsts)
            firsts.append(number)
        places[number] = place[key]
    return firsts, places


def _items(values: Any, path: pathlib.Path, what: str) -> list[Any]:
    is_array = isinstance(values, np.ndarray) and values.ndim > 0
    if not is_array and not isinstance(values, list | tuple):
        raise ValueError(f"{path}: the {what} must be a list, not {_described(values)}")
    return list(values)


def _bools(values: Any, path: pathlib.Path) -> np.ndarray:
    """Bool [P] from a list or an array of bools, or of zeros and ones."""
    found = _items(values, path, "answers")
    for number, value in enumerate(found):
        if not isinstance(value, bool | int | np.bool_ | np.integer) or value not in (0, 1):
            raise ValueError(
                f"{path}: the answer to pair {number} must be a bool, not {_described(value)}"
            )
    return np.asarray(found, bool)


def _stored_image(item: Any, name: str, pixel_order: ColorOrder | None) -> bytes | np.ndarray:
    """An encoded image as bytes, also from an array of them (as cv2.imencode gives), or pixels."""
    if isinstance(item, bytes | bytearray):
        return bytes(item)
    if not isinstance(item, np.ndarray) or item.dtype != np.uint8 or item.ndim not in (1, 2, 3):
        raise ValueError(f"{name}: wanted an encoded image, found {_described(item)}")
    if item.ndim == 1 or (item.ndim == 2 and 1 in item.shape):
        return item.tobytes()
    if item.ndim == 3 and item.shape[-1] == 3 and pixel_order is None:
        raise ValueError(
            f"{name}: it holds pixels of shape {item.shape}, whose colour order nothing in the file "
            "tells; say pixel_order='bgr' if cv2 read them, 'rgb' if Pillow or MXNet did"
        )
    return item


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.dtype} {value.shape}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 64:  # as text it may be too long for Python
        return f"{type(value).__name__} of {value.bit_length()} bits"
    return f"{type(value).__name__} {ascii(value)[:40]}"
