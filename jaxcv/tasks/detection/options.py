"""What `jaxcv predict` does for a run that detects: its options, and where the pictures go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxcv.tasks import Detection
from jaxcv.tasks.detection.predict import detect_files
from jaxcv.train import Run
from jaxcv.train.state import Variables

DETECTION_OPTIONS: dict[str, Any] = {
    "min_score": (float, 0.3, "detection: least score of what is drawn and written"),
}
"""Options of `jaxcv predict`, by name: (type, default, help)."""


def detects(run: Run) -> bool:
    """Whether the run finds objects and their boxes."""
    return isinstance(run.experiment.task, Detection)


def detected_rows(
    run: Run, variables: Variables, files: list[str], options: Any, folder: Path
) -> Iterator[dict[str, Any]]:
    """A row for each file, see `detect_files`."""
    return detect_files(run, variables, files, folder, options.min_score)


def described_detections(row: dict[str, Any]) -> str:
    """How many objects of each class, the commonest first, for a line of output."""
    counts = Counter(detection["class"] for detection in row["detections"])
    return "  ".join(f"{count} {name}" for name, count in counts.most_common(5)) or "nothing"
