"""COCO's format: ids of any numbering, crowds, images without objects, and every way to be wrong."""

import contextlib
import copy
import dataclasses
import io
import json
import logging

import numpy as np
import pytest

from jaxcv.data import Batches, BoxCounts, COCODetection, DecodeError, materialize
from jaxcv.data.detection import coco_file
from tests.data.painted import bright_box, encoded, painted

CATEGORIES = [{"id": 90, "name": "cow"}, {"id": 3, "name": "cat"}, {"id": 17, "name": "dog"}]
# id, (height, width), [(x, y, width, height), category id, more]
IMAGES = [
    (700, (40, 60), [((5, 6, 20, 10), 17, {"area": 150.5}), ((30, 3, 25, 30), 3, {"iscrowd": 1})]),
    (12, (50, 30), []),
    (305, (30, 30), [((0, 0, 30, 30), 90, {"iscrowd": 0, "area": 880})]),
    (306, (64, 48), [((-4, 10, 14, 12), 3, {}), ((9, 9, 0, 5), 3, {}), ((40, 60, 20, 20), 17, {})]),
]


def write(root, images=IMAGES, categories=CATEGORIES, name="train", folder="images"):
    """Writes images and annotations; returns the data set."""
    content = {"info": {}, "images": [], "annotations": []}
    content["categories"] = copy.deepcopy(categories)
    (root / folder).mkdir(exist_ok=True)
    number = 1000
    for image_id, size, objects in images:
        file = f"{image_id:06}.jpg"
        boxes = [np.clip([x, y, x + w, y + h], 0, None) for (x, y, w, h), _, _ in objects]
        (root / folder / file).write_bytes(encoded(painted(size, boxes)))
        content["images"].append(
            {"id": image_id, "file_name": file, "height": size[0], "width": size[1]}
        )
        for box, category, more in objects:
            content["annotations"].append(
                {"id": number, "image_id": image_id, "category_id": category, "bbox": list(box)}
                | more
            )
            number -= 1
    # The file need not be in the order of the images.
    content["annotations"].reverse()
    (root / f"{name}.json").write_text(json.dumps(content))
    return content


def coco(root, **options):
    given = {
        "images": str(root / "images"),
        "annotations": str(root / "train.json"),
        "test_annotations": str(root / "train.json"),
        "max_boxes": 3,
    }
    return COCODetection(**{**given, **options})


def test_records(tmp_path):
    write(tmp_path)
    source = coco(tmp_path).open("train")
    assert source.class_names == ("cat", "dog", "cow")
    assert source.category_ids.tolist() == [3, 17, 90]
    assert source.image_ids.tolist() == [700, 12, 305, 306]
    assert source.record_name(1) == str(tmp_path / "images" / "000012.jpg")
    first, empty, whole, odd = (source[i] for i in range(4))
    # In the order of the file, which lists annotations backwards.
    assert first["boxes"].tolist() == [[30, 3, 55, 33], [5, 6, 25, 16], [0, 0, 0, 0]]
    assert first["classes"].tolist() == [0, 1, -1]
    assert first["ignored"].tolist() == [True, False, False]
    assert first["area"].tolist() == [750, 150.5, 0]
    assert empty["classes"].tolist() == [-1, -1, -1]
    assert not empty["boxes"].any()
    assert (whole["classes"].tolist(), whole["area"].tolist()) == ([2, -1, -1], [880, 0, 0])
    assert odd["boxes"][:2].tolist() == [[40, 60, 48, 64], [0, 10, 10, 22]]
    assert odd["area"].tolist() == [32, 120, 0]
    assert source.box_counts == BoxCounts(clipped=2, dropped=1)
    for name, dtype in {"boxes": "float32", "classes": "int32", "ignored": "bool"}.items():
        assert first[name].dtype == dtype


