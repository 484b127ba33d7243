"""Detections written in COCO's format, under the ids that the data set's own annotations have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np

from jaxcv.data import Source
from jaxcv.data.named_files import file_keys

# (annotation file, COCO's id of an image in it)
ImageId = tuple[str, int]


@dataclass(frozen=True)
class KnownImages:
    """The pictures that annotation files tell of, by which a picture is found again.

    Attributes:
        by_key: id of each file, see `jaxcv.data.named_files.file_keys`.
        by_name: id by name, without folder, and (height, width), where one picture alone has both; a data
            set that was copied elsewhere is known by it.
        largest: largest id of all.
    """

    by_key: dict[Hashable, ImageId] = field(default_factory=dict)
    by_name: dict[tuple[str, tuple[int, int]], ImageId] = field(default_factory=dict)
    largest: int = 0

    def own_ids(
        self, files: Sequence[str], keys: Sequence[Hashable], sizes: Sequence[tuple[int, int]]
    ) -> list[ImageId | None]:
        """The ids of different files [N]; None for a file of another origin.

        A file that merely has the name of a picture is it where no other file can be.
        """
        ids = [self.by_key.get(key) for key in keys]
        names = [self.by_name.get((PurePath(f).name, size)) for f, size in zip(files, sizes)]
        claims = Counter([*ids, *(name for name, own in zip(names, ids) if own is None)])
        return [own or (name if claims[name] == 1 else None) for own, name in zip(ids, names)]


def known_images(sources: Iterable[Source]) -> KnownImages:
    """The pictures of those sources that have `image_ids`, `image_sizes` and `annotation_file`."""
    by_key: dict[Hashable, ImageId] = {}
    named: dict[tuple[str, tuple[int, int]], set[ImageId]] = {}
    largest = 0
    for source in sources:
        told: Any = source
        if not all(hasattr(source, n) for n in ("image_ids", "image_sizes", "annotation_file")):
            continue
        files = [source.record_name(i) for i in range(len(source))]
        numbers, sizes = told.image_ids.tolist(), told.image_sizes
        for file, key, number, size in zip(files, file_keys(files), numbers, sizes):
            found = (str(told.annotation_file), number)
            by_key[key] = found
            named.setdefault((PurePath(file).name, tuple(size)), set()).add(found)
            largest = max(largest, number)
    by_name = {name: ids.pop() for name, ids in named.items() if len(ids) == 1}
    return KnownImages(by_key, by_name, largest)


class CocoTable:
    """Detections on several images in COCO's format.

    Images of the data set keep the ids that its annotation file gives them, so that the detections can be
    scored against it; other images are numbered from the first free number. Where images are of two
    annotation files that use one id for two pictures, all are numbered anew. `info` says what was done.

    Args:
        class_names: [C].
        category_ids: [C] COCO's id of each class.
        known: the pictures of the data set.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        category_ids: Sequence[int],
        known: KnownImages | None = None,
    ) -> None:
        self._ids = [int(i) for i in category_ids]
        self._categories = [{"id": i, "name": n} for i, n in zip(self._ids, class_names)]
        self._known = known or KnownImages()
        self._images: dict[Hashable, dict[str, Any]] = {}
        self._annotations: list[tuple[Hashable, dict[str, Any]]] = []

    def add(
        self,
        file: str,
        size: tuple[int, int],
        boxes: np.ndarray,
        scores: np.ndarray,
        classes: np.ndarray,
    ) -> None:
        """Adds an image of `size` (height, width) with boxes [N, 4], scores [N] and classes [N].

        A file that was added before, by whatever path, is passed over.
        """
        (key,) = file_keys([file])
        if key in self._images:
            return
        self._images[key] = {"file_name": file, "height": size[0], "width": size[1]}
        for box, score, c in zip(boxes, scores, classes):
            x0, y0, x1, y1 = box.tolist()
            annotation = {
                "category_id": self._ids[c],
                "bbox": rounded((x0, y0, x1 - x0, y1 - y0)),
                "area": round((x1 - x0) * (y1 - y0), 2),
                "iscrowd": 0,
                "score": float(score),
            }
            self._annotations.append((key, annotation))

    def content(self) -> dict[str, Any]:
        """The whole, to be written as JSON."""
        ids, said = self._image_ids()
        return {
            "info": {"description": said},
            "images": [{"id": ids[key], **image} for key, image in self._images.items()],
            "categories": self._categories,
            "annotations": [
                {"id": number, "image_id": ids[key], **annotation}
                for number, (key, annotation) in enumerate(self._annotations, 1)
            ],
        }

    def _image_ids(self) -> tuple[dict[Hashable, int], str]:
        """The id of each image, and in words where the ids are from."""
        images = self._images.values()
        found = self._known.own_ids(
            [image["file_name"] for image in images],
            list(self._images),
            [(image["height"], image["width"]) for image in images],
        )
        own = {key: number for key, number in zip(self._images, found) if number is not None}
        files = sorted({file for file, _ in own.values()})
        numbers = [number for _, number in own.values()]
        if len(set(numbers)) < len(numbers):
            anew = {key: number for number, key in enumerate(self._images, 1)}
            return anew, (
                "Images are numbered anew, from 1: an id stands for different pictures in "
                f"{' and '.join(files)}."
            )
        ids = {key: number for key, (_, number) in own.items()}
        others = [key for key in self._images if key not in ids]
        first = self._known.largest + 1 if own else 1
        ids.update({key: number for number, key in enumerate(others, first)})
        if not own:
            return (
                ids,
                "Images are numbered from 1: none is known by an annotation file of the data set.",
            )
        said = f"{len(own)} images have their ids of {' and '.join(files)}"
        return ids, said + (f"; {len(others)} others are numbered from {first}." if others else ".")


def rounded(values: Sequence[float] | np.ndarray) -> list[float]:
    """Pixels to a hundredth, as plain numbers."""
    return [round(float(value), 2) for value in values]
