"""Verification of a million pairs beside scikit-learn, on the CPU.

    python scripts/benchmarks/verification.py

Prints the seconds that each part takes and the ratio to scikit-learn doing the same (below 1 is
faster); the contenders take turns, so that a busy machine slows both alike, and a ratio is the
median over the rounds of the ratio within a round. scikit-learn has no ten-fold verification
accuracy and no false accept rate that is never exceeded: for the first its ROC curve is computed on
the nine folds that choose the threshold, ten times over, and the second is read off its curve with
one search. Before the clock starts both are checked to give the same figures.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn.metrics

from jaxcv import metrics

RATES = (1e-2, 1e-3, 1e-4)
FOLDS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--genuine", type=float, default=0.1, help="fraction of genuine pairs")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    same = rng.random(options.pairs) < options.genuine
    cosines = 0.15 * rng.normal(size=options.pairs) + 0.6 * same
    scores = np.clip(cosines, -1, 1).astype(np.float32)

    parts: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
        "ROC and its area": (our_area, their_area),
        "ROC, area, EER, TAR at 3 FARs": (our_curve, their_curve),
        "ten-fold accuracy": (our_folds, their_folds),
        "everything": (
            lambda *pairs: our_curve(*pairs) + our_folds(*pairs),
            lambda *pairs: their_curve(*pairs) + their_folds(*pairs),
        ),
    }
    print(f"{options.pairs:,} pairs, {same.sum():,} of them genuine, {options.rounds} rounds")
    print(f"{'':32}{'ours':>10}{'sklearn':>12}{'ratio':>8}")
    for name, contenders in parts.items():
        ours, theirs = (contender(scores, same) for contender in contenders)
        np.testing.assert_allclose(ours, theirs, atol=1e-12, err_msg=name)
        times: list[list[float]] = [[], []]
        for turn in range(options.rounds):
            for which in (0, 1) if turn % 2 else (1, 0):
                start = time.perf_counter()
                contenders[which](scores, same)
                times[which].append(time.perf_counter() - start)
        ratio = statistics.median(own / other for own, other in zip(*times, strict=True))
        own, other = (statistics.median(seconds) for seconds in times)
        print(f"{name:32}{own:8.3f} s{other:10.3f} s{ratio:8.2f}", flush=True)


def our_area(scores: np.ndarray, same: np.ndarray) -> list[float]:
    return [metrics.area_under_roc(metrics.roc(scores, same))]


def their_area(scores: np.ndarray, same: np.ndarray) -> list[float]:
    far, tar, _ = sklearn.metrics.roc_curve(same, scores, drop_intermediate=False)
    return [sklearn.metrics.auc(far, tar)]


def our_curve(scores: np.ndarray, same: np.ndarray) -> list[float]:
    curve = metrics.roc(scores, same)
    rates = [metrics.true_accept_rate_at(curve, rate).true_accept_rate for rate in RATES]
    return [metrics.area_under_roc(curve), metrics.equal_error_rate(curve), *rates]


def their_curve(scores: np.ndarray, same: np.ndarray) -> list[float]:
    far, tar, _ = sklearn.metrics.roc_curve(same, scores, drop_intermediate=False)
    after = int(np.argmax(far >= 1 - tar))
    before, gap = after - 1, far - (1 - tar)
    fraction = -gap[before] / (gap[after] - gap[before])
    equal_error = far[before] + fraction * (far[after] - far[before])
    rates = [tar[np.searchsorted(far, rate, side="right") - 1] for rate in RATES]
    return [sklearn.metrics.auc(far, tar), equal_error, *rates]


def our_folds(scores: np.ndarray, same: np.ndarray) -> list[float]:
    found = metrics.fold_accuracy(scores, same, folds=FOLDS)
    return [found.mean, found.std]


def their_folds(scores: np.ndarray, same: np.ndarray) -> list[float]:
    accuracies = []
    for tested in np.array_split(np.arange(len(scores)), FOLDS):
        training = np.ones(len(scores), bool)
        training[tested] = False
        answers = same[training]
        far, tar, threshold = sklearn.metrics.roc_curve(
            answers, scores[training], drop_intermediate=False
        )
        genuine = int(answers.sum())
        right = np.round(tar * genuine) - np.round(far * (len(answers) - genuine))
        best = int(np.argmax(right))
        # The midpoint between the lowest score that is accepted and the next one.
        cut = (threshold[best] + threshold[best + 1]) / 2
        accuracies.append(np.mean((scores[tested] >= cut) == same[tested]))
    return [float(np.mean(accuracies)), float(np.std(accuracies))]


if __name__ == "__main__":
    main()
