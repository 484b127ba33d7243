"""Text files that list names, one per line, such as a split's images."""

import codecs
import itertools
import os
import pathlib
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping

from jaxcv.data.finding import stem
from jaxcv.names import nearest_name, normal_name

_BYTE_ORDER_MARKS = {  # The longer first: one begins with another.
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
# Numbers at the end of a line: VOC's "2008_000008 -1", the Pets' "Abyssinian_100 1 1 1".
_NUMBERS = re.compile(r"-?\d+(\s+-?\d+)+")
_FLAGS = ("-1", "0", "1")


def text_lines(path: pathlib.Path) -> list[tuple[int, str]]:
    """(number, text) of every line of a UTF-8 file that is not blank, blanks at its ends dropped.

    A byte order mark is no text. Bytes that are no UTF-8 are read as in file names (PEP 383).

    Raises:
      OSError: the file cannot be read.
      ValueError: it is in another encoding, which the message names where it can be told.
    """
    data = path.read_bytes()
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            raise ValueError(f"it is text in {encoding}; save it as UTF-8")
    if b"\0" in data:
        raise ValueError("it holds zero bytes, so it is no text in UTF-8; save it as UTF-8")
    text = data.decode("utf-8-sig", "surrogateescape")
    # Not `splitlines`, which cuts at characters that a file's name may have.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [(i, line.strip()) for i, line in enumerate(lines, 1) if line.strip()]


def listed_names(
    path: str | pathlib.Path, known: Collection[str], what: str = "image"
) -> list[str]:
    """Reads a list file: one name per line, with or without an image's suffix; each must be known.

    A line is a whole name, blanks in it included. Only where there is none of it, further columns are
    passed over: what follows a tab, or a name that is written with its suffix, or numbers at the end
    of the line, as in VOC's `ImageSets/Main/cat_train.txt` (a single number must be -1, 0 or 1).
    Where known names end with a blank and a number themselves, no number is taken for a column.

    Args:
      path: the file.
      known: the names there are.
      what: that which is known by these names.

    Returns:
      The names, as they are in `known`, in the order of the file.

    Raises:
      ValueError: the file cannot be read or has no names; a name is unknown, ambiguous or there
        twice. The message names file and line.
    """
    file = pathlib.Path(path).expanduser()
    try:
        lines = text_lines(file)
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: cannot be read as a list of names: {error}") from error
    if not lines:
        raise ValueError(f"{file}: there are no names in it")
    index = _Index(known)
    names: dict[str, int] = {}
    for number, text in lines:
        where = f"{file}: line {number}:"
        name = index.find(text) or index.find_before_columns(text)
        if not name:
            hint = nearest_name(stem(text), known)
            raise ValueError(f"{where} there is no {what} {text!r}{hint}")
        if len(name) > 1:
            meant = " and ".join(ascii(each) for each in name)
            raise ValueError(f"{where} {text!a} may mean {meant}; which cannot be told")
        if name[0] in names:
            raise ValueError(f"{where} {name[0]!r} is listed already, in line {names[name[0]]}")
        names[name[0]] = number
    return list(names)


class _Index:
    """Finds known names by text: as it stands, else in `normal_name`'s form, less a suffix too."""

    def __init__(self, known: Collection[str]) -> None:
        self._exact = frozenset(known)
        self._by_form: dict[str, list[str]] = defaultdict(list)
        self.numbered = False  # whether a name ends with a blank and a number
        for name in known:
            self._by_form[normal_name(name)].append(name)
            self.numbered = self.numbered or bool(re.search(r"\s-?\d+$", name))

    def find(self, text: str) -> tuple[str, ...]:
        """The names that a text may mean: none if it is unknown, several if that cannot be told."""
        text = text.removeprefix("./")
        found: dict[str, None] = {}
        for name in dict.fromkeys((text, stem(text))):
            exact = [name] if name in self._exact else self._by_form.get(normal_name(name), ())
            found.update(dict.fromkeys(exact))
        return tuple(found)

    def find_before_columns(self, text: str) -> tuple[str, ...]:
        """The names that may stand in a line before columns of another kind."""
        found: dict[str, None] = {}
        for name in _before_columns(text, numbers=not self.numbered):
            found.update(dict.fromkeys(self.find(name)))
        return tuple(found)


def _before_columns(text: str, numbers: bool) -> Iterator[str]:
    name, tab, _ = text.partition("\t")
    if tab and name.rstrip():
        yield name.rstrip()
    for blank in re.finditer(r"\s+", text):
        name, rest = text[: blank.start()], text[blank.end() :]
        if stem(name) != name or (numbers and (rest in _FLAGS or _NUMBERS.fullmatch(rest))):
            yield name


def check_disjoint(parts: Mapping[str, Collection[str]]) -> None:
    """Refuses names that two of some lists or splits have in common.

    Args:
      parts: names by what to call the list.

    Raises:
      ValueError: naming the lists, how many names they share, and some of those.
    """
    for (first, names), (second, others) in itertools.combinations(parts.items(), 2):
        common = sorted(set(names) & set(others))
        if common:
            some = ", ".join(repr(os.fspath(name)) for name in common[:3])
            raise ValueError(
                f"{first} and {second} have {len(common)} of {len(set(names))} and "
                f"{len(set(others))} names in common: {some}{', ...' * (len(common) > 3)}; no image "
                "may be in two splits"
            )
