"""LFW's lists of pairs: folds, pictures found by name, errors that name the line and the file."""

import unicodedata

import numpy as np
import pytest
from PIL import Image

from jaxcv.data import ImageReader, read_pairs

PEOPLE = {"Ada_Lovelace": 3, "Bo": 2, "Cy Twombly": 4}

LFW = """2\t2
Ada_Lovelace\t1\t2
Bo\t1\t2
Ada_Lovelace\t1\tBo\t1
Bo\t2\tCy Twombly\t4
Cy Twombly\t1\t4
Ada_Lovelace\t2\t3
Ada_Lovelace\t3\tCy Twombly\t2
Bo\t1\tCy Twombly\t3
"""


@pytest.fixture
def root(tmp_path):
    for label, (name, count) in enumerate(PEOPLE.items()):
        (tmp_path / "faces" / name).mkdir(parents=True)
        for i in range(1, count + 1):
            suffix = "png" if i % 2 else "PNG"
            image = Image.new("RGB", (4, 5), (label, i, 0))
            image.save(tmp_path / "faces" / name / f"{name}_{i:04d}.{suffix}", "PNG")
        (tmp_path / "faces" / name / "notes.txt").write_text("no picture")
    return tmp_path / "faces"


def listed(root, text):
    path = root.parent / "pairs.txt"
    path.write_bytes(text.encode())
    return path


def colours(pairs):
    """(label, number) of both pictures of every pair, as painted."""
    images = [pairs.images[i]["image"][0, 0, :2].tolist() for i in range(len(pairs.images))]
    return [[images[a], images[b]] for a, b in pairs.pairs]


def test_lfw(root):
    pairs = read_pairs(listed(root, LFW), root)
    assert pairs.same.tolist() == [True, True, False, False] * 2
    assert pairs.folds.tolist() == [0] * 4 + [1] * 4
    assert colours(pairs)[:4] == [
        [[0, 1], [0, 2]],
        [[1, 1], [1, 2]],
        [[0, 1], [1, 1]],
        [[1, 2], [2, 4]],
    ]
    assert len(pairs.images) == 9  # each once
    assert pairs.images.class_names == ("Ada_Lovelace", "Bo", "Cy Twombly")
    labels = pairs.images.labels[pairs.pairs]
    np.testing.assert_array_equal(labels[:, 0] == labels[:, 1], pairs.same)
    assert pairs.images[0]["image"].shape == (5, 4, 3)
    small = read_pairs(
        str(listed(root, LFW)), str(root), image_reader=ImageReader(size=2, channels=1)
    )
    assert small.images[0]["image"].shape == (2, 2, 1)


