"""Whether a directory can be a run's: asked before anything is written into it."""

from __future__ import annotations

import os
from pathlib import Path

from jaxcv.data import Dataset
from jaxcv.data.work_directories import data_folders, is_inside, is_same
from jaxcv.train.checks import SetupError


def check_workdir(workdir: Path, data: Dataset) -> None:
    """Raises SetupError where a directory cannot be made or written, or lies among the data.

    Data inside the work directory are no harm: a run writes nothing into folders that are not its own.
    """
    _check_writable(workdir)
    for folder in data_folders(data):
        if is_inside(workdir, folder):
            raise SetupError(
                f"--workdir {workdir} lies among the data, in {folder}, where a run must not write; take a "
                f"directory outside of it, such as --workdir {_elsewhere(workdir, folder)}"
            )


def _check_writable(workdir: Path) -> None:
    if os.path.lexists(workdir) and not workdir.is_dir():
        what = "leads nowhere" if workdir.is_symlink() and not workdir.exists() else "is a file"
        raise SetupError(f"--workdir {workdir} {what}, but it must be a directory, or a new name")
    there = next(path for path in (workdir, *workdir.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        raise SetupError(f"--workdir {workdir} cannot be made: {there} is no directory")
    if not os.access(there, os.W_OK | os.X_OK):
        what = (
            "be written to" if there == workdir else f"be made: nothing may be written in {there}"
        )
        raise SetupError(
            f"--workdir {workdir} cannot {what}; take another, or change its permissions"
        )


def _elsewhere(workdir: Path, folder: Path) -> Path:
    name = workdir.name if not is_same(workdir, folder) else ""
    return folder.absolute().parent / "runs" / (name or "1")
