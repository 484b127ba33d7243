"""How classification is shown: probabilities by name for files, confident mistakes in the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxcv.report.markup import Markup
from jaxcv.report.presentation import Presentation
from jaxcv.tasks.classification.report import confident_mistakes, mistakes_gallery
from jaxcv.train import Run, TrainState
from jaxcv.train.state import Variables

_MISTAKES = 24
_BEST = 3  # classes of a line


class ClassificationPresentation(Presentation):
    """Of `Classification` and `BinaryClassification`."""

    def rows(
        self,
        run: Run,
        variables: Variables,
        files: Sequence[str],
        options: Any,
        folder: Path,
    ) -> Iterator[dict[str, Any]]:
        """`{"file", "prediction", "confidence", "probabilities"}`, classes by their names."""
        names = run.class_names
        for row in super().rows(run, variables, files, options, folder):
            if names and "probabilities" in row:
                row["prediction"] = names[row["prediction"]]
                row["probabilities"] = dict(zip(names, row["probabilities"], strict=True))
            yield row

    def line(self, row: Mapping[str, Any]) -> str:
        """The likeliest classes with their probabilities."""
        probabilities = row["probabilities"]
        if isinstance(probabilities, list):  # classes without names
            probabilities = {str(number): p for number, p in enumerate(probabilities)}
        best = sorted(probabilities.items(), key=lambda item: -item[1])[:_BEST]
        return "  ".join(f"{name} {probability:.3f}" for name, probability in best)

    def sections(
        self, run: Run, state: TrainState, summary: Mapping[str, Any]
    ) -> dict[str, Markup | None]:
        """The wrong predictions of which the model was surest."""
        mistakes = confident_mistakes(run, state, _MISTAKES)
        return {"Most confident mistakes": mistakes_gallery(mistakes)}
