"""OpenCV's boosted cascades, which come with its wheel."""

import functools
import importlib
import threading
from typing import Any


class _Cascades(threading.local):
    """OpenCV's classifiers keep scratch memory: each thread has its own."""

    def __init__(self) -> None:
        self.loaded: dict[str, Any] = {}


_cascades = _Cascades()


def cascade(name: str) -> Any:
    """Returns this thread's `cv2.CascadeClassifier` of a name, such as "frontalface_alt2".

    Raises:
        ImportError: as `opencv`.
    """
    if name not in _cascades.loaded:
        cv2 = opencv()
        path = f"{cv2.data.haarcascades}haarcascade_{name}.xml"
        _cascades.loaded[name] = cv2.CascadeClassifier(path)
    return _cascades.loaded[name]


@functools.cache
def opencv() -> Any:
    """The module cv2.

    Raises:
        ImportError: OpenCV is missing, or too new to have cascades.
    """
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError:
        raise ImportError('finding faces needs OpenCV: pip install "jaxcv[faces]"') from None
    if not hasattr(cv2, "CascadeClassifier"):
        raise ImportError(
            f"OpenCV {cv2.__version__} has no cascades, which left it with version 5: pip install "
            '"jaxcv[faces]", or hand over a detector of your own'
        )
    return cv2
