"""Work directories of runs among the data: told by what they hold, and kept apart from pictures."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# What every run writes before anything else.
_OF_A_RUN = ("config.json", "run.json")
# Last words of the names of fields that say where data lie, such as `test_images`.
_FOLDERS = frozenset({"root", "images", "masks", "annotations"})


def is_work_directory(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is the work directory of a run: the pictures in it are no data."""
    return all(os.path.isfile(os.path.join(path, name)) for name in _OF_A_RUN)


def holds_runs_alone(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is a work directory, or has nothing but some in it, as `runs/` has."""
    if is_work_directory(path):
        return True
    try:
        with os.scandir(path) as entries:
            kinds = (entry.is_dir() and is_work_directory(entry.path) for entry in entries)
            return next(kinds, False) and all(kinds)
    except OSError:
        return False


def data_folders(dataset: Any) -> Iterator[Path]:
    """The folders in which the data of a data set, and of those within it, lie.

    They are told by the names of its fields: root, images, masks, annotations, and those that end so.
    What is no folder is left out. A table names its files, so that others beside them do no harm: its own
    folder is not among them.

    Example:
        >>> from jaxcv.data import Folder
        >>> [str(folder) for folder in data_folders(Folder(root="/"))]
        ['/']
    """
    if not dataclasses.is_dataclass(dataset):
        return
    values = {field.name: getattr(dataset, field.name) for field in dataclasses.fields(dataset)}
    named: list[str | os.PathLike[str]] = []
    for name, value in values.items():
        if name.split("_")[-1] in _FOLDERS and isinstance(value, str | os.PathLike):
            named.append(value)
        elif hasattr(value, "open"):
            yield from data_folders(value)
    folders = dict.fromkeys(Path(folder).expanduser() for folder in named)
    yield from (folder for folder in folders if folder.is_dir())


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path, which need not exist, is a folder or lies below it, through links too."""
    real = Path(os.path.realpath(path))
    return any(is_same(each, folder) for each in (real, *real.parents))


def is_same(path: Path, other: Path) -> bool:
    """Whether a path is there and leads to the same folder as another, which is there."""
    return path.exists() and path.samefile(other)
