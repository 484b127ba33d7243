"""From the nearest entries that a store found to the best subjects: exact, and in a stated order.

Stores add up a dot product in different orders, so their scores differ in the last bits, and so
would the order of near-equal entries. Here a store only proposes entries. Their scores are computed
again, in one way for all, and the proposals count as enough only when no other entry could win.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from jaxcv.faces.gallery.contract import Entry, Match

_TOGETHER = 2**23
"""Numbers in the proposed vectors at a time: 32 MiB, and 64 MiB as float64."""

_QUERIES = 1024
"""Queries a proposal, at most."""


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Entries that a store proposes for Q queries.

    Attributes:
        scores: [Q, M] float32 in falling order, -inf where there is no entry.
        entries: Q lists of up to M entries.
        vectors: [Q, M, E] float32, the entries' unit vectors.
    """

    scores: np.ndarray = field(repr=False)
    entries: list[list[Entry]]
    vectors: np.ndarray = field(repr=False)


def rank(
    queries: np.ndarray,
    k: int,
    propose: Callable[[np.ndarray, int], Candidates],
    *,
    total: int,
    subject_count: int | None = None,
) -> list[list[Match]]:
    """Finds each query's k best subjects.

    Args:
        queries: [Q, E] float32 unit vectors.
        k: how many subjects.
        propose: gives the `count` nearest entries of some queries.
        total: how many entries there are.
        subject_count: how many subjects there are, if that is known.
    """
    wanted = k if subject_count is None else min(k, subject_count)
    found: list[list[Match]] = [[] for _ in queries]
    # A few more than k: the last proposal has to be clearly worse than the last match.
    waiting, count = list(range(len(queries))), 1 << (k + 2).bit_length()
    while waiting:
        again: list[int] = []
        together = max(1, min(_QUERIES, _TOGETHER // (min(count, total) * queries.shape[1])))
        for start in range(0, len(waiting), together):
            part = waiting[start : start + together]
            candidates = propose(queries[part], count)
            scores = exact_scores(queries[part], candidates.vectors)
            for place, query in enumerate(part):
                matches = _best_subjects(scores[place], candidates.entries[place], wanted)
                found[query] = matches
                # No other entry is better than this.
                rest = float(candidates.scores[place, -1]) + _error(queries.shape[1])
                if count < total and (len(matches) < wanted or matches[-1].score <= rest):
                    again.append(query)
        waiting, count = again, 4 * count
    return found


def exact_scores(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Cosines of unit vectors: float32 products are exact in float64, in which they are added.

    Args:
        queries: [Q, E] float32.
        vectors: [Q, M, E] float32.

    Returns:
        [Q, M] float32; equal vectors have equal scores, whatever stands beside them.
    """
    products = vectors.astype(np.float64)
    products *= queries[:, None, :]
    return np.clip(products.sum(axis=2).astype(np.float32), -1, 1)


def _best_subjects(scores: np.ndarray, entries: list[Entry], wanted: int) -> list[Match]:
    best: dict[str, Match] = {}
    order = sorted(range(len(entries)), key=lambda i: (-scores[i], entries[i].id))
    for i in order:
        entry = entries[i]
        if entry.subject not in best:
            best[entry.subject] = Match(
                subject=entry.subject,
                score=float(scores[i]),
                entry=entry.id,
                source=entry.source,
            )
            if len(best) == wanted:
                break
    return list(best.values())


def _error(size: int) -> float:
    """Bound on the error of a float32 dot product of unit vectors, added in any order.

    E u / (1 - E u) sum |x_i y_i| (Higham, Accuracy and Stability of Numerical Algorithms, 3.1), the
    sum being at most 1; one more u for the rounding of the score itself, and some for the lengths.
    """
    return (size + 8) * 2.0**-24 * 1.01
