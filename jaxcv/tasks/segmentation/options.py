"""What `jaxcv predict` does for a run that segments: its options, and where the pictures go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxcv.tasks import Segmentation
from jaxcv.tasks.segmentation.inference import Inference
from jaxcv.tasks.segmentation.predict import segment_files
from jaxcv.train import Run
from jaxcv.train.state import Variables

INFERENCE_OPTIONS: dict[str, Any] = {
    "window": (
        tuple[int, int] | None,
        None,
        "segmentation: cover the image by windows of HEIGHT WIDTH, at the scale of training",
    ),
    "overlap": (
        float,
        0.5,
        "segmentation: least fraction of a window that its neighbour covers too",
    ),
    "scales": (tuple[float, ...], (1.0,), "segmentation: average over these scales of the image"),
    "flip": (bool, False, "segmentation: average over the image and its mirror image"),
}
"""Options of `jaxcv predict`, by name: (type, default, help)."""


def segments(run: Run) -> bool:
    """Whether the run gives a class to every pixel."""
    return isinstance(run.experiment.task, Segmentation)


def segmented_rows(
    run: Run, variables: Variables, files: list[str], options: Any, folder: Path
) -> Iterator[dict[str, Any]]:
    """A row for each file, see `segment_files`."""
    inference = Inference(
        window=options.window,
        overlap=options.overlap,
        scales=options.scales,
        flip=options.flip,
    )
    return segment_files(run, variables, files, folder, inference)


def described_fractions(row: dict[str, Any]) -> str:
    """The commonest classes of an image, for a line of output."""
    best = sorted(row["fractions"].items(), key=lambda item: -item[1])[:3]
    return "  ".join(f"{name} {100 * fraction:.1f}%" for name, fraction in best if fraction)
