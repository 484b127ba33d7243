"""LFW's lists of pairs: folds, pictures found by name, errors that name the line and the file."""

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
