"""A CSV table of image paths and labels."""

import csv
import dataclasses
import pathlib
from typing import Literal

import numpy as np

from jaxcv.data.decode import MAX_PIXELS
from jaxcv.data.files import FileSource, nearest_name
from jaxcv.data.fit import Fit, Size
from jaxcv.data.image_reader import ImageReader
from jaxcv.data.random_resized_crop import DecodeRandomResizedCrop
from jaxcv.data.source import Source, SourceView, Split, check_split, stratified_split
from jaxcv.data.view import DECODE_MARGIN


@dataclasses.dataclass(frozen=True, kw_only=True)
class CSV:
    """A CSV file with a header, a column of image paths and a column of labels.

    Classes are the distinct labels of all rows, in numerical order where all are integers, else in
    the order of their names.

    Attributes:
      path: the CSV file.
      image_column: name of the column of image paths.
      label_column: name of the column of labels.
      split_column: name of a column that says "train", "validation" or "test" (other rows are
        passed over); None takes a stratified part as the test set, see `stratified_split`.
      root: folder that the paths are relative to; None is the CSV's own.
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

    def open(self, split: Split) -> Source:
        """Reads the table, checks that every file exists, opens the train or test part."""
        if split != "train" and self.random_resized_crop is not None:
            return dataclasses.replace(self, random_resized_crop=None).open(split)
        path = pathlib.Path(self.path).expanduser()
        root = pathlib.Path(self.root).expanduser() if self.root else path.parent
        rows = self._rows(path)
        for line, row in rows:
            if not (root / row[self.image_column]).is_file():
                raise ValueError(
                    f"{path}, line {line}: no such file: {root / row[self.image_column]}"
                )
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
        if self.split_column is None:
            check_split(split, self.path)
            strata = labels if class_names else np.zeros(len(labels), np.int32)
            parts = stratified_split(strata, paths, self.test_fraction, self.split_seed)
            return SourceView(whole, parts[split == "test"])
        indices = [i for i, (_, row) in enumerate(rows) if row[self.split_column].strip() == split]
        if not indices:
            found = sorted({row[self.split_column] for _, row in rows})[:5]
            raise ValueError(
                f"{path}: no row has {split!r} in column {self.split_column!r}; "
                f"found {', '.join(found)}"
            )
        return SourceView(whole, np.asarray(indices))

    def _rows(self, path: pathlib.Path) -> list[tuple[int, dict[str, str]]]:
        """(line number, row) of every row, the columns in use being present and filled."""
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
        wanted = [c for c in (self.image_column, self.label_column, self.split_column) if c]
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                columns = list(reader.fieldnames or ())
                for column in wanted:
                    if column not in columns:
                        found = ", ".join(columns) or "it is empty"
                        raise ValueError(
                            f"there is no column {column!r} in its header ({found})"
                            f"{nearest_name(column, columns)}"
                        )
                rows = [(reader.line_num, row) for row in reader]
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{path}: {error}") from None
        if not rows:
            raise ValueError(f"{path}: there are no rows below its header")
        for line, row in rows:
            for column in wanted:
                if not (row[column] or "").strip():
                    raise ValueError(f"{path}, line {line}: column {column!r} is empty")
        return rows

    def _labels(
        self, path: pathlib.Path, rows: list[tuple[int, dict[str, str]]]
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        texts = [row[self.label_column].strip() for _, row in rows]
        if self.regression:
            for (line, _), text in zip(rows, texts):
                if not _is_number(text):
                    raise ValueError(f"{path}, line {line}: {text!r} is not a finite number")
            return np.asarray([float(t) for t in texts], np.float64), ()
        names = sorted(set(texts))
        if all(name.lstrip("-").isdecimal() for name in names):
            names.sort(key=int)
        number = {name: i for i, name in enumerate(names)}
        return np.asarray([number[t] for t in texts], np.int32), tuple(names)


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
