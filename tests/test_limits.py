"""Files that ask for more than they are worth: refused by the limit's name, before it is granted."""

import inspect
import io
import os
import re
import socket
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from jaxcv import limits
from jaxcv.data import NPZ, DecodeError, Folder, ImageReader, decode_image, decode_mask
from jaxcv.data.faces.plain_pickle import read_plain_pickle
from jaxcv.data.orientation import read_header
from jaxcv.regular_file import open_file, read_file
from tests.data.written_images import chunk, png, tiff


def test_every_limit_is_stated():
    """Name and value: 50 million, 300,000, 1 MiB."""
    rows = dict(re.findall(r"^    (MAX_\w+) +(\S+(?: \S+)?)  ", limits.__doc__, re.M))
    found = {name: value for name, value in inspect.getmembers(limits) if name.startswith("MAX_")}
    units = {"million": 10**6, "MiB": 1 << 20, "GiB": 1 << 30}
    stated = {}
    for name, text in rows.items():
        number, _, unit = text.replace(",", "").partition(" ")
        stated[name] = int(number) * units.get(unit, 1)
    assert stated == found


# ---- JPEG --------------------------------------------------------------------------------------


def jpeg_of_scans(count, side=16, progressive=True):
    """A JPEG whose last scan is there several times, `count` in all, with a header of any size."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16), (9, 200, 90)).save(file, "JPEG", progressive=progressive)
    data = file.getvalue()
    last = data.rfind(b"\xff\xda")
    own = data.count(b"\xff\xda")
    data = bytearray(data[:-2] + data[last:-2] * (count - own) + b"\xff\xd9")
    assert data.count(b"\xff\xda") == count
    frame = data.find(b"\xff\xc2" if progressive else b"\xff\xc0")
    struct.pack_into(">HH", data, frame + 5, side, side)
    return bytes(data)


def sequential_jpeg(count):
    """Three colours in scans of their own, `count` in all."""
    data = jpeg_of_scans(1, progressive=False)
    start = data.find(b"\xff\xda")
    scan = data[start:-2]
    # Of the three components of the scan, (id, tables) each, one is left.
    one = [b"\xff\xda\0\x08\1" + scan[i : i + 2] + scan[11:] for i in (5, 7, 9)]
    return data[:start] + b"".join(one[i % 3] for i in range(count)) + b"\xff\xd9"


@pytest.mark.parametrize("of_scans", [jpeg_of_scans, sequential_jpeg])
def test_scans_of_a_jpeg(of_scans):
    for count in (101, 102, 20_000):
        with pytest.raises(DecodeError, match=r"^a\.jpg: .*more than 100 scans.*MAX_SCANS"):
            decode_image(of_scans(count), record="a.jpg")
    assert decode_image(of_scans(100)).shape == (16, 16, 3)


def test_one_scan_of_all_colours_is_the_only_one():
    """libjpeg wants the end behind it, and decodes no other."""
    assert decode_image(jpeg_of_scans(1, progressive=False)).shape == (16, 16, 3)
    for count in (2, 30_000):
        with pytest.raises(DecodeError, match="broken data stream"):
            decode_image(jpeg_of_scans(count, progressive=False))


@pytest.mark.parametrize(("side", "allowed"), [(40, 20), (30, 35), (20, 80), (17, 100)])
def test_scans_and_pixels_of_a_jpeg(side, allowed):
    """A picture of max_pixels may have 20 scans, twice what encoders write; a smaller one more."""
    assert decode_image(jpeg_of_scans(allowed, side), max_pixels=1600).shape == (side, side, 3)
    with pytest.raises(DecodeError, match=f"more than {allowed} scans.*MAX_SCAN_RATIO"):
        decode_image(jpeg_of_scans(allowed + 1, side), max_pixels=1600)


def test_a_progressive_jpeg_of_the_largest_size_passes():
    file = io.BytesIO()
    Image.new("RGB", (10_000, 5_000)).save(file, "JPEG", progressive=True)
    assert decode_image(file.getvalue(), channels=1).shape == (5_000, 10_000, 1)


def test_scans_cannot_hide():
    """Behind fill bytes, restart markers, a marker without a length, segments between scans."""
    data = jpeg_of_scans(150)
    for between in (b"\xff\xff", b"\xff\xd3", b"\xff\x01", b"\xff\xfe\0\x06abcd"):
        hidden = data.replace(b"\xff\xda", between + b"\xff\xda")
        with pytest.raises(DecodeError, match="MAX_SCANS"):
            decode_image(hidden)


# ---- Other images ------------------------------------------------------------------------------


def gif(middle=b"", size=b"\x04\0\x04\0"):
    file = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint8), "P").save(file, "GIF")
    data = file.getvalue()
    start = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    return data[:6] + size + data[10:start] + middle + data[start:]


def webp(width, height):
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes([2, 0, 0, 0]) + sides + b"ANIM" + bytes(10)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def bmp_of_runs(codes, side=7000):
    head = struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, 1078, 40, side, side, 1, 8, 1, 0, 0, 0, 0, 0)
    return b"BM" + head + bytes(range(256)) * 4 + codes


PIXEL = np.zeros((4, 4), np.uint8)


def large_tiles():
    file = bytearray(tiff(np.zeros((16, 16), np.uint8), 8, tile=(16, 16), compression=8))
    for tag in (322, 323):
        struct.pack_into("<I", file, file.index(struct.pack("<HHI", tag, 4, 1)) + 8, 60_000)
    return bytes(file)


def repeated_strips():
    """Two strips, told of a hundred thousand times."""
    file = bytearray(tiff(np.zeros((100, 100), np.uint8), 8, rows_per_strip=99))
    entry = file.index(struct.pack("<HHI", 273, 4, 2))
    struct.pack_into("<II", file, entry + 4, 100_000, len(file))
    return bytes(file) + struct.pack("<I", 8) * 100_000


HOSTILE = {
    "tiles": (large_tiles, "60000x60000 pixels, above the limit"),
    "strips": (repeated_strips, "100000 strips, but its size needs 2"),
    "small strips": (
        lambda: tiff(np.zeros((200_001, 1), np.uint8), 8, rows_per_strip=1),
        "200001 strips, above the limit 200000 .MAX_STRIPS",
    ),
    "tags": (
        lambda: tiff(PIXEL, 8, more=[(2000 + i, 1, [0]) for i in range(1001)]),
        "tags, above the limit 1000 .MAX_TIFF_TAGS",
    ),
    "tags twice": (lambda: tiff(PIXEL, 8, more=[(262, 3, [0])]), "tag 262 is there twice"),
    "chunks": (
        lambda: png(PIXEL, 8, before=[chunk(b"tEXt", b"") * 300_000]),
        "more chunks than the limit 300000",
    ),
    "segments": (
        lambda: b"\xff\xd8" + b"\xff\xfe\0\2" * 300_001 + jpeg_of_scans(10)[2:],
        "more segments than the limit 300000",
    ),
    "extensions": (lambda: gif(b"\x21\xfe\0" * 300_001), "more extensions than the limit"),
    "blocks": (lambda: gif(b"\x21\xfe" + b"\1c" * 300_001 + b"\0"), "more blocks in a row"),
    "screen": (lambda: gif(size=b"\xff\xff\xff\xff"), "(pixels, above the limit|exceeds limit)"),
    "canvas": (lambda: webp(1 << 24, 200), "16777216x200 pixels, above the limit"),
    "runs": (lambda: bmp_of_runs(b"\0\1", 60_000), "60000x60000 pixels, above the limit"),
    "map": (lambda: b"P4\n99999 99999\n", "99999x99999 pixels, above the limit"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_images_that_ask_for_too_much(name):
    file, message = HOSTILE[name]
    for decode in (decode_image, decode_mask):
        if not (name == "segments" and decode is decode_mask):
            with pytest.raises(DecodeError, match=rf"^a\.img: .*{message}"):
                decode(file(), record="a.img")


CHEAP = """
import resource, struct, sys, zlib
import numpy as np
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
from jaxcv.data import DecodeError, decode_image
from jaxcv.data.faces.plain_pickle import read_plain_pickle
from tests.data.written_images import chunk, png
from tests.test_limits import bmp_of_runs, jpeg_of_scans
pixel, zeros = np.zeros((4, 4), np.uint8), zlib.compress(bytes(300 << 20))
largest = [
    jpeg_of_scans(20, 7000), png(pixel, 8, before=[chunk(b"iCCP", b"a\\0\\0" + zeros)]),
    png(pixel, 8, before=[chunk(b"zTXt", b"Raw profile type exif\\0\\0" + zeros)]),
    png(pixel, 8)[:33] + chunk(b"IDAT", zeros) + chunk(b"IEND", b""),
    bmp_of_runs(b"\\1\\0\\0\\0" * 6999 + b"\\0\\1"),
    b"P5\\n5000 5000\\n100\\n" + bytes(25_000_000),
]
limit = int(resource.getrusage(resource.RUSAGE_SELF).ru_utime) + 60
resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
for data in largest:
    print(decode_image(data).shape)
