"""Lists of pairs in LFW's format, over a folder with one folder for each person."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping

import numpy as np

from jaxcv.data.faces.verification import VerificationPairs
from jaxcv.data.files import FileSource
from jaxcv.data.finding import find_files, folders_in, stem
from jaxcv.data.image_reader import ImageReader
from jaxcv.data.name_lists import text_lines
from jaxcv.names import class_name, nearest_name

# A picture as the list names it: person, number.
_Picture = tuple[str, int]


@dataclasses.dataclass(frozen=True)
class _Line:
    """A pair: its line in the file, and its two pictures."""

    number: int
    first: _Picture
    second: _Picture

    @property
    def same(self) -> bool:
        return self.first[0] == self.second[0]


def read_pairs(
    path: str | pathlib.Path,
    root: str | pathlib.Path,
    *,
    image_reader: ImageReader | None = None,
) -> VerificationPairs:
    """Reads a list of pairs such as LFW's pairs.txt and finds the pictures that it names.

    The format (Huang et al., "Labeled Faces in the Wild", 2007; its README): a header, then a line
    for each pair, in columns divided by tabs or blanks:

    - `name i j`: pictures i and j of one person;
    - `name1 i name2 j`: a picture each of two.

    The header `10 300` means ten folds, each of 300 pairs of one person and then 300 of two; the
    header `1100` of the development lists means that many of either, without folds. A list may be
    without a header too. Picture 7 of a person is the file `root/name/name_0007` with the suffix of
    an image. Names are compared in the form of `class_name`; without tabs, a name with blanks in it is
    known by the person's folder.

    Args:
      path: the list.
      root: the folder of people.
      image_reader: reads the pictures; None: RGB at their own size, which then must be one.

    Returns:
      The pairs in the list's order; `folds` where the header tells them. `images` are the pictures
      named, each once, with people as their classes.

    Raises:
      ValueError: a line is malformed, the header does not fit, or a picture is not there; the
        message names the list and the line, and the file that is missing.
    """
    path, root = pathlib.Path(path).expanduser(), pathlib.Path(root).expanduser()
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder")
    people = _people(root)
    folds, lines = _parsed(path, _rows(path), people)
    files = _files(path, root, lines, people)
    places = {picture: i for i, picture in enumerate(files)}
    names = sorted({name for name, _ in files})
    number = {name: i for i, name in enumerate(names)}
    images = FileSource(
        root,
        list(files.values()),
        np.asarray([number[name] for name, _ in files], np.int32),
        tuple(names),
        image_reader or ImageReader(),
    )
    return VerificationPairs(
        images=images,
        pairs=np.asarray([(places[line.first], places[line.second]) for line in lines]),
        same=np.asarray([line.same for line in lines]),
        folds=folds,
    )


def _people(root: pathlib.Path) -> dict[str, list[str]]:
    """Folders by the name of the person; several where they differ in characters alone."""
    people: dict[str, list[str]] = {}
    for folder in folders_in(root):
        people.setdefault(class_name(folder), []).append(folder)
    return people


def _rows(path: pathlib.Path) -> list[tuple[int, str]]:
    """(number, text) of every line that is not empty."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        return text_lines(path)
    except ValueError as error:
        raise ValueError(f"{path}: not a text file: {error}") from None


def _columns(text: str) -> list[str]:
    """Divided by tabs where there are any, so that names may have blanks."""
    return [part.strip() for part in text.split("\t")] if "\t" in text else text.split()


