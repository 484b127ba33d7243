"""Verification sets: what .bin files may hold, from which Python and NumPy, and what they may not."""

import contextlib
import io
import os
import pickle
import struct

import numpy as np
import pytest
from PIL import Image

from jaxcv.data import (
    Batches,
    DecodeError,
    ImageReader,
    VerificationPairs,
    read_verification_bin,
)
from jaxcv.data.faces import read_plain_pickle

SAME = [True, False, True]


def jpeg(level):
    file = io.BytesIO()
    Image.new("RGB", (6, 6), (level, 0, 90)).save(file, "JPEG", quality=95)
    return file.getvalue()


IMAGES = [jpeg(40 * i) for i in range(6)]


def written(path, content, protocol=4):
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


def python2_pickle(images, same):
    """What cPickle of Python 2 writes at protocol 2: byte strings, and no name of a function."""
    strings = b"".join(b"T" + struct.pack("<I", len(i)) + i + b"q\x03" for i in images)
    answers = b"".join(b"\x88" if answer else b"\x89" for answer in same)
    return b"\x80\x02]q\x01(" + strings + b"e]q\x02(" + answers + b"e\x86q\x04."


def assert_is_the_set(pairs):
    assert len(pairs) == 3
    assert pairs.same.tolist() == SAME
    assert pairs.pairs.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert pairs.folds is None
    for index, data in enumerate(IMAGES):
        record = pairs.images[index]
        wanted = np.asarray(Image.open(io.BytesIO(data)))
        np.testing.assert_array_equal(record["image"], wanted)
        assert record["label"] == -1


# ---- What is read ------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(1, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "same", [SAME, tuple(SAME), [np.bool_(s) for s in SAME], np.array(SAME), np.array([1, 0, 1])]
)
def test_every_protocol_and_kind_of_answers(tmp_path, protocol, same):
    path = written(tmp_path / "lfw.bin", (IMAGES, same), protocol)
    assert_is_the_set(read_verification_bin(path))


@pytest.mark.parametrize("protocol", range(1, pickle.HIGHEST_PROTOCOL + 1))
def test_images_as_arrays_of_bytes(tmp_path, protocol):
    # What cv2.imencode gives: uint8 [N] or [N, 1].
    arrays = [np.frombuffer(image, np.uint8).copy() for image in IMAGES]
    columns = [array[:, None] for array in arrays[:3]] + arrays[3:]
    path = written(tmp_path / "lfw.bin", [columns, SAME], protocol)
    assert_is_the_set(read_verification_bin(str(path)))


def test_python_2(tmp_path):
    content = python2_pickle(IMAGES, SAME)
    assert pickle.loads(content, encoding="bytes") == (IMAGES, SAME)
    assert_is_the_set(read_verification_bin(written(tmp_path / "lfw.bin", content)))
    for protocol in (0, 1, 2):  # a NumPy bool as NumPy 1 wrote it
        old = pickle.dumps(([b"x", b"y"], [np.bool_(True)]), protocol)
        old = old.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
        assert read_plain_pickle(written(tmp_path / "old", old)) == ([b"x", b"y"], [True])


def test_equal_images_are_kept_once(tmp_path):
    images = [IMAGES[0], IMAGES[1], IMAGES[1], IMAGES[2], IMAGES[0], IMAGES[2]]
    pairs = read_verification_bin(written(tmp_path / "lfw.bin", (images, SAME)))
    assert len(pairs.images) == 3
    assert pairs.pairs.tolist() == [[0, 1], [1, 2], [0, 2]]
    assert pairs.images.record_name(2) == f"{tmp_path}/lfw.bin, image 3"
    batch = Batches(pairs.images, 2, shuffle=False)[1]
    assert batch["mask"].tolist() == [True, False]


def test_size_and_channels(tmp_path):
    path = written(tmp_path / "lfw.bin", (IMAGES, SAME))
    record = read_verification_bin(path, image_reader=ImageReader(size=(3, 4), channels=1)).images[
        0
    ]
    assert record["image"].shape == (3, 4, 1)


