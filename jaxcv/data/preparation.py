"""Preparing TFDS data sets as array_record: four well-known ones without TensorFlow, others with.

MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100 are written by builders that take name, version,
features, keys and order from TFDS's own and differ only in who encodes the PNGs; TFDS reads what
they write as its own. Their raw files are looked for, by their official names, in `raw_dir` and in
TFDS's folders `<data_dir>/downloads/manual` and `<data_dir>/downloads`, and downloaded if they are
nowhere; each must have the size and the SHA-256 that TFDS registers for it.
"""

import bz2
import gzip
import importlib.util
import io
import lzma
import os
import pathlib
import struct
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from jaxcv.data.downloads import raw_file
from jaxcv.data.tfds import data_directory, prepared, unknown_data_set
from jaxcv.limits import MAX_ARCHIVE_BYTES, MAX_IDX_BYTES
from jaxcv.regular_file import open_file

WITHOUT_TENSORFLOW = ("cifar10", "cifar100", "fashion_mnist", "mnist")

_CIFAR_IMAGE = 3 * 32 * 32

# (key, example) pairs of one split.
Examples = Iterator[tuple[int, dict[str, Any]]]


def prepare(
    name: str,
    *,
    data_dir: str | None = None,
    raw_dir: str | None = None,
    download: bool = True,
    verify_checksums: bool = True,
) -> pathlib.Path:
    """Prepares a TFDS data set as array_record; one that is prepared already is left alone.

    Args:
      name: `name`, `name:version`, `name/config` or `name/config:version`.
      data_dir: where prepared data sets go; None means $TFDS_DATA_DIR, else ~/tensorflow_datasets.
      raw_dir: a folder that holds the raw files.
      download: whether files of those four that are found nowhere may be downloaded.
      verify_checksums: False takes raw files of those four that are not the registered ones; for
        tests, and for mirrors that pack them anew.

    Returns:
      The folder of the prepared version.

    Raises:
      ValueError: there is no such data set, or no such version; a raw file is absent, damaged or
        not the registered one; the data set needs TensorFlow, which is not installed.
    """
    base, _, version = name.partition(":")
    for folder in reversed(prepared(data_dir).get(base, [])):
        if version in ("", folder.name):
            return folder
    if base not in WITHOUT_TENSORFLOW:
        return _prepare_with_tensorflow(name, data_dir, raw_dir)
    where = data_directory(data_dir)
    parent = _tfds_builder(base)
    if version not in ("", str(parent.VERSION)):
        raise ValueError(f"data set {base!r} is prepared as {parent.VERSION}, not {version!r}")
    files = {
        info.filename: raw_file(
            base,
            url,
            info,
            where,
            raw_dir=raw_dir,
            download=download,
            verify_checksums=verify_checksums,
        )
        for url, info in parent.url_infos.items()
    }
    return _write(parent, where, files)


def _prepare_with_tensorflow(name: str, data_dir: str | None, raw_dir: str | None) -> pathlib.Path:
    """Any data set, by TFDS's own builder, which looks after downloads and checksums itself."""
    base = name.partition(":")[0]
    unknown = unknown_data_set(base, data_dir)
    if unknown is not None:
        raise unknown
    if importlib.util.find_spec("tensorflow") is None:
        raise ValueError(
            f"preparing data set {base!r} needs TensorFlow (reading it does not): run "
            "pip install 'jaxcv[tf]', here or on another machine whose folder is then copied. "
            f"Prepared without it: {', '.join(WITHOUT_TENSORFLOW)}"
        )
    import tensorflow_datasets as tfds

    config = tfds.download.DownloadConfig(manual_dir=raw_dir, try_download_gcs=False)
    builder = tfds.builder(
        name, data_dir=os.fspath(data_directory(data_dir)), file_format="array_record"
    )
    builder.download_and_prepare(download_config=config)
    return pathlib.Path(os.fspath(builder.data_dir))


def _tfds_builder(name: str) -> Any:
    """TFDS's builder class, which gives name, version, features and registered files."""
    from tensorflow_datasets.image_classification import cifar, mnist

    return {
        "cifar10": cifar.Cifar10,
        "cifar100": cifar.Cifar100,
        "fashion_mnist": mnist.FashionMNIST,
        "mnist": mnist.MNIST,
    }[name]


