"""How far a verification figure would wander on other people: bootstrap intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jaxcv.metrics.score_checks import checked_scores
from jaxcv.metrics.verification import (
    FALSE_ACCEPT_RATES,
    Roc,
    area_under_roc,
    equal_error_rate,
    true_accept_rate_at,
)


def bootstrap_intervals(
    scores: Any,
    same: Any,
    *,
    subjects: Any = None,
    false_accept_rates: Sequence[float] = FALSE_ACCEPT_RATES,
    replicates: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of AUC, EER and TAR at each FAR (Efron & Tibshirani 1993, section 13.3).

    Each replicate weights the pairs by how often they were drawn and computes the figures as if
    they stood there that often; none is drawn in fact, and the scores are sorted once.

    By pair (`subjects=None`), genuine and impostor pairs are drawn each on their own. That treats
    pairs as independent. They are not where a person appears in many of them, and the interval is
    then too narrow. By subject, people are drawn with replacement (Bolle, Ratha & Pankanti 2004,
    "subsets bootstrap"): a genuine pair stands there as often as its person was drawn, an impostor
    pair as often as its two people were drawn together, the product of both.

    Args:
        scores: [P] numbers, higher for more alike.
        same: [P] bool, whether the pair is genuine.
        subjects: [P, 2] integers or strings, the people in each pair.
        false_accept_rates: Where to read the TAR.
        replicates: How many times to draw.
        confidence: Share of the replicates within the interval.
        seed: The draws are a function of it.

    Returns:
        `{name: (low, high)}` with the names of `verification_summary`: `area_under_roc`,
        `equal_error_rate`, `true_accept_rate_at_far_{f}`. Replicates without a genuine or without
        an impostor pair (one person drawn throughout) are left out.

    Raises:
        ValueError: As `roc`; or if subjects and `same` contradict each other.

    Example:
        >>> scores, same = [0.9, 0.8, 0.7, 0.3, 0.6, 0.2, 0.1], [1, 1, 1, 1, 0, 0, 0]
        >>> intervals = bootstrap_intervals(scores, same, false_accept_rates=())
        >>> low, high = intervals["area_under_roc"]  # 11/12 on the pairs themselves
        >>> low < 11 / 12 <= high == 1.0
        True
    """
    scores, same = checked_scores(scores, same)
    if replicates < 2 or not 0 < confidence < 1:
        raise ValueError(
            f"bootstrap intervals want replicates >= 2 and confidence in (0, 1), found {replicates} "
            f"and {confidence}."
        )
    people = None if subjects is None else _checked_subjects(subjects, same)
    order = np.argsort(-scores)
    ordered, same = scores[order], same[order]
    rng = np.random.default_rng(seed)
    if people is None:
        draws = _draw_pairs(same, replicates, rng)
    else:
        draws = _draw_subjects(people[order], replicates, rng)
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)
    threshold = np.concatenate(([np.inf], ordered[ends].astype(np.float64)))
    figures: dict[str, list[float]] = {}
    for weights in draws:
        curve = _weighted_roc(weights, same, ends, threshold)
        if not curve.genuine or not curve.impostors:
            continue
        for name, value in _figures(curve, false_accept_rates):
            figures.setdefault(name, []).append(value)
    if not figures:
        raise ValueError(
            f"none of {replicates} draws held both genuine and impostor pairs: too few people."
        )
    tail = (1 - confidence) / 2
    return {
        name: (float(low), float(high))
        for name, values in figures.items()
        for low, high in [np.quantile(values, (tail, 1 - tail))]
    }


def _figures(curve: Roc, false_accept_rates: Sequence[float]) -> Iterator[tuple[str, float]]:
    yield "area_under_roc", area_under_roc(curve)
    yield "equal_error_rate", equal_error_rate(curve)
    for rate in false_accept_rates:
        point = true_accept_rate_at(curve, rate)
        yield f"true_accept_rate_at_far_{rate:g}", point.true_accept_rate


def _weighted_roc(
    weights: np.ndarray, same: np.ndarray, ends: np.ndarray, threshold: np.ndarray
) -> Roc:
    """The ROC of pairs in descending order of score, each standing there `weights` times."""
    everyone = np.cumsum(weights)[ends]
    genuine = np.cumsum(np.where(same, weights, 0))[ends]
    return Roc(
        threshold=threshold,
        true_accepts=np.concatenate(([0], genuine)),
        false_accepts=np.concatenate(([0], everyone - genuine)),
        genuine=int(genuine[-1]),
        impostors=int(everyone[-1] - genuine[-1]),
    )


def _draw_pairs(
    same: np.ndarray, replicates: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """How often each pair is drawn, [P] int64; both kinds keep their number."""
    kinds = [np.flatnonzero(same), np.flatnonzero(~same)]
    for _ in range(replicates):
        weights = np.zeros(len(same), np.int64)
        for kind in kinds:
            drawn = rng.integers(len(kind), size=len(kind))
            weights[kind] = np.bincount(drawn, minlength=len(kind))
        yield weights


def _draw_subjects(
    subjects: np.ndarray, replicates: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """How often each pair stands there when people are drawn, [P] int64."""
    first, second = np.ascontiguousarray(subjects.T)
    people = int(subjects.max()) + 1
    for _ in range(replicates):
        drawn = np.bincount(rng.integers(people, size=people), minlength=people)
        yield np.where(first == second, drawn[first], drawn[first] * drawn[second])


def _checked_subjects(subjects: Any, same: np.ndarray) -> np.ndarray:
    """People of each pair as numbers from 0, [P, 2]."""
    subjects = np.asarray(subjects)
    if subjects.shape != (len(same), 2):
        raise ValueError(
            f"subjects must be [{len(same)}, 2], the two people of each pair: found shape "
            f"{subjects.shape}."
        )
    wrong = np.flatnonzero((subjects[:, 0] == subjects[:, 1]) != same)
    if wrong.size:
        pair = int(wrong[0])
        kind = "genuine" if same[pair] else "an impostor pair"
        raise ValueError(
            f"pair {pair} is {kind}, but its subjects are {subjects[pair, 0]} and "
            f"{subjects[pair, 1]}."
        )
    _, numbers = np.unique(subjects, return_inverse=True)
    return numbers.reshape(-1, 2)
