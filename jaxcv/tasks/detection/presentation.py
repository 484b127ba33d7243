"""How detection is shown: drawn boxes and COCO JSON for files, what was found and missed in the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcv.drawing.palettes import class_palette
from jaxcv.report.markup import Markup
from jaxcv.report.presentation import Presentation
from jaxcv.tasks.detection.options import PredictOptions
from jaxcv.tasks.detection.panels import box_samples
from jaxcv.tasks.detection.predict import detect_files
from jaxcv.tasks.detection.report import detection_evidence, detection_sections
from jaxcv.train import Run, TrainState, collect_per_example
from jaxcv.train.state import Variables

_WORST = 8  # images


class DetectionPresentation(Presentation):
    """Of `Detection`."""

    predict_options = PredictOptions

    def rows(
        self,
        run: Run,
        variables: Variables,
        files: Sequence[str],
        options: PredictOptions,
        folder: Path,
    ) -> Iterator[dict[str, Any]]:
        """See `detect_files`."""
        return detect_files(run, variables, files, folder, options.min_score)

    def line(self, row: Mapping[str, Any]) -> str:
        """How many objects of each class, the most common first."""
        counts = Counter(detection["class"] for detection in row["detections"])
        return "  ".join(f"{count} {name}" for name, count in counts.most_common(5)) or "nothing"

    def sections(
        self, run: Run, state: TrainState, summary: Mapping[str, Any]
    ) -> dict[str, Markup | None]:
        """Precision and recall, sizes, confusion, and the worst and some typical test images."""
        source, names = run.test_source, run.test_source.class_names
        arrays, records = collect_per_example(run, state.variables)
        evidence = detection_evidence(
            arrays,
            len(names),
            record=lambda i: source[int(records[i])],
            record_name=lambda i: source.record_name(int(records[i])),
            score_threshold=summary["best_f1_threshold"],
            worst=_WORST,
        )
        palette = class_palette(names, run.experiment.data)
        return detection_sections(summary, evidence, class_names=names, palette=palette)

    def samples(self, run: Run, batch: Mapping[str, np.ndarray]) -> Markup:
        """The images with their boxes."""
        names = run.class_names
        return box_samples(
            batch["image"],
            batch["boxes"],
            batch["classes"],
            names,
            class_palette(names, run.experiment.data),
            ignored=batch["ignored"],
        )
