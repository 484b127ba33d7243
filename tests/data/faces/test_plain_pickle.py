"""Small pickles that would take much time or memory, or break an array, and how they are refused."""

import contextlib
import pickle
import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from jaxcv.data import read_verification_bin
from jaxcv.data.faces import read_plain_pickle

DTYPE = b"cnumpy\ndtype\nX\2\0\0\0u1\x85R"
BLANK_ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n)R"
# A tuple of twice the same tuple of twice the same ...: written out it has 2^100 parts.
SHARED = b"K\1" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(100))
SHARED_TUPLES = {
    "state-of-a-type": DTYPE + SHARED + b"\x85b",
    "byte-order": DTYPE + b"K\3" + SHARED + b"\x86b",
    "code-of-a-type": b"cnumpy\ndtype\n" + SHARED + b"\x85R",
    "codec": b"c_codecs\nencode\nX\1\0\0\0a" + SHARED + b"\x86R",
    "text": b"c_codecs\nencode\n" + SHARED + b"X\6\0\0\0latin1\x86R",
    "arguments": b"c_codecs\nencode\n" + SHARED + b"R",
    "shape": BLANK_ARRAY + b"(K\1" + SHARED + DTYPE + b"\x89C\1atb",
    "size-in-a-shape": BLANK_ARRAY + b"(K\1" + SHARED + b"\x85" + DTYPE + b"\x89C\1atb",
    "elements": BLANK_ARRAY + b"(K\1K\1\x85" + DTYPE + b"\x89" + SHARED + b"tb",
    "type-of-an-array": BLANK_ARRAY + b"(K\1K\1\x85" + SHARED + b"\x89C\1atb",
    "column-order": BLANK_ARRAY + b"(K\1K\1\x85" + DTYPE + SHARED + b"C\1atb",
    "state-of-an-array": BLANK_ARRAY + SHARED + b"b",
    "function": SHARED + b")R",
    "name": SHARED + SHARED + b"\x93",
    "object": SHARED + SHARED + b"b",
    "list": SHARED + SHARED + b"a",
    "whole": SHARED,
    "answers": b"(]" + SHARED + b"t",
    "answer": b"](C\1aC\1be]" + SHARED + b"a\x86",
    "image": b"](" + SHARED + b"C\1be](\x88e\x86",
}


def test_shared_tuples_are_refused_at_once(tmp_path):
    """In a process of its own, which is stopped if it goes through all the parts of one of them."""
    for name, instructions in SHARED_TUPLES.items():
        (tmp_path / name).write_bytes(b"\x80\2" + instructions + b".")
    program = (
        "import sys\n"
        "from jaxcv.data import read_verification_bin\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        read_verification_bin(name)\n"
        "    except ValueError as error:\n"
        "        print(error)\n"
    )
    names = [str(tmp_path / name) for name in SHARED_TUPLES]
    output = subprocess.run(
        [sys.executable, "-c", program, *names],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    ).stdout.splitlines()
    assert len(output) == len(names)
    for line, name in zip(output, names, strict=True):
        assert line.startswith(f"{name}")
        assert len(line) < len(name) + 200, "the value itself is no part of a message"


def _shared_text(size, times):
    instructions = b"c_codecs\nencode\nq\0X%bq\1X\6\0\0\0latin1q\2" % _sized(size)
    return instructions + b"(" + b"h\0h\1h\2\x86R" * times + b"l\x87"


