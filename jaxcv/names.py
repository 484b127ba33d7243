"""Names of people, classes and files: how they are compared, hashed, and shown to a person."""

import difflib
import re
import string
import unicodedata
import urllib.parse
from collections.abc import Iterable
from typing import Any

# Marks of no width at the end of a name: zero-width blanks, byte order mark, directions, soft hyphen.
_UNSEEN = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e"
_BLANKS = re.compile("[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")  # Unicode's category Zs
_ENDS = string.whitespace + "\x1c\x1d\x1e\x1f\x85\u2028\u2029" + _UNSEEN
_SURROGATES = re.compile("[\ud800-\udfff]")
# Joiners are seen in what they join: Persian and Indic words, emoji.
_JOINERS = "\u200c\u200d"


def name_form(text: str) -> str:
    """A text in Unicode's form NFC."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def normal_name(text: str) -> str:
    r"""The form in which names are compared: Unicode's NFC, blanks at the ends dropped, others single.

    macOS writes "José" as five characters (NFD), a keyboard as four (NFC); a no-break space looks like
    a blank, and one at the end like nothing. Case counts: it may tell two names apart.

    Example:
        >>> normal_name("Jose\u0301\u00a0 Luis\ufeff") == "José Luis"
        True
    """
    text = name_form(text)
    return _BLANKS.sub(" ", text).strip(_ENDS)


def class_name(text: str) -> str:
    """What a class or person is called whose folder, cell or tag says `text`: `normal_name`, printable.

    Such names stand in metrics, configs and TensorBoard, which take nothing but UTF-8.
    """
    return printable(normal_name(text))


def printable(text: str, keep: str = "") -> str:
    r"""A text that can be printed anywhere and does nothing to a terminal.

    Control characters, and with them escape sequences, marks that turn the direction of what follows,
    and bytes of a file name that are no UTF-8 are shown as Python escapes them; `keep` stays.

    Example:
        >>> print(printable("caf\udce9 \x1b[31mred"))
        caf\xe9 \x1b[31mred
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(each if each in keep or _is_plain(each) else _escaped(each) for each in text)


def _is_plain(character: str) -> bool:
    return (
        character.isprintable()
        or character in _JOINERS
        or unicodedata.category(character) == "Zs"  # blanks of other widths
    )


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python holds a byte of a name that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return ascii(character)[1:-1]


def without_surrogates(value: Any) -> Any:
    r"""The value, a str or of lists and dicts, with what is no UTF-8 in its texts shown as `\xe9`.

    JSON can write a lone surrogate, but parsers other than Python's refuse it.

    Example:
        >>> print(without_surrogates({"file": "caf\udce9"})["file"])
        caf\xe9
    """
    if isinstance(value, str):
        return _SURROGATES.sub(lambda found: _escaped(found[0]), value)
    if isinstance(value, dict):
        return {without_surrogates(k): without_surrogates(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [without_surrogates(each) for each in value]
    return value


def file_fields(file: str) -> dict[str, str]:
    """A file's name as fields of a JSON object, from which it can be got back.

    Returns:
        `{"file": name}`; for a name that is no UTF-8, `file` shows it, and `file_bytes` holds its
        bytes, percent-encoded as in a URL: `os.fsdecode(urllib.parse.unquote_to_bytes(file_bytes))`.
    """
    if not _SURROGATES.search(file):
        return {"file": file}
    raw = urllib.parse.quote_from_bytes(file.encode("utf-8", "surrogateescape"))
    return {"file": without_surrogates(file), "file_bytes": raw}


def name_bytes(text: str) -> bytes:
    """What a digest of a name is taken of: equal for both Unicode forms, defined for every file name.

    Equal to `text.encode()` for names in NFC that are UTF-8.
    """
    return name_form(text).encode("utf-8", "surrogatepass")


def nearest_name(name: str, known: Iterable[str]) -> str:
    """`; did you mean ...?` where a known name is near, else nothing.

    Example:
        >>> nearest_name("cta", ["cat", "dog"])
        "; did you mean 'cat'?"
    """
    by_form = {normal_name(each): each for each in known}
    wanted = normal_name(name)
    if wanted in by_form:  # They look alike: only escapes show how they differ.
        return f"; did you mean {by_form[wanted]!a}, which is spelt otherwise than {name!a}?"
    nearest = difflib.get_close_matches(wanted, list(by_form), 1)
    return f"; did you mean {by_form[nearest[0]]!r}?" if nearest else ""
