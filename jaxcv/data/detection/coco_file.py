"""Reading a COCO annotation file into arrays, with every number in it checked."""

import dataclasses
import functools
import json
import math
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxcv.names import class_name


@dataclasses.dataclass(frozen=True, eq=False)
class CocoTable:
    """The contents of one annotation file: N images, C categories, A annotations.

    Attributes:
      path: the file.
      category_ids: int64 [C], ascending.
      category_names: [C] in that order.
      image_ids: int64 [N], in the order of the file.
      file_names: [N].
      sizes: int64 [N, 2], (height, width).
      boxes: float64 [A, 4], corners (x0, y0, x1, y1), in the order of the images; within an image
        in the order of the file.
      categories: int64 [A], category id of each.
      crowds: bool [A].
      areas: float64 [A]; NaN where the file tells none.
      starts: int64 [N + 1]; annotations starts[i] to starts[i + 1] belong to image i.
    """

    path: pathlib.Path
    category_ids: np.ndarray
    category_names: tuple[str, ...]
    image_ids: np.ndarray
    file_names: tuple[str, ...]
    sizes: np.ndarray
    boxes: np.ndarray
    categories: np.ndarray
    crowds: np.ndarray
    areas: np.ndarray
    starts: np.ndarray

    def rows(self, image: int) -> slice:
        """Annotations of image number `image`."""
        return slice(int(self.starts[image]), int(self.starts[image + 1]))


def read_coco(path: str) -> CocoTable:
    """Reads an annotation file; one that was read before, and has not changed, is not read again.

    Args:
      path: a JSON file as COCO's `instances_*.json`: `images` with id, file_name, width and height;
        `categories` with id and name; `annotations` with image_id, category_id, bbox [x, y, width,
        height] and, by choice, iscrowd and area.

    Raises:
      ValueError: there is no such file, it is no JSON, or not of this layout; an id twice, or one
        that is not listed. The message names the file and the id.
    """
    file = pathlib.Path(path).expanduser()
    try:
        stamp = file.stat()
    except OSError as error:
        raise ValueError(f"{file}: cannot be read as COCO annotations: {error.strerror}") from None
    return _read(file, stamp.st_mtime_ns, stamp.st_size)


# Two or three splits of one data set: each needs the categories of the training file.
@functools.lru_cache(maxsize=4)
def _read(file: pathlib.Path, time: int, size: int) -> CocoTable:
    del time, size  # of the file: they tell whether it is still the same
    parts = _parts(file)
    categories = _Entries(file, "category", parts["categories"])
    images = _Entries(file, "image", parts["images"])
    if not images.ids:
        raise ValueError(f"{file}: there are no images in it ('images' is empty)")
    if not categories.ids:
        raise ValueError(f"{file}: there are no classes in it ('categories' is empty)")
    names = [class_name(name) for name in categories.texts("name")]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{file}: two categories are called {twice!r}; rename one of them")
    order = np.argsort(categories.ids)
    sizes = np.stack([images.wholes("height"), images.wholes("width")], axis=1)
    if (sizes < 1).any():
        bad = images.ids[int(np.argmax((sizes < 1).any(axis=1)))]
        raise ValueError(f"{file}: image id {bad} has no pixels; see its width and height")
    annotations = _Entries(file, "annotation", parts["annotations"], "optional")
    found = _annotations(annotations, images, categories)
    by_image = np.argsort(found["images"], kind="stable")
    counts = np.bincount(found["images"], minlength=len(images.ids))
    arrays = {key: found[key][by_image] for key in ("boxes", "categories", "crowds", "areas")}
    return CocoTable(
        path=file,
        category_ids=np.asarray(categories.ids, np.int64)[order],
        category_names=tuple(names[i] for i in order),
        image_ids=np.asarray(images.ids, np.int64),
        file_names=tuple(images.texts("file_name")),
        sizes=sizes,
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        **arrays,
    )


