"""Reading an XML annotation file of Pascal VOC."""

import dataclasses
import os
import pathlib
import xml.etree.ElementTree as ElementTree

import numpy as np

from jaxcv.names import class_name

XML_SUFFIXES = frozenset({".xml"})
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_FLAGS = {"0": False, "1": True}


@dataclasses.dataclass(frozen=True, eq=False)
class VOCAnnotation:
    """The contents of one file, of an image with N objects.

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
    names = [f"{path}: object {number}" for number in range(1, len(objects) + 1)]
    labels = [_label(each, name) for each, name in zip(objects, names)]
    corners = [_corners(each, name) for each, name in zip(objects, names)]
    difficult = [_difficult(each, name) for each, name in zip(objects, names)]
    return VOCAnnotation(
        path=path,
        labels=tuple(labels),
        corners=np.asarray(corners, np.float64).reshape(-1, 4),
        difficult=np.asarray(difficult, bool),
        size=_size(root, path),
    )


def _label(element: ElementTree.Element, name: str) -> str:
    label = class_name(element.findtext("name") or "")
    if not label:
        raise ValueError(f"{name} has no <name> that tells its class")
    return label


def _corners(element: ElementTree.Element, name: str) -> list[float]:
    # Its own box: the parts of a person have boxes too, deeper.
    box = element.find("bndbox")
    if box is None:
        raise ValueError(f"{name} ({_label(element, name)}) has no <bndbox>")
    texts = [(box.findtext(corner) or "").strip() for corner in _CORNERS]
    for corner, text in zip(_CORNERS, texts):
        try:
            float(text)
        except ValueError:
            raise ValueError(
                f"{name} ({_label(element, name)}): <{corner}> is {text!r}, wanted a number"
            ) from None
    return [float(text) for text in texts]


def _difficult(element: ElementTree.Element, name: str) -> bool:
    text = (element.findtext("difficult") or "0").strip()
    if text not in _FLAGS:
        raise ValueError(f"{name}: <difficult> is {text!r}, wanted 0 or 1")
    return _FLAGS[text]


def _size(root: ElementTree.Element, path: pathlib.Path) -> tuple[int, int] | None:
    texts = [(root.findtext(f"size/{side}") or "0").strip() for side in ("height", "width")]
    try:
        height, width = (int(text) for text in texts)
    except ValueError:
        raise ValueError(
            f"{path}: <size> tells a height of {texts[0]!r} and a width of {texts[1]!r}, wanted pixels"
        ) from None
    return (height, width) if height > 0 and width > 0 else None