def test_what_became_of_boxes_is_logged_once(tmp_path, caplog):
    write(tmp_path)
    with caplog.at_level(logging.WARNING):
        source = coco(tmp_path).open("train")
        materialize(Batches(SizedView(source, 3), 1, shuffle=False))
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'train.json'}: 2 boxes reach outside their image and were clipped, 1 without "
        "area were dropped"
    ]
    with pytest.raises(ValueError, match=r"image id 306 .*box \(9, 9, 9, 14\) has no area"):
        coco(tmp_path, on_bad_box="raise").open("train")


class SizedView:
    """One record of a source, twice."""

    def __init__(self, source, index):
        self.source, self.index, self.class_names = source, index, source.class_names

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return self.source[self.index]

    def record_name(self, index):
        return self.source.record_name(self.index)


def test_splits(tmp_path):
    write(tmp_path)
    write(tmp_path, IMAGES[:2], name="test", folder="test_images")
    write(tmp_path, IMAGES[2:3], CATEGORIES[:1], name="val", folder="val_images")
    options = {
        "test_images": str(tmp_path / "test_images"),
        "test_annotations": str(tmp_path / "test.json"),
        "validation_images": str(tmp_path / "val_images"),
        "validation_annotations": str(tmp_path / "val.json"),
    }
    data = coco(tmp_path, **options)
    train, validation, test = (data.open(split) for split in ("train", "validation", "test"))
    assert [len(source) for source in (train, validation, test)] == [4, 1, 2]
    assert test.record_name(0).startswith(str(tmp_path / "test_images"))
    # The validation file lists one category; the classes are those of the training file.
    assert validation.class_names == train.class_names
    assert validation[0]["classes"][0] == 2
    by_chance = coco(tmp_path, test_annotations=None, test_fraction=0.5)
    parts = [by_chance.open(split).image_ids.tolist() for split in ("train", "test")]
    assert [len(part) for part in parts] == [2, 2]
    assert sorted(parts[0] + parts[1]) == [12, 305, 306, 700]
    with pytest.raises(ValueError, match="no split 'validation'; it has 'test' and 'train'"):
        by_chance.open("validation")


@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_letterboxed_batch(tmp_path, fit):
    images = [
        (700, (40, 60), [((5, 6, 20, 10), 17, {})]),
        (5, (64, 32), [((9, 30, 12, 20), 3, {})]),
    ]
    write(tmp_path, images)
    batch = Batches(coco(tmp_path, size=48, fit=fit).open("train"), 2, shuffle=False)[0]
    assert batch["image"].shape == (2, 48, 48, 3)
    for image, boxes in zip(batch["image"], batch["boxes"]):
        np.testing.assert_allclose(bright_box(image), boxes[0], atol=1.01)