def test_pixels_need_their_colour_order(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), np.uint8)
    for images in (list(pixels), pixels, [np.asfortranarray(p) for p in pixels]):
        path = written(tmp_path / "faces.bin", (images, SAME))
        with pytest.raises(ValueError, match=r"image 0: it holds pixels .*pixel_order='bgr' if"):
            read_verification_bin(path)
        rgb = read_verification_bin(path, pixel_order="rgb")
        bgr = read_verification_bin(path, pixel_order="bgr")
        np.testing.assert_array_equal(rgb.images[3]["image"], pixels[3])
        np.testing.assert_array_equal(bgr.images[3]["image"], pixels[3, :, :, ::-1])
    grey = written(tmp_path / "grey.bin", ([p[..., 0] for p in pixels], SAME))
    record = read_verification_bin(grey).images[1]
    np.testing.assert_array_equal(record["image"], np.repeat(pixels[1, :, :, :1], 3, -1))


def test_bytearrays_are_encoded_images_too(tmp_path):
    path = written(tmp_path / "lfw.bin", ([bytearray(i) for i in IMAGES], SAME), 5)
    assert_is_the_set(read_verification_bin(path))


# ---- What is not -------------------------------------------------------------------------------


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class Plain:
    """An object of a class of its own."""


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("function", "name"),
    [
        (os.system, "posix.system"),
        (eval, "builtins.eval|__builtin__.eval"),
        (compile, "builtins.compile|__builtin__.compile"),
        (np.load, "numpy.load"),
        (bytearray, "builtins.bytearray|__builtin__.bytearray"),
    ],
)
def test_a_malicious_pickle_runs_nothing(tmp_path, protocol, function, name):
    command = f"touch {tmp_path}/ran"
    argument = f"__import__('os').system({command!r})" if function is eval else command
    hostile = Calls(function, argument)
    for content in ((IMAGES, [hostile]), hostile, ([hostile], SAME)):
        path = written(tmp_path / "lfw.bin", content, protocol)
        message = f"lfw.bin: byte \\d+: .*it asks for '({name})'.*nothing of it was run"
        with pytest.raises(ValueError, match=message):
            read_verification_bin(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"(S'true'\nios\nsystem\n.", "INST for os system is not accepted"),
        (b"\x80\x02}.", "EMPTY_DICT is not accepted"),
        (b"Pname\n.", "PERSID for name is not accepted"),
        (b"\x80\x02\x82\x01.", "EXT1 is not accepted"),
        (b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x03\x00\x00\x00hextR.", "bytes in latin1, not"),
        (b"c__builtin__\nbytes\n(I1000000000000\ntR.", "calls __builtin__.bytes with 1 arguments"),
        (b"cnumpy\nndarray\n(I9\ntR.", "calls something that is no function"),
        (b"c_codecs\nencode\n}b.", "EMPTY_DICT is not accepted"),
        (b"c_codecs\nencode\n(tb.", "changes the inside of an object"),
        (b"cnumpy\ndtype\n(X\x01\x00\x00\x00OI0\nI1\ntR.", "arrays of type 'O' are not accepted"),
        (b"(X\x01\x00\x00\x00aX\x01\x00\x00\x00b\x93.", "it asks for 'a.b'"),
        (b"\x8c\x02os\x8c\x06system\x93.", "it asks for 'os.system'"),
        (b"]]", "exhausted before seeing STOP"),
        (b"]].", "ends before its data are put together"),
        (b"e.", "instructions make no sense"),
        (b".", "ends before its data"),
        (b"h\x07.", "instructions make no sense"),
        (b"(I1\nI2\nta.", "instructions make no sense"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.", "expected"),
        (b"\x95\x00\x00\x00\x00\x00\x00\x00\x00\x2e", "ends before"),
        (b"", "exhausted"),
        (b"hello world", "cannot be read as a pickle of plain data"),
        (b"\xff\xd8\xff\xe0 a photograph", "cannot be read as a pickle of plain data"),
    ],
)
def test_instructions_that_are_not_for_data(tmp_path, content, message):
    path = written(tmp_path / "lfw.bin", content)
    with pytest.raises(ValueError, match=message) as caught:
        read_verification_bin(path)
    assert str(path) in str(caught.value)


