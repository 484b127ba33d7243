"""Pascal VOC's format: pixels counted from 1, lists, names, and every way to be wrong."""

import dataclasses
import re

import numpy as np
import pytest

from jaxcv.data import BoxCounts, TFDSDetection, VOCDetection, materialize
from tests.data.painted import bright_box, encoded, painted

OBJECT = """<object><name>{name}</name><pose>Left</pose><difficult>{difficult}</difficult>
<bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"""


def write(root, name, size=(30, 40), objects=(), images="JPEGImages", annotations="Annotations"):
    """One image and its XML; objects are (class, (xmin, ymin, xmax, ymax), difficult)."""
    for folder in (images, annotations):
        (root / folder).mkdir(parents=True, exist_ok=True)
    boxes = [np.clip([x0 - 1, y0 - 1, x1, y1], 0, None) for _, (x0, y0, x1, y1), _ in objects]
    (root / images / f"{name}.jpg").write_bytes(encoded(painted(size, boxes)))
    marks = "".join(OBJECT.format(*box, name=c, difficult=d) for c, box, d in objects)
    text = (
        "<annotation><filename>elsewhere.png</filename>"
        f"<size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>"
        f"{marks}</annotation>"
    )
    path = root / annotations / f"{name}.xml"
    path.write_text(text)
    return path


@pytest.fixture
def folder(tmp_path):
    """Three training images, one for validation and one for testing."""
    write(tmp_path, "a", objects=[("dog", (3, 5, 20, 14), 0), ("cat", (22, 2, 40, 30), 1)])
    write(tmp_path, "b", (50, 20))
    write(tmp_path, "c", objects=[("cow", (7, 7, 7, 9), 0)])
    write(tmp_path, "d", objects=[("cat", (1, 1, 40, 30), 0)])
    write(tmp_path, "e.1", objects=[("ant", (2, 2, 9, 9), 0)])
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nc  1\nb -1\n")
    (lists / "val.txt").write_text("d.jpg\n\n")
    (lists / "test.txt").write_text("e.1\n")
    return tmp_path


def voc(where, **options):
    lists = {
        "train_list": "ImageSets/Main/train.txt",
        "validation_list": "ImageSets/Main/val.txt",
        "test_list": "ImageSets/Main/test.txt",
    }
    return VOCDetection(**{"root": str(where), "max_boxes": 2, **lists, **options})


def names(source):
    return [re.split(r"[/\\]", source.record_name(i))[-1] for i in range(len(source))]


def test_records(folder):
    data = voc(folder)
    train, validation, test = (data.open(split) for split in ("train", "validation", "test"))
    assert [names(source) for source in (train, validation, test)] == [
        ["a.jpg", "b.jpg", "c.jpg"],
        ["d.jpg"],
        ["e.1.jpg"],
    ]
    # Found in all XML files, so that all splits number them alike.
    for source in (train, validation, test):
        assert source.class_names == ("ant", "cat", "cow", "dog")
    first, empty, small = (train[i] for i in range(3))
    assert first["boxes"].tolist() == [[2, 4, 20, 14], [21, 1, 40, 30]]
    assert first["classes"].tolist() == [3, 1]
    assert first["ignored"].tolist() == [False, True]
    assert first["area"].tolist() == [18 * 10, 19 * 29]
    assert empty["image"].shape == (50, 20, 3)
    assert empty["classes"].tolist() == [-1, -1]
    # One pixel wide: VOC names the first and the last pixel.
    assert small["boxes"][0].tolist() == [6, 6, 7, 9]
    assert bright_box(small["image"]) == [6, 6, 7, 9]
    assert validation[0]["boxes"][0].tolist() == [0, 0, 40, 30]
    assert train.box_counts == BoxCounts()


