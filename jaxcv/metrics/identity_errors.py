"""Which pairs and which people a verifier gets wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxcv.metrics.pairs import PairScores
from jaxcv.metrics.ratio import divide
from jaxcv.metrics.score_checks import checked_labels


@dataclass(frozen=True, kw_only=True, eq=False)
class IdentityErrors:
    """Errors of K people at one threshold.

    Attributes:
        label: [K] the people's labels, ascending.
        images: [K] int64, embeddings of each.
        genuine_pairs, false_rejects: [K] int64, pairs of two images of the person, and those of
            them that are rejected.
        impostor_pairs, false_accepts: [K] int64, pairs with somebody else, and those of them that
            are accepted; a pair counts for both of its people.
        confused_with: [K] int64, index of the person with whom most of the false accepts are (the
            first of several); -1 where there is none.
        threshold: Accept where `score >= threshold`.
    """

    label: np.ndarray
    images: np.ndarray
    genuine_pairs: np.ndarray
    false_rejects: np.ndarray
    impostor_pairs: np.ndarray
    false_accepts: np.ndarray
    confused_with: np.ndarray
    threshold: float

    @property
    def false_reject_rate(self) -> np.ndarray:
        """[K] float64; NaN where a person has a single image."""
        return divide(self.false_rejects, self.genuine_pairs, empty=np.nan)

    @property
    def false_accept_rate(self) -> np.ndarray:
        """[K] float64; NaN where no impostor pair of the person was kept."""
        return divide(self.false_accepts, self.impostor_pairs, empty=np.nan)


def identity_errors(pairs: PairScores, labels: Any, threshold: float) -> IdentityErrors:
    """Count the errors of each person at a threshold.

    Args:
        pairs: From `pair_scores`.
        labels: [N] integers or strings, those given to `pair_scores`.
        threshold: Accept where `score >= threshold`.

    Example:
        >>> from jaxcv.metrics.pairs import pair_scores
        >>> labels = ["ann", "ann", "bob", "bob"]
        >>> pairs = pair_scores([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0], [0.1, 1.0]], labels)
        >>> found = identity_errors(pairs, labels, 0.9)
        >>> found.false_rejects.tolist(), found.false_accepts.tolist()
        ([1, 0], [2, 2])
    """
    labels = checked_labels("labels", labels, int(pairs.second.max()) + 1)
    names, people, images = np.unique(labels, return_inverse=True, return_counts=True)
    K = len(names)
    accepted = pairs.scores >= np.float64(threshold)
    first, second = people[pairs.first], people[pairs.second]
    is_wrong = accepted & ~pairs.same

    def per_person(chosen: np.ndarray) -> np.ndarray:
        counts = np.bincount(first[chosen], minlength=K)
        return counts + np.bincount(second[chosen], minlength=K)

    return IdentityErrors(
        label=names,
        images=images,
        genuine_pairs=per_person(pairs.same) // 2,
        false_rejects=per_person(pairs.same & ~accepted) // 2,
        impostor_pairs=per_person(~pairs.same),
        false_accepts=per_person(is_wrong),
        confused_with=_most_frequent_partner(first[is_wrong], second[is_wrong], K),
        threshold=float(threshold),
    )


def _most_frequent_partner(first: np.ndarray, second: np.ndarray, people: int) -> np.ndarray:
    """For each person the other with whom it stands in most pairs, [K]; -1 for none."""
    one, other = np.concatenate((first, second)), np.concatenate((second, first))
    numbers, counts = np.unique(one.astype(np.int64) * people + other, return_counts=True)
    # Ascending counts: the last assignment is the most frequent, and of several the first person.
    order = np.lexsort((-numbers, counts))
    partner = np.full(people, -1)
    partner[numbers[order] // people] = numbers[order] % people
    return partner


def hardest_pairs(pairs: PairScores, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The impostor pairs with the highest and the genuine pairs with the lowest scores.

    Returns:
        Two arrays of at most `count` indices of pairs, the worst first; of equal scores the first
        pair comes first.
    """
    impostors, genuine = np.flatnonzero(~pairs.same), np.flatnonzero(pairs.same)
    return (
        impostors[_smallest(-pairs.scores[impostors], count)],
        genuine[_smallest(pairs.scores[genuine], count)],
    )


def _smallest(values: np.ndarray, count: int) -> np.ndarray:
    """Indices of the smallest values in stable order, without sorting all of them."""
    if count < 1:
        return np.empty(0, np.int64)
    if count < len(values):
        limit = np.partition(values, count - 1)[count - 1]
        candidates = np.flatnonzero(values <= limit)
    else:
        candidates = np.arange(len(values))
    return candidates[np.argsort(values[candidates], kind="stable")][:count]