def test_objects_are_refused(tmp_path):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path = written(tmp_path / "lfw.bin", ([Plain()], SAME), protocol)
        with pytest.raises(ValueError, match=r"asks for '.*'"):
            read_verification_bin(path)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_cut_off_anywhere(tmp_path, protocol):
    images = [np.frombuffer(b"abc", np.uint8), b"d"]
    whole = pickle.dumps((images, [np.bool_(True)]), protocol)
    for length in range(len(whole)):
        path = written(tmp_path / "lfw.bin", whole[:length])
        with pytest.raises(ValueError, match=r"lfw\.bin: byte \d+: cannot be read"):
            read_verification_bin(path)
    assert len(read_verification_bin(written(tmp_path / "lfw.bin", whole))) == 1


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_any_flipped_byte_reads_or_raises_value_error(tmp_path, protocol):
    whole = pickle.dumps(([np.arange(3, dtype=np.uint8), b"d"], [np.bool_(True)]), protocol)
    generator = np.random.default_rng(protocol)
    for position in range(len(whole)):
        for value in generator.integers(0, 256, 3):
            damaged = whole[:position] + bytes([value]) + whole[position + 1 :]
            with contextlib.suppress(ValueError):
                read_verification_bin(written(tmp_path / "lfw.bin", damaged))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2, 3], "wanted two things, .* found a list of 3"),
        (b"bytes", "found bytes"),
        ((IMAGES, [True]), "1 pairs need 2 images; found 6"),
        (([], []), "0 pairs need 0 images; found 0"),
        ((IMAGES, [True, False, 2]), "answer to pair 2 must be a bool, not int 2"),
        ((IMAGES, [True, False, "no"]), "answer to pair 2 must be a bool, not str 'no'"),
        ((IMAGES, 7), "answers must be a list, not int 7"),
        ((IMAGES, np.array(True)), "answers must be a list, not an array bool"),
        ((["a"] * 6, SAME), "image 0: wanted an encoded image, found str 'a'"),
        (([np.zeros(3, np.int32)] * 6, SAME), "image 0: .* found an array int32"),
        (([np.zeros((1, 2, 3, 4), np.uint8)] * 6, SAME), "image 0: .* found an array uint8"),
    ],
)
def test_other_data(tmp_path, content, message):
    path = tmp_path / "lfw.bin"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=message):
        read_verification_bin(path)


def test_images_that_cannot_be_decoded(tmp_path):
    images = [*IMAGES[:3], IMAGES[3][:200], b"", IMAGES[5]]
    pairs = read_verification_bin(written(tmp_path / "lfw.bin", (images, SAME)))
    for index in (3, 4):
        with pytest.raises(DecodeError, match=rf"lfw\.bin, image {index}: "):
            pairs.images[index]
    with pytest.raises(ValueError, match="no such file"):
        read_verification_bin(tmp_path / "nothing.bin")


def test_pairs_must_fit_the_images(tmp_path):
    images = read_verification_bin(written(tmp_path / "lfw.bin", (IMAGES, SAME))).images
    pairs, same = np.array([[0, 1], [2, 5]]), np.array([True, False])
    assert len(VerificationPairs(images=images, pairs=pairs, same=same, folds=np.arange(2))) == 2
    for options, message in [
        ({"pairs": pairs + 1}, "outside of 0..5"),
        ({"pairs": -pairs}, "outside of 0..5"),
        ({"pairs": pairs[0]}, r"pairs must be \[P, 2\]"),
        ({"same": same[:1]}, r"same \[P\]"),
        ({"same": same.astype(int)}, "same bools; found int64 and int64"),
        ({"pairs": pairs.astype(float)}, "pairs must be integers"),
        ({"folds": np.arange(3)}, r"folds must be \[P\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            VerificationPairs(**{"images": images, "pairs": pairs, "same": same, **options})
