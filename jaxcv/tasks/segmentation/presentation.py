"""How segmentation is shown: index maps and overlays for files, the worst images in the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcv.devices import AXIS
from jaxcv.drawing.palettes import class_palette
from jaxcv.metrics.confusion import confusion_matrices
from jaxcv.metrics.segmentation import mean_iou_of_images
from jaxcv.report.markup import Markup
from jaxcv.report.presentation import Presentation
from jaxcv.tasks.segmentation.options import PredictOptions
from jaxcv.tasks.segmentation.predict import segment_files
from jaxcv.tasks.segmentation.report import (
    SegmentedImage,
    label_map_samples,
    segmentation_sections,
)
from jaxcv.train import Run, TrainState, make_predict_step
from jaxcv.train.state import Variables

_WORST, _TYPICAL = 8, 4  # images


class SegmentationPresentation(Presentation):
    """Of `Segmentation`."""

    predict_options = PredictOptions

    def rows(
        self,
        run: Run,
        variables: Variables,
        files: Sequence[str],
        options: PredictOptions,
        folder: Path,
    ) -> Iterator[dict[str, Any]]:
        """See `segment_files`."""
        return segment_files(run, variables, files, folder, options.inference())

    def line(self, row: Mapping[str, Any]) -> str:
        """The most common classes of the image."""
        best = sorted(row["fractions"].items(), key=lambda item: -item[1])[:3]
        return "  ".join(f"{name} {100 * fraction:.1f}%" for name, fraction in best if fraction)

    def sections(
        self, run: Run, state: TrainState, summary: Mapping[str, Any]
    ) -> dict[str, Markup | None]:
        """IoU by class and by image, and pictures of the worst and of some typical test images."""
        return label_map_sections(run, state, summary["per_class"])

    def samples(self, run: Run, batch: Mapping[str, np.ndarray]) -> Markup:
        """The images with their label maps."""
        names = run.class_names
        palette = class_palette(names, run.experiment.data)
        return label_map_samples(batch["image"], batch["label"], names, palette)


def label_map_sections(
    run: Run, state: TrainState, per_class: Mapping[str, Sequence[Any]]
) -> dict[str, Markup | None]:
    """IoU by class and by image, and pictures of the worst and of some typical test images."""
    names = run.test_source.class_names
    batches = run.test_batches()
    call = run.test_feed().bind(_segment_and_score(run), run.layout.variables)
    size = batches.batch_size
    scores = []
    for step in range(len(batches)):
        found = call(state.variables, step)
        scores.append((np.asarray(found["iou"])[:size], np.asarray(found["valid"])[:size]))
    iou, valid = (
        np.concatenate(parts)[: len(run.test_source)] for parts in zip(*scores, strict=True)
    )

    def segmented(rows: Sequence[int]) -> list[SegmentedImage]:
        # Label maps of a whole test set may not fit in memory: the few batches are computed again.
        found: dict[int, SegmentedImage] = {}
        for step in sorted({row // size for row in rows}):
            maps = call(state.variables, step)
            truth, prediction = (np.asarray(maps[name]) for name in ("label", "prediction"))
            for row in (row for row in rows if row // size == step):
                found[row] = SegmentedImage(
                    image=run.test_source[row]["image"],
                    truth=truth[row % size],
                    prediction=prediction[row % size],
                    mean_iou=float(iou[row]),
                    record=run.test_source.record_name(row),
                )
        return [found[row] for row in rows]

    order = [int(i) for i in np.argsort(iou, kind="stable") if valid[i]]
    worst, rest = order[:_WORST], order[_WORST:]
    middle = max((len(rest) - _TYPICAL) // 2, 0)
    return segmentation_sections(
        worst=segmented(worst),
        typical=segmented(rest[middle : middle + _TYPICAL]),
        class_iou=per_class["iou"],
        class_pixels=per_class["pixels"],
        image_iou=iou[valid],
        class_names=names,
        palette=class_palette(names, run.experiment.data),
    )


def _segment_and_score(run: Run) -> Any:
    """Builds `(variables, batch) -> label maps, predictions and mean IoU within each image`."""
    experiment = run.experiment
    classes = len(run.test_source.class_names)
    predict = make_predict_step(experiment.model, experiment.task, experiment.preprocess)

    def call(variables: Variables, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        prediction = predict(variables, batch)["prediction"]
        label, mask = jax.lax.all_gather((batch["label"], batch["mask"]), AXIS, tiled=True)
        counted = mask[:, None, None] & (label != experiment.task.ignore_label)
        confusion = confusion_matrices(label, prediction, classes, counted)
        return {
            "label": label,
            "prediction": prediction,
            "iou": mean_iou_of_images(confusion),
            "valid": confusion.sum((1, 2)) > 0,
        }

    return call
