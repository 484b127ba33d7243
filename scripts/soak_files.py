"""One small sound file of every kind that jaxcv reads, and how it is read: what `scripts.soak` mutates."""

from __future__ import annotations

import io
import json
import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxcv.configs import digits_lenet
from jaxcv.data import (
    CSV,
    NPZ,
    COCODetection,
    MaskFolder,
    RecordIO,
    VOCDetection,
    decode_image,
    decode_mask,
    read_pairs,
    read_verification_bin,
)
from jaxcv.faces.gallery.device_gallery import DeviceGallery
from jaxcv.train import read_config, write_config
from jaxcv.train.logging import read_rows

SIDE = 24


@dataclass(frozen=True)
class Sample:
    """A sound file.

    Attributes:
        name: what it is.
        path: where it lies, among the files that belong to it.
        content: its bytes.
        read: reads all that depends on it; ValueError where it is refused.
    """

    name: str
    path: Path
    content: bytes
    read: Callable[[Path], Any]


def samples(root: Path, kind: str) -> list[Sample]:
    """The samples of a kind, "images" or "files", each in a folder of its own below `root`."""
    return {"images": _images, "files": _files}[kind](root)


def _picture() -> Image.Image:
    y, x = np.mgrid[:SIDE, :SIDE]
    pixels = np.stack([x * 10, y * 10, (x + y) * 5], -1) % 256
    return Image.fromarray(pixels.astype(np.uint8))


def _images(root: Path) -> list[Sample]:
    root.mkdir(parents=True)
    picture, found = _picture(), []

    def add(name: str, image: Image.Image, format_: str, **options: Any) -> None:
        for reader in (_decoded, _decoded_mask) if image.mode in ("L", "P", "1") else (_decoded,):
            path = root / f"{name}{len(found)}.{format_.lower()}"
            image.save(path, format_, **options)
            found.append(Sample(name, path, path.read_bytes(), reader))

    exif = Image.Exif()
    exif[0x0112] = 6
    add("JPEG", picture, "JPEG", quality=90)
    add("progressive JPEG", picture, "JPEG", progressive=True, exif=exif)
    add("CMYK JPEG", picture.convert("CMYK"), "JPEG")
    add("PNG", picture, "PNG")
    add("PNG with alpha", picture.convert("RGBA"), "PNG")
    add("PNG palette", picture.convert("P"), "PNG")
    add("PNG of one bit", picture.convert("1"), "PNG")
    add("GIF", picture.convert("P"), "GIF")
    add("animated GIF", picture.convert("P"), "GIF", save_all=True, append_images=[picture] * 3)
    add("WEBP", picture, "WEBP")
    add("lossless WEBP", picture, "WEBP", lossless=True)
    add("BMP", picture, "BMP")
    add("grey BMP", picture.convert("L"), "BMP")
    add("TIFF", picture, "TIFF")
    add("TIFF LZW", picture.convert("L"), "TIFF", compression="tiff_lzw")
    add("TIFF deflate", picture, "TIFF", compression="tiff_adobe_deflate")
    add("PPM", picture, "PPM")
    add("PGM", picture.convert("L"), "PPM")
    return found


def _decoded(path: Path) -> Any:
    return decode_image(path.read_bytes(), record=path.name)


def _decoded_mask(path: Path) -> Any:
    return decode_mask(path.read_bytes(), record=path.name)


def _files(root: Path) -> list[Sample]:
    return [
        make(_folder(root, make.__name__))
        for make in (
            _coco, _voc, _list, _csv, _npz, _pairs, _bin, _records, _index, _gallery_header,
            _gallery_vectors, _config, _rows,
        )
    ]  # fmt: skip


def _folder(root: Path, name: str) -> Path:
    folder = root / name.strip("_")
    folder.mkdir(parents=True)
    return folder


def _sample(name: str, path: Path, read: Callable[[Path], Any]) -> Sample:
    return Sample(name, path, path.read_bytes(), read)


def _all(source: Any) -> Any:
    return [source[i] for i in range(len(source))]


def _numbered_pictures(folder: Path, count: int, names: str = "{}.png") -> list[str]:
    files = [names.format(i) for i in range(count)]
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        _picture().save(folder / file)
    return files


def _coco(folder: Path) -> Sample:
    files = _numbered_pictures(folder, 4)
    images = [
        {"id": i + 1, "file_name": file, "width": SIDE, "height": SIDE}
        for i, file in enumerate(files)
    ]
    boxes = [
        {"id": i, "image_id": i + 1, "category_id": 1 + i % 2, "bbox": [i, 2, 9, 8], "area": 72}
        for i in range(4)
    ]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    path = folder / "annotations.json"
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))
    return _sample(
        "COCO annotations",
        path,
        lambda p: _all(
            COCODetection(images=str(folder), annotations=str(p), test_fraction=0.0).open("train")
        ),
    )


