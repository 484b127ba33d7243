"""Builds the library of `jaxcv.data.native`, if its pixels are Pillow's: see there."""

import ctypes
import io
import os
import pathlib
import subprocess
import sys

import numpy as np
from PIL import Image

from jaxcv.data import native
from jaxcv.data.native import OPTIONS, is_down_first, library_path, load, opened


class BuildError(RuntimeError):
    """The library cannot be built, or does not do as Pillow does."""


def build() -> pathlib.Path:
    """Compiles the library, compares it with Pillow, and puts it where `load` finds it.

    Raises:
      BuildError: there is no compiler or no libjpeg-turbo, or a pixel differs.
    """
    path = library_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    unproved = path.with_suffix(f".{os.getpid()}.unproved")
    compiler = os.environ.get("CC", "cc")
    command = [
        compiler,
        *OPTIONS,
        os.fspath(native.SOURCE),
        "-ljpeg",
        "-lm",
        "-o",
        os.fspath(unproved),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"{compiler} cannot be run ({error}); install a C compiler") from None
    if done.returncode:
        raise BuildError(
            f"{' '.join(command)} failed; are libjpeg-turbo's headers there?\n{done.stderr}"
        )
    try:
        check(opened(unproved))
        unproved.replace(path)
    finally:
        unproved.unlink(missing_ok=True)
    load.cache_clear()
    return path


def check(library: ctypes.CDLL) -> None:
    """Compares the library with Pillow on windows of a few JPEGs; BuildError where a byte differs."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (31, 47, 3), dtype=np.uint8)
    photo = Image.fromarray(noise).resize((333, 205), Image.Resampling.BICUBIC)
    for mode, options in (("RGB", {"subsampling": 2}), ("RGB", {"subsampling": 0}), ("L", {})):
        file = io.BytesIO()
        photo.convert(mode).save(file, "JPEG", quality=90, **options)
        data = file.getvalue()
        for reduced, box, width in (
            (1, (100.3, 50.2, 290.7, 170.9), 64),
            (2, (3.5, 60.0, 166.5, 102.5), 64),
            (1, (100.3, 50.2, 290.7, 170.9), 320),  # scaled down before across by Pillow 13
        ):
            image = Image.open(io.BytesIO(data))
            image.draft(None, (photo.width // reduced, photo.height // reduced))
            wanted = np.asarray(image.resize((width, 48), Image.Resampling.BILINEAR, box))
            found = np.zeros((48, width, len(mode)), np.uint8)
            down_first = is_down_first((image.height, image.width), (48, width))
            done = library.jaxcv_show(
                *(data, len(data), reduced, image.height, image.width),
                *((ctypes.c_float * 4)(*box), 48, width, len(mode)),
                *(found.ctypes.data, found.strides[0], down_first),
            )
            if not done or (found.reshape(wanted.shape) != wanted).any():
                raise BuildError(
                    f"its pixels of a {mode} JPEG are not those of Pillow {Image.__version__}; "
                    "libjpeg-turbo is too old or another libjpeg, so that it cannot be used"
                )


def main() -> None:
    """Builds the library and says where it is."""
    try:
        print(f"built {build()}; its pixels are Pillow's")
    except BuildError as error:
        sys.exit(f"not built: {error}")


if __name__ == "__main__":
    main()