def _parsed(
    path: pathlib.Path, rows: list[tuple[int, str]], people: Mapping[str, list[str]]
) -> tuple[np.ndarray | None, list[_Line]]:
    """(fold of each pair or None, pairs) from the lines."""
    header: list[int] = []
    if rows and len(columns := _columns(rows[0][1])) < 3:
        number, _ = rows.pop(0)
        if not all(_is_count(c) for c in columns):
            raise ValueError(
                f"{path}, line {number}: wanted a header of folds and pairs such as 10 300; "
                f"found {' '.join(columns)!r}"
            )
        header = [int(c) for c in columns]
    lines = [_line(path, number, text, people) for number, text in rows]
    if not lines:
        raise ValueError(f"{path}: there are no pairs in it")
    if not header:
        return None, lines
    fold_count, per_kind = header if len(header) == 2 else (1, header[0])
    if len(lines) != 2 * fold_count * per_kind:
        raise ValueError(
            f"{path}: its header {' '.join(map(str, header))!r} announces "
            f"{2 * fold_count * per_kind} pairs, but there are {len(lines)}"
        )
    for position, line in enumerate(lines):
        if line.same != (position // per_kind % 2 == 0):
            raise ValueError(
                f"{path}, line {line.number}: by the header, this pair should show "
                f"{'two people' if line.same else 'one person'}"
            )
    folds = np.repeat(np.arange(fold_count), 2 * per_kind)
    return (folds if len(header) == 2 else None), lines


def _line(path: pathlib.Path, number: int, text: str, people: Mapping[str, list[str]]) -> _Line:
    columns = _columns(text)
    if "\t" not in text:
        readings = list(_readings(columns, people))
        if len(readings) > 1:
            raise ValueError(
                f"{path}, line {number}: {text!r} may mean more than one pair of people; "
                "divide its columns by tabs"
            )
        columns = readings[0] if readings else columns
    if len(columns) not in (3, 4):
        raise ValueError(
            f"{path}, line {number}: wanted 'name i j' or 'name1 i name2 j', found "
            f"{len(columns)} columns: {' '.join(columns)!r}"
        )
    second = columns[0] if len(columns) == 3 else columns[2]
    pictures = (columns[0], columns[1]), (second, columns[-1])
    for name, picture in pictures:
        if not _is_count(picture):
            raise ValueError(f"{path}, line {number}: {picture!r} is no number of a picture")
        if os.path.basename(name) != name or name.startswith("."):
            raise ValueError(f"{path}, line {number}: {name!r} is no name of a folder")
    first, other = class_name(columns[0]), class_name(second)
    if len(columns) == 4 and first == other:
        raise ValueError(
            f"{path}, line {number}: names {second!r} twice; a pair of one person is 'name i j'"
        )
    return _Line(number, (first, int(pictures[0][1])), (other, int(pictures[1][1])))


def _readings(words: list[str], people: Mapping[str, list[str]]) -> list[list[str]]:
    """The columns that a line's words may be, names with blanks in them being known people."""
    found = []
    if len(words) > 2 and class_name(name := " ".join(words[:-2])) in people:
        found.append([name, *words[-2:]])
    for place in range(1, len(words) - 2):
        names = " ".join(words[:place]), " ".join(words[place + 1 : -1])
        if _is_count(words[place]) and all(class_name(name) in people for name in names):
            found.append([names[0], words[place], names[1], words[-1]])
    return [columns for columns in found if _is_count(columns[1]) and _is_count(columns[-1])]


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) > 0


def _files(
    path: pathlib.Path, root: pathlib.Path, lines: list[_Line], people: Mapping[str, list[str]]
) -> dict[_Picture, str]:
    """The file of each picture, relative to the root, in the order in which the list names them."""
    folders: dict[str, dict[str, list[str]]] = {}
    found: dict[_Picture, str] = {}
    missing: dict[_Picture, int] = {}
    for line in lines:
        for picture in (line.first, line.second):
            if picture in found or picture in missing:
                continue
            name = picture[0]
            if name not in folders:
                if len(people.get(name, ())) > 1:
                    both = " and ".join(ascii(folder) for folder in people[name])
                    raise ValueError(
                        f"{path}, line {line.number}: {root} has folders {both}, both called "
                        f"{name!r} in other characters; put their pictures into one folder"
                    )
                folders[name] = _by_stem(root, people[name][0]) if name in people else {}
            files = folders[name].get(_stem(picture), [])
            if len(files) > 1:
                raise ValueError(
                    f"{path}, line {line.number}: {root / name} has both "
                    f"{' and '.join(os.path.basename(file) for file in files)}"
                )
            if files:
                found[picture] = files[0]
            else:
                missing[picture] = line.number
    if missing:
        picture, number = next(iter(missing.items()))
        name = picture[0]
        more = f" ({len(missing) - 1} more pictures are missing)" if len(missing) > 1 else ""
        if folders[name]:
            hint = f"the folder has {len(folders[name])} others"
        else:
            hint = f"there is no picture of {name!r} at all{nearest_name(name, people)}"
        raise ValueError(
            f"{path}, line {number}: no such file: {root / name / _stem(picture)} with .jpg, .png "
            f"or another suffix; {hint}{more}"
        )
    return found


def _stem(picture: _Picture) -> str:
    return f"{picture[0]}_{picture[1]:04d}"


def _by_stem(root: pathlib.Path, folder: str) -> dict[str, list[str]]:
    """Image files of a person, relative to the root, by name without suffix, as `class_name` has it."""
    files: dict[str, list[str]] = {}
    for file in find_files(root, folder).files:
        parent, _, name = file.rpartition("/")
        if parent == folder:
            files.setdefault(class_name(stem(name)), []).append(file)
    return files