"""


def test_what_is_granted_is_bounded():
    """The most that the limits grant, in a process that has 3 GB of addresses and a minute."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CHEAP], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split("\n")[:3] == ["(7000, 7000, 3)", "(4, 4, 3)", "(4, 4, 3)"]


# ---- What is no file ---------------------------------------------------------------------------


@pytest.fixture(params=["pipe", "zeros", "socket", "folder", "link to a pipe", "sparse", "absent"])
def no_file(request, tmp_path, monkeypatch):
    """(path, what a message says) of something with a picture's name that is no file to read."""
    path = tmp_path / "x.jpg"
    match request.param:
        case "pipe":
            os.mkfifo(path)
        case "link to a pipe":
            os.mkfifo(tmp_path / "pipe")
            path.symlink_to(tmp_path / "pipe")
        case "zeros":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
        case "sparse":
            with path.open("wb") as file:
                file.truncate(1 << 40)
        case "socket":
            monkeypatch.chdir(tmp_path)  # the path of a socket must be short
            with socket.socket(socket.AF_UNIX) as server:
                server.bind("x.jpg")
    said = {
        "pipe": r"it is a pipe \(FIFO\), not a regular file",
        "link to a pipe": r"it is a pipe \(FIFO\), not a regular file",
        "zeros": "it is a device, not a regular file",
        "folder": "it is a folder, not a regular file",
        "sparse": "it has 1099511627776 bytes, above the limit",
        "socket": "(No such device|it is a socket|.*not supported on socket)",
        "absent": "No such file",
    }
    return path, said[request.param]