def test_as_pycocotools_reads_it(tmp_path):
    coco_api = pytest.importorskip("pycocotools.coco")
    write(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = coco_api.COCO(str(tmp_path / "train.json"))
    source = coco(tmp_path).open("train")
    assert sorted(theirs.getCatIds()) == source.category_ids.tolist()
    assert [c["name"] for c in theirs.loadCats(source.category_ids.tolist())] == list(
        source.class_names
    )
    for image_id, record in zip(source.image_ids[:3].tolist(), map(source.__getitem__, range(3))):
        annotations = theirs.loadAnns(theirs.getAnnIds(imgIds=image_id))
        for place, annotation in enumerate(annotations):
            x0, y0, x1, y1 = record["boxes"][place].tolist()
            assert annotation["bbox"] == [x0, y0, x1 - x0, y1 - y0]
            assert annotation["category_id"] == source.category_ids[record["classes"][place]]
            assert annotation.get("iscrowd", 0) == record["ignored"][place]


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_orientation(tmp_path, orientation):
    """Sizes and boxes are those of the upright image, or of the stored pixels if so told."""
    box, stored = (4, 6, 14, 10), (30, 50)
    write(tmp_path, [(1, stored, [(box, 17, {})])])
    pixels = painted(stored, [[4, 6, 18, 16]])
    (tmp_path / "images" / "000001.jpg").write_bytes(encoded(pixels, orientation))
    record = coco(tmp_path, boxes_on="stored").open("train")[0]
    assert record["boxes"][0].tolist() == bright_box(record["image"])
    upright = record["image"].shape[:2], record["boxes"][0].tolist()
    content = json.loads((tmp_path / "train.json").read_text())
    x0, y0, x1, y1 = upright[1]
    content["images"][0] |= {"height": upright[0][0], "width": upright[0][1]}
    content["annotations"][0]["bbox"] = [x0, y0, x1 - x0, y1 - y0]
    (tmp_path / "train.json").write_text(json.dumps(content))
    again = coco(tmp_path).open("train")[0]
    assert again["boxes"][0].tolist() == upright[1]
    if orientation > 4:
        with pytest.raises(
            ValueError, match=rf"EXIF orientation is {orientation}: say by boxes_on"
        ):
            coco(tmp_path, boxes_on="stored").open("train")


# ---- What is wrong -----------------------------------------------------------------------------


def change(content, part, place, **values):
    """Sets, or with None takes out, keys of one entry."""
    entry = content[part][place]
    for key, value in values.items():
        entry.pop(key, None)
        if value is not None:
            entry[key] = value


WRONG = {
    "no images": (lambda c: c.update(images=[]), "there are no images in it"),
    "no categories": (lambda c: c.update(categories=[]), "there are no classes in it"),
    "no list": (lambda c: c.pop("annotations"), "no list 'annotations'; it has 'info', 'images', "),
    "category unknown": (
        lambda c: change(c, "annotations", 0, category_id=4),
        r"annotation id 995 has category id 4, which is not listed among the 3 .*: 3, 17, 90$",
    ),
    "image unknown": (
        lambda c: change(c, "annotations", 1, image_id=99),
        "annotation id 996 has image id 99, which is not listed among the 4 of the file: 12, 305",
    ),
    "image twice": (lambda c: change(c, "images", 1, id=700), "image id 700 is there twice"),
    "category twice": (
        lambda c: change(c, "categories", 1, id=90),
        "category id 90 is there twice",
    ),
    "annotation twice": (
        lambda c: change(c, "annotations", 0, id=1000),
        "annotation id 1000 is there",
    ),
    "name twice": (
        lambda c: change(c, "categories", 1, name="cow"),
        "two categories are called 'cow'",
    ),
    "no bbox": (
        lambda c: change(c, "annotations", 2, bbox=None),
        "'bbox' of annotation id 997 is missing",
    ),
    "bbox of three": (
        lambda c: change(c, "annotations", 2, bbox=[1, 2, 3]),
        r"'bbox' of annotation id 997 is \[1, 2, 3\]; wanted a list of four numbers",
    ),
    "bbox of text": (
        lambda c: change(c, "annotations", 2, bbox=["1", 2, 3, 4]),
        "wanted a list of four numbers",
    ),
    "bbox not finite": (
        lambda c: change(c, "annotations", 5, bbox=[1, 2, float("nan"), 4]),
        r"image id 700 \(000700.jpg\): box \(1, 2, nan, 6\) is not finite",
    ),
    "no size": (lambda c: change(c, "images", 2, width=None), "'width' of image id 305 is missing"),
    "size of 0": (lambda c: change(c, "images", 2, width=0), "image id 305 has no pixels"),
    "no file": (
        lambda c: change(c, "images", 2, file_name=""),
        "'file_name' of image id 305 is ''",
    ),
    "id of text": (
        lambda c: change(c, "images", 0, id="700"),
        "'id' of image id 700 is '700'; wanted a",
    ),
    "id missing": (lambda c: change(c, "images", 3, id=None), "'id' of image number 3 is missing"),
    "no entry": (lambda c: c["images"].append("a.jpg"), "image number 4 is no dict, but 'a.jpg'"),
    "other size": (
        lambda c: change(c, "images", 0, width=61),
        r"image id 700 .* 40 x 61 .*000700\.jpg has 40 x 60; .*another version",
    ),
    "image missing": (
        lambda c: change(c, "images", 0, file_name="000701.jpg"),
        r"image id 700 .*000701\.jpg is missing; 1 of 4 images are; did you mean '000700\.jpg'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_refused_on_opening(tmp_path, case):
    content = write(tmp_path)
    spoil, message = WRONG[case]
    spoil(content)
    (tmp_path / "train.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as caught:
        coco(tmp_path).open("train")
    assert str(tmp_path / "train.json") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"is empty \(0 bytes\)"),
        ('{"images": [', "is no JSON: Expecting value: line 1 column 13"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "holds a list, wanted a dict .*a list is what results look like"),
        ("7", "holds a int"),
        ("{}", "no list 'images'; it has nothing"),
        (b"\xff\xfe\x00", "is no JSON"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_no_annotation_file(tmp_path, text, message):
    write(tmp_path)
    path = tmp_path / "train.json"
    path.unlink()
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message) as caught:
        coco(tmp_path).open("train")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": "/nowhere"}, "/nowhere: no such folder"),
        (
            {"max_boxes": 1},
            r"000306?\.jpg|000700\.jpg: 2 objects .* fullest image has 2. Set max_boxes=2",
        ),
        ({"fit": "crop"}, "'crop' would cut"),
        ({"boxes_on": "left"}, "boxes_on is 'left', but must be 'upright' or 'stored'"),
        ({"size": 0}, "at least 1 pixel"),
        ({"test_annotations": None, "test_images": "a"}, "test_images is given without test_ann"),
        ({"test_annotations": None, "validation_annotations": "a"}, "give test_annotations too"),
        ({"test_annotations": None, "test_fraction": 1.0}, "test_fraction must be"),
    ],
)
def test_wrong_settings(tmp_path, options, message):
    write(tmp_path)
    with pytest.raises(ValueError, match=message):
        coco(tmp_path, **options).open("train")


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        (
            [*CATEGORIES, {"id": 4, "name": "pig"}],
            r"category id 4 is 'pig', but .*does not have it",
        ),
        ([{"id": 90, "name": "cat"}], r"category id 90 is 'cat', but .* calls it 'cow'"),
    ],
)
def test_splits_must_have_the_same_categories(tmp_path, categories, message):
    write(tmp_path)
    write(tmp_path, IMAGES[2:3], categories, name="test")
    data = coco(tmp_path, test_annotations=str(tmp_path / "test.json"))
    with pytest.raises(ValueError, match=message):
        data.open("test")