def _write(parent: Any, where: pathlib.Path, files: dict[str, pathlib.Path]) -> pathlib.Path:
    """Runs the builder that reads `files` in place of TFDS's own reading."""
    import tensorflow_datasets as tfds

    if parent.name.startswith("cifar"):
        (archive,) = files.values()
        class_names, splits = _cifar(parent.name, archive)
    else:
        class_names, splits = {}, _mnist(files)

    # The name is taken in TFDS's register.
    class Builder(parent, skip_registration=True):  # type: ignore[call-arg]
        """`parent` with other reading; the name and the version decide the folder."""

        name = parent.name

        def _split_generators(self, dl_manager: Any) -> dict[str, Examples]:
            for label, names in class_names.items():
                self.info.features[label].names = names
            return {split: examples() for split, examples in splits.items()}

    config = tfds.download.DownloadConfig(try_download_gcs=False)
    with tempfile.TemporaryDirectory() as scratch:
        builder = Builder(data_dir=os.fspath(where), file_format="array_record")
        builder.download_and_prepare(download_dir=scratch, download_config=config)
    return pathlib.Path(os.fspath(builder.data_dir))


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _mnist(files: dict[str, pathlib.Path]) -> dict[str, Callable[[], Examples]]:
    """Splits of MNIST and its kin, from the four IDX files."""

    def examples(part: str) -> Examples:
        images = _idx(files[f"{part}-images-idx3-ubyte.gz"], dimensions=3)
        labels = _idx(files[f"{part}-labels-idx1-ubyte.gz"], dimensions=1)
        if len(images) != len(labels):
            raise ValueError(f"{part}: {len(images)} images but {len(labels)} labels")
        for index, (image, label) in enumerate(zip(images, labels)):
            yield index, {"image": _png(image), "label": int(label)}

    return {"train": lambda: examples("train"), "test": lambda: examples("t10k")}


def _idx(path: pathlib.Path, dimensions: int) -> np.ndarray:
    """An array of unsigned bytes in gzipped IDX: 0 0 8 D, D big-endian sizes, the bytes."""
    try:
        with open_file(path) as packed, gzip.open(packed) as file:
            magic = file.read(4)
            if magic != bytes((0, 0, 8, dimensions)):
                raise ValueError(f"it starts with {magic!r}, not with an IDX header")
            shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
            count = int(np.prod(shape, dtype=np.int64))
            if not 0 < count <= MAX_IDX_BYTES:
                raise ValueError(f"its header claims the shape {shape}")
            data = file.read(count + 1)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise ValueError(f"{path}: not a whole gzipped IDX file: {error}") from error
    if len(data) != count:
        raise ValueError(f"{path}: its header claims {shape}, which its length does not match")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _cifar(
    name: str, archive: pathlib.Path
) -> tuple[dict[str, list[str]], dict[str, Callable[[], Examples]]]:
    """Class names and splits of CIFAR-10 or CIFAR-100, from the official binary archive."""
    if name == "cifar10":
        folder, label_files = "cifar-10-batches-bin", {"label": "batches.meta.txt"}
        parts = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
    else:
        folder = "cifar-100-binary"
        # In the order of the label bytes before each image.
        label_files = {"coarse_label": "coarse_label_names.txt", "label": "fine_label_names.txt"}
        parts = {"train": ["train.bin"], "test": ["test.bin"]}
    wanted = [*label_files.values(), *parts["train"], *parts["test"]]
    members = _members(archive, [f"{folder}/{file}" for file in wanted])
    class_names = {
        label: members[f"{folder}/{file}"].decode().split() for label, file in label_files.items()
    }

    def examples(split: str) -> Examples:
        index = 0
        for file in parts[split]:
            data = np.frombuffer(members[f"{folder}/{file}"], np.uint8)
            width = len(label_files) + _CIFAR_IMAGE
            if len(data) % width:
                raise ValueError(f"{archive}: {file} is not a whole number of records")
            for row in data.reshape(-1, width):
                labels = dict(zip(label_files, map(int, row)))
                pixels = row[len(label_files) :].reshape(3, 32, 32).transpose(1, 2, 0)
                image = _png(np.ascontiguousarray(pixels))
                yield index, {"id": f"{split}_{index:05d}", "image": image, **labels}
                index += 1

    return class_names, {"train": lambda: examples("train"), "test": lambda: examples("test")}


def _members(archive: pathlib.Path, names: Sequence[str]) -> dict[str, bytes]:
    """Named files of a tar archive, read into memory: nothing is unpacked to disk.

    It is read once from its beginning and never beyond `MAX_ARCHIVE_BYTES`, inflated: members that are
    passed over must be inflated too, and so are long names, whose length the archive tells.
    """
    found: dict[str, bytes] = {}
    try:
        with open_file(archive) as packed, _inflating(packed) as inflated:
            stream: Any = _UpTo(inflated, MAX_ARCHIVE_BYTES)
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                for member in tar:
                    if member.name in names and member.isfile():
                        file = tar.extractfile(member)
                        found[member.name] = file.read() if file else b""
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"{archive}: cannot be read: {error}") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"{archive}: there is no {missing[0]} in it")
    return found


def _inflating(packed: BinaryIO) -> Any:
    """What reads a file as it was before gzip, bzip2 or xz, by its first bytes."""
    start = packed.read(6)
    packed.seek(0)
    for signature, open_packed in (
        (b"\x1f\x8b", gzip.open),
        (b"BZh", bz2.open),
        (b"\xfd7zXZ\0", lzma.open),
    ):
        if start.startswith(signature):
            return open_packed(packed)
    return packed


class _UpTo:
    """A stream that is read up to a limit, beyond which it raises.

    Args:
      stream: what is read.
      limit: bytes.
    """

    def __init__(self, stream: Any, limit: int) -> None:
        self._stream, self._limit, self._left = stream, limit, limit

    def read(self, size: int) -> bytes:
        """As `stream.read`; ValueError where the limit is passed."""
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise ValueError(f"it inflates to more than the limit of {self._limit} bytes")
        return data