def _voc_root(folder: Path) -> VOCDetection:
    for part in ("JPEGImages", "Annotations"):
        (folder / part).mkdir()
    for name in ("a", "b"):
        _picture().save(folder / "JPEGImages" / f"{name}.jpg")
        (folder / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><filename>{name}.jpg</filename><size><width>{SIDE}</width>"
            f"<height>{SIDE}</height><depth>3</depth></size><object><name>car</name><difficult>0</difficult>"
            "<bndbox><xmin>3</xmin><ymin>4</ymin><xmax>15</xmax><ymax>16</ymax></bndbox></object>"
            "</annotation>"
        )
    (folder / "train.txt").write_text("a\nb\n")
    (folder / "test.txt").write_text("b\n")
    return VOCDetection(root=str(folder), train_list="train.txt", test_list="test.txt")


def _voc(folder: Path) -> Sample:
    data = _voc_root(folder)
    path = folder / "Annotations" / "a.xml"
    (folder / "train.txt").write_text("a\n")
    return _sample("VOC annotations", path, lambda p: _all(data.open("train")))


def _list(folder: Path) -> Sample:
    for part in ("i", "m"):
        _numbered_pictures(folder / part, 3)
    for i in range(3):
        Image.new("L", (SIDE, SIDE), i % 2).save(folder / "m" / f"{i}.png")
    (folder / "train.txt").write_text("0.png\n1.png\n")
    (folder / "test.txt").write_text("2.png\n")
    data = MaskFolder(
        images=str(folder / "i"),
        masks=str(folder / "m"),
        class_names=("x", "y"),
        train_list=str(folder / "train.txt"),
        test_list=str(folder / "test.txt"),
    )
    return _sample("list of names", folder / "train.txt", lambda p: _all(data.open("train")))


def _csv(folder: Path) -> Sample:
    files = _numbered_pictures(folder, 6)
    path = folder / "table.csv"
    rows = "".join(f"{file},{'cat' if i % 2 else 'dog'}\n" for i, file in enumerate(files))
    path.write_text("image,label\n" + rows)
    return _sample("CSV", path, lambda p: _all(CSV(path=str(p), test_fraction=0.0).open("train")))


def _npz(folder: Path) -> Sample:
    path = folder / "arrays.npz"
    images, labels = np.zeros((6, 8, 8), np.uint8), np.arange(6) % 2
    np.savez_compressed(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    return _sample("NPZ", path, lambda p: _all(NPZ(path=str(p)).open("train")))


def _pairs(folder: Path) -> Sample:
    for name in ("ann", "bob"):
        _numbered_pictures(folder / name, 3, name + "_{:04d}.png")
    path = folder / "pairs.txt"
    path.write_text("2\nann\t1\t2\nbob\t1\t2\nann\t1\tbob\t2\nbob\t1\tann\t2\n")
    return _sample("pairs.txt", path, lambda p: _all(read_pairs(p, folder).images))


def _bin(folder: Path) -> Sample:
    file = io.BytesIO()
    _picture().save(file, "JPEG")
    path = folder / "lfw.bin"
    path.write_bytes(pickle.dumps(([file.getvalue()] * 4, [True, False])))
    return _sample("lfw.bin", path, lambda p: _all(read_verification_bin(p).images))


def _record_set(folder: Path) -> RecordIO:
    file = io.BytesIO()
    _picture().save(file, "PNG")
    data, positions = b"", []
    for label in (0, 0, 1, 1):
        body = struct.pack("<IfQQ", 0, label, 0, 0) + file.getvalue()
        positions.append(len(data))
        data += struct.pack("<II", 0xCED7230A, len(body)) + body + b"\0" * (-len(body) % 4)
    (folder / "train.rec").write_bytes(data)
    index = "".join(f"{key}\t{position}\n" for key, position in enumerate(positions))
    (folder / "train.idx").write_text(index)
    (folder / "property").write_text(f"2,{SIDE},{SIDE}")
    return RecordIO(root=str(folder))


def _records(folder: Path) -> Sample:
    data = _record_set(folder)
    return _sample("RecordIO", folder / "train.rec", lambda p: _all(data.open("train")))


def _index(folder: Path) -> Sample:
    data = _record_set(folder)
    return _sample("RecordIO index", folder / "train.idx", lambda p: _all(data.open("train")))


def _gallery(folder: Path) -> DeviceGallery:
    return DeviceGallery(folder, embedding_size=4, model_digest="m")


def _gallery_header(folder: Path) -> Sample:
    _gallery(folder).enroll_many(list("abc"), np.eye(4)[:3])
    path = folder / "gallery.json"
    return _sample("gallery header", path, lambda p: _gallery(folder).search(np.eye(4), 1))


def _gallery_vectors(folder: Path) -> Sample:
    _gallery(folder).enroll_many(list("abc"), np.eye(4)[:3])
    path = next(
        p for p in sorted(folder.iterdir()) if p.name != "gallery.json" and p.stat().st_size
    )
    return _sample("gallery vectors", path, lambda p: _gallery(folder).search(np.eye(4), 1))


def _config(folder: Path) -> Sample:
    path = folder / "config.json"
    write_config(path, digits_lenet.experiment())
    return _sample("config.json", path, read_config)


def _rows(folder: Path) -> Sample:
    path = folder / "metrics.jsonl"
    rows = [{"step": s, "split": "train", "loss": 1 / s} for s in range(1, 9)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return _sample("metrics.jsonl", path, read_rows)
