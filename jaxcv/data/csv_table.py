"""A CSV table of image paths and labels."""

import csv
import dataclasses
import decimal
import pathlib
from collections.abc import Hashable
from typing import Literal

import numpy as np

from jaxcv.data.decode import MAX_PIXELS
from jaxcv.data.files import FileSource
from jaxcv.data.fit import Fit, Size
from jaxcv.data.image_reader import ImageReader
from jaxcv.data.named_files import file_keys, first_outside, plain_number
from jaxcv.data.random_resized_crop import DecodeRandomResizedCrop
from jaxcv.data.source import (
    Source,
    SourceView,
    Split,
    check_split,
    split_view,
    stratified_split,
)
from jaxcv.data.view import DECODE_MARGIN
from jaxcv.names import class_name, nearest_name

# How programs write that there is no number.
_NO_NUMBERS = frozenset({"nan", "inf", "infinity", "null", "none", "na", "n/a", "<na>"})
# (line number, row) of every row of a table.
Rows = list[tuple[int, dict[str, str]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CSV:
    """A CSV file with a header, a column of image paths and a column of labels.

    Every row has as many cells as the header; a cell with a comma in it stands in quotes. Classes are
    the distinct labels of all rows, in numerical order where all are numbers, else in the order of
    their names. Several rows may name one file, however they spell its path: they are all for training
    or all for testing.

    Attributes:
      path: the CSV file.
      image_column: name of the column of image paths.
      label_column: name of the column of labels.
      split_column: name of a column that says "train", "validation" or "test" (other rows are
        passed over); None takes a stratified part as the test set, see `stratified_split`.
      root: folder that the paths are relative to, and do not lead out of; None is the CSV's own.
      test_fraction: the part taken, where there is no split column.
      split_seed: another seed takes another part.
      regression: labels are numbers to predict, not classes.
      size: resize to this size, see `fit_image`; None needs images of one size.
      fit: how to resize.
      channels: 1 or 3.
      max_pixels: larger images raise.
      apply_exif: bring images upright by their EXIF orientation.
      decode_margin: how far a JPEG may be scaled down while it is decoded, see `jaxcv.data.view`;
        None decodes it whole.
      random_resized_crop: a random resized crop of each training image; None shows them by `fit`.
      allow_outside_root: let paths lead out of `root`: by `..`, as absolute paths, by links.
    """

    path: str
    image_column: str = "image"
    label_column: str = "label"
    split_column: str | None = None
    root: str | None = None
    test_fraction: float = 0.2
    split_seed: int = 0
    regression: bool = False
    size: Size = None
    fit: Fit = "crop"
    channels: Literal[1, 3] = 3
    max_pixels: int = MAX_PIXELS
    apply_exif: bool = True
    decode_margin: float | None = DECODE_MARGIN
    random_resized_crop: DecodeRandomResizedCrop | None = None
    allow_outside_root: bool = False

    def open(self, split: Split) -> Source:
        """Reads the table, checks that every file exists, opens the train or test part."""
        if split != "train" and self.random_resized_crop is not None:
            return dataclasses.replace(self, random_resized_crop=None).open(split)
        path = pathlib.Path(self.path).expanduser()
        root = pathlib.Path(self.root).expanduser() if self.root else path.parent
        rows = self._rows(path)
        self._check_files(path, root, rows)
        labels, class_names = self._labels(path, rows)
        paths = [row[self.image_column] for _, row in rows]
        whole = FileSource(
            root,
            paths,
            labels,
            class_names,
            ImageReader(
                size=self.size,
                fit=self.fit,
                channels=self.channels,
                max_pixels=self.max_pixels,
                apply_exif=self.apply_exif,
                decode_margin=self.decode_margin,
            ),
            self.random_resized_crop,
        )
        keys = file_keys([root / name for name in paths])
        if self.split_column is None:
            check_split(split, self.path)
            strata = labels if class_names else np.zeros(len(labels), np.int32)
            parts = stratified_split(
                strata, paths, self.test_fraction, self.split_seed, groups=keys
            )
            return split_view(whole, parts, split, self.path)
        told = [row[self.split_column].strip() for _, row in rows]
        _check_apart(path, rows, self.image_column, told, keys)
        indices = [i for i, part in enumerate(told) if part == split]
        if not indices:
            found = sorted(set(told))[:5]
            raise ValueError(
                f"{path}: no row has {split!r} in column {self.split_column!r}; "
                f"found {', '.join(found)}"
            )
        return SourceView(whole, np.asarray(indices))

    def _rows(self, path: pathlib.Path) -> Rows:
        """Every row, the columns in use being present and filled."""
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
        used = [c for c in (self.image_column, self.label_column, self.split_column) if c]
        columns, cells = _read_table(path)
        for column in used:
            if column not in columns:
                found = ", ".join(columns) or "it is empty"
                raise ValueError(
                    f"{path}: there is no column {column!r} in its header ({found})"
                    f"{nearest_name(column, columns)}"
                )
        if not cells:
            raise ValueError(f"{path}: there are no rows below its header")
        rows = []
        for line, row in cells:
            # A row that ends too early lacks a cell, or has one too few commas before it.
            short = f"{len(row)} of {len(columns)} cells" if len(row) < len(columns) else ""
            named = dict(zip(columns, row))
            for column in used:
                text = named.get(column, "")
                if not text.strip():
                    ends = f", and the row has {short}" if short else ""
                    raise ValueError(f"{path}, line {line}: column {column!r} is empty{ends}")
                if any(character in text for character in "\0\r\n"):
                    raise ValueError(
                        f"{path}, line {line}: column {column!r} holds a line break, {text!r:.60}; is "
                        "a quotation mark missing?"
                    )
            if len(row) != len(columns):
                raise ValueError(
                    f"{path}, line {line}: there are {len(row)} cells below a header of "
                    f"{len(columns)}; put a cell that holds a comma in quotation marks"
                )
            rows.append((line, named))
        return rows

    def _check_files(self, path: pathlib.Path, root: pathlib.Path, rows: Rows) -> None:
        """Raises ValueError for a file outside the root, or one that is not there."""
        files = [root / row[self.image_column] for _, row in rows]
        outside = None if self.allow_outside_root else first_outside(root, files)
        if outside is not None:
            line, row = rows[outside]
            raise ValueError(
                f"{path}, line {line}: {row[self.image_column]} leads out of {root}; give the folder "
                "that holds all files as root, or allow_outside_root=True where that is meant"
            )
        for (line, _), file in zip(rows, files):
            if not file.is_file():
                raise ValueError(f"{path}, line {line}: no such file: {file}")

    def _labels(self, path: pathlib.Path, rows: Rows) -> tuple[np.ndarray, tuple[str, ...]]:
        texts = [class_name(row[self.label_column]) for _, row in rows]
        if self.regression:
            for (line, _), text in zip(rows, texts):
                number = plain_number(text)
                if number is None:
                    raise ValueError(f"{path}, line {line}: {text!r} is not a finite number")
                if abs(number) > float(np.finfo(np.float32).max):
                    raise ValueError(f"{path}, line {line}: {text} is too large for 32 bits")
            return np.asarray([float(t) for t in texts], np.float64), ()
        line_of: dict[str, int] = {}
        for (line, _), text in zip(rows, texts):
            line_of.setdefault(text, line)
        names = _ordered(path, line_of)
        number_of = {name: i for i, name in enumerate(names)}
        return np.asarray([number_of[t] for t in texts], np.int32), tuple(names)


def _read_table(path: pathlib.Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and (line number, cells) of every row below it that is not empty."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            # Strict: a quotation mark that is not closed would take the rest of the file for one cell.
            reader = csv.reader(file, strict=True)
            columns = next(reader, [])
            rows = [(reader.line_num, row) for row in reader if row]
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: it is no UTF-8 text ({error.reason} at byte {error.start}); save it as CSV UTF-8"
        ) from None
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {reader.line_num}: cannot be read as CSV: {error}; is a quotation mark "
            "missing or not doubled?"
        ) from None
    named = [column.strip() for column in columns if column.strip()]
    twice = next((column for column in named if named.count(column) > 1), None)
    if twice is not None:
        raise ValueError(
            f"{path}: two columns of its header are called {twice!r}; rename one, so that it is clear "
            "which is meant"
        )
    return columns, rows


def _ordered(path: pathlib.Path, line_of: dict[str, int]) -> list[str]:
    """The distinct labels, by number where all are numbers, else by name.

    Args:
      path: the table.
      line_of: the first line of each.
    """
    # Exact: a float holds 16 digits, and identities may have more.
    numbers = {t: decimal.Decimal(t) for t in line_of if plain_number(t) is not None}
    others = [text for text in line_of if text not in numbers]
    missing = [text for text in others if text.lower().lstrip("+-") in _NO_NUMBERS]
    if numbers and missing and len(missing) == len(others):
        raise ValueError(
            f"{path}, line {line_of[missing[0]]}: label {missing[0]!r} stands among numbers; fill it in, "
            "or take the row out"
        )
    if others:
        return sorted(line_of)
    spelt: dict[decimal.Decimal, str] = {}
    for text, number in numbers.items():
        other = spelt.setdefault(number, text)
        if other != text:
            raise ValueError(
                f"{path}, line {line_of[text]}: label {text!r} is the number {other!r} of line "
                f"{line_of[other]}, written otherwise; write one class in one way"
            )
    return sorted(line_of, key=lambda text: numbers[text])


def _check_apart(
    path: pathlib.Path, rows: Rows, image_column: str, told: list[str], keys: list[Hashable]
) -> None:
    """Raises ValueError where one file is in two splits."""
    parts = ("train", "validation", "test")
    seen: dict[Hashable, int] = {}
    for place, (part, key) in enumerate(zip(told, keys)):
        if part not in parts:
            continue
        earlier = seen.setdefault(key, place)
        if told[earlier] != part:
            (first, one), (second, other) = rows[earlier], rows[place]
            raise ValueError(
                f"{path}, line {second}: {other[image_column]} is for {part!r}, but line {first} has the "
                f"same file ({one[image_column]}) for {told[earlier]!r}; a file must be in one split"
            )
