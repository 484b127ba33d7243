"""Which files are pictures: one rule for training, prediction, enrolment; what is passed over is said."""

import contextlib
import importlib.util
import io
import os
import re
import socket
import unicodedata

import numpy as np
import pytest
from PIL import Image

from jaxcv.data import DecodeError, Folder, People, decode_image
from jaxcv.data.finding import files_by_name, find_files, is_system, stem
from jaxcv.data.formats import SUFFIXES, TABLE, accepted_formats, format_of
from jaxcv.faces.photos import find_people
from jaxcv.predict import find_images
from jaxcv.train.run import SetupError

LEFT_BEHIND = (
    *(
        "Thumbs.db",
        "desktop.ini",
        "DESKTOP.INI",
        ".DS_Store",
        "._1.png",
        "ehthumbs.db",
        "Picasa.ini",
    ),
    *("__MACOSX/._1.png", "__MACOSX/zoe/1.png", "@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg", ".git/1.png"),
    *(
        "$RECYCLE.BIN/1.png",
        "lost+found/1.png",
        "System Volume Information/1.png",
        "#recycle/1.png",
    ),
)


def write(path, format="PNG", level=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (level, 0, 255 - level)).save(path, format)


def people(root, names=("ann", "zoe"), count=3):
    for name in names:
        for i in range(count):
            write(root / name / f"{i}.png", level=i)
    return root


def trained_on(root, globs=True):
    """The files of both parts of a `Folder`, of `People`, of an enrolment and of a prediction."""
    source = People(root=str(root)).open("train")
    parts = [Folder(root=str(root)).open(split) for split in ("train", "test")]
    found = {
        "folder": [part.record_name(i) for part in parts for i in range(len(part))],
        "people": [source.record_name(i) for i in range(len(source))],
        "enroll": [file for _, file in find_people([str(root)])],
        "predict": find_images([str(root)]),
        **({"predict glob": find_images([str(root / "*" / "**" / "*")])} if globs else {}),
    }
    return {
        way: sorted(os.path.relpath(file, root).replace(os.sep, "/") for file in files)
        for way, files in found.items()
    }


def assert_all_find(root, files):
    for way, found in trained_on(root).items():
        assert found == sorted(files), way


PNGS = [f"{person}/{i}.png" for person in ("ann", "zoe") for i in range(3)]


def test_what_systems_leave_behind_is_no_picture_anywhere_and_not_spoken_of(tmp_path, caplog):
    people(tmp_path)
    for file in LEFT_BEHIND:
        write(tmp_path / file)
        write(tmp_path / "zoe" / file)
    assert_all_find(tmp_path, PNGS)
    assert not caplog.records
    # A shell writes out `photos/*`.
    given = sorted(str(path) for path in (tmp_path / "zoe").iterdir() if path.name[0] != ".")
    assert [os.path.basename(f) for f in find_images(given)] == ["0.png", "1.png", "2.png"]
    with pytest.raises(SetupError, match=r"Thumbs\.db names no image file"):
        find_images([str(tmp_path / "zoe" / "Thumbs.db")])
    assert is_system("._any")
    assert not is_system("thumbs.png")