def _shared_array(size, times):
    array = b"(K\1J%b\x85%b\x89B%btb" % (struct.pack("<I", size), DTYPE, _sized(size))
    return (
        b"]("
        + BLANK_ARRAY
        + array
        + b"q\1"
        + b"h\1" * (times - 1)
        + b"e]("
        + b"\x88" * (times // 2)
        + b"e\x86"
    )


def _shared_state(size, times):
    state = b"(K\1J%b\x85%b\x89B%bt" % (struct.pack("<I", size), DTYPE, _sized(size))
    name = b"cnumpy.core.multiarray\n_reconstruct\n"
    return name + b"q\0" + state + b"q\1(" + b"h\0)Rh\1b" * times + b"l\x87"


def _sized(size):
    return struct.pack("<I", size) + b"a" * size


@pytest.mark.parametrize("content", [_shared_text, _shared_array, _shared_state])
def test_a_value_that_is_referred_to_often_is_kept_once(tmp_path, content):
    size, times = 10**6, 2000
    path = tmp_path / "lfw.bin"
    path.write_bytes(b"\x80\2" + content(size, times) + b".")
    tracemalloc.start()
    try:
        with contextlib.suppress(ValueError):  # what was read is not always a set
            read_verification_bin(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 2 * size < peak < 20 * size  # and not 2,000 times


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"K\1r\xff\xff\xff\xff.", "byte 4: .* it numbers a value 4294967295"),
        (b"I1\np4294967295\n.", "it numbers a value 4294967295"),
        # 2^60 rows of no columns, which are no bytes.
        (
            BLANK_ARRAY + b"(K\1\x8a\x08\0\0\0\0\0\0\0\x10K\0\x86" + DTYPE + b"\x89C\0tb](\x88e\x86.",
            "without elements",
        ),
        (BLANK_ARRAY + b"(K\1(J\xff\xff\xff\xffJ\xfd\xff\xff\xfft" + DTYPE + b"\x89C\3abctb.", "dimension"),
        (BLANK_ARRAY + b"(K\1K\4\x85" + DTYPE + b"\x89C\3abctb.", "cannot reshape"),
        # Elements that are an array's, whose memory a second state would free.
        (BLANK_ARRAY + b"q\1(K\1K\1\x85" + DTYPE + b"\x89h\1tb.", "not described as NumPy does"),
        # Elements that would grow afterwards.
        (
            b"\x96\3\0\0\0\0\0\0\0abcq\0cnumpy.core.numeric\n_frombuffer\n(h\0"
            + DTYPE
            + b"K\3\x85X\1\0\0\0CtRh\0(K\1K\2e.",
            "make no sense",
        ),
        # A state for an array that has its elements already, without the checks of one that has not.
        (
            b"cnumpy.core.numeric\n_frombuffer\n(C\3abc"
            + DTYPE
            + b"K\3\x85X\1\0\0\0CtR(K\1K\3\x85"
            + DTYPE
            + b"\x89C\3xyztb.",
            "make no sense",
        ),
        (DTYPE + b"(K\3X\1\0\0\0>tb.", "another byte order"),
        (b"(].", "ends before its data are put together"),
        (b"](C\1aC\1be]\x8b\x10\x27\0\0" + b"\1" * 10_000 + b"a\x86.", "not int of 79993 bits"),
        (b"](C\1aC\1be)" + b"\x85" * 200_000 + b"\x86.", "pair 0 must be a bool, not a tuple of 1"),
    ],
)  # fmt: skip
def test_what_would_take_memory_or_break_an_array(tmp_path, content, message):
    path = tmp_path / "lfw.bin"
    path.write_bytes(b"\x80\2" + content)
    with pytest.raises(ValueError, match=message):
        read_verification_bin(path)


def test_arrays_are_pickled_as_any_other(tmp_path):
    for array in (
        np.arange(6, dtype=np.int64).reshape(2, 3),
        np.asfortranarray(np.eye(3, 2, dtype=bool)),
    ):
        for protocol in (2, 4, 5):
            path = tmp_path / "array"
            path.write_bytes(pickle.dumps(array, protocol))
            found = read_plain_pickle(path)
            again = pickle.loads(pickle.dumps(found))
            assert (type(again), again.dtype) == (np.ndarray, array.dtype)
            np.testing.assert_array_equal(again, array)
            np.testing.assert_array_equal(found, array)