def test_what_is_no_file_is_an_error_at_once(no_file):
    path, said = no_file
    for read in (open_file, read_file):
        with pytest.raises(OSError, match=said):
            read(path)
    for read in (ImageReader().read, ImageReader(size=8).read, ImageReader().read_whole):
        with pytest.raises(DecodeError, match=rf"x\.jpg: cannot be read: {said}"):
            read(path)
    assert read_header(path) is None
    with pytest.raises(ValueError, match=r"x\.jpg: (cannot be read|no such file)"):
        NPZ(path=str(path)).open("train")
    with pytest.raises(ValueError, match=r"x\.jpg: cannot be read"):
        read_plain_pickle(path)


def test_a_link_to_a_file_is_one(tmp_path):
    (tmp_path / "a").write_bytes(b"here")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert read_file(tmp_path / "b") == b"here"
    with pytest.raises(OSError, match="it has 4 bytes, above the limit 3"):
        read_file(tmp_path / "b", max_bytes=3)


def test_a_pipe_among_pictures_keeps_nothing_waiting(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(6):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / name / f"{i}.png")
    os.mkfifo(tmp_path / "a" / "x.jpg")
    source = Folder(root=str(tmp_path), size=8, test_fraction=0.0).open("train")
    names = [source.record_name(i) for i in range(len(source))]
    for i, name in enumerate(names):
        if name.endswith("x.jpg"):
            with pytest.raises(DecodeError, match=r"x\.jpg: cannot be read: it is a pipe"):
                source[i]
        else:
            assert source[i]["image"].shape == (8, 8, 3)


# ---- Arrays ------------------------------------------------------------------------------------


