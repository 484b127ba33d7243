"""The image formats that jaxcv reads: Pillow's names, file suffixes, first bytes, decoders.

One table for all: what `decode` lets Pillow open, which files count as pictures in a folder, and what
a message advises where a format needs a plug-in that is not installed.
"""

import contextlib
import functools
import importlib
import importlib.util
import logging
import re
from dataclasses import dataclass

# Named here, so that they are imported here and not by the first thread that decodes.
from PIL import (  # noqa: F401
    BmpImagePlugin,
    GifImagePlugin,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

with contextlib.suppress(ImportError):  # before Pillow 11.2
    from PIL import AvifImagePlugin  # noqa: F401

logger = logging.getLogger(__name__)

# First bytes that `format_of` needs.
HEAD = 32


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
      name: Pillow's.
      suffixes: of its files, in lower case.
      head: pattern of the first bytes of its files.
      feature: part of Pillow that it needs, which some builds lack.
      plugin: module that decodes it where Pillow does not.
      package: that holds the plug-in.
    """

    name: str
    suffixes: tuple[str, ...]
    head: bytes
    feature: str | None = None
    plugin: str | None = None
    package: str | None = None

    @functools.cached_property
    def by_pillow(self) -> bool:
        """Whether this Pillow decodes it by itself."""
        return self.feature in features.get_supported() if self.feature else self.plugin is None

    @functools.cached_property
    def readable(self) -> bool:
        """Whether Pillow or an installed plug-in decodes it; the plug-in is not imported."""
        plugin = self.plugin is not None and importlib.util.find_spec(self.plugin) is not None
        return self.by_pillow or plugin


# ISO/IEC 14496-12 tells a file's kind by the "major brand" that follows "ftyp".
TABLE = (
    Format(
        "JPEG",  # .jfif is what Windows and Chrome save; an .mpo holds several pictures.
        (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".pjpeg", ".pjp", ".mpo"),
        rb"\xff\xd8\xff",
    ),
    Format("PNG", (".png", ".apng"), rb"\x89PNG\r\n\x1a\n"),
    Format("GIF", (".gif",), rb"GIF8[79]a"),
    Format("WEBP", (".webp",), rb"RIFF....WEBP", feature="webp"),
    Format("BMP", (".bmp", ".dib"), rb"BM....\0\0\0\0"),
    Format("TIFF", (".tif", ".tiff"), rb"II[*+]\0|MM\0[*+]"),
    Format("PPM", (".ppm", ".pgm", ".pbm", ".pnm"), rb"P[1-6]\s+[\d#]"),
    Format(
        "AVIF",
        (".avif", ".avifs"),
        rb"....ftypavi[fs]",
        feature="avif",
        plugin="pillow_avif",
        package="pillow-avif-plugin",
    ),
    Format(
        "JPEG2000",
        (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
        rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n",
        feature="jpg_2000",
    ),
    Format(
        "HEIF",
        (".heic", ".heif", ".heics", ".heifs", ".hif"),
        rb"....ftyp(?:he[iv][cxms]|mif1|msf1)",
        plugin="pillow_heif",
        package="pillow-heif",
    ),
    Format(
        "JXL",
        (".jxl",),
        rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
        plugin="pillow_jxl",
        package="pillow-jxl-plugin",
    ),
)
# Of files that count as pictures by their name alone.
SUFFIXES = frozenset(suffix for each in TABLE if each.readable for suffix in each.suffixes)
# Of pictures that nothing installed here decodes, and the format of each.
UNREADABLE = {suffix: each for each in TABLE if not each.readable for suffix in each.suffixes}


@functools.cache
def accepted_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read; the first call imports the plug-ins there are."""
    names = []
    for each in TABLE:
        if not each.readable:
            continue
        if not each.by_pillow and each.plugin is not None:
            try:
                plugin = importlib.import_module(each.plugin)
            except ImportError as error:
                logger.warning("%s cannot be imported: %s", each.plugin, error)
                continue
            if each.name == "HEIF":  # The others register themselves.
                plugin.register_heif_opener()
        names.append(each.name)
    return tuple(names)


def format_of(head: bytes) -> Format | None:
    """The format that a file's first `HEAD` bytes look like, or None.

    Example:
      >>> format_of(b"GIF89a" + bytes(26)).name
      'GIF'
    """
    return next((each for each in TABLE if re.match(each.head, head, re.DOTALL)), None)


def advice(data: bytes) -> str:
    """What to install for an encoded image of a format that is not read here; else nothing."""
    found = format_of(data[:HEAD])
    if found is None or found.readable:
        return ""
    if found.package is None:
        return f"; it is {found.name}, which this build of Pillow cannot decode"
    return f"; it is {found.name}: pip install {found.package}"