@pytest.mark.parametrize(
    ("name", "format"),
    [
        *((f"web{suffix}", "JPEG") for suffix in (".jfif", ".JFIF", ".jpe", ".pjpeg", ".jif")),
        *(("none", kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")),
        ("Dr. Who", "PNG"),
        ("2024.05.12 10.30", "JPEG"),
        ("a.b.PnG", "PNG"),
        ("x.apng", "PNG"),
        ("stereo.mpo", "JPEG"),
        ("new.avif", "AVIF"),
        ("scan.jp2", "JPEG2000"),
        ("scan.j2k", "JPEG2000"),
        ("phone.heic", "JPEG"),  # what a converter that only renames leaves
    ],
)
def test_pictures_of_any_name_are_found_and_read(tmp_path, name, format, caplog):
    if format in ("AVIF", "JPEG2000") and format not in accepted_formats():
        pytest.skip(f"this Pillow has no {format}")
    people(tmp_path)
    write(tmp_path / "zoe" / name, format, level=200)
    assert_all_find(tmp_path, [*PNGS, f"zoe/{name}"])
    assert not caplog.records
    source = People(root=str(tmp_path)).open("train")
    (index,) = (i for i in range(len(source)) if source.record_name(i).endswith(f"zoe/{name}"))
    assert abs(source[index]["image"][0, 0].astype(int) - [200, 0, 55]).max() < 8


def test_what_is_passed_over_is_counted_by_reason_in_one_line(tmp_path, caplog):
    people(tmp_path)
    for name in ("ann/a.txt", "ann/b.TXT", "zoe/c.txt", "zoe/d", "zoe/.hidden.png"):
        (tmp_path / name).write_text("no picture")
    os.mkfifo(tmp_path / "zoe" / "fifo.jpg")
    os.symlink("nowhere.jpg", tmp_path / "zoe" / "gone.jpg")
    os.symlink("loop.png", tmp_path / "zoe" / "loop.png")
    os.symlink("0.png", tmp_path / "zoe" / "again.png")
    (tmp_path / "zoe" / "raw.heic").write_bytes(bytes(24))
    write(tmp_path / "loose.png")
    heic = 0 if ".heic" in SUFFIXES else 1
    if not heic:
        (tmp_path / "zoe" / "raw.heic").unlink()
    Folder(root=str(tmp_path)).open("train")
    Folder(root=str(tmp_path)).open("test")
    (record,) = caplog.records  # one, though both parts were opened
    line = record.getMessage()
    assert line.startswith(
        f"{tmp_path}: {10 + heic} files passed over: 3 .txt (ann/a.txt), 2 broken link"
    )
    for part in (
        "1 hidden (zoe/.hidden.png)",
        "1 in no class folder (loose.png)",
        "1 linked twice (zoe/again.png)",
        "1 no picture (zoe/d)",
        "1 no regular file (zoe/fifo.jpg)",
        *["1 .heic, which needs pillow-heif (zoe/raw.heic)"] * heic,
    ):
        assert part in line
    assert "\n" not in line


def test_a_socket_is_no_picture(tmp_path, monkeypatch, caplog):
    people(tmp_path)
    monkeypatch.chdir(tmp_path / "zoe")  # the path of a socket must be short
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as endpoint:
        endpoint.bind("s.png")
        assert_all_find(tmp_path, PNGS)
        with pytest.raises(SetupError, match=r"s\.png is no regular file"):
            find_images(["s.png"])
    assert "1 no regular file (zoe/s.png)" in caplog.text


def test_a_class_folder_without_a_picture_says_what_is_in_it(tmp_path):
    people(tmp_path)
    (tmp_path / "bob").mkdir()
    (tmp_path / "bob" / "1.pdf").write_bytes(b"")
    (tmp_path / "bob" / "2.pdf").write_bytes(b"")
    wanted = (
        r"bob: there are no .* in this .* folder; 2 files passed over: 2 \.pdf \((bob/)?1\.pdf\)"
    )
    with pytest.raises(ValueError, match=wanted):
        Folder(root=str(tmp_path)).open("train")
    with pytest.raises(ValueError, match=wanted):
        find_people([str(tmp_path)])
    for pattern in ("bob", "b*b", "bob/*.pdf"):
        wanted = r" names no image file; 2 files passed over: 2 \.pdf"
        with pytest.raises(SetupError, match=wanted):
            find_images([str(tmp_path / pattern)])
    if ".jxl" not in SUFFIXES:
        (tmp_path / "bob" / "3.jxl").write_bytes(b"")
        with pytest.raises(SetupError, match=r"1 \.jxl, which needs pillow-jxl-plugin \("):
            find_images([str(tmp_path / "bob" / "*.jxl")])


# ---- Links -------------------------------------------------------------------------------------


def test_linked_folders_are_read_once_and_circles_end(tmp_path):
    root = people(tmp_path / "data")
    elsewhere = tmp_path / "elsewhere"
    for i in range(2):
        write(elsewhere / f"{i}.png")
        write(elsewhere / "deeper" / f"{i}.png")
    os.symlink(elsewhere, root / "zoe" / "more")
    os.symlink(elsewhere / "deeper", root / "zoe" / "even more")
    os.symlink(root, elsewhere / "deeper" / "up")  # a circle, which leads to the other person too
    os.symlink(".", root / "ann" / "self")
    for find in (
        find_files,
        lambda root: Folder(root=root).open("train"),
        lambda r: find_images([r]),
    ):
        find(str(root))
    with pytest.raises(ValueError, match="ann and zoe are one file"):
        find_people([str(root)])
    (elsewhere / "deeper" / "up").unlink()
    os.symlink("..", elsewhere / "deeper" / "up")
    more = ["zoe/even more/0.png", "zoe/even more/1.png", "zoe/more/0.png", "zoe/more/1.png"]
    for way, found in trained_on(root, globs=False).items():
        assert found == sorted([*PNGS, *more]), way
    # A file's own path is found, not one through a link, so that the link moves nothing.
    os.symlink("zoe", root / "zoe" / "a first link")
    os.symlink("../zoe", root / "zoe" / "another")
    assert trained_on(root, globs=False)["folder"] == sorted([*PNGS, *more])


def test_linked_class_folders_and_files(tmp_path):
    pool = people(tmp_path / "pool")
    root = tmp_path / "data"
    root.mkdir()
    os.symlink(pool / "ann", root / "ann")
    (root / "zoe").mkdir()
    for i in range(3):
        os.symlink(pool / "zoe" / f"{i}.png", root / "zoe" / f"{i}.png")
    assert_all_find(root, PNGS)


@pytest.mark.parametrize("way", ["class folder", "folder", "file"])
def test_one_file_in_two_classes_is_said_and_one_of_two_people_refused(tmp_path, way, caplog):
    root = people(tmp_path)
    link, target = {
        "class folder": ("bob", "zoe"),
        "folder": ("ann/more", "../zoe"),
        "file": ("ann/z.png", "../zoe/1.png"),
    }[way]
    os.symlink(target, root / link)
    Folder(root=str(root)).open("train")
    (line,) = caplog.messages
    assert re.search(r"are one file, .*zoe/.\.png, in two classes", line)
    with pytest.raises(ValueError, match="zoe.* are one file, .* in the folders of two people"):
        find_people([str(root)])


def test_one_file_in_training_and_test_is_refused(tmp_path):
    pool = people(tmp_path / "pool")
    root = tmp_path / "data"
    for part, numbers in (("train", (0, 1)), ("test", (1, 2))):
        for person in ("ann", "zoe"):
            (root / part / person).mkdir(parents=True)
            for i in numbers:
                os.symlink(pool / person / f"{i}.png", root / part / person / f"{i}.png")
    for split in ("train", "test"):
        with pytest.raises(ValueError, match=r"1\.png, in training and test set"):
            Folder(root=str(root)).open(split)
    for person in ("ann", "zoe"):
        (root / "test" / person / "1.png").unlink()
    assert len(Folder(root=str(root)).open("train")) == 4
    assert len(Folder(root=str(root)).open("test")) == 2
    os.symlink("train", root / "val")
    with pytest.raises(ValueError, match="are one folder"):
        Folder(root=str(root), test_folder="val").open("train")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_said(tmp_path, caplog):
    people(tmp_path)
    (tmp_path / "zoe" / "locked").mkdir(mode=0)
    assert len(find_files(tmp_path).files) == 6
    find_files(tmp_path).passed_over.say(tmp_path)
    assert "1 folder that cannot be read" in caplog.text


def test_names_may_share_a_file_by_links(tmp_path):
    """Such as an empty mask; circles end all the same."""
    write(tmp_path / "empty.png")
    write(tmp_path / "a" / "1.png")
    os.symlink("../empty.png", tmp_path / "a" / "2.png")
    os.symlink("a", tmp_path / "b")
    os.symlink("..", tmp_path / "a" / "up")
    assert list(files_by_name(tmp_path)) == ["a/1", "a/2", "b/1", "b/2", "empty"]


def test_the_order_of_files_does_not_depend_on_the_unicode_form(tmp_path):
    every = ("e1.png", "é1.png", "f.png", "ez.png", "Éa.png", "猫.png")
    orders = []
    for form in ("NFC", "NFD"):
        for name in every:
            write(tmp_path / form / unicodedata.normalize(form, name))
        found = find_files(tmp_path / form).files
        orders.append([unicodedata.normalize("NFC", name) for name in found])
    assert orders[0] == orders[1] == sorted(every)


def test_one_photo_by_two_paths_comes_once(tmp_path, monkeypatch):
    people(tmp_path)
    monkeypatch.chdir(tmp_path)
    given = ["zoe", "./zoe/1.png", str(tmp_path / "zoe" / "2.png"), "zoe/*.png", "ann/0.png"]
    assert find_images(given) == ["zoe/0.png", "zoe/1.png", "zoe/2.png", "ann/0.png"]
    assert len(find_people([".", "./", str(tmp_path)])) == 6
    write(tmp_path / "zoe" / "old" / "9.png")
    (tmp_path / "zoe" / "list.txt").write_text("")
    assert find_images(["zo*"]) == find_images(["zoe"]) == find_images(["zoe/*"])
    assert find_images(["zoe/list.txt"]) == ["zoe/list.txt"]  # asked for by its name
    os.rename("zoe/1.png", "zoe/[1].png")
    assert find_images(["zoe/[1].png"]) == ["zoe/[1].png"]


# ---- Names of pairs, formats -------------------------------------------------------------------


def test_files_by_name_cuts_known_suffixes_alone(tmp_path):
    for name in ("a.b.png", "Dr. Who", "c.jfif", "2007.1"):
        write(tmp_path / name)
    (tmp_path / "c.json").write_text("{}")
    assert list(files_by_name(tmp_path)) == ["2007.1", "Dr. Who", "a.b", "c"]
    assert [stem(n) for n in ("x/y.JPG", ".png", "y.txt", "a.b/c")] == [
        "x/y",
        ".png",
        "y.txt",
        "a.b/c",
    ]


@pytest.mark.parametrize("entry", TABLE, ids=lambda entry: entry.name)
def test_every_format_of_the_table_is_known_by_its_first_bytes_and_decoded(entry):
    if not entry.readable:
        assert not set(entry.suffixes) & SUFFIXES
        assert entry.name not in accepted_formats()
        pytest.skip(f"{entry.package} is not installed")
    assert set(entry.suffixes) <= SUFFIXES
    assert entry.name in accepted_formats()
    file = io.BytesIO()
    pixels = np.full((32, 48, 3), (200, 20, 30), np.uint8)
    Image.fromarray(pixels).save(file, entry.name)
    data = file.getvalue()
    assert format_of(data[:32]) is entry
    assert np.abs(decode_image(data).astype(int) - pixels).max() < 8
    for cut in range(0, len(data) - 12, max(1, len(data) // 50)):
        with pytest.raises(DecodeError):
            decode_image(data[:cut])
    for other in (b"", b"BMI of 12 people", b"P1 is a road", b"GIF", b"IIM", b"\0" * 32):
        assert format_of(other) is None


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is not None, reason="is installed")
def test_a_format_without_its_plugin_is_named_with_the_cure():
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
    with pytest.raises(DecodeError, match=r"it is HEIF: pip install pillow-heif"):
        decode_image(heic)


def test_a_plugin_that_is_broken_ends_no_other_format(monkeypatch, caplog):
    def import_module(name):
        raise ImportError(f"{name}: lib.so.1 is missing")

    for entry in TABLE:
        monkeypatch.setitem(entry.__dict__, "readable", True)
    monkeypatch.setattr("jaxcv.data.formats.importlib.import_module", import_module)
    found = accepted_formats.__wrapped__()
    assert "JPEG" in found
    assert "JXL" not in found
    assert "pillow_jxl cannot be imported: pillow_jxl: lib.so.1 is missing" in caplog.text