def test_development_list_blanks_and_no_header(root):
    development = listed(root, "1\r\nBo 1 2\r\n\r\nBo 1 Ada_Lovelace 3\r\n")
    pairs = read_pairs(development, root)
    assert pairs.folds is None
    assert pairs.same.tolist() == [True, False]
    assert colours(pairs) == [[[1, 1], [1, 2]], [[1, 1], [0, 3]]]
    without = read_pairs(listed(root, "\ufeffBo 1 Ada_Lovelace 3\nBo 1 2\nBo 2 1"), root)
    assert without.folds is None
    assert without.same.tolist() == [False, True, True]
    assert without.pairs.tolist() == [[0, 1], [0, 2], [2, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there are no pairs in it"),
        ("10\t300\n", "there are no pairs in it"),
        ("10\t300\nBo 1 2\n", "header '10 300' announces 6000 pairs, but there are 1"),
        ("x\nBo 1 2\n", "line 1: wanted a header .* found 'x'"),
        ("1\nBo 1 2\n\nBo 1 2 3 4\n", "line 4: wanted 'name i j' .* found 5 columns"),
        ("1\nBo 1 2\nBo 1\n", "line 3: wanted .* found 2 columns: 'Bo 1'"),
        ("1\nBo 1 two\nBo 1 Ada_Lovelace 3\n", "line 2: 'two' is no number"),
        ("1\nBo 1 -2\nBo 1 Ada_Lovelace 3\n", "line 2: '-2' is no number"),
        ("1\nBo 1 0\nBo 1 Ada_Lovelace 3\n", "line 2: '0' is no number"),
        ("1\nBo 1 2\nBo 1 Bo 2\n", "line 3: names 'Bo' twice"),
        ("1\nBo 1 Ada_Lovelace 3\nBo 1 2\n", "line 2: by the header, .* one person"),
        ("1\n../faces/Bo 1 2\nBo 1 Ada_Lovelace 3\n", "line 2: '../faces/Bo' is no name"),
        ("1\n.. 1 2\nBo 1 Ada_Lovelace 3\n", "line 2: '..' is no name"),
        ("Bo 1 2\nBo 1 3\n", r"line 2: no such file: .*Bo/Bo_0003 with .* has 2 others"),
        ("Bo 7 3\nBob 1 3\n", r"line 1: .*Bo_0007.* \(3 more pictures are missing\)"),
        ("Bob 1 3\n", "line 1: .*no picture of 'Bob' at all; did you mean 'Bo'"),
    ],
)
def test_errors_name_list_line_and_file(root, text, message):
    path = listed(root, text)
    with pytest.raises(ValueError, match=message) as caught:
        read_pairs(path, root)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there_or_twice(root):
    path = listed(root, LFW)
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        read_pairs(path, root / "nowhere")
    with pytest.raises(ValueError, match="nothing: no such file"):
        read_pairs(root / "nothing", root)
    (root / "Bo" / "Bo_0002.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"line 3: .*Bo has both Bo_0002.PNG and Bo_0002.jpg"):
        read_pairs(path, root)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a text file"):
        read_pairs(path, root)


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_list", ["NFC", "NFD"])
def test_names_in_any_unicode_form(tmp_path, on_disk, in_list):
    for name in ("José", "Zoë Ångström", "Ann"):
        raw = unicodedata.normalize(on_disk, name)
        (tmp_path / raw).mkdir()
        for i in (1, 2):
            Image.new("RGB", (4, 5), (i, 0, 0)).save(tmp_path / raw / f"{raw}_{i:04d}.png")
    text = "José\t1\t2\nJosé\u00a0\t1\tZoë Ångström\t2\nAnn\t1\tZoë Ångström \t1\n"
    path = tmp_path / "pairs.txt"
    path.write_text(unicodedata.normalize(in_list, text), encoding="utf-8-sig")
    pairs = read_pairs(path, tmp_path)
    assert pairs.same.tolist() == [True, False, False]
    assert pairs.images.class_names == ("Ann", "José", "Zoë Ångström")
    assert pairs.images[0]["image"].shape == (5, 4, 3)
    path.write_text(
        f"{unicodedata.normalize('NFC', 'José')} 1 {unicodedata.normalize('NFD', 'José')} 2"
    )
    with pytest.raises(ValueError, match="twice; a pair of one person is"):
        read_pairs(path, tmp_path)
    # Both forms as folders: whose picture is meant cannot be told.
    other = unicodedata.normalize("NFD" if on_disk == "NFC" else "NFC", "José")
    (tmp_path / other).mkdir()
    path.write_text("Ann 1 2\nJosé 1 2\n")
    with pytest.raises(
        ValueError, match=r"line 2: .*'Jos.*' and 'Jos.*', both called 'José'"
    ) as caught:
        read_pairs(path, tmp_path)
    assert r"'Jose\u0301'" in str(caught.value)
    assert r"'Jos\xe9'" in str(caught.value)


def test_names_with_blanks_are_known_by_their_folders(tmp_path):
    for name in ("Ann", "Ann Lee", "Agent 7", "Agent", "8"):
        (tmp_path / name).mkdir()
        for i in range(1, 9):
            Image.new("RGB", (4, 5)).save(tmp_path / name / f"{name}_{i:04d}.png")
    path = tmp_path / "pairs.txt"
    path.write_text("Ann Lee 1 2\nAnn 1 Ann Lee 3\nAgent 7 1 2\nAnn Lee 4 Agent 7 8\n")
    pairs = read_pairs(path, tmp_path)
    named = [pairs.images.record_name(i).split("/")[-1].split(".")[0] for i in pairs.pairs.ravel()]
    assert named == [
        *("Ann Lee_0001", "Ann Lee_0002", "Ann_0001", "Ann Lee_0003"),
        *("Agent 7_0001", "Agent 7_0002", "Ann Lee_0004", "Agent 7_0008"),
    ]
    assert pairs.same.tolist() == [True, False, True, False]
    path.write_text("Agent 7 8 2\n")
    with pytest.raises(ValueError, match=r"line 1: 'Agent 7 8 2' may mean more than one pair"):
        read_pairs(path, tmp_path)
    path.write_text("Agent\t7\t8\t2\n")
    assert read_pairs(path, tmp_path).same.tolist() == [False]
