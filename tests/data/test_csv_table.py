"""CSV tables: every cell is read, numbers are numbers, one file is on one side, inside the root."""

import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from jaxcv.data import CSV, materialize


@pytest.fixture
def folder(tmp_path):
    """A folder with pictures 0.png to 39.png."""
    root = tmp_path / "root"
    root.mkdir()
    for i in range(40):
        Image.new("L", (4, 4), i).save(root / f"{i}.png")
    return root


def table(folder, text, **options):
    (folder / "table.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return CSV(path=str(folder / "table.csv"), **options)


def of_labels(labels):
    return "image,label\n" + "".join(f"{i}.png,{label}\n" for i, label in enumerate(labels))


# ---- Cells -------------------------------------------------------------------------------------

MALFORMED = {
    "a comma that is not quoted": (
        "image,label\n0.png,dog, black\n",
        "line 2: there are 3 cells .* of 2",
    ),
    "in a later row": ("image,label\n0.png,a\n1.png,b,c\n", "line 3: there are 3 cells"),
    "a cell too few": (
        "image,label,note\n0.png,a,x\n1.png,b\n",
        "line 3: there are 2 cells .* of 3",
    ),
    "no label": ("image,label\n0.png,a\n1.png\n", "line 3: column 'label' is empty.*1 of 2 cells"),
    "a name twice": (
        "image,label,label\n0.png,a,b\n",
        "two columns of its header are called 'label'",
    ),
    "a name twice but for a blank": ("image,label, label\n0.png,a,b\n", "two columns .* 'label'"),
    "an unused name twice": ("image,label,x,x\n0.png,a,b,c\n", "two columns .* called 'x'"),
    "a quotation mark that is not closed": (
        'image,label\n0.png,"a\n1.png,b\n2.png,c\n',
        "line 4: cannot be read as CSV: unexpected end of data; is a quotation mark",
    ),
    "two that close each other": (
        'image,label\n0.png,"a\n1.png,b"\n2.png,c\n',
        "column 'label' holds a line break",
    ),
    "one in the middle": ('image,label\n0.png,"a"b\n', "line 2: cannot be read as CSV"),
    "a null byte": ("image,label\n0.png,a\0b\n", "line 2: "),
    "another encoding": (
        "image,label\n0.png,a\n".encode("utf-16"),
        "no UTF-8 text .*; save it as CSV UTF-8",
    ),
    "semicolons": ("image;label\n0.png;a\n", r"no column 'image' in its header \(image;label\)"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_tables_are_refused_by_line(folder, case):
    text, message = MALFORMED[case]
    with pytest.raises(ValueError, match=message) as caught:
        table(folder, text).open("train")
    assert str(caught.value).startswith(str(folder / "table.csv"))
    assert "\n" not in str(caught.value)


def test_quoted_cells_and_a_byte_order_mark(folder):
    cells = ('"dog, black"', '"dog, ""brown"""')
    rows = "".join(f"{i}.png,{cells[i % 2]},x\n" for i in range(10))
    source = table(folder, "\ufeffimage,label,\n\n" + rows + "\r\n").open("train")
    assert source.class_names == ('dog, "brown"', "dog, black")


# ---- Labels ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([10, 9, 1], ["1", "9", "10"]),
        (["1.0", "2.0", "10.0"], ["1.0", "2.0", "10.0"]),
        (["-1", "+3", "-20"], ["-20", "-1", "+3"]),
        (["1e2", "2.5", ".5", "7."], [".5", "2.5", "7.", "1e2"]),
        (["9007199254740993", "9007199254740992"], ["9007199254740992", "9007199254740993"]),
        (["--1", "2", "10"], ["--1", "10", "2"]),
        (["1_0", "9", "10"], ["10", "1_0", "9"]),
        (["a10", "a9"], ["a10", "a9"]),
        (["2", "10", "ten"], ["10", "2", "ten"]),
        (["nan", "none"], ["nan", "none"]),
        (["nan", "dog", "2"], ["2", "dog", "nan"]),
    ],
)
def test_labels_are_in_the_order_of_numbers_where_all_are(folder, labels, names):
    data = table(folder, of_labels(labels * 3))
    source = data.open("train")
    assert list(source.class_names) == names
    labels = {source.record_name(i): int(source[i]["label"]) for i in range(len(source))}
    for path, label in labels.items():
        assert names[label] == label_of(folder, path)


def label_of(folder, path):
    """What the table says of a file."""
    rows = (folder / "table.csv").read_text().splitlines()[1:]
    return dict(row.split(",") for row in rows)[os.path.basename(path)]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["1", "2", "1.0"], "line 4: label '1.0' is the number '1' of line 2, written otherwise"),
        (["007", "7"], "line 3: label '7' is the number '007'"),
        (["0", "-0"], "label '-0' is the number '0'"),
        (["100", "1e2"], "label '1e2' is the number '100'"),
        (["1", "2", "nan"], "line 4: label 'nan' stands among numbers"),
        (["1", "NaN", "2"], "line 3: label 'NaN' stands among numbers"),
        (["1", "2", "N/A"], "line 4: label 'N/A' stands among numbers"),
        (["1", "-inf"], "line 3: label '-inf' stands among numbers"),
    ],
)
def test_numbers_that_are_no_names_are_refused(folder, labels, message):
    with pytest.raises(ValueError, match=message):
        table(folder, of_labels(labels)).open("train")


