"""List files: a line is a whole name; encodings, doubles, splits with names in common."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcv.data.name_lists import check_disjoint, listed_names, text_lines


@pytest.fixture(scope="module")
def where(tmp_path_factory):
    return tmp_path_factory.mktemp("lists") / "list.txt"


def names(where, content, known):
    where.write_bytes(
        content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape")
    )
    return listed_names(where, known)


NFC, NFD = (unicodedata.normalize(form, "José") for form in ("NFC", "NFD"))
KNOWN = ("img", "img 1", "img 2", "cell", "cell (1)", "cell (2)", "other", "a/b c", "e.1", "x 1 1")


@pytest.mark.parametrize(
    ("content", "known", "wanted"),
    [
        ("img 1.png\nimg 2.png\n", KNOWN, ["img 1", "img 2"]),
        ("img 1\nimg\n", KNOWN, ["img 1", "img"]),
        ("cell\ncell (1)\ncell (2).JPG\n", KNOWN, ["cell", "cell (1)", "cell (2)"]),
        ("\ufeffother\n", KNOWN, ["other"]),
        ("\ufeffother\r\nimg \t\r\n\r\n  cell\u00a0\r", KNOWN, ["other", "img", "cell"]),
        ("other\rimg\r", KNOWN, ["other", "img"]),
        ("./a/b c.jpeg\ne.1\n", KNOWN, ["a/b c", "e.1"]),
        ("x 1 1\n", KNOWN, ["x 1 1"]),
        (f"{NFD}.png\n", (NFC, "a"), [NFC]),
        (f"{NFC}\u00a0\n", (NFD, "a"), [NFD]),
        (f"{NFC}\n{NFD}\n", (NFD, NFC), [NFC, NFD]),  # both are there: each is itself
        ("no\u00a0break\n", ("no break",), ["no break"]),
        ("line\x0bfeed\x85\u2028.png\n", ("line\x0bfeed\x85\u2028",), ["line\x0bfeed\x85\u2028"]),
        (b"caf\xe9.png\n", ("caf\udce9", "cafe"), ["caf\udce9"]),
        # Further columns.
        ("a  1\nb -1\nc 0\nd\n", "abcd", list("abcd")),
        (
            "Abyssinian_100 1 1 1\npug_7 25 2 18\n",
            ("Abyssinian_100", "pug_7"),
            ["Abyssinian_100", "pug_7"],
        ),
        ("a.png a_mask.png\nb c.png b c_mask.png\n", ("a", "b c"), ["a", "b c"]),
        ("a b\t3\nc\tany thing\n", ("a b", "c", "a"), ["a b", "c"]),
        ("a\t1\na 1\n", ("a", "a 1"), ["a", "a 1"]),
        ("a\t1\n", ("a",), ["a"]),
    ],
)
def test_names(where, content, known, wanted):
    assert names(where, content, known) == wanted


@pytest.mark.parametrize(
    ("content", "known", "message"),
    [
        ("img 3.png\n", KNOWN, r"line 1: there is no image 'img 3\.png'; did you mean 'img"),
        ("cell (3)\n", KNOWN, r"line 1: there is no image 'cell \(3\)'; did you mean 'cell \("),
        ("cell copy.png\n", KNOWN, "there is no image 'cell copy.png'"),
        ("img 1.png\n", ("img", "other"), r"there is no image 'img 1\.png'; did you mean 'img'"),
        ("other -1\n", KNOWN, "there is no image 'other -1'"),  # names end with numbers here
        ("img 7\n", ("img",), "there is no image 'img 7'"),
        ("a word\n", ("a",), "there is no image 'a word'"),
        ("a\nb\na.png\n", "ab", "line 3: 'a' is listed already, in line 1"),
        (f"{NFC}\n\n{NFD}\n", (NFC,), "line 3: 'José' is listed already, in line 1"),
        (
            f"{NFD} \n",
            (f" {NFC}", f"{NFC}\u00a0"),
            r"line 1: .* may mean ' Jos\\xe9' and 'Jos\\xe9\\xa0'",
        ),
        ("a.png\n", ("a", "a.png"), r"line 1: 'a\.png' may mean 'a\.png' and 'a'"),
        ("a.png b.png c.png\n", ("a", "a.png b"), "may mean 'a' and 'a.png b'"),
        ("a 1 1\n", ("a", "a 1x"), None),
        ("\x1b[31m\n", "a", r"there is no image '\\x1b\[31m'"),
        ("a".encode("utf-16"), "a", "it is text in UTF-16; save it as UTF-8"),
        ("a".encode("utf-32"), "a", "it is text in UTF-32; save it as UTF-8"),
        ("a".encode("utf-16-le"), "a", "it holds zero bytes, so it is no text in UTF-8"),
        ("José".encode("latin1"), (NFC,), r"there is no image 'Jos\\udce9'; did you mean 'José'"),
        ("\ufeff \n\t\n", "a", "there are no names in it"),
    ],
)
def test_what_is_refused(where, content, known, message):
    if message is None:
        assert names(where, content, known) == ["a"]
        return
    with pytest.raises(ValueError, match=message) as caught:
        names(where, content, known)
    assert str(caught.value).startswith(str(where))
    assert "\n" not in str(caught.value)


NAME = st.text(st.sampled_from("ab1 -().é\u0301,#"), min_size=1, max_size=8).map(str.strip)
KNOWN_NAMES = st.lists(
    NAME.filter(bool), min_size=1, max_size=8, unique_by=lambda n: unicodedata.normalize("NFC", n)
)


@given(
    KNOWN_NAMES,
    st.sampled_from(("", ".png", ".JPEG")),
    st.sampled_from(("\n", "\r\n")),
    st.booleans(),
)
def test_a_list_of_known_names_is_read_as_it_was_written(where, known, suffix, end, mark):
    known = list(dict.fromkeys(" ".join(name.split()) for name in known))
    text = "\ufeff" * mark + "".join(f"{name}{suffix}{end}" for name in known)
    assert names(where, text, known) == known


def test_lines_have_their_numbers(where):
    where.write_bytes(b"\xef\xbb\xbf\n a \r\n\r\nb")
    assert text_lines(where) == [(2, "a"), (4, "b")]


def test_splits_with_names_in_common_are_refused():
    check_disjoint({"train": "abc", "validation": "de", "test": "f"})
    wanted = (
        r"train\.txt and test\.txt have 4 of 5 and 4 names in common: 'a', 'b', 'c', \.\.\.; no"
    )
    with pytest.raises(ValueError, match=wanted):
        check_disjoint({"train.txt": "abcde", "val.txt": "x", "test.txt": "abcd"})
