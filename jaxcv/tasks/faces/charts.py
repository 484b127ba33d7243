"""ROC, DET and score histograms of a verification test."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from jaxcv.metrics.verification import (
    FALSE_ACCEPT_RATES,
    Roc,
    equal_error_rate,
    true_accept_rate_at,
)
from jaxcv.report.charts.curves import curve_chart, histogram_chart
from jaxcv.report.markup import Markup

_BINS = 60
_DRAWN = 400  # points of a curve
_LEAST_RATE = 1e-7  # where the axes end, however many pairs there are


def roc_chart(curve: Roc) -> Markup:
    """TAR against FAR on a logarithmic axis, which ends at one impostor pair."""
    least = _least(curve.impostors)
    rates = np.geomspace(least, 1.0, _DRAWN)
    last = np.searchsorted(curve.false_accept_rate, rates * (1 + 1e-12), side="right") - 1
    fractions = 100 * curve.true_accept_rate[last]
    # High rates are all that differ between good verifiers: the axis begins below the least.
    floor = min(90.0, 10.0 * math.floor(fractions[0] / 10))
    dots = [
        (100 * rate, 100 * point.true_accept_rate, _point_hint(rate, point.true_accept_rate))
        for rate in FALSE_ACCEPT_RATES
        if rate >= least
        for point in [true_accept_rate_at(curve, rate)]
    ]
    return curve_chart(
        {"verifier": _points(100 * rates, fractions)},
        title="ROC",
        x_label="false accept rate (%), log scale",
        y_label="true accept rate (%)",
        x_range=(100 * least, 100.0),
        y_range=(floor, 100.0),
        scales=("log", "linear"),
        dots=dots,
        note="At each rate the largest fraction accepted without exceeding it.",
    )


def _point_hint(rate: float, fraction: float) -> str:
    return f"TAR {100 * fraction:.2f}% at FAR {100 * rate:g}%"


def det_chart(curve: Roc) -> Markup:
    """Both errors on probit axes, where normally distributed scores give a straight line."""
    equal = 100 * equal_error_rate(curve)
    high = 60.0 if equal < 40 else 99.0
    lows = (100 * _least(curve.impostors), 100 * _least(curve.genuine))
    normal = NormalDist()
    first, last = normal.inv_cdf(lows[0] / 100), normal.inv_cdf(high / 100)
    rates = np.array([100 * normal.cdf(z) for z in np.linspace(first, last, _DRAWN)])
    point = np.searchsorted(100 * curve.false_accept_rate, rates * (1 + 1e-12), side="right") - 1
    misses = 100 * curve.false_reject_rate[point]
    misses = np.where((misses >= lows[1] * (1 - 1e-12)) & (misses <= high), misses, np.nan)
    return curve_chart(
        {"verifier": _points(rates, misses)},
        title="DET",
        x_label="false accept rate (%), probit scale",
        y_label="false reject rate (%), probit scale",
        x_range=(lows[0], high),
        y_range=(lows[1], high),
        scales=("probit", "probit"),
        dots=[(equal, equal, f"equal error rate {equal:.3g}%")],
        diagonal=True,
        note=(
            f"Both errors are {equal:.3g}% on the dashed line. The axes begin at one pair."
            if equal > 0
            else "Every genuine pair scores higher than every impostor pair: there is no error."
        ),
    )


def _least(pairs: int) -> float:
    """The rate at which the axis begins: one pair, but at most 10%."""
    return min(max(1 / pairs, _LEAST_RATE), 0.1)


def _points(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    return list(zip(x.tolist(), y.tolist(), strict=True))


def score_histogram(scores: np.ndarray, same: np.ndarray, threshold: float) -> Markup:
    """How the scores of both kinds of pairs are spread."""
    scores, same = np.asarray(scores, np.float64), np.asarray(same, bool)
    low, high = float(scores.min()), float(scores.max())
    margin = 0.02 * (high - low) or 0.5
    edges = np.linspace(low - margin, high + margin, _BINS + 1)
    series = {}
    for name, kind in (("genuine", same), ("impostor", ~same)):
        counts = np.histogram(scores[kind], edges)[0]
        series[f"{name} pairs"] = (100 * counts / max(counts.sum(), 1)).tolist()
    return histogram_chart(
        series,
        edges.tolist(),
        title="Scores",
        x_label="score",
        y_label="% of the pairs of its kind",
        lines={f"threshold {threshold:.4g}": threshold},
    )
