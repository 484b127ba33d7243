"""Reading an XML annotation file of Pascal VOC."""

import dataclasses
import os
import pathlib
import xml.etree.ElementTree as ElementTree

import numpy as np

from jaxcv.data.named_files import plain_number
from jaxcv.names import class_name

XML_SUFFIXES = frozenset({".xml"})
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_NOT_FINITE = ("nan", "inf", "infinity")
_FLAGS = {"0": False, "1": True}
# What marks a place in an image: none may be passed over, or the place would be background.
_MARKS = frozenset({"object", "bndbox", "robndbox", "polygon", "annotation"})


@dataclasses.dataclass(frozen=True, eq=False)
class VOCAnnotation:
    """The contents of one file, of an image with N boxes.

    Attributes:
      path: the file.
      labels: [N] names of classes.
      corners: float64 [N, 4], (xmin, ymin, xmax, ymax) as they are written.
      difficult: bool [N].
      size: (height, width) of the image; None where it is not told, or told to be 0.
    """

    path: pathlib.Path
    labels: tuple[str, ...]
    corners: np.ndarray
    difficult: np.ndarray
    size: tuple[int, int] | None


def read_voc(path: pathlib.Path) -> VOCAnnotation:
    """Reads one file.

    Every `<bndbox>` of an `<object>` is a box of the object's class: some tools write several. Those of
    its `<part>`s - a person's head and hands - are none, and of an object with a box and its outline as a
    `<polygon>` the box is read.

    Raises:
      ValueError: it is no XML, or not of this layout; the message names the file and the object.
    """
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        # ValueError and LookupError: an encoding that is none.
        what = "is no XML" if os.path.getsize(path) else "is empty (0 bytes)"
        raise ValueError(f"{path}: {what} ({error}); wanted an annotation as VOC's") from None
    if root.tag != "annotation":
        raise ValueError(f"{path}: its element is <{root.tag}>, wanted <annotation> as in VOC's")
    objects = root.findall("object")
    _check_all_read(root, objects, path)
    labels: list[str] = []
    corners: list[list[float]] = []
    difficult: list[bool] = []
    for number, each in enumerate(objects, 1):
        name = f"{path}: object {number}"
        label, boxes = _label(each, name), _boxes(each, name)
        labels += [label] * len(boxes)
        corners += boxes
        difficult += [_difficult(each, name)] * len(boxes)
    return VOCAnnotation(
        path=path,
        labels=tuple(labels),
        corners=np.asarray(corners, np.float64).reshape(-1, 4),
        difficult=np.asarray(difficult, bool),
        size=_size(root, path),
    )


def _check_all_read(
    root: ElementTree.Element, objects: list[ElementTree.Element], path: pathlib.Path
) -> None:
    """Raises ValueError where something marks a place but is not where VOC has it."""
    read = {root, *objects}
    for each in objects:
        boxes = each.findall("bndbox")
        parts = [element for part in each.findall("part") for element in part.iter()]
        # An outline beside a box says the same more exactly.
        read.update(boxes, parts, each.iter("polygon") if boxes else ())
    for element in root.iter():
        tag = str(element.tag).rpartition("}")[2].lower()
        if tag in _MARKS and element not in read:
            raise ValueError(
                f"{path}: it has a <{element.tag}> that is not read: objects must be <object> directly "
                "below <annotation>, their boxes upright <bndbox> directly below <object>"
            )


def _text(element: ElementTree.Element, tag: str, name: str) -> str:
    """The text of the one child of this tag, "" without one."""
    found = element.findall(tag)
    if len(found) > 1:
        texts = ", ".join(repr((each.text or "").strip()) for each in found)
        raise ValueError(f"{name} has {len(found)} <{tag}>: {texts}; one must be left")
    return "".join(found[0].itertext()).strip() if found else ""


def _label(element: ElementTree.Element, name: str) -> str:
    label = _text(element, "name", name)
    if not label:
        raise ValueError(f"{name} has no <name> that tells its class")
    return class_name(label)


def _boxes(element: ElementTree.Element, name: str) -> list[list[float]]:
    # Its own boxes: the parts of a person have boxes too, deeper.
    boxes = element.findall("bndbox")
    named = f"{name} ({_label(element, name)})"
    if not boxes:
        raise ValueError(f"{named} has no <bndbox>")
    return [[_corner(box, corner, named) for corner in _CORNERS] for box in boxes]


def _corner(box: ElementTree.Element, corner: str, named: str) -> float:
    text = _text(box, corner, named)
    value = plain_number(text)
    if value is None:
        finite = ", which is not finite" if text.lower().lstrip("+-") in _NOT_FINITE else ""
        raise ValueError(f"{named}: <{corner}> is {text!r}{finite}, wanted a number")
    return value


def _difficult(element: ElementTree.Element, name: str) -> bool:
    text = _text(element, "difficult", name) or "0"
    if text not in _FLAGS:
        raise ValueError(f"{name}: <difficult> is {text!r}, wanted 0 or 1")
    return _FLAGS[text]


def _size(root: ElementTree.Element, path: pathlib.Path) -> tuple[int, int] | None:
    sizes = root.findall("size")
    if len(sizes) > 1:
        raise ValueError(f"{path}: it has {len(sizes)} <size>; one must be left")
    if not sizes:
        return None
    texts = [_text(sizes[0], side, f"{path}: <size>") or "0" for side in ("height", "width")]
    numbers = [plain_number(text) for text in texts]
    if any(number is None or number < 0 or number % 1 for number in numbers):
        raise ValueError(
            f"{path}: <size> tells a height of {texts[0]!r} and a width of {texts[1]!r}, wanted pixels"
        )
    height, width = (int(number or 0) for number in numbers)
    return (height, width) if height > 0 and width > 0 else None