def test_size_is_compared_on_reading_where_headers_are_not_read(tmp_path):
    content = write(tmp_path)
    change(content, "images", 0, height=41)
    (tmp_path / "train.json").write_text(json.dumps(content))
    source = coco(tmp_path, check_files=False).open("train")
    with pytest.raises(ValueError, match=r"image id 700 .* 41 x 60 .* has 40 x 60"):
        source[0]
    assert source[2]["image"].shape == (30, 30, 3)


def test_a_damaged_image_is_left_to_the_policy_on_bad_records(tmp_path):
    write(tmp_path)
    (tmp_path / "images" / "000305.jpg").write_bytes(b"no image")
    source = coco(tmp_path, size=16).open("train")
    with pytest.raises(DecodeError, match=r"000305\.jpg: not a whole image"):
        materialize(source)
    batch = Batches(source, 4, shuffle=False, on_bad_record="skip")[0]
    assert batch["mask"].tolist() == [True, True, False, True]


def test_a_file_is_read_again_once_it_has_changed(tmp_path):
    content = write(tmp_path)
    data = coco(tmp_path)
    data.open("train")
    before = coco_file._read.cache_info()
    data.open("test")
    after = coco_file._read.cache_info()
    assert (after.misses, after.hits > before.hits) == (before.misses, True)
    content["images"].pop()
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != 306]
    (tmp_path / "train.json").write_text(json.dumps(content))
    assert len(dataclasses.replace(data).open("train")) == 3
