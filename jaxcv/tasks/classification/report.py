"""What the report shows of classification: the wrong predictions of which the model was surest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxcv.report.markup import Markup, tag
from jaxcv.report.pictures import picture, to_uint8
from jaxcv.train import Run, TrainState, predict_test


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A wrong prediction.

    Attributes:
        image: [H, W, C] or [H, W] uint8.
        true, predicted: Names of the two classes.
        confidence: Probability given to the predicted class, in [0, 1].
        record: Name of the record, to find it again.
    """

    image: np.ndarray
    true: str
    predicted: str
    confidence: float
    record: str = ""


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


def mistakes_gallery(mistakes: Sequence[Mistake]) -> Markup | None:
    """Wrong predictions as pictures, the most confident first."""
    cells = []
    for mistake in sorted(mistakes, key=lambda m: -m.confidence):
        confidence = f"{100 * mistake.confidence:.1f}%"
        description = f"{mistake.true} taken for {mistake.predicted}"
        cells.append(
            tag(
                "div",
                tag(
                    "div", picture(to_uint8(mistake.image), description=description), class_="frame"
                ),
                tag(
                    "div",
                    "predicted ",
                    tag("b", mistake.predicted),
                    f" {confidence}",
                    class_="said",
                ),
                tag("div", "true ", tag("b", mistake.true)),
                tag("div", mistake.record, class_="record") if mistake.record else None,
            )
        )
    return tag("div", tag("div", *cells, class_="gallery"), class_="card") if cells else None
