"""Folders of class folders and CSV tables: what is found, and one clear line where it is not."""

import hashlib
import io
import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from jaxcv.data import (
    CSV,
    Batches,
    DecodeError,
    DisjointIdentities,
    Folder,
    ImagesPerIdentity,
    MaskFolder,
    People,
    materialize,
)
from jaxcv.faces.photos import find_people


def write_image(path, level, size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, 0, 255 - level)).save(path)


def folder_of(tmp_path, classes=("cat", "dog"), count=5):
    for label, name in enumerate(classes):
        for i in range(count):
            write_image(tmp_path / name / f"{i}.png", 100 * label + i)
    return tmp_path


# ---- Folder ------------------------------------------------------------------------------------


def test_folder_with_a_split_of_its_own(tmp_path):
    folder_of(tmp_path)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "cat" / ".hidden.png").write_bytes(b"")
    (tmp_path / ".cache").mkdir()
    write_image(tmp_path / "dog" / "deeper" / "still" / "5.JPG", 105)
    data = Folder(root=str(tmp_path))
    train, test = data.open("train"), data.open("test")
    assert train.class_names == test.class_names == ("cat", "dog")
    assert (len(train), len(test)) == (8, 3)
    names = [s.record_name(i) for s in (train, test) for i in range(len(s))]
    assert len(set(names)) == 11
    for source in (train, test):
        for i in range(len(source)):
            record = source[i]
            assert record["image"].shape == (6, 8, 3)
            assert ("dog" in source.record_name(i)) == bool(record["label"])
            assert (record["image"][0, 0, 0] >= 95) == bool(record["label"])
    again = Folder(root=str(tmp_path)).open("test")
    assert [again.record_name(i) for i in range(3)] == names[8:]


def test_folder_with_train_and_test(tmp_path):
    folder_of(tmp_path / "train", ("a", "b", "c"))
    folder_of(tmp_path / "test", ("a", "c"), count=2)
    data = Folder(root=str(tmp_path), size=4, channels=1)
    assert len(data.open("train")) == 15
    test = data.open("test")
    assert test.class_names == ("a", "b", "c")
    assert materialize(test)["label"].tolist() == [0, 0, 2, 2]
    assert test[3]["image"].shape == (4, 4, 1)


def test_a_class_may_be_called_train(tmp_path):
    folder_of(tmp_path, ("car", "train"))
    assert Folder(root=str(tmp_path)).open("train").class_names == ("car", "train")


def test_wrong_folders(tmp_path):
    def message(**options):
        with pytest.raises(ValueError) as caught:
            Folder(root=str(tmp_path), **options).open("test")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    with pytest.raises(ValueError, match="nowhere: no such folder"):
        Folder(root=str(tmp_path / "nowhere")).open("train")
    assert "no class folder in it" in message()
    (tmp_path / "cat").mkdir()
    assert message() == f"{tmp_path / 'cat'}: there are no images in this class folder"
    folder_of(tmp_path / "train", ("cat", "dog"))
    assert "none called 'test'" in message()
    assert "found: cat" in message()
    folder_of(tmp_path / "val", ("cat", "dgo"))
    assert "class 'dgo' has no folder" in message(test_folder="val")
    assert "did you mean 'dog'?" in message(test_folder="val")
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    assert "there are no images" in message(test_folder="empty")


def test_images_of_different_sizes_need_a_size(tmp_path):
    folder_of(tmp_path)
    write_image(tmp_path / "dog" / "9.png", 1, size=(7, 7))
    source = Folder(root=str(tmp_path), test_fraction=0.0).open("train")
    with pytest.raises(ValueError, match=r"9\.png: image is uint8 \(7, 7, 3\), but .*size=224"):
        materialize(source)
    assert materialize(Folder(root=str(tmp_path), size=5).open("train"))["image"].shape[1:3] == (
        5,
        5,
    )


def test_broken_and_vanished_files_are_named(tmp_path):
    folder_of(tmp_path)
    source = Folder(root=str(tmp_path), test_fraction=0.0).open("train")
    (tmp_path / "cat" / "3.png").write_bytes(b"")
    (tmp_path / "dog" / "1.png").unlink()
    with pytest.raises(DecodeError, match=r"cat/3\.png: the file is empty"):
        source[3]
    with pytest.raises(DecodeError, match=r"dog/1\.png: cannot be read: No such file"):
        source[6]
    batches = Batches(source, 10, shuffle=False, on_bad_record="skip")
    assert batches[0]["mask"].tolist() == [i not in (3, 6) for i in range(10)]
    assert [name[-9:] for name in batches.bad_records] == ["cat/3.png", "dog/1.png"]


