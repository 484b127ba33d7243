"""Reading a COCO annotation file into arrays, with every number in it checked."""

import dataclasses
import functools
import json
import math
import pathlib
import posixpath
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from jaxcv.data.named_files import first_twice, plain_number
from jaxcv.names import class_name

_FLAGS = {"0": False, "1": True, "false": False, "true": True}


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
        height] and, by choice, iscrowd (0 or 1, false or true) and area (a number of pixels). A flag
        or an area written as a text is read where the text can mean one thing alone, and `null` is as
        good as leaving it out.

    Raises:
      ValueError: there is no such file, it is no JSON, or not of this layout; a value that is none of
        those above; an id twice, or one that is not listed; one image under two ids. The message names
        the file and the id.
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
    twice = first_twice(names)
    if twice is not None:
        raise ValueError(
            f"{file}: two categories are called {names[twice[0]]!r}; rename one of them"
        )
    order = np.argsort(categories.ids)
    sizes = np.stack([images.wholes("height"), images.wholes("width")], axis=1)
    if (sizes < 1).any():
        bad = images.ids[int(np.argmax((sizes < 1).any(axis=1)))]
        raise ValueError(f"{file}: image id {bad} has no pixels; see its width and height")
    file_names = images.texts("file_name")
    check_images_once(file, images.ids, file_names, [posixpath.normpath(n) for n in file_names])
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
        file_names=tuple(file_names),
        sizes=sizes,
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        **arrays,
    )


def check_images_once(
    file: pathlib.Path, ids: Sequence[int], names: Sequence[str], keys: Sequence[Hashable]
) -> None:
    """Raises ValueError where one picture is listed twice: each time it would have half of its objects.

    Args:
      file: the annotation file.
      ids: [N] of the images.
      names: [N] what the file calls them.
      keys: [N] equal where two are one picture.
    """
    twice = first_twice(keys)
    if twice is not None:
        first, second = twice
        raise ValueError(
            f"{file}: image ids {ids[first]} ({names[first]}) and {ids[second]} ({names[second]}) are one "
            "picture; give all its annotations one image id and take the other out (both would be read as "
            "pictures of their own, each with a part of the objects)"
        )


def _parts(file: pathlib.Path) -> dict[str, list[Any]]:
    """The three lists of the file."""
    try:
        content = json.loads(file.read_bytes(), object_pairs_hook=_unique_keys)
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


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The dict of an object of the file, in which no key hides another."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"an object has the key {twice!r} twice")
    return found


class _Entries:
    """The entries of one list, whose ids are whole numbers, each once."""

    def __init__(self, file: pathlib.Path, kind: str, entries: list[Any], ids: str = "wanted"):
        self.file, self.kind, self.entries = file, kind, entries
        for place, entry in enumerate(entries):
            if not isinstance(entry, dict):
                raise ValueError(f"{file}: {kind} number {place} is no dict, but {entry!r:.60}")
        having = (
            None if ids == "wanted" else [p for p, entry in enumerate(entries) if "id" in entry]
        )
        self.ids = [int(value) for value in self._all("id", _whole, "a whole number", having)]
        twice = first_twice(self.ids)
        if twice is not None:
            number = self.ids[twice[0]]
            raise ValueError(f"{file}: {kind} id {number} is there twice; ids must differ")

    def name(self, place: int) -> str:
        """What to call an entry in a message: `image id 7`, or its number in the list."""
        entry = self.entries[place]
        return f"id {entry['id']}" if "id" in entry else f"number {place}"

    def wholes(self, key: str) -> np.ndarray:
        """Whole numbers int64 [N]."""
        return np.asarray(self._all(key, _whole, "a whole number"), np.int64).reshape(-1)

    def texts(self, key: str) -> list[str]:
        """Texts that are not empty."""
        return self._all(key, _text, "a text")

    def boxes(self, key: str) -> np.ndarray:
        """Lists of four numbers, float64 [N, 4]."""
        values = self._all(key, _box, "a list of four numbers")
        return np.asarray(values, np.float64).reshape(-1, 4)

    def flags(self, key: str) -> np.ndarray:
        """Yes or no, bool [N]; no where nothing is told."""
        told = self._told(key)
        flags = np.zeros(len(self.entries), bool)
        flags[told] = self._all(key, _flag, "0 or 1", told)
        return flags

    def areas(self, key: str) -> np.ndarray:
        """Numbers of pixels, float64 [N]; NaN where nothing is told."""
        told = self._told(key)
        areas = np.full(len(self.entries), math.nan)
        areas[told] = self._all(
            key, _area, "a number of pixels, or left out for the box's own", told
        )
        return areas

    def _told(self, key: str) -> list[int]:
        return [place for place, entry in enumerate(self.entries) if entry.get(key) is not None]

    def _all(
        self, key: str, read: Callable[[Any], Any], wanted: str, places: list[int] | None = None
    ) -> list[Any]:
        """What `read` makes of a key of the entries, of all or of some; None means that it cannot."""
        values = []
        for place in range(len(self.entries)) if places is None else places:
            given = self.entries[place].get(key)
            value = read(given)
            if value is None:
                there = f"{given!r:.60}" if key in self.entries[place] else "missing"
                raise ValueError(
                    f"{self.file}: {key!r} of {self.kind} {self.name(place)} is {there}; wanted {wanted}"
                )
            values.append(value)
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
    with np.errstate(over="ignore", invalid="ignore"):
        boxes[:, 2:] += boxes[:, :2]
    finite = np.isfinite(boxes).all(axis=1)
    if not finite.all():
        place = int(np.argmin(finite))
        name = images.entries[places[int(owners[place])]]["file_name"]
        corners = ", ".join(f"{value:g}" for value in boxes[place])
        raise ValueError(
            f"{entries.file}: annotation {entries.name(place)} of image id {owners[place]} ({name}): box "
            f"({corners}) is not finite; mend the annotation, or take it out"
        )
    return {
        "images": np.asarray([places[owner] for owner in owners.tolist()], np.int64),
        "boxes": boxes,
        "categories": labels,
        "crowds": entries.flags("iscrowd"),
        "areas": entries.areas("area"),
    }


# Readers of one value: what it says, or None where that is not certain.


def _whole(value: Any) -> int | None:
    """A whole number; 7.0 is one, as some programs write all numbers, "7" and True are none."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    is_whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    return value if is_whole else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None


def _box(value: Any) -> list[float] | None:
    numbers = [_number(v) for v in value] if isinstance(value, list) and len(value) == 4 else [None]
    return None if None in numbers else value


def _flag(value: Any) -> bool | None:
    if isinstance(value, str):
        return _FLAGS.get(value.strip().lower())
    is_flag = isinstance(value, bool | int | float) and value in (0, 1)
    return bool(value) if is_flag else None


def _area(value: Any) -> float | None:
    number = plain_number(value) if isinstance(value, str) else _number(value)
    return number if number is not None and 0 <= number < math.inf else None
