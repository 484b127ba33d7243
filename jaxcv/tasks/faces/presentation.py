"""How faces are shown: verification curves in the report, evaluation on lists of pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcv.data.faces import VerificationPairs, read_pairs, read_verification_bin
from jaxcv.errors import UsageError
from jaxcv.metrics.pairs import pair_scores
from jaxcv.report.markup import Markup
from jaxcv.report.presentation import Presentation, Results
from jaxcv.tasks.faces.embedding import record_reader
from jaxcv.tasks.faces.options import EvaluateOptions
from jaxcv.tasks.faces.report import face_evidence, face_sections
from jaxcv.tasks.faces.verification import verify_pairs
from jaxcv.train import Run, TrainState, chosen_variables, predict_test
from jaxcv.train.state import Variables

_MOST_IMPOSTORS = 1_000_000


class FacePresentation(Presentation):
    """Of `FaceRecognition` and `MetricLearning`."""

    evaluate_options = EvaluateOptions

    def rows(
        self,
        run: Run,
        variables: Variables,
        files: Sequence[str],
        options: Any,
        folder: Path,
    ) -> Iterator[dict[str, Any]]:
        """Raises UsageError: embeddings are not written to files."""
        raise UsageError(
            "this run embeds faces, and embeddings tell who somebody is: they are not written to a "
            "file. Compare two pictures by `jaxcv verify`, or find people by `jaxcv enroll` and "
            "`jaxcv search`"
        )

    def evaluate(
        self, run: Run, state: TrainState, options: EvaluateOptions
    ) -> tuple[Results, str] | None:
        """On a list of pairs, where the options name one."""
        if options.pairs is None:
            return None
        variables = chosen_variables(state, ema=options.ema)
        pairs = _read_pairs(run, options.pairs, options)
        flips = (False, True) if options.flip is None else (options.flip,)
        results = {
            "with mirror images" if flip else "without mirror images": verify_pairs(
                run, variables, pairs, flip_test=flip
            )
            for flip in flips
        }
        return results, f"{len(pairs)} pairs of {len(pairs.images)} pictures in {options.pairs}"

    def sections(
        self, run: Run, state: TrainState, summary: Mapping[str, Any]
    ) -> dict[str, Markup | None]:
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


def _read_pairs(run: Run, file: Path, options: EvaluateOptions) -> VerificationPairs:
    reader = record_reader(run)
    if file.suffix == ".bin":
        return read_verification_bin(file, image_reader=reader, pixel_order=options.pixel_order)
    if options.root is None:
        raise UsageError(f"{file} names people; say which folder holds them: --root FOLDER")
    return read_pairs(file, options.root, image_reader=reader)