def test_coordinates_counted_from_0(folder):
    source = voc(folder, one_based=False).open("train")
    assert source[0]["boxes"].tolist() == [[3, 5, 20, 14], [22, 2, 40, 30]]
    assert source[2]["classes"].tolist() == [-1, -1]
    assert source.box_counts == BoxCounts(dropped=1)


def test_without_lists_a_fixed_part_is_the_test_set(folder):
    data = VOCDetection(root=str(folder), test_fraction=0.4)
    parts = [names(data.open(split)) for split in ("train", "test")]
    assert [len(part) for part in parts] == [3, 2]
    assert sorted(parts[0] + parts[1]) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.1.jpg"]
    rest = voc(folder, train_list=None)
    assert names(rest.open("train")) == ["a.jpg", "b.jpg", "c.jpg"]


def test_images_and_xml_in_one_folder(tmp_path):
    for name in "abcde":
        write(tmp_path, name, objects=[("cat", (2, 3, 9, 8), 0)], images="data", annotations="data")
    (tmp_path / "data" / "unmarked.jpg").write_bytes(b"")
    data = VOCDetection(root=str(tmp_path / "data"), images=".", annotations=".")
    train, test = data.open("train"), data.open("test")
    assert (len(train), len(test)) == (4, 1)
    assert bright_box(test[0]["image"]) == test[0]["boxes"][0].tolist() == [1, 2, 9, 8]


def test_classes_given_choose_the_numbers(folder):
    given = ("dog", "cow", "cat", "unseen")
    source = voc(folder, class_names=given).open("train")
    assert source.class_names == given
    assert source[0]["classes"].tolist() == [0, 2]
    with pytest.raises(
        ValueError, match=r"e\.1\.xml: class 'ant' is not among the 4 of class_names"
    ):
        voc(folder, class_names=given).open("test")
    with pytest.raises(ValueError, match="did you mean 'cats'"):
        voc(folder, class_names=("dog", "cats")).open("train")


def test_boxes_that_reach_outside(folder, caplog):
    write(folder, "a", objects=[("dog", (0, -3, 50, 14), 0), ("cat", (20, 9, 10, 12), 0)])
    source = voc(folder).open("train")
    assert source[0]["boxes"].tolist() == [[0, 0, 40, 14], [0, 0, 0, 0]]
    assert source.box_counts == BoxCounts(clipped=1, dropped=1)
    assert len(caplog.records) == 1
    with pytest.raises(ValueError, match=r"a\.xml: box \(19, 8, 10, 12\) has no area"):
        voc(folder, on_bad_box="raise").open("train")