@pytest.mark.parametrize("kind", ["link", "hard link"])
def test_a_linked_file_stays_in_one_split(tmp_path, kind):
    """Each picture under two names, in its class and in another."""
    for i in range(20):
        for name in ("cat", "dog"):
            path = tmp_path / name / f"{i}.png"
            path.parent.mkdir(exist_ok=True)
            if name == "cat":
                Image.fromarray(np.full((4, 4), i, np.uint8)).save(path)
            elif kind == "link":
                path.symlink_to(f"../cat/{i}.png")
            else:
                path.hardlink_to(tmp_path / "cat" / f"{i}.png")
    data = Folder(root=str(tmp_path), test_fraction=0.25)
    train, test = (
        {int(image[0, 0, 0]) for image in materialize(data.open(split))["image"]}
        for split in ("train", "test")
    )
    assert len(test) == 5
    assert not train & test


def test_without_a_test_part_it_says_what_to_set(tmp_path):
    folder_of(tmp_path)
    with pytest.raises(ValueError, match="none is for 'test'.*test_fraction.*test set of its own"):
        Folder(root=str(tmp_path), test_fraction=0.0).open("test")


# ---- CSV ---------------------------------------------------------------------------------------


def table(tmp_path, text):
    folder_of(tmp_path)
    path = tmp_path / "table.csv"
    path.write_text(text)
    return str(path)


def test_csv(tmp_path):
    rows = "".join(f"{c}/{i}.png,{c},x\n" for i in range(5) for c in ("dog", "cat"))
    path = table(tmp_path, "\ufeffimage,label,other\n" + rows)
    data = CSV(path=path)
    train, test = data.open("train"), data.open("test")
    assert train.class_names == ("cat", "dog")
    assert (len(train), len(test)) == (8, 2)
    for source in (train, test):
        for i in range(len(source)):
            assert ("dog" in source.record_name(i)) == bool(source[i]["label"])


def test_csv_columns_split_root_and_numbers(tmp_path):
    text = (
        "file,age,part\ncat/0.png,10,train\ncat/1.png,9,train\ndog/0.png,9,test\ndog/1.png,1,no\n"
    )
    path = table(tmp_path, text)
    moved = tmp_path / "elsewhere.csv"
    (tmp_path / "table.csv").rename(moved)
    names = {"image_column": "file", "label_column": "age", "split_column": "part"}
    data = CSV(path=str(moved), root=str(tmp_path), **names)
    assert data.open("train").class_names == ("1", "9", "10")
    assert materialize(data.open("train"))["label"].tolist() == [2, 1]
    assert materialize(data.open("test"))["label"].tolist() == [1]
    regression = CSV(path=str(moved), regression=True, **names).open("train")
    assert regression.class_names == ()
    found = materialize(regression)["label"]
    assert found.dtype == np.float32
    assert found.tolist() == [10, 9]
    assert path.endswith("table.csv")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, r"no column 'image' in its header \(it is empty\)"),
        ("image,label\n", {}, "no rows below its header"),
        ("imag,label\nx,y\n", {}, r"\(imag, label\); did you mean 'imag'\?"),
        ("image,label\ncat/0.png,a\ncat/77.png,b\n", {}, r"line 3: no such file: .*77\.png"),
        ("image,label\ncat/0.png,\n", {}, "line 2: column 'label' is empty"),
        ("image,label\ncat/0.png\n", {}, "line 2: column 'label' is empty"),
        ("image,label\ncat/0.png,tall\n", {"regression": True}, "'tall' is not a finite number"),
        ("image,label\ncat/0.png,nan\n", {"regression": True}, "'nan' is not a finite number"),
        ("image,label,s\ncat/0.png,a,b\n", {"split_column": "s"}, "no row has 'train'.*found b"),
    ],
)
def test_wrong_csv(tmp_path, text, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        CSV(path=table(tmp_path, text), **options).open("train")
    assert str(caught.value).startswith(str(tmp_path / "table.csv"))


def test_csv_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        CSV(path=str(tmp_path / "no.csv")).open("train")
    path = tmp_path / "image.csv"
    path.write_bytes(b"\xff\xfe\0\0")
    with pytest.raises(ValueError, match=r"image\.csv: "):
        CSV(path=str(path)).open("train")


# ---- Names -------------------------------------------------------------------------------------


FORMS = ("NFC", "NFD")


@pytest.mark.parametrize("form", FORMS)
def test_classes_and_split_do_not_depend_on_the_unicode_form_of_names(tmp_path, form):
    """macOS and Linux hold one folder in two forms; labels, names and parts must be the same."""
    for name in ("zoë", "José", "Jot", "Ålesund"):
        for i in range(5):
            path = tmp_path / unicodedata.normalize(form, name) / f"{name} é{i}.png"
            write_image(path.with_name(unicodedata.normalize(form, path.name)), 10)
    train, test = (Folder(root=str(tmp_path)).open(split) for split in ("train", "test"))
    assert train.class_names == ("José", "Jot", "zoë", "Ålesund")
    found = [unicodedata.normalize("NFC", test.record_name(i)) for i in range(len(test))]
    for name, file in zip(train.class_names, found, strict=True):
        files = [f"{name}/{name} é{i}.png" for i in range(5)]
        first = min(files, key=lambda each: hashlib.sha256(f"0:{each}".encode()).digest())
        assert file == f"{tmp_path}/{first}"
    assert test[0]["image"].shape == (6, 8, 3)  # which opens the file by its own bytes


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("José", "Jose\u0301"),
        ("cat", "cat "),
        ("cat", "\u00a0cat"),
        ("a b", "a\u00a0b"),
        ("x", "x\ufeff"),
    ],
)
def test_two_class_folders_of_one_name_are_refused(tmp_path, first, second):
    folder_of(tmp_path, (first, second, "dog"))
    with pytest.raises(ValueError, match="are both called") as caught:
        Folder(root=str(tmp_path)).open("train")
    assert ascii(first) in str(caught.value)
    assert ascii(second) in str(caught.value)
    with pytest.raises(ValueError, match="are both called"):
        find_people([str(tmp_path)])
    with pytest.raises(ValueError, match="are both called"):
        People(root=str(tmp_path)).open("train")


