"""Verification: do two images show the same person? ROC, DET, AUC, EER, TAR at a FAR, folds.

A pair has a score, higher for more alike, and is genuine (the same person) or an impostor pair. At
a threshold it is accepted where `score >= threshold`, so that pairs of equal score are accepted or
rejected together. The true accept rate (TAR) is the fraction of genuine pairs that are accepted, the
false accept rate (FAR) that of impostor pairs; the false reject rate (FRR) is 1 - TAR.

All is computed on the host in O(P log P) for P pairs from whole numbers of accepted pairs, and
divided last: nothing is rounded on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jaxcv.arguments import check_probability
from jaxcv.metrics.folds import fold_accuracy
from jaxcv.metrics.score_checks import checked_scores


@dataclass(frozen=True, kw_only=True, eq=False)
class Roc:
    """Receiver operating characteristic: what each of T thresholds accepts, the strictest first.

    Attributes:
        threshold: [T] float64, descending; the first is infinite and accepts nothing.
        true_accepts, false_accepts: [T] int64, genuine and impostor pairs with a score that
            reaches the threshold; ascending from 0.
        genuine, impostors: How many pairs there are of each kind.
    """

    threshold: np.ndarray
    true_accepts: np.ndarray
    false_accepts: np.ndarray
    genuine: int
    impostors: int

    @cached_property
    def true_accept_rate(self) -> np.ndarray:
        """[T] float64, ascending from 0 to 1."""
        return self.true_accepts / self.genuine

    @cached_property
    def false_accept_rate(self) -> np.ndarray:
        """[T] float64, ascending from 0 to 1."""
        return self.false_accepts / self.impostors

    @cached_property
    def false_reject_rate(self) -> np.ndarray:
        """[T] float64, descending from 1 to 0."""
        return (self.genuine - self.true_accepts) / self.genuine


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """A threshold and what it does to the pairs at hand.

    Attributes:
        threshold: Accept where `score >= threshold`; infinite where nothing may be accepted.
        true_accept_rate, false_accept_rate: In [0, 1].
    """

    threshold: float
    true_accept_rate: float
    false_accept_rate: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Det:
    """Detection error trade-off: both errors at each threshold, the strictest first.

    Attributes:
        false_accept_rate, false_reject_rate: [T] float64.
        threshold: [T] float64, descending.
    """

    false_accept_rate: np.ndarray
    false_reject_rate: np.ndarray
    threshold: np.ndarray


def roc(scores: Any, same: Any, *, drop_intermediate: bool = False) -> Roc:
    """The ROC of scored pairs, with one point per distinct score.

    Args:
        scores: [P] numbers, higher for more alike; any order.
        same: [P] bool or 0 and 1, whether the pair is genuine.
        drop_intermediate: Leave out points that lie midway between their neighbours, which draws
            the same curve with fewer points. Areas and the equal error rate stay, but
            `true_accept_rate_at` wants all points.

    Returns:
        What `sklearn.metrics.roc_curve` returns for the same arguments, and the counts.

    Raises:
        ValueError: If the shapes differ, a score is not finite, or a kind of pair is missing.

    Example:
        >>> curve = roc([0.9, 0.8, 0.7, 0.6], [True, False, True, False])
        >>> curve.true_accept_rate.tolist()
        [0.0, 0.5, 0.5, 1.0, 1.0]
        >>> curve.false_accept_rate.tolist()
        [0.0, 0.0, 0.5, 0.5, 1.0]
    """
    scores, same = checked_scores(scores, same)
    order = np.argsort(-scores)
    ordered = scores[order]
    # Pairs of equal score fall at once: only the last of each group is a point.
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)
    true_accepts = np.cumsum(same[order], dtype=np.int64)[ends]
    false_accepts = ends + 1 - true_accepts
    threshold = ordered[ends].astype(np.float64)
    genuine, impostors = int(true_accepts[-1]), int(false_accepts[-1])
    if drop_intermediate and len(ends) > 2:
        bends = np.diff(true_accepts, 2).astype(bool) | np.diff(false_accepts, 2).astype(bool)
        kept = np.concatenate(([True], bends, [True]))
        true_accepts, false_accepts = true_accepts[kept], false_accepts[kept]
        threshold = threshold[kept]
    return Roc(
        threshold=np.concatenate(([np.inf], threshold)),
        true_accepts=np.concatenate(([0], true_accepts)),
        false_accepts=np.concatenate(([0], false_accepts)),
        genuine=genuine,
        impostors=impostors,
    )


def area_under_roc(curve: Roc) -> float:
    """Area under the ROC by trapezoids, in [0, 1].

    It is the probability that a genuine pair scores higher than an impostor pair, where a tie
    counts one half (Hanley & McNeil 1982): the Mann-Whitney statistic.
    """
    heights = curve.true_accepts[1:] + curve.true_accepts[:-1]
    doubled = int(np.dot(np.diff(curve.false_accepts), heights))
    return doubled / (2 * curve.genuine * curve.impostors)


def equal_error_rate(curve: Roc) -> float:
    """The rate at which as many impostors are accepted as genuine pairs are rejected.

    The points of the ROC are joined by straight lines (not by its convex hull), and the rate is
    read where FAR = FRR. On a line between two thresholds it is reached by choosing one of them at
    random.
    """
    after = _first_at_or_after_equality(curve)
    far, frr = curve.false_accept_rate, curve.false_reject_rate
    gap_before, gap_after = frr[after - 1] - far[after - 1], far[after] - frr[after]
    fraction = gap_before / (gap_before + gap_after)
    return float(far[after - 1] + fraction * (far[after] - far[after - 1]))


def equal_error_point(curve: Roc) -> OperatingPoint:
    """The threshold at which FAR and FRR differ least; of two alike, the stricter."""
    after = _first_at_or_after_equality(curve)
    gaps = np.abs(curve.false_accept_rate - curve.false_reject_rate)[after - 1 : after + 1]
    return _point(curve, after - 1 + int(np.argmin(gaps)))


def _first_at_or_after_equality(curve: Roc) -> int:
    """Index of the first point with FAR >= FRR; at least 1, for the first point has FRR 1."""
    # FAR - FRR ascends from -1 to 1: every point accepts more pairs than the one before.
    return int(np.searchsorted(curve.false_accept_rate - curve.false_reject_rate, 0.0))


def true_accept_rate_at(curve: Roc, false_accept_rate: float) -> OperatingPoint:
    """The largest TAR whose FAR does not exceed the one asked for: conservative.

    No interpolation and no nearest point: the threshold returned accepts at most that share of the
    impostor pairs. Of the thresholds that reach the TAR it is the strictest. Asked for less than
    one impostor pair in all, it accepts none of them; the answer then rests on the single highest
    impostor score.

    Args:
        curve: With all its points: `drop_intermediate` may have dropped the one to be found.
        false_accept_rate: The rate not to exceed, in [0, 1].

    Example:
        >>> curve = roc([0.9, 0.8, 0.7, 0.6, 0.5], [True, False, True, False, False])
        >>> true_accept_rate_at(curve, 0.34)  # one impostor of three is 0.333
        OperatingPoint(threshold=0.7, true_accept_rate=1.0, false_accept_rate=0.3333333333333333)
        >>> true_accept_rate_at(curve, 0.33)
        OperatingPoint(threshold=0.9, true_accept_rate=0.5, false_accept_rate=0.0)
    """
    check_probability("false_accept_rate", false_accept_rate)
    # A division rounds to the double that is nearest to the true ratio, as reading "0.001" does:
    # 3 of 3000 is exactly 0.001, and the comparison means what it says.
    last = int(np.searchsorted(curve.false_accept_rate, false_accept_rate, side="right")) - 1
    return _point(curve, int(np.searchsorted(curve.true_accepts, curve.true_accepts[last])))


def _point(curve: Roc, index: int) -> OperatingPoint:
    return OperatingPoint(
        threshold=float(curve.threshold[index]),
        true_accept_rate=float(curve.true_accept_rate[index]),
        false_accept_rate=float(curve.false_accept_rate[index]),
    )


def det(curve: Roc) -> Det:
    """The detection error trade-off curve (Martin et al. 1997), to be drawn on probit axes.

    Normally distributed scores give a straight line there; its slope is the ratio of the two
    standard deviations.
    """
    return Det(
        false_accept_rate=curve.false_accept_rate,
        false_reject_rate=curve.false_reject_rate,
        threshold=curve.threshold,
    )


FALSE_ACCEPT_RATES = (1e-1, 1e-2, 1e-3, 1e-4)
"""Where `verification_summary` reads the TAR unless told otherwise."""


def verification_summary(
    scores: Any,
    same: Any,
    *,
    false_accept_rates: Sequence[float] = FALSE_ACCEPT_RATES,
    folds: int | None = 10,
    fold: Any = None,
) -> dict[str, int | float]:
    """Every number of a verification test.

    Args:
        scores: [P] numbers, higher for more alike.
        same: [P] bool, whether the pair is genuine.
        false_accept_rates: Where to read the TAR.
        folds: Folds of the cross-validated accuracy; None leaves it out.
        fold: [P] fold of each pair, see `fold_accuracy`; None cuts the pairs as they stand.

    Returns:
        `genuine_pairs`, `impostor_pairs`, `area_under_roc`, `equal_error_rate`,
        `equal_error_threshold`; for each rate f `true_accept_rate_at_far_{f}` and
        `threshold_at_far_{f}`; `fold_accuracy`, `fold_accuracy_std` and `fold_threshold`, the
        mean of the folds' thresholds.

    Example:
        >>> numbers = verification_summary(
        ...     [0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0], false_accept_rates=(0.01,), folds=None
        ... )
        >>> numbers["equal_error_rate"], numbers["true_accept_rate_at_far_0.01"]
        (0.0, 1.0)
    """
    curve = roc(scores, same)
    result: dict[str, int | float] = {
        "genuine_pairs": curve.genuine,
        "impostor_pairs": curve.impostors,
        "area_under_roc": area_under_roc(curve),
        "equal_error_rate": equal_error_rate(curve),
        "equal_error_threshold": equal_error_point(curve).threshold,
    }
    for rate in false_accept_rates:
        point = true_accept_rate_at(curve, rate)
        result[f"true_accept_rate_at_far_{rate:g}"] = point.true_accept_rate
        result[f"threshold_at_far_{rate:g}"] = point.threshold
    if folds is not None:
        found = fold_accuracy(scores, same, folds=folds, fold=fold)
        result["fold_accuracy"] = found.mean
        result["fold_accuracy_std"] = found.std
        result["fold_threshold"] = float(np.mean(found.thresholds))
    return result