@pytest.mark.parametrize("told", ["<size><width>0</width><height>0</height></size>", ""])
def test_a_size_that_is_not_told_is_the_images(folder, told):
    path = folder / "Annotations" / "a.xml"
    path.write_text(re.sub("<size>.*</size>", told, path.read_text()))
    for check in (True, False):
        assert len(voc(folder, check_files=check).open("train")) == 3
    (folder / "JPEGImages" / "a.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"a\.jpg: is no image of a known format"):
        voc(folder).open("train")


@pytest.mark.parametrize("orientation", [2, 5, 6])
def test_orientation(folder, orientation):
    pixels = painted((30, 40), [[2, 4, 20, 14]])
    (folder / "JPEGImages" / "a.jpg").write_bytes(encoded(pixels, orientation))
    record = voc(folder, boxes_on="stored").open("train")[0]
    assert record["boxes"][0].tolist() == bright_box(record["image"])
    if orientation > 4:
        with pytest.raises(ValueError, match="30 x 40 .* has 40 x 30.*say by boxes_on"):
            voc(folder).open("train")


def test_only_the_objects_own_box_counts(folder):
    """A person's parts have boxes too."""
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    path = folder / "Annotations" / "a.xml"
    path.write_text(path.read_text().replace("<bndbox>", f"{part}<bndbox>"))
    assert voc(folder).open("train")[0]["boxes"][0].tolist() == [2, 4, 20, 14]


def spoiled(pattern, replacement):
    return lambda text: re.sub(pattern, replacement, text, count=1, flags=re.DOTALL)


WRONG = {
    "empty": (lambda text: "", r"is empty \(0 bytes\)"),
    "cut off": (lambda text: text[:-30], "is no XML .*wanted an annotation as VOC's"),
    "other XML": (lambda text: "<html></html>", "its element is <html>, wanted <annotation>"),
    "no name": (spoiled("<name>dog</name>", ""), "object 1 has no <name>"),
    "no box": (spoiled("<bndbox>.*?</bndbox>", ""), r"object 1 \(dog\) has no <bndbox>"),
    "no corner": (
        spoiled("<xmax>20</xmax>", ""),
        r"object 1 \(dog\): <xmax> is '', wanted a number",
    ),
    "text": (spoiled("<ymin>2<", "<ymin>two<"), r"object 2 \(cat\): <ymin> is 'two', wanted a"),
    "not finite": (spoiled("<ymin>2<", "<ymin>nan<"), "is not finite"),
    "difficult": (
        spoiled(">1</difficult>", ">maybe</difficult>"),
        "object 2: <difficult> is 'maybe'",
    ),
    "size": (spoiled("<width>40", "<width>wide"), "a width of 'wide', wanted pixels"),
    "other size": (spoiled("<width>40", "<width>41"), r"30 x 41 .*a\.jpg has 30 x 40; .*another"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_refused_on_opening(folder, case):
    spoil, message = WRONG[case]
    path = folder / "Annotations" / "a.xml"
    path.write_text(spoil(path.read_text()))
    with pytest.raises(ValueError, match=message) as caught:
        voc(folder).open("train")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_image_is_named(folder):
    (folder / "JPEGImages" / "a.jpg").rename(folder / "JPEGImages" / "aa.jpg")
    with pytest.raises(
        ValueError, match=r"a\.xml: its image is missing; wanted .*a\.jpg .*; 1 of 3"
    ):
        voc(folder).open("train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"root": "/nowhere"}, "/nowhere: no such folder"),
        ({"annotations": "XML"}, "XML: no such folder"),
        ({"annotations": "JPEGImages"}, "JPEGImages: there are no XML files in it"),
        ({"images": "PNGImages"}, "PNGImages: no such folder"),
        ({"test_list": None}, "the test set must be too: test_list"),
        ({"train_list": "absent.txt"}, "absent.txt: cannot be read as a list of names"),
        ({"max_boxes": 1}, r"a\.jpg: 2 objects .* the fullest image has 2\. Set max_boxes=2"),
        ({"fit": "crop"}, "'crop' would cut"),
    ],
)
def test_wrong_settings(folder, options, message):
    with pytest.raises(ValueError, match=message):
        voc(folder, **options).open("train")


def test_lists_and_files_that_do_not_fit(folder):
    path = folder / "ImageSets" / "Main" / "train.txt"
    path.write_text("a\nbb\n")
    with pytest.raises(ValueError, match=r"train\.txt: line 2: there is no XML file 'bb'"):
        voc(folder).open("train")
    path.write_text("\n")
    with pytest.raises(ValueError, match=r"train\.txt: there are no names in it"):
        voc(folder).open("train")
    (folder / "ImageSets" / "Main" / "test.txt").write_text("a\nb\nc\ne.1\n")
    with pytest.raises(ValueError, match="all its images are in the other lists"):
        voc(folder, train_list=None).open("train")


def test_no_object_anywhere(tmp_path):
    for name in "ab":
        write(tmp_path, name)
    data = VOCDetection(root=str(tmp_path), test_fraction=0.5)
    with pytest.raises(
        ValueError, match="no object is marked in its 2 XML files.*give class_names"
    ):
        data.open("train")
    known = dataclasses.replace(data, class_names=("cat",)).open("train")
    assert (known[0]["classes"] == -1).all()
    with pytest.raises(ValueError, match="of its 2 images, none is for 'test'"):
        dataclasses.replace(data, test_fraction=0.0).open("test")


def test_bccd_written_as_voc_is_what_tfds_gives(real_data, tmp_path):
    """Twenty real photographs, written out with the boxes that TFDS has, are read the same."""
    tfds = TFDSDetection(name="bccd", data_dir=real_data("bccd"), size=160).open("test")
    for index in range(20):
        stored = tfds._records[index]
        objects = [
            (tfds.class_names[int(label)], np.round(box[[1, 0, 3, 2]] * [640, 480, 640, 480]), 0)
            for box, label in zip(stored["objects"]["bbox"], stored["objects"]["label"])
        ]
        write(tmp_path, f"{index:02}", (480, 640), objects)
        (tmp_path / "JPEGImages" / f"{index:02}.jpg").write_bytes(stored["image"])
    data = VOCDetection(
        root=str(tmp_path), class_names=tfds.class_names, one_based=False, size=160, test_fraction=0
    )
    arrays = materialize(data.open("train"))
    for index in range(20):
        for key, values in tfds[index].items():
            np.testing.assert_allclose(arrays[key][index], values, rtol=1e-4, atol=1e-3)


# ---- Marks that VOC's own tools do not write -----------------------------------------------------


def box(x0, y0, x1, y1, tag="bndbox"):
    corners = zip(("xmin", "ymin", "xmax", "ymax"), (x0, y0, x1, y1))
    return (
        f"<{tag}>" + "".join(f"<{name}>{value}</{name}>" for name, value in corners) + f"</{tag}>"
    )


def read(tmp_path, content):
    """What is read of a file with these elements below <annotation>, in an image of 30 x 40."""
    write(tmp_path, "a", objects=[("dog", (1, 1, 5, 5), 0)])
    write(tmp_path, "z", objects=[("dog", (1, 1, 5, 5), 0)])
    (tmp_path / "Annotations" / "a.xml").write_text(f"<annotation>{content}</annotation>")
    for name in "az":
        (tmp_path / f"{name}.txt").write_text(name)
    source = VOCDetection(
        root=str(tmp_path), train_list="a.txt", test_list="z.txt", class_names=("dog", "cat")
    ).open("train")
    record, count = source[0], int((source[0]["classes"] >= 0).sum())
    keys = ("boxes", "classes", "ignored")
    return [record[key][:count].tolist() for key in keys]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_every_box_of_an_object_is_read(tmp_path, number):
    """Some tools write all objects of a class as one: what is left out would be background."""
    boxes = [box(1 + 10 * i, 3, 10 + 10 * i, 20) for i in range(number)]
    objects = (
        f"<object><name>cat</name>{''.join(boxes)}<difficult>1</difficult></object>"
        f"<object><name>dog</name>{box(2, 21, 30, 30)}</object>"
    )
    found, classes, ignored = read(tmp_path, objects)
    assert found == [[10.0 * i, 2, 10 + 10 * i, 20] for i in range(number)] + [[1, 20, 30, 30]]
    assert classes == [1] * number + [0]
    assert ignored == [True] * number + [False]


def test_parts_and_outlines_are_no_objects(tmp_path):
    part = f"<part><name>head</name>{box(3, 3, 6, 6)}</part>"
    outline = "<polygon><x1>1</x1><y1>1</y1></polygon>"
    more = "<pose>Left</pose><truncated>1</truncated><occluded>1</occluded>"
    objects = f"<object><name>dog</name>{part}{box(2, 2, 9, 9)}{part}{outline}{more}</object>"
    assert read(tmp_path, objects) == [[[1, 1, 9, 9]], [0], [False]]


NOT_READ = {
    "a rotated box": (
        "<object><name>dog</name><robndbox><cx>9</cx><cy>9</cy></robndbox></object>",
        "a <robndbox> that is not read",
    ),
    "a rotated box beside an upright one": (
        f"<object><name>dog</name>{box(1, 1, 5, 5)}<robndbox><cx>9</cx></robndbox></object>",
        "a <robndbox> that is not read",
    ),
    "an outline alone": (
        "<object><name>dog</name><polygon><pt><x>1</x></pt></polygon></object>",
        "a <polygon> that is not read",
    ),
    "objects one deeper": (
        f"<objects><object><name>dog</name>{box(1, 1, 5, 5)}</object></objects>",
        "an? <object> that is not read",
    ),
    "an object in an object": (
        f"<object><name>dog</name>{box(1, 1, 5, 5)}"
        f"<object><name>cat</name>{box(1, 1, 5, 5)}</object></object>",
        "a <object> that is not read",
    ),
    "a box of no object": (box(1, 1, 5, 5), "a <bndbox> that is not read"),
    "an annotation in the annotation": (
        f"<annotation><object><name>dog</name>{box(1, 1, 5, 5)}</object></annotation>",
        "a <annotation> that is not read",
    ),
    "another spelling": (
        f"<Object><name>dog</name>{box(1, 1, 5, 5)}</Object>",
        "a <Object> that is not read",
    ),
    "a namespace": (
        f'<object xmlns="urn:x"><name>dog</name>{box(1, 1, 5, 5)}</object>',
        "that is not read",
    ),
    "two names": (
        f"<object><name>dog</name><name>cat</name>{box(1, 1, 5, 5)}</object>",
        "object 1 has 2 <name>: 'dog', 'cat'",
    ),
    "two flags": (
        f"<object><name>dog</name>{box(1, 1, 5, 5)}"
        "<difficult>0</difficult><difficult>1</difficult></object>",
        "object 1 has 2 <difficult>: '0', '1'",
    ),
    "two corners": (
        "<object><name>dog</name><bndbox><xmin>1</xmin><xmin>2</xmin><ymin>1</ymin>"
        "<xmax>5</xmax><ymax>5</ymax></bndbox></object>",
        r"object 1 \(dog\) has 2 <xmin>: '1', '2'",
    ),
    "two sizes": (
        "<size><width>40</width></size><size><width>40</width></size>",
        "it has 2 <size>",
    ),
    "a negative size": ("<size><width>-40</width><height>30</height></size>", "wanted pixels"),
    "a size between": ("<size><width>40.5</width><height>30</height></size>", "wanted pixels"),
    **{
        f"a corner of {text!r}": (
            f"<object><name>dog</name>{box(1, text, 5, 5)}</object>",
            rf"object 1 \(dog\): <ymin> is '{text}'",
        )
        for text in ("inf", "-Infinity", "NaN", "1_0", "0x1", "1,5", "1e999", "--1")
    },
}


@pytest.mark.parametrize("case", NOT_READ)
def test_what_marks_a_place_is_read_or_refused(tmp_path, case):
    content, message = NOT_READ[case]
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, content)
    assert str(tmp_path / "Annotations" / "a.xml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_has_one_name_in_either_form_of_unicode(tmp_path):
    for name, label in (("a", "caf\u00e9"), ("b", "cafe\u0301")):
        write(tmp_path, name, objects=[(label, (1, 1, 5, 5), 0)])
    assert VOCDetection(root=str(tmp_path)).open("train").class_names == ("caf\u00e9",)


@pytest.mark.parametrize("folder_name", ["JPEGImages", "Annotations"])
def test_links_out_of_the_folders_are_refused(folder, folder_name):
    inside = next(path for path in (folder / folder_name).iterdir() if path.stem == "a")
    outside = folder / f"elsewhere{inside.suffix}"
    inside.rename(outside)
    inside.symlink_to(outside)
    with pytest.raises(
        ValueError, match=rf"{inside.name} leads out of .*{folder_name}; .*allow_outsi"
    ):
        voc(folder).open("train")
    assert len(voc(folder, allow_outside_root=True).open("train")) == 3


def test_linked_pictures_stay_in_one_split(tmp_path):
    """Twenty XML files, of which ten have links to the pictures of the other ten."""
    for i in range(20):
        write(tmp_path, f"{i:02}", objects=[("dog", (1, 1, 5, 5), 0)])
    for i in range(10):
        path = tmp_path / "JPEGImages" / f"{i + 10}.jpg"
        path.unlink()
        path.symlink_to(f"{i:02}.jpg")
    data = VOCDetection(root=str(tmp_path), test_fraction=0.5)
    train, test = ({int(n[:2]) % 10 for n in names(data.open(s))} for s in ("train", "test"))
    assert len(train) == len(test) == 5
    assert not train & test


def test_names_with_blanks_as_windows_calls_copies(tmp_path):
    every = ("cell", "cell (1)", "cell (2)", "img 1", "img", "Jose\u0301", "other")
    for name in every:
        write(tmp_path, name, objects=[("cat", (1, 1, 9, 9), 0)])
    (tmp_path / "train.txt").write_text(
        "\ufeffcell\r\ncell (1)\r\ncell (2).jpg\r\nJos\u00e9\r\nimg 1\r\n"
    )
    (tmp_path / "test.txt").write_text("img\n")
    data = VOCDetection(root=str(tmp_path), train_list="train.txt", test_list="test.txt")
    listed = ["Jose\u0301", "cell", "cell (1)", "cell (2)", "img 1"]
    assert names(data.open("train")) == [f"{name}.jpg" for name in listed]
    assert names(data.open("test")) == ["img.jpg"]
    rest = dataclasses.replace(data, train_list=None).open("train")
    assert sorted(names(rest)) == sorted(f"{name}.jpg" for name in every if name != "img")


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_lists_with_names_in_common_are_refused(folder, split):
    lists = folder / "ImageSets" / "Main"
    (lists / "test.txt").write_text("e.1\nc.jpg\nb\n")
    wanted = r"train \(.*train\.txt\) and test \(.*test\.txt\) have 2 of 3 and 3 names in common: 'b', 'c'"
    with pytest.raises(ValueError, match=wanted):
        voc(folder).open(split)
    (lists / "test.txt").write_text("e.1\nd\n")
    for train_list in ("ImageSets/Main/train.txt", None):
        with pytest.raises(ValueError, match=r"validation .* and test .* in common: 'd'"):
            voc(folder, train_list=train_list).open(split)
    (lists / "test.txt").write_text("e.1\n")
    (lists / "train.txt").write_text("a\nb\na 1\n")
    with pytest.raises(ValueError, match=r"train\.txt: line 3: 'a' is listed already, in line 1"):
        voc(folder).open(split)


def test_classes_in_two_unicode_forms_are_one(tmp_path):
    for name, label in (("a", "caf\u00e9"), ("b", "cafe\u0301"), ("c", " caf\u00e9\u00a0")):
        write(tmp_path, name, objects=[(label, (1, 1, 9, 9), 0)])
    data = VOCDetection(root=str(tmp_path), test_fraction=0.0)
    assert data.open("train").class_names == ("caf\u00e9",)
    given = dataclasses.replace(data, class_names=("dog", "cafe\u0301")).open("train")
    assert [given[i]["classes"].tolist()[0] for i in range(3)] == [1, 1, 1]


def test_files_that_systems_leave_behind_have_no_partner_to_miss(folder):
    for place in ("JPEGImages", "Annotations"):
        (folder / place / "._a.xml").write_bytes(b"\0\5\26\7")
        (folder / place / "Thumbs.db").write_bytes(b"")
        (folder / place / "__MACOSX").mkdir()
        (folder / place / "__MACOSX" / "zz.xml").write_text("<annotation/>")
    assert len(VOCDetection(root=str(folder), test_fraction=0.0, max_boxes=2).open("train")) == 5
