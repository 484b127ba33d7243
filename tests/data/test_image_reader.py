"""One reader for each data set: what it reads from a file is what the source has of it."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from jaxcv.data import (
    CSV,
    Arrays,
    COCODetection,
    DecodeError,
    Digits,
    DisjointIdentities,
    Folder,
    FrequentIdentities,
    ImageReader,
    ImagesPerIdentity,
    MaskFolder,
    People,
    Shapes,
    SourceView,
    Synthetic,
    VOCDetection,
    decode_image,
    fit_image,
)
from jaxcv.data.fit import fitting
from jaxcv.data.view import decode_view

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (24, 60, 3), np.uint8)


def encoded(pixels, format="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def turned_exif():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of five large, turned photos each, of random noise."""
    root = tmp_path_factory.mktemp("reader") / "classes"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for i in range(5):
            pixels = RNG.integers(0, 256, (64, 160, 3), np.uint8)
            data = encoded(pixels, "JPEG", quality=90, exif=turned_exif())
            (root / name / f"{name}{i}.jpg").write_bytes(data)
    lines = [f"{path.relative_to(root)},{path.parent.name}" for path in sorted(root.glob("*/*"))]
    (root / "table.csv").write_text("image,label\n" + "\n".join(lines) + "\n")
    return root


# Settings that decide every pixel, each other than the default.
UNUSUAL = {"size": (16, 24), "fit": "pad", "channels": 1, "apply_exif": False}


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(
    "make",
    [
        lambda root: Folder(root=root, **UNUSUAL),
        lambda root: Folder(root=root, **UNUSUAL, decode_margin=None),
        lambda root: Folder(root=root, **UNUSUAL, decode_margin=1.0),
        lambda root: Folder(root=root, apply_exif=False),
        lambda root: CSV(path=f"{root}/table.csv", **UNUSUAL),
        lambda root: FrequentIdentities(data=Folder(root=root, **UNUSUAL), minimum_images=2),
        lambda root: DisjointIdentities(data=People(root=root, **UNUSUAL), test_identities=1),
        lambda root: ImagesPerIdentity(
            data=FrequentIdentities(data=People(root=root, **UNUSUAL)), train_images=2
        ),
    ],
)
def test_a_file_is_read_as_the_record_that_it_is(make, split, folder):
    source = make(str(folder)).open(split)
    assert len(source) > 0
    for index in range(len(source)):
        found = source.image_reader.read(source.record_name(index))
        np.testing.assert_array_equal(found, source[index]["image"])
    view = SourceView(source, [0])
    assert view.image_reader is source.image_reader


def test_masks_and_boxes_too(folder, tmp_path):
    (tmp_path / "masks").mkdir()
    for i in range(5):
        (tmp_path / "masks" / f"a{i}.png").write_bytes(encoded(np.zeros((64, 160), np.uint8)))
    masks = MaskFolder(
        images=f"{folder}/a", masks=f"{tmp_path}/masks", class_names=("a", "b"), **UNUSUAL
    ).open("train")
    annotation = "<annotation><object><name>a</name><bndbox><xmin>3</xmin><ymin>3</ymin>"
    annotation += "<xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
    (tmp_path / "marks").mkdir()
    for i in range(5):
        (tmp_path / "marks" / f"a{i}.xml").write_text(annotation)
    voc = VOCDetection(
        root=str(folder), images="a", annotations=f"{tmp_path}/marks", size=(16, 24), channels=1
    ).open("train")
    coco = {
        "images": [{"id": 1, "file_name": "a0.jpg", "height": 160, "width": 64}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [],
    }
    (tmp_path / "coco.json").write_text(str(coco).replace("'", '"'))
    coco = COCODetection(
        images=f"{folder}/a", annotations=f"{tmp_path}/coco.json", size=20, test_fraction=0.0
    ).open("train")
    for source in (masks, voc, coco):
        reader, file = source.image_reader, source.record_name(0)
        found = reader.fit_pixels(reader.read_whole(file))
        np.testing.assert_array_equal(found, source[0]["image"])
        np.testing.assert_array_equal(found, reader.read(file))


@pytest.mark.parametrize(
    ("data", "shape", "fit"),
    [
        (Digits(), (8, 8, 1), "stretch"),
        (Digits(size=16, channels=3), (16, 16, 3), "stretch"),
        (
            Arrays(images=np.zeros((8, 6, 5, 3), np.uint8), labels=np.arange(8) % 2, fit="pad"),
            (6, 5, 3),
            "pad",
        ),
        (Synthetic(image_size=(12, 10), channels=1), (12, 10, 1), "crop"),
        (Shapes(image_size=(48, 64)), (48, 64, 3), "pad"),
    ],
)
def test_data_without_files_bring_one_to_the_shape_of_their_records(data, shape, fit, tmp_path):
    (tmp_path / "photo.png").write_bytes(encoded(PIXELS))
    for split in ("train", "test"):
        source = data.open(split)
        assert source.image_reader.fit == fit
        found = source.image_reader.read(tmp_path / "photo.png")
        assert found.shape == shape == source[0]["image"].shape


def test_each_method_is_the_function_that_it_is_for():
    data, reader = encoded(PIXELS, "JPEG"), ImageReader(size=(8, 6), channels=1, fit="stretch")
    whole = decode_image(data, channels=1)
    np.testing.assert_array_equal(reader.decode_whole(data), whole)
    exact = dataclasses.replace(reader, decode_margin=None)
    np.testing.assert_array_equal(exact.decode(data), fit_image(whole, (8, 6), "stretch"))
    view = fitting((8, 6), "stretch")
    np.testing.assert_array_equal(reader.decode(data), decode_view(data, view, (8, 6), channels=1))
    np.testing.assert_array_equal(reader.fit_pixels(whole), exact.decode(data))
    native = ImageReader()
    np.testing.assert_array_equal(native.decode(data), decode_image(data))
    assert native.target is None
    assert native.with_size((3, 4)).target == (3, 4)
    assert reader.with_size((3, 4)) is reader


def test_limits_and_names_reach_the_error(tmp_path):
    file = tmp_path / "photo.png"
    file.write_bytes(encoded(PIXELS))
    with pytest.raises(DecodeError, match=r"photo.png: .*60x24 pixels, above the limit 1439"):
        ImageReader(max_pixels=1439, size=4).read(file)
    with pytest.raises(DecodeError, match=r"none.png: cannot be read: No such file"):
        ImageReader().read_whole(tmp_path / "none.png")
    for wrong, message in (
        ({"size": 0}, "size must be at least 1 pixel"),
        ({"fit": "squeeze"}, "fit must be 'stretch', 'crop' or 'pad', not 'squeeze'"),
        ({"channels": 2}, "channels must be 1 or 3, not 2"),
        ({"decode_margin": 0.5}, "decode_margin must be at least 1, or None, not 0.5"),
    ):
        with pytest.raises(ValueError, match=message):
            ImageReader(**wrong)
