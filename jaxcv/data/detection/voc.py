"""Detection data in the format of Pascal VOC: a folder of images and a folder of XML files."""

import dataclasses
import os
import pathlib

import numpy as np

from jaxcv.data.detection.marked_files import (
    MarkedFiles,
    MarkedFileSource,
    Marks,
    check_inside,
)
from jaxcv.data.detection.voc_file import XML_SUFFIXES, VOCAnnotation, read_voc
from jaxcv.data.finding import existing_folder, files_by_name
from jaxcv.data.name_lists import check_disjoint, listed_names
from jaxcv.data.named_files import file_keys
from jaxcv.data.source import Source, Split, check_split, stratified_split
from jaxcv.names import class_name, nearest_name


@dataclasses.dataclass(frozen=True, kw_only=True)
class VOCDetection(MarkedFiles):
    """Images in one folder, and an XML file for each in another, or in the same, paired by name.

    `Annotations/a.xml` belongs to `JPEGImages/a.jpg`; what the XML file itself calls its image is
    passed over, since tools rename one without the other. Each XML file is a record, one without
    objects too; an image without an XML file is none. `difficult` marks an object that need not be
    found. VOC counts pixels from 1 and names the last pixel that belongs to the object, so that a
    box is (xmin - 1, ymin - 1, xmax, ymax) in the coordinates of `objects`.

    The test set is what `test_list` names, or else a fixed part of the records, chosen by a digest
    of their names; the training set is what `train_list` names, or else all that no other list
    does; the validation set is there where its list is given. Everything is checked when a split is
    opened. The source has `box_counts` besides.

    M. Everingham et al., The Pascal visual object classes challenge: a retrospective, 2015.

    Attributes:
      root: folder that the other paths are relative to.
      class_names: name of each class, in the order of the labels; None: those found in the XML
        files of all splits, sorted.
      images: folder of the images.
      annotations: folder of the XML files.
      train_list: text file with one name per line, such as "ImageSets/Main/train.txt"; see
        `listed_names`. No name may be in two lists.
      validation_list: likewise.
      test_list: likewise.
      one_based: whether coordinates are VOC's, as above; False takes them as they are, for tools
        that write corners counted from 0.

    The other fields are those of `MarkedFiles`.

    Example:
      >>> data = VOCDetection(
      ...     root="VOCdevkit/VOC2007",
      ...     train_list="ImageSets/Main/trainval.txt",
      ...     test_list="ImageSets/Main/test.txt",
      ...     size=320,
      ... )
      >>> data.annotations
      'Annotations'
    """

    root: str
    class_names: tuple[str, ...] | None = None
    images: str = "JPEGImages"
    annotations: str = "Annotations"
    train_list: str | None = None
    validation_list: str | None = None
    test_list: str | None = None
    one_based: bool = True

    def open(self, split: Split) -> Source:
        """Reads the annotations of one split and checks them; no image is decoded yet."""
        self.check()
        lists = {"validation": self.validation_list, "test": self.test_list}
        given = [part for part, file in lists.items() if file]
        if "test" not in given and (given or self.train_list):
            raise ValueError(
                "where some splits are told by lists, the test set must be too: test_list"
            )
        check_split(split, f"the folder {self.root}", sorted({*given, "train", "test"}))
        root = existing_folder(self.root)
        files = files_by_name(existing_folder(root / self.annotations), suffixes=XML_SUFFIXES)
        if not files:
            raise ValueError(f"{root / self.annotations}: there are no XML files in it")
        folder = existing_folder(root / self.images)
        images = files_by_name(folder, companions=folder.samefile(root / self.annotations))
        names = self._names(root, list(files), images, split)
        self._check_images(root, {name: files[name] for name in names}, images)
        if not self.allow_outside_root:
            xml = list(files.values())
            check_inside(root / self.annotations, xml, list(map(os.fspath, xml)))
        read = files if self.class_names is None else names
        found = {name: read_voc(files[name]) for name in read}
        class_names = tuple(map(class_name, self.class_names or ()))
        if self.class_names is None:
            class_names = tuple(sorted({label for each in found.values() for label in each.labels}))
        if not class_names:
            raise ValueError(
                f"{root / self.annotations}: no object is marked in its {len(files)} XML files, so "
                "that the classes are unknown; give class_names"
            )
        marks = [self._marks(images[name], found[name], class_names) for name in names]
        return MarkedFileSource(self, marks, class_names, os.fspath(root), root / self.images)

    def _names(
        self, root: pathlib.Path, known: list[str], images: dict[str, pathlib.Path], split: str
    ) -> list[str]:
        """Names of the records of a split."""
        lists = {
            "train": self.train_list,
            "validation": self.validation_list,
            "test": self.test_list,
        }
        if self.test_list is None:
            strata = np.zeros(len(known), np.int32)
            keys = file_keys([images.get(name, name) for name in known])
            parts = stratified_split(
                strata, known, self.test_fraction, self.split_seed, groups=keys
            )
            names = [known[i] for i in parts[split == "test"]]
            if not names:
                raise ValueError(
                    f"{root}: of its {len(known)} images, none is for {split!r}; give lists, or "
                    "another test_fraction"
                )
            return names
        listed = {
            f"{part} ({file})": listed_names(root / file, known, "XML file")
            for part, file in lists.items()
            if file
        }
        check_disjoint(listed)
        if lists[split]:
            return sorted(listed[f"{split} ({lists[split]})"])
        left_out = {name for names in listed.values() for name in names}
        names = [name for name in known if name not in left_out]
        if not names:
            raise ValueError(
                f"{root}: all its images are in the other lists; none is for {split!r}"
            )
        return names

    def _check_images(
        self, root: pathlib.Path, files: dict[str, pathlib.Path], images: dict[str, pathlib.Path]
    ) -> None:
        """Raises ValueError where an XML file has no image of its name."""
        missing = [name for name in files if name not in images]
        if missing:
            raise ValueError(
                f"{files[missing[0]]}: its image is missing; wanted "
                f"{root / self.images / missing[0]}.jpg or the like; "
                f"{len(missing)} of {len(files)} XML files have none"
                f"{nearest_name(missing[0], list(images))}"
            )

    def _marks(
        self, image: pathlib.Path, found: VOCAnnotation, class_names: tuple[str, ...]
    ) -> Marks:
        """What the XML file of one image tells."""
        for label in found.labels:
            if label not in class_names:
                raise ValueError(
                    f"{found.path}: class {label!r} is not among the {len(class_names)} of "
                    f"class_names{nearest_name(label, class_names)}"
                )
        return Marks(
            image=image,
            name=os.fspath(found.path),
            boxes=found.corners - (np.asarray([1, 1, 0, 0]) if self.one_based else 0),
            classes=np.asarray([class_names.index(label) for label in found.labels], np.int32),
            ignored=found.difficult,
            size=found.size,
        )
