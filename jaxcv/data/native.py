"""Faster decoding of JPEGs by a few lines of C, for those who build them; the pixels stay the same.

    python -m jaxcv.data.native_build

compiles `native_view.c` with the machine's C compiler and libjpeg-turbo (on Debian and Ubuntu: `apt
install gcc libjpeg-dev`), compares its pixels with Pillow's, and puts the library into the cache
folder, $XDG_CACHE_HOME/jaxcv or ~/.cache/jaxcv. From then on `decode_view` uses it for upright JPEGs
of the right number of channels. Nothing else changes: every byte is that of Pillow's decoder and
filter, and whatever is unusual about a file is left to Pillow to decode or to refuse. Without the
library all works as before. JAXCV_NATIVE=0 leaves it unused.

What it saves is work on pixels that nobody sees: rows above, below and beside the part that is shown
are not transformed, no row is kept at full size, and no interpreter lock is held.
"""

import ctypes
import functools
import hashlib
import os
import pathlib
import platform

import numpy as np
from PIL import Image

from jaxcv.data.fit import Placement

SOURCE = pathlib.Path(__file__).with_name("native_view.c")
# No contraction of a * b + c: the weights of the filter are to be Pillow's to the last bit.
OPTIONS = ("-O3", "-march=native", "-ffp-contract=off", "-shared", "-fPIC")
_END_OF_IMAGE = b"\xff\xd9"


def show_jpeg(
    data: bytes, reduced: int, place: Placement, size: tuple[int, int], out: np.ndarray
) -> bool:
    """Writes what is placed of a JPEG into a black canvas, if the library is there and can.

    Args:
      data: the bytes of the file.
      reduced: what its sides are divided by while decoding: 1, 2, 4 or 8.
      place: where it goes; its box in pixels of the reduced image.
      size: (height, width) of the reduced image.
      out: uint8 [H, W, 1 or 3], as many channels as the file has.

    Returns:
      Whether it was done; if not, `out` holds anything.
    """
    library = load()
    # A file that is cut off is Pillow's to refuse; the end of it may never be looked at here.
    if library is None or not data.endswith(_END_OF_IMAGE):
        return False
    down_first = is_down_first(size, place.size)
    if down_first is None:
        return False
    window = out[place.window]
    done = library.jaxcv_show(
        data,
        len(data),
        reduced,
        *size,
        (ctypes.c_float * 4)(*place.box),
        *place.size,
        out.shape[2],
        window.ctypes.data,
        window.strides[0],
        down_first,
    )
    return bool(done)


def is_down_first(size: tuple[int, int], scaled: tuple[int, int]) -> bool | None:
    """Whether Pillow scales down before it scales across; None where its version is to decide.

    Pillow 13 does so where the height shrinks by more than twice as many pixels as the width
    (seen in its results; its pull request 9549), whatever part of the image is scaled. Pillow 12
    did so for some images over 100 times as high as wide, and its elders never.
    """
    (height, width), (rows, columns) = size, scaled
    if int(Image.__version__.split(".")[0]) >= 13:
        return rows < height and height - rows > 2 * (width - columns)
    return None if height > 100 * width else False


@functools.cache
def load() -> ctypes.CDLL | None:
    """The library, if it was built for this source and this processor; looked for once."""
    if os.environ.get("JAXCV_NATIVE") == "0" or not library_path().is_file():
        return None
    return opened(library_path())


def opened(path: pathlib.Path) -> ctypes.CDLL:
    """The library in a file, its function's arguments declared."""
    library = ctypes.CDLL(os.fspath(path))
    integer, pointer, size = ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t
    floats = ctypes.POINTER(ctypes.c_float)
    library.jaxcv_show.argtypes = (
        *(ctypes.c_char_p, size, integer, integer, integer, floats),
        *(integer, integer, integer, pointer, size, integer),
    )
    library.jaxcv_show.restype = integer
    return library


def library_path() -> pathlib.Path:
    """Where the library of this source for this processor lies, whether it is there or not."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    made_of = [SOURCE.read_text(), *OPTIONS, platform.machine(), _processor()]
    digest = hashlib.sha256("\0".join(made_of).encode()).hexdigest()[:16]
    return cache / "jaxcv" / f"native_view_{digest}.so"


def _processor() -> str:
    """What -march=native goes by: a cache folder may be shared by unlike machines."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = ("flags", "Features", "model name")
    return "\n".join(sorted({line for line in lines if line.startswith(names)}))
