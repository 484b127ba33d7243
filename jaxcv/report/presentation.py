"""How a task is shown: options of its own, rows for files, sections of the report, sample pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxcv.predict.images import predict_images
from jaxcv.report.markup import Markup
from jaxcv.report.sections import samples_gallery
from jaxcv.train import Run, Task, TrainState
from jaxcv.train.state import Variables

Results = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class NoOptions:
    """The options of a command that has none for the task."""


class Presentation:
    """The plain presentation, which suits a task whose predictions are numbers.

    A task's own subclass overrides what it can show better, and `Task.presentation` returns it.
    """

    # Frozen dataclasses whose fields, each with a default, become options of `jaxcv predict` and of
    # `jaxcv evaluate` for runs of this task.
    predict_options: type = NoOptions
    evaluate_options: type = NoOptions

    def rows(
        self,
        run: Run,
        variables: Variables,
        files: Sequence[str],
        options: Any,
        folder: Path,
    ) -> Iterator[dict[str, Any]]:
        """A row for each image file, in order, of plain values that JSON can hold.

        Args:
            run: what was trained.
            variables: what its model applies.
            files: paths.
            options: of `predict_options`.
            folder: for pictures; it need not exist.

        Returns:
            `{"file", ...}`, or `{"file", "error"}` for a file that cannot be used.
        """
        for found in predict_images(run, variables, files):
            if found.error is not None:
                yield {"file": found.file, "error": found.error}
            else:
                yield {"file": found.file, **{k: v.tolist() for k, v in found.arrays.items()}}

    def line(self, row: Mapping[str, Any]) -> str:
        """What a row says, for a person who reads the terminal; without the file's name."""
        return "  ".join(_brief(name, value) for name, value in row.items() if name != "file")

    def evaluate(self, run: Run, state: TrainState, options: Any) -> tuple[Results, str] | None:
        """An evaluation on something other than the test records, where the options ask for one.

        Returns:
            Results by name, and what they are about; None evaluates the test records.
        """
        return None

    def sections(
        self, run: Run, state: TrainState, summary: Mapping[str, Any]
    ) -> dict[str, Markup | None]:
        """`{heading: content}` of what the report shows of this task alone.

        Args:
            run: what was trained.
            state: its weights.
            summary: their evaluation on the test records.
        """
        return {}

    def samples(self, run: Run, batch: Mapping[str, np.ndarray]) -> Markup | None:
        """Pictures of an augmented training batch, images [N,H,W,C] and what belongs to them."""
        labels = run.experiment.task.restored({"label": batch["label"]})["label"]
        return samples_gallery(batch["image"], labels, run.class_names)


def presentation_of(task: Task) -> Presentation:
    """The task's own presentation, or the plain one."""
    return task.presentation() or Presentation()


def _brief(name: str, value: Any) -> str:
    if isinstance(value, float):
        value = f"{value:.6g}"
    elif isinstance(value, list):
        value = f"[{len(value)} values]"
    return str(value) if name == "prediction" else f"{name} {value}"
