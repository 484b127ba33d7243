"""Whether two splits of a prepared TFDS data set have records in common."""

import os
import pathlib
from typing import Any


def check_splits_apart(folder: pathlib.Path, name: str, train: str, other: str) -> None:
    """Raises ValueError where records of one split are in the training split too.

    Args:
      folder: of the prepared data set.
      name: what to call it.
      train: TFDS's name of the training split, slices included, such as `train[:90%]`. One that there
        is not has nothing in common with another.
      other: that of the other one.
    """
    import tensorflow_datasets as tfds

    splits = tfds.builder_from_directory(os.fspath(folder)).info.splits
    try:
        ranges = _ranges(splits[train])
    except (ValueError, KeyError):
        return
    shared = sum(
        max(0, min(end, other_end) - max(start, other_start))
        for file, start, end in ranges
        for other_file, other_start, other_end in _ranges(splits[other])
        if file == other_file
    )
    if shared:
        raise ValueError(
            f"{name}: {shared} records of {other!r} are in {train!r} too, which is for training; give "
            "splits that have none in common, such as train[:80%] and train[80%:]"
        )


def _ranges(split: Any) -> list[tuple[str, int, int]]:
    """(file, first record, the one after the last) of each piece of a split."""
    pieces = []
    for piece in split.file_instructions:
        count = piece.examples_in_shard - piece.skip if piece.take < 0 else piece.take
        pieces.append((os.fspath(piece.filename), piece.skip, piece.skip + count))
    return pieces
