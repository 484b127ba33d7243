"""Sources held in memory: arrays, .npz files, and scikit-learn's handwritten digits."""

import dataclasses
import functools
import gzip
import importlib.util
import pathlib
from typing import Any, Literal

import numpy as np

from jaxcv.data.fit import Fit, Size
from jaxcv.data.image_reader import ImageReader
from jaxcv.data.npz_file import read_arrays
from jaxcv.data.source import (
    Record,
    Source,
    SourceView,
    Split,
    check_split,
    int32_labels,
    numbered_classes,
    split_view,
    stratified_split,
)
from jaxcv.limits import MAX_ARRAY_BYTES


class ArraySource:
    """Records from arrays in memory.

    Args:
      images: uint8 [N, H, W] or [N, H, W, C], C = 1 or 3.
      labels: [N]; integers are classes, floats are regression targets.
      class_names: names of the classes; None names them "0", "1", ... up to the largest label.
      name: what messages call the arrays.
      size: resize on reading, see `fit_image`.
      fit: how to resize.
      channels: 1, 3, or None for what the images have.

    Attributes:
      image_reader: brings a file to the size and channels of the records.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        class_names: tuple[str, ...] | None = None,
        *,
        name: str = "arrays",
        size: Size = None,
        fit: Fit = "stretch",
        channels: int | None = None,
    ):
        self.images, self.labels = _checked(images, labels, name)
        integers = np.issubdtype(self.labels.dtype, np.integer)
        self._name = name
        if class_names is None:
            class_names = numbered_classes(self.labels, self.record_name) if integers else ()
        self.class_names = class_names
        height, width, stored = self.images.shape[1:]
        kind: Any = stored if channels is None else channels
        own = (height, width) if size is None else size
        self.image_reader = ImageReader(size=own, fit=fit, channels=kind)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Record:
        image = self.image_reader.fit_pixels(self.images[index])
        return {"image": image, "label": self.labels[index]}

    def fingerprint_arrays(self) -> dict[str, np.ndarray]:
        """The labels and the images, which lie in memory."""
        return {"label": self.labels, "image": self.images}

    def record_name(self, index: int) -> str:
        """`name[index]`."""
        return f"{self._name}[{index}]"


def _checked(images: np.ndarray, labels: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images as uint8 [N, H, W, C], labels as int32, float32 or float64 [N], or one clear line."""
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            f"{name}: images must be [N, H, W] or [N, H, W, 1 or 3]; found shape {images.shape}"
        )
    if images.dtype != np.uint8:
        raise ValueError(
            f"{name}: images must be uint8 in 0..255; found {images.dtype}. For values in 0..1 "
            "pass np.round(images * 255).astype(np.uint8)"
        )
    if len(images) == 0:
        raise ValueError(f"{name}: there are no images")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (len(images),):
        raise ValueError(
            f"{name}: {len(images)} images need labels of shape ({len(images)},); "
            f"found shape {labels.shape}"
        )
    if np.issubdtype(labels.dtype, np.floating):
        bad = np.flatnonzero(np.isfinite(labels) & (np.abs(labels) > np.finfo(np.float32).max))
        if len(bad):
            raise ValueError(f"{name}[{bad[0]}]: label {labels[bad[0]]} is too large for 32 bits")
        # Of a UNIX time float32 keeps two minutes: float64 stays.
        return images, labels if labels.dtype == np.float64 else labels.astype(np.float32)
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{name}: labels must be integers or floats; found {labels.dtype}")
    return images, int32_labels(labels, lambda i: f"{name}[{i}]")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Arrays:
    """Images and labels in memory, as a data set.

    Attributes:
      images: uint8 [N, H, W] or [N, H, W, C].
      labels: [N] integers (classes) or floats (regression).
      test_images: the test set; None takes a stratified part of `images`.
      test_labels: [M], with `test_images`.
      test_fraction: the part taken, where there is no test set.
      class_names: names of the classes; None names them by number.
      size: resize to this size on reading, see `fit_image`.
      fit: how to resize.
      channels: 1, 3, or None for what the images have.

    Example:
      >>> data = Arrays(images=np.zeros((8, 4, 4), np.uint8), labels=np.arange(8) % 2)
      >>> data.open("train")[0]["image"].shape
      (4, 4, 1)
    """

    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray | None = None
    test_labels: np.ndarray | None = None
    test_fraction: float = 0.2
    class_names: tuple[str, ...] | None = None
    size: Size = None
    fit: Fit = "stretch"
    channels: Literal[1, 3] | None = None

    def open(self, split: Split) -> Source:
        """Opens the train or test part."""
        return self.open_named(split, "arrays")

    def open_named(self, split: Split, name: str) -> Source:
        """`open`, with a name for the messages."""
        check_split(split, name)
        if (self.test_images is None) != (self.test_labels is None):
            raise ValueError(f"{name}: give both test_images and test_labels, or neither")
        train = self._source(self.images, self.labels, self.class_names, name)
        if self.test_images is not None and self.test_labels is not None:
            if split == "train":
                return train
            names = train.class_names
            return self._source(self.test_images, self.test_labels, names, f"{name} test")
        # Regression targets are no strata: all records form one.
        strata = train.labels if train.class_names else np.zeros(len(train), np.int32)
        parts = stratified_split(strata, list(map(str, range(len(train)))), self.test_fraction)
        return split_view(train, parts, split, name)

    def _source(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        class_names: tuple[str, ...] | None,
        name: str,
    ) -> ArraySource:
        return ArraySource(
            images,
            labels,
            class_names,
            name=name,
            size=self.size,
            fit=self.fit,
            channels=self.channels,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class NPZ:
    """Images and labels in a NumPy .npz file, read without pickle.

    Attributes:
      path: the file.
      train_images: name of the array of training images, uint8 [N, H, W] or [N, H, W, C].
      train_labels: name of the array of training labels [N].
      test_images: name of the test images; where the file lacks it, a stratified part is taken.
      test_labels: name of the test labels.
      test_fraction: the part taken, where there is no test set.
      class_names: names of the classes; None names them by number.
      size: resize to this size on reading, see `fit_image`.
      fit: how to resize.
      channels: 1, 3, or None for what the images have.
      max_bytes: arrays that are larger together raise, before any is inflated.
    """

    path: str
    train_images: str = "x_train"
    train_labels: str = "y_train"
    test_images: str = "x_test"
    test_labels: str = "y_test"
    test_fraction: float = 0.2
    class_names: tuple[str, ...] | None = None
    size: Size = None
    fit: Fit = "stretch"
    channels: Literal[1, 3] | None = None
    max_bytes: int = MAX_ARRAY_BYTES

    def open(self, split: Split) -> Source:
        """Reads the file and opens the train or test part."""
        check_split(split, self.path)
        path = pathlib.Path(self.path).expanduser()
        if not path.exists():
            raise ValueError(f"{path}: no such file")
        test_names = (self.test_images, self.test_labels)
        stored = read_arrays(
            path, (self.train_images, self.train_labels), test_names, self.max_bytes
        )
        arrays = Arrays(
            images=stored[self.train_images],
            labels=stored[self.train_labels],
            test_images=stored.get(self.test_images),
            test_labels=stored.get(self.test_labels),
            test_fraction=self.test_fraction,
            class_names=self.class_names,
            size=self.size,
            fit=self.fit,
            channels=self.channels,
        )
        return arrays.open_named(split, path.name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Digits:
    """The 1,797 handwritten digits that scikit-learn carries: 8x8 grey images, 10 classes.

    They are the test part of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak,
    UCI, 1998). The stored levels 0..16 are scaled to 0..255. Fixed split, stratified by class with
    `stratified_split(seed=0)`: 1,437 for training, 360 for testing.

    Attributes:
      size: resize to this size on reading, see `fit_image`; None keeps 8x8.
      channels: 1, or 3 equal ones.

    Example:
      >>> Digits().open("train")[0]["image"].shape
      (8, 8, 1)
    """

    size: Size = None
    channels: Literal[1, 3] = 1

    def open(self, split: Split) -> Source:
        """Opens the train or test part."""
        check_split(split, "Digits")
        levels, target = _stored_digits()
        images = np.round(levels * (255 / 16)).astype(np.uint8)
        whole = ArraySource(images, target, name="digits", size=self.size, channels=self.channels)
        names = list(map(str, range(len(whole))))
        parts = stratified_split(target, names, test_fraction=0.2)
        return SourceView(whole, parts[split == "test"])


@functools.cache
def _stored_digits() -> tuple[np.ndarray, np.ndarray]:
    """Levels 0..16 [N, 8, 8] and classes [N], read-only, from the file that `load_digits` reads.

    Read without importing scikit-learn, which takes longer than a first training step.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise ValueError("the digits come with scikit-learn, which is not installed")
    path = pathlib.Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if not path.is_file():  # another release may keep it elsewhere
        from sklearn.datasets import load_digits

        stored = load_digits()
        return stored.images, stored.target
    with gzip.open(path, "rt", encoding="ascii") as file:
        table = np.loadtxt(file, delimiter=",")
    table.flags.writeable = False
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)
