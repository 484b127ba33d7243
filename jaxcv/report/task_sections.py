"""What the report of a run shows of its task alone: mistakes, curves of verification, maps."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxcv.metrics.pairs import pair_scores
from jaxcv.report.faces import face_evidence, face_sections
from jaxcv.report.markup import Markup
from jaxcv.report.sections import Mistake, mistakes_gallery
from jaxcv.tasks import BinaryClassification, Classification, FaceRecognition, MetricLearning
from jaxcv.train import Run, TrainState, predict_test

_MISTAKES = 24
_MOST_IMPOSTORS = 1_000_000


def task_sections(run: Run, state: TrainState) -> dict[str, Markup | None]:
    """`{heading: content}` for the test records of a run; {} for a task without pictures of its own."""
    task = run.experiment.task
    if isinstance(task, Classification | BinaryClassification):
        mistakes = confident_mistakes(run, state, _MISTAKES)
        return {"Most confident mistakes": mistakes_gallery(mistakes)}
    if isinstance(task, FaceRecognition | MetricLearning):
        return verification_sections(run, state)
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
