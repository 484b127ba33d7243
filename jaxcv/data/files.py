"""Sources of image files, above all a folder of class folders."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from jaxcv.data.decode import MAX_PIXELS
from jaxcv.data.finding import (
    Found,
    existing_folder,
    find_files,
    folders_in,
    loose_files,
    one_file,
)
from jaxcv.data.fit import Fit, Size, View
from jaxcv.data.image_reader import ImageReader, read_file
from jaxcv.data.named_files import file_keys
from jaxcv.data.passed_over import PassedOver, say_once
from jaxcv.data.random_resized_crop import DecodeRandomResizedCrop
from jaxcv.data.source import Record, Source, Split, check_split, split_view, stratified_split
from jaxcv.data.view import DECODE_MARGIN
from jaxcv.names import class_name, nearest_name, printable


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
    path below `root`). Classes are numbered in the order of their names, which are those of the
    folders as `class_name` brings them into one form; two folders of one name are refused. Files are
    found at any depth below the class folder; what counts as a picture, and what is passed over and
    said, is told by `jaxcv.data.finding`. A file that links bring into training and test set is
    refused; one in two classes is said.

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
        root = existing_folder(self.root)
        train_root = root / self.train_folder
        if not (train_root.is_dir() and folders_in(train_root)):
            whole = self._source(root, class_folders(root))
            keys = file_keys([root / path for path in whole.paths])
            parts = stratified_split(
                whole.labels, whole.paths, self.test_fraction, self.split_seed, groups=keys
            )
            return split_view(whole, parts, split, os.fspath(root))
        classes = class_folders(train_root)
        test_root = root / self.test_folder
        if split == "train":
            return self._source(train_root, classes, other=test_root)
        if not test_root.is_dir():
            others = [n for n in folders_in(root) if n != self.train_folder]
            raise ValueError(
                f"{root}: has a folder {self.train_folder!r} but none called {self.test_folder!r}; "
                f"name it with test_folder (found: {', '.join(others) or 'no other folder'})"
            )
        of_test = class_folders(test_root)
        for name, folder in of_test.items():
            if name not in classes:
                raise ValueError(
                    f"{test_root / folder}: class {name!r} has no folder in {train_root}"
                    f"{nearest_name(name, classes)}"
                )
        there = {name: of_test.get(name) for name in classes}
        return self._source(test_root, there, other=train_root, may_lack=True)

    def _source(
        self,
        root: pathlib.Path,
        folders: Mapping[str, str | None],
        other: pathlib.Path | None = None,
        *,
        may_lack: bool = False,
    ) -> FileSource:
        """The files of the classes, each in the folder named; a class without one has no file.

        `other` is the folder of the other split, which may hold none of them. With `may_lack` a class
        may have no file.
        """
        paths: list[str] = []
        labels: list[int] = []
        linked: dict[str, str] = {}
        passed_over = PassedOver()
        for label, (name, folder) in enumerate(folders.items()):
            found = Found() if folder is None else find_files(root, folder)
            passed_over.update(found.passed_over)
            if not found.files and not may_lack:
                raise ValueError(
                    f"{root / (folder or name)}: there are no images in this class folder"
                    f"{found.passed_over.hint()}"
                )
            paths.extend(found.files)
            labels.extend([label] * len(found.files))
            linked.update(found.real)
        if not paths:
            raise ValueError(f"{root}: there are no images in it{passed_over.hint()}")
        if loose := loose_files(root):
            passed_over.add("in no class folder", loose[0], len(loose))
        passed_over.say(root)
        _check_links(root, Found(paths, passed_over, linked), other)
        return FileSource(
            root,
            paths,
            np.asarray(labels, np.int32),
            tuple(folders),
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


def class_folders(root: pathlib.Path) -> dict[str, str]:
    """The folders in a folder by `class_name`, in the order of these names.

    Raises:
      ValueError: there is none, or two have one name, in two Unicode forms or with other blanks.
    """
    found: dict[str, str] = {}
    for folder in folders_in(root):
        name = class_name(folder) or printable(folder)
        if name in found:
            raise ValueError(
                f"{root}: the folders {found[name]!a} and {folder!a} are both called {name!r}, only "
                "in other characters; put their files into one folder"
            )
        found[name] = folder
    if not found:
        raise ValueError(
            f"{root}: there is no class folder in it; there must be one folder of images per class"
        )
    return dict(sorted(found.items()))


def _check_links(root: pathlib.Path, found: Found, other: pathlib.Path | None) -> None:
    """Refuses a file that links bring into training and test set; says which are in two classes."""
    if other is not None and other.exists() and other.samefile(root):
        raise ValueError(f"{root} and {other} are one folder; training and test set must differ")
    if not found.real:
        return
    ours = [(os.fspath(root / f), p) for f, p in zip(found.files, found.real_paths(root))]
    if twice := one_file(ours):
        say_once(printable(f"{twice}, in two classes"))
    # A person's folder may be called "test", where `root` is both.
    if other is not None and other.is_dir() and not other.resolve().is_relative_to(root.resolve()):
        files = find_files(other)
        names = {place: name for name, place in ours}
        for file, place in zip(files.files, files.real_paths(other)):
            if place in names:
                raise ValueError(
                    f"{names[place]} and {other / file} are one file, {place}, in training and test set"
                )