def npz(path, members):
    """An .npz whose members are (header, data), written as they are."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (header, data) in members.items():
            archive.writestr(f"{name}.npy", header + data)
    return path


def npy_header(shape, dtype="|u1", version=b"\1\0"):
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text


LABELS = (npy_header((2,), "<i8"), struct.pack("<qq", 0, 1))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            (npy_header((1 << 50,)), b"x"),
            r"claims uint8 \(1125899906842624,\), 1125899906842624 bytes, but .* 1$",
        ),
        ((npy_header((2, 4, 4)), bytes(31)), r"claims uint8 \(2, 4, 4\), 32 bytes, but .* 31$"),
        ((npy_header((2, 4, 4)), bytes(33)), r"32 bytes, but the file holds 33$"),
        ((npy_header((2, -4, -4)), bytes(32)), r"the shape \(2, -4, -4\)"),
        ((npy_header((2, 4, 4), "|O"), bytes(32)), r"Python objects.*allow_pickle=False"),
        ((npy_header((2, 4, 4), "nonsense"), bytes(32)), "descr is not a valid dtype"),
        ((npy_header((2, 4, 4), version=b"\3\0"), bytes(32)), r"version \(3, 0\)"),
        ((b"\x93NUMPY\1\0\x10\0" + b"(" * 16, b""), "."),
        ((b"\x93NUMPY\1\0\xff\xff" + b"-" * 0xFFFF, b""), "."),
        ((b"\x93NUMPY", b""), "."),
        ((b"", b""), "."),
    ],
)
def test_arrays_that_are_not_what_they_claim(tmp_path, images, message):
    path = npz(tmp_path / "a.npz", {"x_train": images, "y_train": LABELS})
    with pytest.raises(ValueError, match=rf"a\.npz: cannot be read as \.npz: .*{message}") as error:
        NPZ(path=str(path)).open("train")
    assert "\n" not in str(error.value)


def test_arrays_above_the_limit_are_not_inflated(tmp_path):
    """In sum, before the first: 64 MB that 64 kB stand for."""
    zeros = (npy_header((1 << 16, 32, 32)), bytes(1 << 26))
    path = npz(
        tmp_path / "a.npz", {"x_train": zeros, "y_train": LABELS, "x_test": zeros, "y_test": LABELS}
    )
    assert path.stat().st_size < 1 << 18
    message = "x_train, y_train, x_test, y_test take 134217760 bytes, above the limit 134217759"
    with pytest.raises(ValueError, match=message):
        NPZ(path=str(path), max_bytes=(1 << 27) + 31).open("train")
    small = npz(
        tmp_path / "b.npz", {"x_train": (npy_header((2, 4, 4)), bytes(32)), "y_train": LABELS}
    )
    assert len(NPZ(path=str(small), max_bytes=48, test_fraction=0.0).open("train")) == 2
    with pytest.raises(ValueError, match="48 bytes, above the limit 47; raise max_bytes"):
        NPZ(path=str(small), max_bytes=47).open("train")


def test_arrays_are_read_as_numpy_reads_them(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (7, 5, 3, 3), dtype=np.uint8)
    for order in "CF":
        for dtype in ("<i8", ">i4", "<f4", "u1"):
            labels = (np.arange(7) % 3).astype(dtype)
            for save in (np.savez, np.savez_compressed):
                save(tmp_path / "a.npz", x_train=np.asarray(images, order=order), y_train=labels)
                source = NPZ(path=str(tmp_path / "a.npz"), test_fraction=0.0).open("train")
                for i in range(7):
                    np.testing.assert_array_equal(source[i]["image"], images[i])
                    assert source[i]["label"] == labels[i]


def test_no_damage_to_an_npz_shows_a_raw_error(tmp_path):
    """Bytes changed one after another: refused in one line, or the same arrays."""
    path = tmp_path / "a.npz"
    images = np.arange(96, dtype=np.uint8).reshape(6, 4, 4)
    np.savez_compressed(path, x_train=images, y_train=np.arange(6) % 2)
    whole, refused = path.read_bytes(), 0
    rng = np.random.default_rng(1)
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        said, pixels = None, images
        try:
            source = NPZ(path=str(path), test_fraction=0.0).open("train")
            pixels = [source[i]["image"][..., 0] for i in range(len(source))]
        except ValueError as error:
            said = str(error)
        np.testing.assert_array_equal(pixels, images)
        assert said is None or re.fullmatch(rf"{path}: cannot be read as \.npz: .+", said)
        refused += said is not None
    assert refused > len(whole) // 2


# ---- Pickles -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [24, 60, 250])
def test_shared_parts_of_a_pickle_cost_what_they_are(tmp_path, count):
    """2^count parts if they were gone through."""
    shared = b"K\1" + b"".join(
        b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(count)
    )
    path = tmp_path / "a.bin"
    path.write_bytes(b"\x80\x02" + shared + b".")
    assert isinstance(read_plain_pickle(path), tuple)
    path.write_bytes(b"\x80\x02cnumpy\ndtype\nX\2\0\0\0u1\x85R" + shared + b"\x85b.")
    with pytest.raises(ValueError, match="cannot be read as a pickle of plain data"):
        read_plain_pickle(path)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"\x80\x02K\1r\xff\xff\xff\x7f.", "it numbers a value 2147483647"),
        (b"K\1p999999999\n.", "it numbers a value 999999999"),
        (b"\x80\x02\x8b\xff\xff\xff\x7f\1.", "."),
        (b"L" + b"9" * 10_000 + b"L\n.", "."),
        (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x.", "."),
        (b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"x.", "."),
        (b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"K\1.", "."),
        (b"\x80\x02" + b"(" * 2_000_001 + b"t.", "more instructions than the limit 2000000"),
        (b"(" * 1_000_001 + b"l" * 1_000_001 + b".", "more instructions than the limit 2000000"),
    ],
)
def test_pickles_that_ask_for_too_much(tmp_path, program, message):
    path = tmp_path / "a.bin"
    path.write_bytes(program)
    with pytest.raises(ValueError, match=rf"^{path}: byte \d+: .*{message}"):
        read_plain_pickle(path)
