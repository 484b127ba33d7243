"""InsightFace's training sets: train.rec, train.idx and property, read without MXNet."""

import dataclasses
import functools
import pathlib
from typing import Literal

import numpy as np

from jaxcv.data.decode import MAX_PIXELS
from jaxcv.data.faces.identities import only_train
from jaxcv.data.faces.record_file import PackedRecord, RecordFile
from jaxcv.data.fit import Fit, Size
from jaxcv.data.image_reader import ImageReader
from jaxcv.data.source import Record, Source, Split
from jaxcv.limits import MAX_EMPTY_CLASSES
from jaxcv.regular_file import read_file

ColorOrder = Literal["rgb", "bgr"]

# Below this, a float32 - the type of labels in a header - is exactly the key that was written.
_EXACT = 1 << 24
_MAX_PROPERTY = 1 << 16  # bytes; it is one line


class RecordIOSource:
    """The images of a `RecordIO` data set, read and decoded when asked for.

    Attributes:
      keys: int64 [N], key in the index of each image.
      class_names: the numbers of the identities, "0", "1", ...
      image_reader: reads them, but for turning the channels around.
    """

    def __init__(self, dataset: "RecordIO"):
        root = pathlib.Path(dataset.root).expanduser()
        if not root.is_dir():
            raise ValueError(f"{root}: no such folder")
        self._dataset = dataset
        self.image_reader = ImageReader(
            size=dataset.size,
            fit=dataset.fit,
            channels=dataset.channels,
            max_pixels=dataset.max_pixels,
            decode_margin=None,
        )
        self._file = RecordFile(root / f"{dataset.stem}.rec", root / f"{dataset.stem}.idx")
        self.keys, self._identities = _images_and_identities(self._file)
        if not len(self.keys):
            raise ValueError(f"{self._file.path}: there are no images in it")
        count = self._identity_count(root / "property")
        self.class_names = tuple(map(str, range(count)))

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Record:
        name = self.record_name(index)
        stored = self._file.read(int(self.keys[index]))
        label = _identity(stored.labels[0], name)
        if "labels" in self.__dict__ and label != self.labels[index]:
            raise ValueError(
                f"{name}: its own label is {label}, but the identity that it is counted to is "
                f"{self.labels[index]}"
            )
        image = self.image_reader.decode(stored.payload, name)
        if self._dataset.color_order == "bgr":
            image = np.ascontiguousarray(image[..., ::-1])
        return {"image": image, "label": label}

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """int32 [N], identity of each image.

        Where records tell the images of each identity, two records an identity are read; elsewhere
        the header of every image.

        Raises:
          ValueError: a label is no identity; those records do not cover the images, each once.
        """
        if self._identities is None or self.keys[-1] >= _EXACT:
            labels = self._file.first_labels(self.keys)
        else:
            labels = self._labels_of_ranges(self._identities)
        with np.errstate(invalid="ignore"):
            bad = np.flatnonzero(~(labels >= 0) | (labels % 1 != 0) | (labels >= 2.0**31))
        if len(bad):
            self._file.read(int(self.keys[bad[0]]))  # Says so if the record is not whole.
            _identity(labels[bad[0]], self.record_name(int(bad[0])))
        return labels.astype(np.int32)

    def fingerprint_arrays(self) -> dict[str, np.ndarray]:
        """The keys of the images; their names tell where the records lie."""
        return {"keys": self.keys}

    def record_name(self, index: int) -> str:
        """`file, key 17 at byte 4096`."""
        return self._file.name(int(self.keys[index]))

    def _labels_of_ranges(self, identities: np.ndarray) -> np.ndarray:
        """float32 [N] from the first image of each identity's range of keys."""
        ranges = np.zeros((len(identities), 2), np.int64)
        for row, key in enumerate(identities.tolist()):
            stored = self._file.read(key)
            if len(stored.labels) < 2 or not np.isfinite(stored.labels).all():
                raise ValueError(
                    f"{self._file.name(key)}: wanted the first and the last key of an identity's "
                    f"images, found the labels {stored.labels.tolist()}"
                )
            ranges[row] = stored.labels[:2]
        ranges = ranges[ranges[:, 0] < ranges[:, 1]]
        ranges = ranges[np.argsort(ranges[:, 0], kind="stable")]
        # End to end they are the images' keys, or some image has no identity, or two.
        ends = np.concatenate([[self.keys[0]], ranges[:, 1]])
        starts = np.concatenate([ranges[:, 0], [self.keys[-1] + 1]])
        if (starts != ends).any():
            at = np.flatnonzero(starts != ends)[0]
            raise ValueError(
                f"{self._file.path}: the ranges of the identities do not cover the images: one ends "
                f"before key {ends[at]}, the next begins at {starts[at]}"
            )
        labels = self._file.first_labels(ranges[:, 0])
        return np.repeat(labels, ranges[:, 1] - ranges[:, 0])

    def _identity_count(self, path: pathlib.Path) -> int:
        """From `property` ("identities,height,width"); without it, from the labels."""
        if not path.exists():
            return self._checked_count(
                int(self.labels.max()) + 1, f"the labels of {self._file.path}"
            )
        try:
            text = read_file(path, _MAX_PROPERTY).decode(errors="replace").strip()
        except OSError as error:
            raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
        first = text.split(",")[0].strip()
        if not (first.isascii() and first.isdecimal() and len(first) < 10 and int(first)):
            raise ValueError(
                f"{path}: wanted identities,height,width such as 85742,112,112; found {text[:40]!r}"
            )
        return self._checked_count(int(first), str(path))

    def _checked_count(self, count: int, told_by: str) -> int:
        """Refuses so many identities that their names alone would fill the memory."""
        if count > max(len(self.keys), MAX_EMPTY_CLASSES):
            raise ValueError(
                f"{told_by}: {count} identities for {len(self.keys)} images; more than images are "
                f"accepted up to {MAX_EMPTY_CLASSES} (MAX_EMPTY_CLASSES)"
            )
        return count


