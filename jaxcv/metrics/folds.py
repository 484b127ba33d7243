"""Verification accuracy by cross-validation: the protocol of LFW, CFP-FP and AgeDB-30."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxcv.metrics.score_checks import checked_scores


@dataclass(frozen=True, kw_only=True, eq=False)
class FoldAccuracy:
    """Accuracy of each fold at the threshold that suits the other folds best.

    Attributes:
        accuracies: [F] float64, fraction of the fold's pairs that are decided rightly.
        thresholds: [F] float64, accept where `score >= threshold`; `inf` accepts nothing.
        mean: Mean of the accuracies: the figure that papers report.
        std: Their standard deviation (divisor F).
    """

    accuracies: np.ndarray
    thresholds: np.ndarray

    @property
    def mean(self) -> float:
        """Mean accuracy of the folds, each counting alike."""
        return float(self.accuracies.mean())

    @property
    def std(self) -> float:
        """Standard deviation over the folds, with divisor F."""
        return float(self.accuracies.std())


def fold_accuracy(
    scores: Any,
    same: Any,
    *,
    folds: int = 10,
    fold: Any = None,
    thresholds: Any = None,
) -> FoldAccuracy:
    """Cross-validated accuracy: the threshold comes from the other folds, the accuracy from the fold.

    The protocol of LFW's restricted setting (Huang et al. 2007, section 5). Candidates for the
    threshold are all that tell the training scores apart: the midpoint between each two that are
    neighbours, and one each that accepts all and nothing. No score of the tested fold takes part
    in the choice. Of candidates with the same training accuracy the strictest is taken, which
    accepts the fewest impostors; so does code that searches a grid of distances from 0 upwards and
    takes the first.

    Args:
        scores: [P] numbers, higher for more alike. Cosines and negated squared distances of
            normalised embeddings give the same accuracy, for |a - b|^2 = 2 - 2 a.b.
        same: [P] bool, whether the pair is genuine.
        folds: Number F of folds.
        fold: [P] integers in [0, F), the fold of each pair. None cuts the pairs into F runs as they
            stand, the first P mod F of them one longer, which is right for LFW's list and the .bin
            files: their pairs are in the order of the folds.
        thresholds: [K] candidates instead of the midpoints, for parity with published figures:
            `squared_distance_grid()`.

    Raises:
        ValueError: If the shapes differ, a score is not finite, a kind of pair is missing, or a
            fold is empty or holds all pairs.

    Example:
        >>> found = fold_accuracy([0.9, 0.2, 0.8, 0.4], [1, 0, 1, 0], folds=2)
        >>> found.accuracies.tolist(), [round(t, 3) for t in found.thresholds.tolist()]
        ([1.0, 1.0], [0.6, 0.55])
    """
    scores, same = checked_scores(scores, same)
    fold = _checked_fold(fold, folds, len(scores))
    candidates = None if thresholds is None else np.sort(np.asarray(thresholds, np.float64))[::-1]
    order = np.argsort(-scores)
    ordered, fold_of = scores[order], fold[order]
    # What accepting a pair adds to the pairs that are decided rightly.
    gain = np.where(same[order], 1, -1).astype(np.int8)
    accuracies, chosen = np.empty(folds), np.empty(folds)
    for k in range(folds):
        training = fold_of != k
        if candidates is None:
            chosen[k] = _best_midpoint(ordered[training], gain[training])
        else:
            chosen[k] = _best_candidate(ordered[training], gain[training], candidates)
        tested = fold == k
        accuracies[k] = np.mean((scores[tested] >= chosen[k]) == same[tested])
    return FoldAccuracy(accuracies=accuracies, thresholds=chosen)


def squared_distance_grid(step: float = 0.01) -> np.ndarray:
    """Thresholds on the cosine that stand for squared distances 0, step, ... below 4, as [K].

    Published accuracies of LFW, CFP-FP and AgeDB-30 are mostly searched on this grid, which costs
    a little accuracy where embeddings lie close together.
    """
    return 1.0 - np.arange(0.0, 4.0, step) / 2.0


def _best_midpoint(ordered: np.ndarray, gain: np.ndarray) -> float:
    """The strictest of the best thresholds for scores in descending order."""
    ends = np.append(ordered[1:] != ordered[:-1], True)
    right = np.cumsum(gain, dtype=np.int64)
    # Between equal scores no threshold can pass.
    right[~ends] = np.iinfo(np.int64).min
    best = int(np.argmax(right))
    if right[best] <= 0:  # Accepting nothing is as good, and stricter.
        return np.inf
    if best == len(ordered) - 1:
        return -np.inf
    above, below = float(ordered[best]), float(ordered[best + 1])
    middle = above / 2 + below / 2
    # Between neighbouring doubles there is no third.
    return middle if middle > below else above


def _best_candidate(ordered: np.ndarray, gain: np.ndarray, candidates: np.ndarray) -> float:
    """The strictest of the best among candidates in descending order."""
    right = np.concatenate(([0], np.cumsum(gain, dtype=np.int64)))
    accepted = len(ordered) - np.searchsorted(ordered[::-1], candidates, side="left")
    return float(candidates[np.argmax(right[accepted])])


def _checked_fold(fold: Any, folds: int, count: int) -> np.ndarray:
    """The fold of each pair, [P] integers."""
    if folds < 2 or folds > count:
        raise ValueError(f"{count} pairs cannot be cut into {folds} folds: 2 to {count} can be.")
    if fold is None:
        # The first count mod folds folds are one longer.
        sizes = np.full(folds, count // folds) + (np.arange(folds) < count % folds)
        return np.repeat(np.arange(folds), sizes)
    fold = np.asarray(fold)
    if fold.shape != (count,) or not np.issubdtype(fold.dtype, np.integer):
        raise ValueError(
            f"fold must be [{count}] integers, one per pair: found {fold.dtype} {fold.shape}."
        )
    if fold.min() < 0 or fold.max() >= folds:
        raise ValueError(
            f"fold must lie in [0, {folds}): found {fold.min()} to {fold.max()} for {folds} folds."
        )
    empty = np.flatnonzero(np.bincount(fold, minlength=folds) == 0)
    if empty.size:
        raise ValueError(f"fold {empty[0]} of {folds} holds no pair.")
    return fold
