"""What the report of a run shows of its task alone: mistakes, curves of verification, maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxcv.devices import AXIS
from jaxcv.drawing.palettes import class_palette
from jaxcv.metrics.confusion import confusion_matrices
from jaxcv.metrics.pairs import pair_scores
from jaxcv.metrics.segmentation import mean_iou_of_images
from jaxcv.report.markup import Markup
from jaxcv.report.sections import Mistake, mistakes_gallery
from jaxcv.tasks import (
    BinaryClassification,
    Classification,
    Detection,
    FaceRecognition,
    MetricLearning,
    Segmentation,
)
from jaxcv.tasks.detection.report import detection_evidence, detection_sections
from jaxcv.tasks.faces.report import face_evidence, face_sections
from jaxcv.tasks.segmentation.report import SegmentedImage, segmentation_sections
from jaxcv.train import (
    Run,
    TrainState,
    collect_per_example,
    make_predict_step,
    predict_test,
)
from jaxcv.train.state import Variables

_MISTAKES = 24
_MOST_IMPOSTORS = 1_000_000
_WORST_MAPS, _TYPICAL_MAPS = 8, 4
_WORST_DETECTIONS = 8


def task_sections(
    run: Run, state: TrainState, summary: Mapping[str, Any]
) -> dict[str, Markup | None]:
    """`{heading: content}` for the test records of a run; {} for a task without pictures of its own.

    Args:
        run: what was trained.
        state: its weights.
        summary: their evaluation on the test records.
    """
    task = run.experiment.task
    if isinstance(task, Classification | BinaryClassification):
        mistakes = confident_mistakes(run, state, _MISTAKES)
        return {"Most confident mistakes": mistakes_gallery(mistakes)}
    if isinstance(task, FaceRecognition | MetricLearning):
        return verification_sections(run, state)
    if isinstance(task, Segmentation):
        return label_map_sections(run, state, summary["per_class"])
    if isinstance(task, Detection):
        return box_sections(run, state, summary)
    return {}


def confident_mistakes(run: Run, state: TrainState, count: int) -> list[Mistake]:
    """The wrong predictions on the test records of which the model was surest."""
    found = predict_test(run, state.variables)
    wrong = np.flatnonzero(found["mask"] & (found["prediction"] != found["label"]))
    surest = wrong[np.argsort(-found["confidence"][wrong], kind="stable")][:count]
    source = run.test_source
    names: Any = source.class_names or range(run.experiment.task.class_count() or 0)
    return [
        Mistake(
            image=source[int(i)]["image"],
            true=str(names[int(found["label"][i])]),
            predicted=str(names[int(found["prediction"][i])]),
            confidence=float(found["confidence"][i]),
            record=source.record_name(int(i)),
        )
        for i in surest
    ]


def verification_sections(run: Run, state: TrainState) -> dict[str, Markup | None]:
    """ROC, DET, scores, hardest pairs and each person's errors over the pairs of test pictures."""
    found = predict_test(run, state.variables)
    rows = np.flatnonzero(found["mask"])
    labels = found["label"][rows]
    if len(np.unique(labels)) in (1, len(labels)):
        return {}  # There is no impostor, or no genuine pair.
    source = run.test_source
    evidence = face_evidence(
        pair_scores(found["embedding"][rows], labels, max_impostors=_MOST_IMPOSTORS),
        labels,
        image=lambda i: source[int(rows[i])]["image"],
        record_name=lambda i: source.record_name(int(rows[i])),
        class_names=source.class_names,
    )
    return dict(face_sections(evidence))


def box_sections(
    run: Run, state: TrainState, summary: Mapping[str, Any]
) -> dict[str, Markup | None]:
    """Precision and recall, sizes, confusion, and the worst and some typical test images."""
    source, names = run.test_source, run.test_source.class_names
    examples, records = collect_per_example(run, state.variables)
    evidence = detection_evidence(
        examples,
        len(names),
        record=lambda i: source[int(records[i])],
        record_name=lambda i: source.record_name(int(records[i])),
        score_threshold=summary["best_f1_threshold"],
        worst=_WORST_DETECTIONS,
    )
    palette = class_palette(names, run.experiment.data)
    return detection_sections(summary, evidence, class_names=names, palette=palette)


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
    worst, rest = order[:_WORST_MAPS], order[_WORST_MAPS:]
    middle = max((len(rest) - _TYPICAL_MAPS) // 2, 0)
    return segmentation_sections(
        worst=segmented(worst),
        typical=segmented(rest[middle : middle + _TYPICAL_MAPS]),
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