def test_a_class_of_the_test_set_is_known_in_any_form(tmp_path):
    folder_of(tmp_path / "train", ("Jose\u0301", "Ann "))
    folder_of(tmp_path / "test", ("José", "Ann"), count=2)
    test = Folder(root=str(tmp_path)).open("test")
    assert test.class_names == ("Ann", "José")
    assert materialize(test)["label"].tolist() == [0, 0, 1, 1]


def test_labels_of_a_table_in_two_forms_are_one_class(tmp_path):
    rows = "".join(
        f"cat/{i}.png,{label}\ndog/{i}.png,Ann\n"
        for i, label in enumerate(("José", "Jose\u0301", "José ", "\u00a0José", "José\u200b"))
    )
    source = CSV(path=table(tmp_path, "image,label\n" + rows)).open("train")
    assert source.class_names == ("Ann", "José")
    assert len(source) == 8


NOT_UTF_8 = (b"caf\xe9.png", b"\xff\xfe.png", b"\x93quoted\x94.png", b"ok.png", "é.png".encode())


def test_file_names_that_are_no_utf_8(tmp_path):
    """What a zip made on Windows leaves behind on Linux."""
    for folder in (b"a", b"b", b"caf\xe9", b"\x1b[31mred"):
        os.makedirs(os.fsencode(tmp_path) + b"/" + folder)
        for i, name in enumerate(NOT_UTF_8):
            image = io.BytesIO()
            Image.new("RGB", (8, 6), (i, 0, 0)).save(image, "PNG")
            with open(os.fsencode(tmp_path) + b"/" + folder + b"/" + name, "wb") as file:
                file.write(image.getvalue())
    train, test = (Folder(root=str(tmp_path)).open(split) for split in ("train", "test"))
    assert (len(train), len(test)) == (16, 4)
    assert train.class_names == ("\\x1b[31mred", "a", "b", "caf\\xe9")
    for source in (train, test):
        for i in range(len(source)):
            raw = os.fsencode(source.record_name(i)).rpartition(b"/")[2]
            assert source[i]["image"][0, 0, 0] == NOT_UTF_8.index(raw)
    people = DisjointIdentities(data=People(root=str(tmp_path)), test_identities=1)
    assert len(people.open("train").class_names) == 3
    closed = ImagesPerIdentity(data=People(root=str(tmp_path)), train_images=2)
    assert len(closed.open("test")) == 12
    assert [person for person, _ in find_people([str(tmp_path)])][-1] == "caf\\xe9"
    lines = b"".join(name + b"\n" for name in NOT_UTF_8)
    (tmp_path / "train.txt").write_bytes(lines[: lines.index(b"ok")])
    (tmp_path / "test.txt").write_bytes(lines[lines.index(b"ok") :])
    masks = MaskFolder(
        images=str(tmp_path / "a"),
        masks=str(tmp_path / "b"),
        class_names=("x",),
        palette=((0, 0, 0),),
        train_list=str(tmp_path / "train.txt"),
        test_list=str(tmp_path / "test.txt"),
    )
    assert [len(masks.open(split)) for split in ("train", "test")] == [3, 2]
