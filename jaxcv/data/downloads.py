"""Raw files of a data set: found where people keep them, else downloaded; always verified."""

import hashlib
import os
import pathlib
import tempfile
import urllib.error
import urllib.request
from typing import Any

from jaxcv.atomic import sync

_BLOCK = 1 << 20
_TIMEOUT = 60  # seconds without a byte


def raw_file(
    name: str,
    url: str,
    info: Any,
    data_dir: pathlib.Path,
    *,
    raw_dir: str | None = None,
    download: bool = True,
    verify_checksums: bool = True,
) -> pathlib.Path:
    """The local copy of one raw file of a TFDS data set.

    Args:
      name: the data set.
      url: where TFDS gets the file.
      info: TFDS's `UrlInfo` of it: size, SHA-256, file name.
      data_dir: folder of prepared data sets; `downloads/manual` and `downloads` in it are searched.
      raw_dir: a folder searched before those.
      download: whether to download what is found nowhere, to `downloads/NAME` in `data_dir`.
      verify_checksums: whether a file that is not the registered one is refused.

    Raises:
      ValueError: the file is not to be had, or is not the registered one.
    """
    from tensorflow_datasets.core.download import resource

    cached = resource.get_dl_fname(url, info.checksum)
    downloads = data_dir / "downloads"
    places = [
        downloads / "manual" / info.filename,
        downloads / name / info.filename,
        downloads / name / cached,
        downloads / cached,
    ]
    if raw_dir is not None:
        places.insert(0, pathlib.Path(raw_dir).expanduser() / info.filename)
    for place in places:
        if place.is_file():
            if verify_checksums:
                _verify(place, place, info)
            return place
    if not download:
        looked = ", ".join(dict.fromkeys(str(place.parent) for place in places))
        raise ValueError(f"data set {name!r} needs {info.filename}, which is not in {looked}")
    return _download(name, url, info, downloads, verify_checksums)


def _download(
    name: str, url: str, info: Any, downloads: pathlib.Path, verify_checksums: bool
) -> pathlib.Path:
    target = downloads / name / info.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=target.parent, prefix=info.filename, suffix=".part")
    try:
        with (
            os.fdopen(handle, "wb") as file,
            urllib.request.urlopen(url, timeout=_TIMEOUT) as answer,
        ):
            received = 0
            while block := answer.read(_BLOCK):
                received += len(block)
                if verify_checksums and received > int(info.size):
                    raise ValueError(
                        f"{url}: sends more than the registered {int(info.size)} bytes"
                    )
                file.write(block)
        if verify_checksums:
            _verify(pathlib.Path(part), url, info)
        sync(pathlib.Path(part))
        os.replace(part, target)
        sync(target.parent)
    except OSError as error:
        raise ValueError(
            f"cannot download {url} ({error}); put {info.filename} into {downloads / 'manual'}"
        ) from error
    finally:
        pathlib.Path(part).unlink(missing_ok=True)
    return target


def _verify(path: pathlib.Path, shown: object, info: Any) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = path.stat().st_size
    if digest != info.checksum or size != int(info.size):
        raise ValueError(
            f"{shown} is not the registered file: {size} bytes, sha256 {digest}; "
            f"wanted {int(info.size)} bytes, sha256 {info.checksum}"
        )
