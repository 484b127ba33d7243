"""Sources of image files, above all a folder of class folders."""

import dataclasses
import difflib
import os
import pathlib
from collections.abc import Sequence
from typing import Literal

import numpy as np

from jaxcv.data.decode import MAX_PIXELS
from jaxcv.data.fit import Fit, Size, View
from jaxcv.data.image_reader import ImageReader, read_file
from jaxcv.data.named_files import file_keys
from jaxcv.data.random_resized_crop import DecodeRandomResizedCrop
from jaxcv.data.source import Record, Source, Split, check_split, split_view, stratified_split
from jaxcv.data.view import DECODE_MARGIN

_OF_JPEG, _OF_TIFF, _OF_PPM = (".jpg", ".jpeg", ".jpe"), (".tif", ".tiff"), (".ppm", ".pgm", ".pbm")
SUFFIXES = frozenset((*_OF_JPEG, *_OF_TIFF, *_OF_PPM, ".pnm", ".png", ".gif", ".webp", ".bmp"))


class FileSource:
    """Images read and decoded from files, one record a file.

    Args:
      root: folder that `paths` are relative to.
      paths: [N] files; also the records' names.
      labels: [N] int32 (classes) or float32 (regression).
      class_names: names of the classes; empty for regression.
      image_reader: reads them.
      random_resized_crop: what `Batches` is to show in training, or None for the images by `fit`.
    """

    def __init__(
        self,
        root: pathlib.Path,
        paths: Sequence[str],
        labels: np.ndarray,
        class_names: tuple[str, ...],
        image_reader: ImageReader,
        random_resized_crop: DecodeRandomResizedCrop | None = None,
    ):
        self.root, self.paths, self.labels, self.class_names = root, paths, labels, class_names
        self.image_reader, self.random_resized_crop = image_reader, random_resized_crop

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Record:
        image = self.image_reader.read(self.record_name(index))
        return {"image": image, "label": self.labels[index]}

    def read_views(
        self, indices: Sequence[int], views: Sequence[View], target: tuple[int, int]
    ) -> list[Record]:
        """Records of which only what a view shows is scaled, to `target`."""
        return [self._seen(index, view, target) for index, view in zip(indices, views)]

    def _seen(self, index: int, view: View, target: tuple[int, int]) -> Record:
        name = self.record_name(index)
        image = self.image_reader.decode_view(read_file(pathlib.Path(name)), view, target, name)
        return {"image": image, "label": self.labels[index]}

    def fingerprint_arrays(self) -> dict[str, np.ndarray]:
        """The labels."""
        return {"label": self.labels}

    def record_name(self, index: int) -> str:
        """Path of the file."""
        return os.fspath(self.root / self.paths[index])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder with one folder of images for each class.

    Either `root/train/CLASS/*` and `root/test/CLASS/*`, or `root/CLASS/*`, from which a fixed
    stratified part is taken as the test set (see `stratified_split`; a file's place depends on its
    path below `root`). Classes are numbered in the order of their names. Files are found at any
    depth below the class folder; hidden files and files without an image's suffix are passed over.

    Attributes:
      root: the folder.
      train_folder: name of the folder of training classes; where it is absent, `root` holds the
        classes.
      test_folder: name of the folder of test classes.
      test_fraction: part taken as the test set where there is no `train_folder`.
      split_seed: another seed takes another part.
      size: resize to this size, see `fit_image`; None needs images of one size.
      fit: how to resize.
      channels: 1 or 3.
      max_pixels: larger images raise.
      apply_exif: bring images upright by their EXIF orientation.
      decode_margin: how far a JPEG may be scaled down while it is decoded, see `jaxcv.data.view`;
        None decodes it whole.
      random_resized_crop: a random resized crop of each training image; None shows them by `fit`.
    """

    root: str
    train_folder: str = "train"
    test_folder: str = "test"
    test_fraction: float = 0.2
    split_seed: int = 0
    size: Size = None
    fit: Fit = "crop"
    channels: Literal[1, 3] = 3
    max_pixels: int = MAX_PIXELS
    apply_exif: bool = True
    decode_margin: float | None = DECODE_MARGIN
    random_resized_crop: DecodeRandomResizedCrop | None = None

    def open(self, split: Split) -> Source:
        """Lists the files and opens the train or test part; no image is read yet."""
        check_split(split, f"the folder {self.root}")
        if split != "train" and self.random_resized_crop is not None:
            return dataclasses.replace(self, random_resized_crop=None).open(split)
        root = pathlib.Path(self.root).expanduser()
        if not root.is_dir():
            raise ValueError(f"{root}: no such folder")
        train_root = root / self.train_folder
        if not _holds_folders(train_root):
            whole = self._source(root, _class_folders(root))
            keys = file_keys([root / path for path in whole.paths])
            parts = stratified_split(
                whole.labels, whole.paths, self.test_fraction, self.split_seed, groups=keys
            )
            return split_view(whole, parts, split, os.fspath(root))
        classes = _class_folders(train_root)
        if split == "train":
            return self._source(train_root, classes)
        test_root = root / self.test_folder
        if not test_root.is_dir():
            others = [n for n in _folders(root) if n != self.train_folder]
            raise ValueError(
                f"{root}: has a folder {self.train_folder!r} but none called {self.test_folder!r}; "
                f"name it with test_folder (found: {', '.join(others) or 'no other folder'})"
            )
        for name in _class_folders(test_root):
            if name not in classes:
                raise ValueError(
                    f"{test_root / name}: class {name!r} has no folder in {train_root}"
                    f"{nearest_name(name, classes)}"
                )
        return self._source(test_root, classes, may_lack=True)

    def _source(self, root: pathlib.Path, classes: list[str], may_lack: bool = False) -> FileSource:
        paths: list[str] = []
        labels: list[int] = []
        for label, name in enumerate(classes):
            files = image_files(root, name)
            if not files and not may_lack:
                raise ValueError(f"{root / name}: there are no images in this class folder")
            paths.extend(files)
            labels.extend([label] * len(files))
        if not paths:
            raise ValueError(f"{root}: there are no images in it")
        return FileSource(
            root,
            paths,
            np.asarray(labels, np.int32),
            tuple(classes),
            ImageReader(
                size=self.size,
                fit=self.fit,
                channels=self.channels,
                max_pixels=self.max_pixels,
                apply_exif=self.apply_exif,
                decode_margin=self.decode_margin,
            ),
            self.random_resized_crop,
        )


def _folders(root: pathlib.Path) -> list[str]:
    return sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _holds_folders(root: pathlib.Path) -> bool:
    return root.is_dir() and bool(_folders(root))


def _class_folders(root: pathlib.Path) -> list[str]:
    names = _folders(root)
    if not names:
        raise ValueError(
            f"{root}: there is no class folder in it; wanted one folder of images for each class"
        )
    return names


def image_files(
    root: pathlib.Path, name: str = "", suffixes: frozenset[str] = SUFFIXES
) -> list[str]:
    """Image files below root/name as sorted paths relative to root, with forward slashes.

    Files of other `suffixes` (in lower case) are found in the same way.
    """
    found = []
    for folder, subfolders, files in os.walk(root / name):
        subfolders[:] = [s for s in subfolders if not s.startswith(".")]
        for file in files:
            if not file.startswith(".") and os.path.splitext(file)[1].lower() in suffixes:
                found.append(pathlib.Path(folder, file).relative_to(root).as_posix())
    return sorted(found)


def nearest_name(name: str, known: Sequence[str]) -> str:
    """`; did you mean ...?` where a known name is near, else nothing."""
    nearest = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def existing_folder(name: str | pathlib.Path) -> pathlib.Path:
    """A folder by its name; ValueError where there is none."""
    root = pathlib.Path(name).expanduser()
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder")
    return root


def files_by_name(
    root: pathlib.Path,
    ending: str = "",
    without: str | None = None,
    suffixes: frozenset[str] = SUFFIXES,
) -> dict[str, pathlib.Path]:
    """Image files below a folder by their path in it, less file suffix and `ending`; sorted.

    Args:
      root: the folder.
      ending: end of the names, before the file's suffix, that is no part of the name; files whose
        names end otherwise are passed over.
      without: files whose names end so are passed over.
      suffixes: of the files, in lower case.
    """
    found: dict[str, pathlib.Path] = {}
    for path in image_files(root, suffixes=suffixes):
        name = path.removesuffix(pathlib.PurePosixPath(path).suffix)
        if not name.endswith(ending) or (without and name.endswith(without)):
            continue
        name = name.removesuffix(ending)
        if name in found:
            raise ValueError(
                f"{root / path}: there is {found[name].name} of the same name beside it; which of "
                "the two is meant cannot be told"
            )
        found[name] = root / path
    return dict(sorted(found.items()))


def listed_names(path: str | pathlib.Path, known: Sequence[str], what: str = "image") -> list[str]:
    """Names in a list file, one a line, with or without an image's suffix; each must be known.

    What follows a name in its line is passed over. `what` is that which is known by these names.
    """
    file = pathlib.Path(path).expanduser()
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: cannot be read as a list of names: {error}") from error
    names, there = [], set(known)
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        name, suffix = os.path.splitext(words[0])
        name = name if suffix.lower() in SUFFIXES else words[0]
        if name not in there:
            raise ValueError(
                f"{file}: line {number}: there is no {what} {words[0]!r}"
                f"{nearest_name(name, list(known))}"
            )
        names.append(name)
    if not names:
        raise ValueError(f"{file}: there are no names in it")
    return names