def _images_and_identities(file: RecordFile) -> tuple[np.ndarray, np.ndarray | None]:
    """Keys of the images, and of the records that describe identities, where there are such.

    Record 0 of InsightFace's files has two labels, the first key of those records and the key after
    the last; the images are before them, from key 1. Without it every record is an image.
    """
    first = file.read(0) if 0 in file else PackedRecord(np.zeros(1), False, b"")
    if not first.several:
        return file.keys, None
    if len(first.labels) < 2 or not 1 <= first.labels[0] <= first.labels[1] < 2.0**53:
        raise ValueError(
            f"{file.name(0)}: wanted the first key of the identities and the key after the last, "
            f"found the labels {first.labels.tolist()}"
        )
    begin, end = int(first.labels[0]), int(first.labels[1])
    # float32 rounds keys from 2^24 on, as Glint360K has them; records of identities hold no image.
    while begin >= _EXACT and begin - 1 in file and not file.read(begin - 1).payload:
        begin -= 1
    while begin >= _EXACT and begin in file and file.read(begin).payload:
        begin += 1
    images = file.keys[(file.keys >= 1) & (file.keys < begin)]
    identities = file.keys[(file.keys >= begin) & (file.keys < end)]
    if begin < _EXACT and len(images) != begin - 1:
        raise ValueError(
            f"{file.path}: record 0 tells of {begin - 1} images, the index lists {len(images)}"
        )
    return images, identities if len(identities) else None


def _identity(label: np.float32, name: str) -> np.int32:
    if not (0 <= label < 2.0**31 and label == np.floor(label)):
        raise ValueError(f"{name}: label {label} is no identity; wanted a whole number from 0")
    return np.int32(label)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordIO:
    """A training set in InsightFace's format, such as MS1MV3 or Glint360K: all in `train`.

    The folder holds `train.rec`, `train.idx` and `property`. Any record is read by itself, in any
    thread. `DisjointIdentities` can set people aside for testing; published results instead test on
    other data, see `read_verification_bin`.

    The images are stored as JPEG or PNG, whose decoded pixels are RGB. Some files in circulation
    were packed with red and blue swapped; look at a few (`contact_sheet`), for a model trained on
    blue faces fails on others without an error.

    Attributes:
      root: the folder.
      stem: name of the files without .rec and .idx.
      color_order: of what the stored images decode to; with "bgr" the channels are turned around,
        so that records are RGB in either case.
      size: resize to this size, see `fit_image`; None keeps the stored 112x112.
      fit: how to resize.
      channels: 1 (grey) or 3 (RGB).
      max_pixels: larger images raise.
    """

    root: str
    stem: str = "train"
    color_order: ColorOrder = "rgb"
    size: Size = None
    fit: Fit = "crop"
    channels: Literal[1, 3] = 3
    max_pixels: int = MAX_PIXELS

    def open(self, split: Split) -> Source:
        """Reads the index; images are read when asked for."""
        only_train(split, f"the record file in {self.root}")
        if self.color_order == "bgr" and self.channels == 1:
            raise ValueError("color_order='bgr' needs channels=3")
        return RecordIOSource(self)
