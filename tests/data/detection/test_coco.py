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
from jaxcv.data.detection import coco_file, marked_files
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


# ---- Values that are read exactly, or refused ----------------------------------------------------

CROWDS = {
    False: [0, 0.0, False, "0", " 0 ", "false", "False", None],
    True: [1, 1.0, True, "1", "true", "TRUE"],
}


@pytest.mark.parametrize(
    ("value", "crowd"), [(value, crowd) for crowd, values in CROWDS.items() for value in values]
)
def test_a_crowd_is_what_the_file_says(tmp_path, value, crowd):
    content = write(tmp_path)
    of_305 = next(a for a in content["annotations"] if a["image_id"] == 305)
    of_305["iscrowd"] = value
    (tmp_path / "train.json").write_text(json.dumps(content))
    assert coco(tmp_path).open("train")[2]["ignored"][0] == crowd


@pytest.mark.parametrize(
    "value", [[0], [], {}, 2, -1, 0.5, "", "no", "yes", "00", float("nan"), float("inf")]
)
def test_a_crowd_that_is_neither_yes_nor_no_is_refused(tmp_path, value):
    content = write(tmp_path)
    change(content, "annotations", 3, iscrowd=value)
    (tmp_path / "train.json").write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"train\.json: 'iscrowd' of annotation id 998 is .*0 or 1"
    ):
        coco(tmp_path).open("train")


@pytest.mark.parametrize(
    ("value", "area"), [("100", 100), (" 1.5e2", 150), (880.25, 880.25), (0, 0), (None, 900)]
)
def test_an_area_is_what_the_file_says(tmp_path, value, area):
    """None: left out, or null, for the box's own."""
    content = write(tmp_path)
    of_305 = next(a for a in content["annotations"] if a["image_id"] == 305)
    for entry in (of_305 | {"area": value}, {k: v for k, v in of_305.items() if k != "area"}):
        content["annotations"] = [entry]
        (tmp_path / "train.json").write_text(json.dumps(content))
        told = area if "area" in entry else 900
        assert coco(tmp_path).open("train")[2]["area"][0] == told


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -1, "-1", "nan", "1_000", "100 px", "", [100], True, 10**400],
)
def test_an_area_that_is_no_number_of_pixels_is_refused(tmp_path, value):
    content = write(tmp_path)
    change(content, "annotations", 3, area=value)
    (tmp_path / "train.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"train\.json: 'area' of annotation id 998 is .*pixels"):
        coco(tmp_path).open("train")


@pytest.mark.parametrize(
    "bbox",
    [
        [1, 2, 3],
        [1, 2, 3, 4, 5],
        ["1", "2", "3", "4"],
        [1, 2, 3, None],
        [True, 2, 3, 4],
        [10**400, 2, 3, 4],
        "1 2 3 4",
        {"x": 1, "y": 2, "w": 3, "h": 4},
        [1, 2, float("nan"), 4],
        [1, 2, float("inf"), 4],
        [1.7e308, 2, 1.7e308, 4],
        [-1.7e308, 2, -1.7e308, 4],
    ],
)
def test_a_box_is_four_finite_numbers(tmp_path, bbox):
    content = write(tmp_path)
    change(content, "annotations", 3, bbox=bbox)
    (tmp_path / "train.json").write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"train\.json: .*annotation id 998 .*(four num|not finite)"
    ):
        coco(tmp_path).open("train")


def test_huge_boxes_are_clipped(tmp_path):
    content = write(tmp_path)
    of_305 = next(a for a in content["annotations"] if a["image_id"] == 305)
    of_305.update(bbox=[-1e300, 3, 1.5e300, 10**20], area=None)
    (tmp_path / "train.json").write_text(json.dumps(content))
    assert coco(tmp_path).open("train")[2]["boxes"][0].tolist() == [0, 3, 30, 30]


@pytest.mark.parametrize("part", ["images", "categories"])
def test_ids_are_whole_numbers_however_a_program_writes_them(tmp_path, part):
    content = write(tmp_path)
    expected = coco(tmp_path).open("train")
    for entry in content[part]:
        entry["id"] = float(entry["id"])  # 700.0
    (tmp_path / "train.json").write_text(json.dumps(content))
    found = coco(tmp_path).open("train")
    assert found.image_ids.tolist() == expected.image_ids.tolist()
    assert found.category_ids.tolist() == expected.category_ids.tolist()
    for i in range(4):
        np.testing.assert_array_equal(found[i]["classes"], expected[i]["classes"])


