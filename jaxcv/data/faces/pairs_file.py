"""Lists of pairs in LFW's format, over a folder with one folder for each person."""

import dataclasses
import os
import pathlib

import numpy as np

from jaxcv.data.faces.verification import VerificationPairs
from jaxcv.data.files import SUFFIXES, FileSource, nearest_name
from jaxcv.data.image_reader import ImageReader

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
    an image.

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
    folds, lines = _parsed(path, _rows(path))
    files = _files(path, root, lines)
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


def _rows(path: pathlib.Path) -> list[tuple[int, list[str]]]:
    """(line number, columns) of every line that is not empty."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        texts = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file: {error}") from None
    return [(i + 1, _columns(text)) for i, text in enumerate(texts) if text.strip()]


def _columns(text: str) -> list[str]:
    """Divided by tabs where there are any, so that names may have blanks."""
    return [part.strip() for part in text.strip().split("\t")] if "\t" in text else text.split()


def _parsed(
    path: pathlib.Path, rows: list[tuple[int, list[str]]]
) -> tuple[np.ndarray | None, list[_Line]]:
    """(fold of each pair or None, pairs) from the lines' columns."""
    header: list[int] = []
    if rows and len(rows[0][1]) < 3:
        number, columns = rows.pop(0)
        if not all(_is_count(c) for c in columns):
            raise ValueError(
                f"{path}, line {number}: wanted a header of folds and pairs such as 10 300; "
                f"found {' '.join(columns)!r}"
            )
        header = [int(c) for c in columns]
    lines = [_line(path, number, columns) for number, columns in rows]
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


def _line(path: pathlib.Path, number: int, columns: list[str]) -> _Line:
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
    if len(columns) == 4 and columns[0] == second:
        raise ValueError(
            f"{path}, line {number}: names {second!r} twice; a pair of one person is 'name i j'"
        )
    return _Line(number, *((name, int(picture)) for name, picture in pictures))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) > 0


def _files(path: pathlib.Path, root: pathlib.Path, lines: list[_Line]) -> dict[_Picture, str]:
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
                folders[name] = _by_stem(root / name)
            files = folders[name].get(_stem(picture), [])
            if len(files) > 1:
                raise ValueError(
                    f"{path}, line {line.number}: {root / name} has both {' and '.join(files)}"
                )
            if files:
                found[picture] = f"{name}/{files[0]}"
            else:
                missing[picture] = line.number
    if missing:
        picture, number = next(iter(missing.items()))
        name = picture[0]
        more = f" ({len(missing) - 1} more pictures are missing)" if len(missing) > 1 else ""
        if folders[name]:
            hint = f"the folder has {len(folders[name])} others"
        else:
            people = [entry.name for entry in root.iterdir() if entry.is_dir()]
            hint = f"there is no picture of {name!r} at all{nearest_name(name, people)}"
        raise ValueError(
            f"{path}, line {number}: no such file: {root / name / _stem(picture)} with .jpg, .png "
            f"or another suffix; {hint}{more}"
        )
    return found


def _stem(picture: _Picture) -> str:
    return f"{picture[0]}_{picture[1]:04d}"


def _by_stem(folder: pathlib.Path) -> dict[str, list[str]]:
    """Image files in a folder by name without suffix; none where there is no such folder."""
    files: dict[str, list[str]] = {}
    for entry in sorted(os.listdir(folder)) if folder.is_dir() else ():
        stem, suffix = os.path.splitext(entry)
        if suffix.lower() in SUFFIXES:
            files.setdefault(stem, []).append(entry)
    return files