def _parts(file: pathlib.Path) -> dict[str, list[Any]]:
    """The three lists of the file."""
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise ValueError(f"{file}: cannot be read as COCO annotations: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # no JSON, or no UTF-8
        what = "is empty (0 bytes)" if not file.stat().st_size else f"is no JSON: {error}"
        raise ValueError(f"{file}: {what}; wanted COCO annotations") from None
    if not isinstance(content, dict):
        results = "; a list is what results look like" if isinstance(content, list) else ""
        raise ValueError(
            f"{file}: holds a {type(content).__name__}, wanted a dict with images, annotations and "
            f"categories, as in COCO's instances_*.json{results}"
        )
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            raise ValueError(
                f"{file}: has no list {key!r}; it has {', '.join(map(repr, content)) or 'nothing'}. "
                "Wanted images, annotations and categories, as in COCO's instances_*.json"
            )
    return content


class _Entries:
    """The entries of one list, whose ids are whole numbers, each once."""

    def __init__(self, file: pathlib.Path, kind: str, entries: list[Any], ids: str = "wanted"):
        self.file, self.kind, self.entries = file, kind, entries
        for place, entry in enumerate(entries):
            if not isinstance(entry, dict):
                raise ValueError(f"{file}: {kind} number {place} is no dict, but {entry!r:.60}")
        self.ids: list[int] = []
        if ids == "wanted" or all("id" in entry for entry in entries):
            self.ids = [int(value) for value in self.wholes("id")]
        seen: set[int] = set()
        for number in self.ids:
            if number in seen:
                raise ValueError(f"{file}: {kind} id {number} is there twice; ids must differ")
            seen.add(number)

    def name(self, place: int) -> str:
        """What to call an entry in a message: `image id 7`, or its number in the list."""
        entry = self.entries[place]
        return f"id {entry['id']}" if "id" in entry else f"number {place}"

    def wholes(self, key: str) -> np.ndarray:
        """Whole numbers int64 [N]."""
        return np.asarray(self._all(key, _is_whole, "a whole number"), np.int64).reshape(-1)

    def texts(self, key: str) -> list[str]:
        """Texts that are not empty."""
        return self._all(key, lambda value: isinstance(value, str) and bool(value), "a text")

    def boxes(self, key: str) -> np.ndarray:
        """Lists of four numbers, float64 [N, 4]."""
        values = self._all(key, _is_box, "a list of four numbers")
        return np.asarray(values, np.float64).reshape(-1, 4)

    def _all(self, key: str, is_good: Callable[[Any], bool], wanted: str) -> list[Any]:
        values = [entry.get(key) for entry in self.entries]
        for place, value in enumerate(values):
            if not is_good(value):
                there = f"{value!r:.60}" if key in self.entries[place] else "missing"
                raise ValueError(
                    f"{self.file}: {key!r} of {self.kind} {self.name(place)} is {there}; wanted {wanted}"
                )
        return values


def _annotations(
    entries: _Entries, images: _Entries, categories: _Entries
) -> dict[str, np.ndarray]:
    """Arrays over the annotations; `images` holds the place of each one's image."""
    owners, labels = entries.wholes("image_id"), entries.wholes("category_id")
    for key, numbers, listed in (
        ("image", owners, images),
        ("category", labels, categories),
    ):
        unknown = ~np.isin(numbers, listed.ids)
        if unknown.any():
            place = int(np.argmax(unknown))
            known = ", ".join(map(str, sorted(listed.ids)[:10]))
            raise ValueError(
                f"{entries.file}: annotation {entries.name(place)} has {key} id {numbers[place]}, "
                f"which is not listed among the {len(listed.ids)} of the file: {known}"
                + (", ..." if len(listed.ids) > 10 else "")
            )
    places = {number: place for place, number in enumerate(images.ids)}
    boxes = entries.boxes("bbox")
    boxes[:, 2:] += boxes[:, :2]
    areas = [entry.get("area") for entry in entries.entries]
    return {
        "images": np.asarray([places[owner] for owner in owners.tolist()], np.int64),
        "boxes": boxes,
        "categories": labels,
        "crowds": np.asarray([bool(entry.get("iscrowd")) for entry in entries.entries], bool),
        "areas": np.asarray([a if _is_number(a) else math.nan for a in areas], np.float64),
    }


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))
