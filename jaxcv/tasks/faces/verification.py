"""Verification by a trained run: where to accept, and how well it does on a list of pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxcv.data.faces import VerificationPairs
from jaxcv.metrics import (
    indexed_scores,
    pair_scores,
    roc,
    true_accept_rate_at,
    verification_summary,
)
from jaxcv.metrics.verification import FALSE_ACCEPT_RATES
from jaxcv.tasks.faces.embedding import embed_source
from jaxcv.train import Run, predict_test
from jaxcv.train.logging import read_rows
from jaxcv.train.state import Variables

# Beyond this many, impostor pairs are drawn at random, as in the run's own evaluation.
_MOST_IMPOSTORS = 10_000_000
_FOLDS = 10


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """From which score on two pictures are taken to show one person.

    Attributes:
        value: a cosine.
        origin: where it is from, for people.
    """

    value: float
    origin: str

    def accepts(self, score: float) -> bool:
        """Whether a score reaches it."""
        return score >= self.value


def stored_threshold(
    workdir: str | Path, step: int, split: str, false_accept_rate: float
) -> Threshold | None:
    """The threshold that the run's own evaluation wrote to metrics.jsonl, if it did.

    Args:
        workdir: of the run.
        step: of the checkpoint in use.
        split: "test", or "test_ema" for the averaged weights.
        false_accept_rate: the fraction of impostor pairs that it accepts at most.
    """
    name = f"threshold_at_far_{false_accept_rate:g}"
    for row in reversed(read_rows(Path(workdir) / "metrics.jsonl")):
        if (row["step"], row["split"]) == (step, split) and name in row:
            where = f"evaluation of step {step} in metrics.jsonl"
            return _threshold(row[name], false_accept_rate, int(row["impostor_pairs"]), where)
    return None


def evaluated_threshold(run: Run, variables: Variables, false_accept_rate: float) -> Threshold:
    """The strictest threshold with the largest true accept rate over the pairs of test pictures.

    Args:
        run: its test set.
        variables: what the model applies.
        false_accept_rate: the fraction of impostor pairs that it accepts at most.

    Raises:
        ValueError: the test set has no pair of a kind, or nothing would be accepted.
    """
    found = predict_test(run, variables)
    mask, labels = found["mask"], found["label"]
    try:
        pairs = pair_scores(found["embedding"][mask], labels[mask], max_impostors=_MOST_IMPOSTORS)
    except ValueError as error:
        raise ValueError(
            f"the run's test set gives no threshold ({error}); say --threshold"
        ) from None
    curve = roc(pairs.scores, pairs.same)
    value = true_accept_rate_at(curve, false_accept_rate).threshold
    return _threshold(value, false_accept_rate, curve.impostors, "evaluated now")


def _threshold(value: float, rate: float, impostors: int, where: str) -> Threshold:
    if not math.isfinite(value):
        raise ValueError(
            f"at a false accept rate of {rate:g} this run accepts no pair of its test set "
            f"({impostors:,} impostor pairs); say --threshold, or a larger --false-accept-rate"
        )
    origin = f"false accept rate {rate:g} on {impostors:,} impostor pairs of the test set, {where}"
    if rate * impostors < 10:
        origin += (
            f"; that rests on the {max(math.floor(rate * impostors), 1)} highest of their scores"
        )
    return Threshold(value=value, origin=origin)


def verify_pairs(
    run: Run, variables: Variables, pairs: VerificationPairs, *, flip_test: bool | None = None
) -> dict[str, Any]:
    """The protocol of LFW, CFP-FP and AgeDB-30: accuracy by folds, and the curve's numbers.

    Args:
        run: its model, preprocessing and devices.
        variables: what the model applies.
        pairs: pictures of the run's size, and which of them to compare.
        flip_test: see `embed_source`.

    Returns:
        What `verification_summary` does, at the false accept rates that at least one impostor pair
        stands for. `fold_accuracy` is left out where there are fewer pairs than folds.
    """
    embeddings = embed_source(run, variables, pairs.images, flip_test=flip_test)
    scores = indexed_scores(embeddings, pairs.pairs[:, 0], pairs.pairs[:, 1])
    folds: int | None = _FOLDS if len(pairs) >= _FOLDS else None
    if pairs.folds is not None:
        found = int(np.max(pairs.folds)) + 1
        folds = found if found > 1 else None
    fold = pairs.folds if folds else None
    impostors = np.count_nonzero(~pairs.same)
    rates = [rate for rate in FALSE_ACCEPT_RATES if rate * impostors >= 1]
    return dict(
        verification_summary(scores, pairs.same, false_accept_rates=rates, folds=folds, fold=fold)
    )