@pytest.mark.parametrize("text", ["1_000", "0x10", "1e99", "--1", "infinity", "1,5", "\u0661"])
def test_a_number_to_predict_is_a_plain_number(folder, text):
    with pytest.raises(ValueError, match="line 3: .* (not a finite number|too large for 32 bits)"):
        table(folder, of_labels(["1", f'"{text}"']), regression=True).open("train")


def test_a_label_in_two_forms_of_unicode_is_one_class(folder):
    forms = [unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD")]
    source = table(folder, of_labels([*forms, *forms, "tea", "tea"])).open("train")
    assert source.class_names == ("caf\u00e9", "tea")


# ---- One file on one side ----------------------------------------------------------------------


def sides(data):
    """Files of the training and of the test part, by their inodes."""
    return [
        {os.stat(source.record_name(i)).st_ino for i in range(len(source))}
        for source in (data.open("train"), data.open("test"))
    ]


SEVERAL_ROWS = {
    "a rare class repeated": [(f"{i}.png", "rare") for i in range(4) for _ in range(7)]
    + [(f"{i}.png", "common") for i in range(4, 34)],
    "several labels of a picture": [
        (f"{i}.png", label) for i in range(40) for label in ("xy" if i % 3 == 0 else "x")
    ],
    "a dot": [(f"{dot}{i}.png", "ab"[i % 2]) for i in range(40) for dot in ("", "./")],
    "there and back": [(f"{way}{i}.png", "ab"[i % 2]) for i in range(40) for way in ("", "a/../")],
    "a link": [(f"{kind}{i}.png", "ab"[i % 2]) for i in range(40) for kind in ("", "soft")],
    "a hard link": [(f"{kind}{i}.png", "ab"[i % 2]) for i in range(40) for kind in ("", "hard")],
}


@pytest.mark.parametrize("case", SEVERAL_ROWS)
@pytest.mark.parametrize("regression", [False, True])
def test_rows_of_one_file_are_on_one_side(folder, case, regression):
    (folder / "a").mkdir()
    for i in range(40):
        (folder / f"soft{i}.png").symlink_to(f"{i}.png")
        (folder / f"hard{i}.png").hardlink_to(folder / f"{i}.png")
    rows = SEVERAL_ROWS[case]
    numbers = {label: i for i, label in enumerate(sorted({label for _, label in rows}))}
    text = "".join(f"{file},{numbers[label] if regression else label}\n" for file, label in rows)
    data = table(folder, "image,label\n" + text, regression=regression)
    train, test = sides(data)
    assert not train & test
    assert len(test) == np.ceil(0.2 * len(train | test))
    assert sum(len(data.open(split)) for split in ("train", "test")) == len(rows)


@pytest.mark.parametrize("other", ["0.png", "./0.png", "soft.png"])
@pytest.mark.parametrize("parts", [("train", "test"), ("test", "validation")])
def test_a_file_that_a_column_puts_in_two_splits_is_refused(folder, other, parts):
    (folder / "soft.png").symlink_to("0.png")
    text = f"image,label,part\n1.png,a,train\n0.png,a,{parts[0]}\n{other},b,{parts[1]}\n"
    with pytest.raises(
        ValueError, match=rf"line 4: {other} is for '{parts[1]}', but line 3 has the sa"
    ):
        table(folder, text, split_column="part").open("train")
    unused = f"image,label,part\n1.png,a,train\n0.png,a,test\n{other},b,unused\n"
    assert len(table(folder, unused, split_column="part").open("test")) == 1


def test_without_a_test_part_it_says_what_to_set(folder):
    data = table(folder, of_labels("abab"), test_fraction=0.0)
    assert len(data.open("train")) == 4
    with pytest.raises(
        ValueError, match=r"of its 4 records, none is for 'test'.*test_fraction.*set"
    ):
        data.open("test")


# ---- Inside the root ---------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["dots", "absolute", "link", "linked folder", "missing"])
def test_files_outside_the_root_are_refused_unread(folder, way):
    outside = folder.parent / "outside.png"
    outside.write_bytes((folder / "0.png").read_bytes())
    (folder / "soft.png").symlink_to(outside)
    (folder / "soft").symlink_to(folder.parent)
    name = {
        "dots": "../outside.png",
        "absolute": str(outside),
        "link": "soft.png",
        "linked folder": "soft/outside.png",
        "missing": "../nowhere.png",
    }[way]
    text = of_labels("ab") + f"{name},a\n"
    with pytest.raises(ValueError, match=rf"line 4: {name} leads out of {folder}; .*allow_outside"):
        table(folder, text).open("train")
    if way != "missing":
        assert len(table(folder, text, allow_outside_root=True).open("train")) == 2
        everywhere = "".join(f"{folder / line}\n" for line in of_labels("ab").splitlines()[1:])
        everywhere = f"image,label\n{everywhere}{outside},a\n"
        assert len(table(folder, everywhere, root="/").open("train")) == 2
        assert len(table(folder, of_labels("ab"), root=str(folder)).open("train")) == 2


def test_files_inside_the_root_by_any_path(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "x.png").write_bytes((folder / "0.png").read_bytes())
    (folder.parent / "linked").symlink_to(folder)
    names = [str(folder / "1.png"), "../root/2.png", "sub/../3.png", "sub/x.png"]
    text = "image,label\n" + "".join(f"{name},{i % 2}\n" for i, name in enumerate(names))
    for root in (folder, folder.parent / "linked"):
        source = table(folder, text, root=str(root), test_fraction=0.0).open("train")
        assert materialize(source)["label"].tolist() == [0, 1, 0, 1]
