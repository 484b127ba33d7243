"""Names: one form to compare them in, one way to show them, digests of every file name."""

import json
import os
import unicodedata
import urllib.parse

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jaxcv.errors import one_line
from jaxcv.names import (
    class_name,
    file_fields,
    name_bytes,
    nearest_name,
    normal_name,
    printable,
    without_surrogates,
)
from jaxcv.report.markup import escape, tag

ANY = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
BLANKS = ("", " ", "  ", "\t", "\n", "\u00a0", "\u2003", "\u3000", "\u200b", "\ufeff", " \u200e ")


@given(ANY, st.sampled_from(("NFC", "NFD")), st.sampled_from(BLANKS), st.sampled_from(BLANKS))
@example("José", "NFD", "", "\u00a0")
@example("Å ngström", "NFD", "\ufeff", " ")  # with the sign of the unit
@example("한글", "NFD", "", "")
def test_every_form_of_a_name_is_one_name(name, form, before, after):
    written = before + unicodedata.normalize(form, name) + after
    assert normal_name(written) == normal_name(name)
    assert normal_name(normal_name(name)) == normal_name(name)
    assert name_bytes(unicodedata.normalize(form, name)) == name_bytes(name)


def test_different_names_stay_different():
    names = ("Jose", "José", "jose", "Jo se", "Josè", "José.", "José 2", "Ｊｏｓé", "Jo\u200dsé")
    assert len({normal_name(name) for name in names}) == len(names)
    assert normal_name("\x1c\u200b a\u00a0\u2003 b\ufeff\n ") == "a b"
    assert normal_name("a\nb\tc") == "a\nb\tc"  # no name at all
    assert name_bytes("héllo/1.png") == "héllo/1.png".encode()


@given(ANY)
def test_what_is_printed_does_nothing_and_is_utf_8(text):
    shown = printable(text)
    shown.encode()
    categories = {unicodedata.category(c) for c in shown if c not in "\u200c\u200d"}
    assert not categories & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert class_name(text) == printable(normal_name(text))
    json.dumps(without_surrogates({text: [text]}), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 猫 👩\u200d🚀 a\\b", "plain é 猫 👩\u200d🚀 a\\b"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\rb\nc\td\x08", r"a\rb\nc\td\x08"),
        ("\x9b31m", r"\x9b31m"),  # the same as ESC [ in one byte
        ("photo\u202egnp.exe", r"photo\u202egnp.exe"),
        ("caf\udce9.png", r"caf\xe9.png"),
        ("\ud800", r"\ud800"),
        ("x\u2028y\ufeff\x00", r"x\u2028y\ufeff\x00"),
    ],
)
def test_how_it_is_shown(text, shown):
    assert printable(text) == shown
    assert one_line(ValueError(f"{text}: bad")) in (
        f"{shown}: bad",
        f"{printable(' '.join(text.split()))}: bad",
    )
    assert "\x1b" not in escape(text) + tag("p", text, title=text)
    (escape(text) + tag("p", text, title=text)).encode()


def test_markup_keeps_its_lines():
    assert escape("a\n\tb") == "a\n\tb"


@given(st.binary(min_size=1, max_size=30))
@example("José/猫.png".encode())
@example(b"caf\xe9.png")
@example(b"caf\xe9\\xe9%E9.png")
def test_a_file_name_goes_through_strict_json_and_back(raw):
    name = os.fsdecode(raw)
    text = json.dumps(file_fields(name), ensure_ascii=False).encode()  # strict: no surrogates
    fields = json.loads(text.decode())
    if "file_bytes" in fields:
        assert os.fsdecode(urllib.parse.unquote_to_bytes(fields["file_bytes"])) == name
        assert fields["file"] != name
    else:
        assert fields["file"] == name


def test_the_nearest_name_is_never_the_same_text():
    nfc, nfd = (unicodedata.normalize(form, "José") for form in ("NFC", "NFD"))
    hint = nearest_name(nfd, [nfc, "Ann"])
    assert hint == r"; did you mean 'Jos\xe9', which is spelt otherwise than 'Jose\u0301'?"
    assert nearest_name("Josè", [nfd, "Ann"]) == f"; did you mean {nfd!r}?"
    assert nearest_name("zzz", ["Ann"]) == ""