@pytest.mark.parametrize(
    ("part", "key"),
    [
        ("images", "id"),
        ("categories", "id"),
        ("annotations", "id"),
        ("annotations", "image_id"),
        ("annotations", "category_id"),
    ],
)
@pytest.mark.parametrize("value", ["12", 1.5, True, 2**64, float("nan"), [12]])
def test_an_id_that_is_no_whole_number_is_refused(tmp_path, part, key, value):
    """`"12"` and 12 are two ids to other programs, one of them without annotations."""
    content = write(tmp_path)
    change(content, part, 1, **{key: value})
    (tmp_path / "train.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"train\.json: '{key}' of .*; wanted a whole number"):
        coco(tmp_path).open("train")


def test_annotation_ids_differ_where_only_some_are_told(tmp_path):
    content = write(tmp_path)
    change(content, "annotations", 0, id=None)
    change(content, "annotations", 1, id=998)
    (tmp_path / "train.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="annotation id 998 is there twice"):
        coco(tmp_path).open("train")


@pytest.mark.parametrize("text", ['"iscrowd": 0, "iscrowd": 1', '"bbox": [1, 2, 3, 4], "bbox": []'])
def test_a_key_that_hides_another_is_refused(tmp_path, text):
    write(tmp_path)
    path = tmp_path / "train.json"
    key = text.split(":")[0]
    path.write_text(path.read_text().replace('"category_id"', f'{text}, "category_id"', 1))
    with pytest.raises(
        ValueError, match=rf"train\.json: .*an object has the key '{key[1:-1]}' twice"
    ):
        coco(tmp_path).open("train")


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path):
    write(tmp_path)
    path = tmp_path / "train.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(coco(tmp_path).open("train")) == 4


# ---- One picture is one record, inside the folder ------------------------------------------------


def link(path, target):
    path.symlink_to(target)


def hard_link(path, target):
    path.hardlink_to(path.parent / target)


SPELLINGS = {
    "the same name": ("000012.jpg", None),
    "a dot": ("./000012.jpg", None),
    "there and back": ("a/../000012.jpg", lambda folder: (folder / "a").mkdir()),
    "a slash too many": (".//000012.jpg", None),
    "a link": ("z.jpg", lambda folder: link(folder / "z.jpg", "000012.jpg")),
    "a hard link": ("z.jpg", lambda folder: hard_link(folder / "z.jpg", "000012.jpg")),
    "a linked folder": ("b/000012.jpg", lambda folder: link(folder / "b", ".")),
}


@pytest.mark.parametrize("case", SPELLINGS)
@pytest.mark.parametrize("by_chance", [False, True])
def test_one_picture_under_two_ids_is_refused(tmp_path, case, by_chance):
    """Each would have a part of the boxes, and one be in training, the other in testing."""
    name, prepare = SPELLINGS[case]
    content = write(tmp_path)
    if prepare is not None:
        prepare(tmp_path / "images")
    content["images"].append({"id": 13, "file_name": name, "height": 50, "width": 30})
    (tmp_path / "train.json").write_text(json.dumps(content))
    data = coco(tmp_path, test_annotations=None) if by_chance else coco(tmp_path)
    with pytest.raises(
        ValueError, match=r"image ids 12 \(000012\.jpg\) and 13 \(.*\) are one pict"
    ):
        data.open("train")


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_picture_in_two_splits_is_refused(tmp_path, split):
    write(tmp_path)
    content = write(tmp_path, IMAGES[:1], name="other")
    change(content, "images", 0, file_name="./000700.jpg", id=5)
    for annotation in content["annotations"]:
        annotation["image_id"] = 5
    (tmp_path / "other.json").write_text(json.dumps(content))
    write(tmp_path, IMAGES[:1], name="test", folder="test_images")
    given = {
        "test_annotations": str(tmp_path / "test.json"),
        "test_images": f"{tmp_path}/test_images",
    }
    if split == "test":
        given = {}
    data = coco(tmp_path, **{**given, f"{split}_annotations": str(tmp_path / "other.json")})
    with pytest.raises(
        ValueError, match=r"other\.json: image id 5 .* picture of image id 700 of .*one"
    ):
        data.open(split)
    assert len(data.open("train")) == 4


def outside_by_dots(root):
    return "../secret.jpg"


def outside_absolute(root):
    return str(root / "secret.jpg")


def outside_by_link(root):
    link(root / "images" / "inside.jpg", root / "secret.jpg")
    return "inside.jpg"


def outside_by_linked_folder(root):
    link(root / "images" / "more", root)
    return "more/secret.jpg"


def outside_and_missing(root):
    return "../../nowhere.jpg"


@pytest.mark.parametrize(
    "name_of",
    [
        outside_by_dots,
        outside_absolute,
        outside_by_link,
        outside_by_linked_folder,
        outside_and_missing,
    ],
)
def test_pictures_outside_the_folder_are_refused_unread(tmp_path, name_of, monkeypatch):
    content = write(tmp_path)
    (tmp_path / "secret.jpg").write_bytes((tmp_path / "images" / "000012.jpg").read_bytes())
    name = name_of(tmp_path)
    change(content, "images", 1, file_name=name)
    (tmp_path / "train.json").write_text(json.dumps(content))
    read = []
    header = marked_files.read_header
    monkeypatch.setattr(marked_files, "read_header", lambda path: read.append(path) or header(path))
    with pytest.raises(
        ValueError, match=r"train\.json: image id 12 .* leads out of .*allow_outside"
    ):
        coco(tmp_path).open("train")
    assert not read
    if name_of is not outside_and_missing:
        assert len(coco(tmp_path, allow_outside_root=True).open("train")) == 4


def test_pictures_inside_by_any_path(tmp_path):
    content = write(tmp_path)
    change(content, "images", 0, file_name=str(tmp_path / "images" / "000700.jpg"))
    change(content, "images", 1, file_name="../images/000012.jpg")
    change(content, "images", 2, file_name="nested/000305.jpg")
    (tmp_path / "images" / "nested").mkdir()
    (tmp_path / "images" / "000305.jpg").rename(tmp_path / "images" / "nested" / "000305.jpg")
    (tmp_path / "train.json").write_text(json.dumps(content))
    link(tmp_path / "linked", "images")
    for folder in ("images", "linked"):
        assert len(coco(tmp_path, images=str(tmp_path / folder)).open("train")) == 4
