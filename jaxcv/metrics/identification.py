"""Identification: who among the enrolled is this, if anybody? Rank, CMC, TPIR at a FPIR.

A probe is compared with a gallery. A person's score is the highest of the person's gallery entries.
A probe is mated where its person is enrolled. The mate's rank is one more than the number of other
people whose score is at least as high: a tie counts against the system, so that equal scores for
everybody are the worst result and not the best.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxcv.arguments import check_probability
from jaxcv.metrics.pairs import normalized
from jaxcv.metrics.score_checks import checked_embeddings, checked_labels

_SCORES = 1 << 22  # entries of the block of scores that is held at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchRanks:
    """What a search of the gallery gave for each probe.

    Attributes:
        mate_rank: [M] int64, rank from 1 of each mated probe's own person.
        mate_score: [M] float64, that person's score.
        mated: [M] int64, which probes these are.
        other_score: [K] float64, the highest score of each probe that has no mate.
        other: [K] int64, which probes these are.
        people: People in the gallery.
    """

    mate_rank: np.ndarray
    mate_score: np.ndarray
    mated: np.ndarray
    other_score: np.ndarray
    other: np.ndarray
    people: int


@dataclass(frozen=True, kw_only=True)
class IdentificationPoint:
    """A threshold on the score, and what it does to the probes at hand.

    Attributes:
        threshold: A candidate is returned where `score >= threshold`; infinite: none ever is.
        true_positive_identification_rate: Share of the mated probes whose mate is returned among
            the first `rank` candidates (TPIR).
        false_positive_identification_rate: Share of the probes without a mate for which anybody is
            returned (FPIR).
    """

    threshold: float
    true_positive_identification_rate: float
    false_positive_identification_rate: float


def search_ranks(probes: Any, probe_labels: Any, gallery: Any, gallery_labels: Any) -> SearchRanks:
    """Search each probe in the gallery by cosine, in blocks of bounded memory.

    Args:
        probes: [P, D] embeddings of any length.
        probe_labels: [P] integers or strings; a label that the gallery lacks makes the probe one
            without a mate.
        gallery: [G, D] embeddings; a person may have several.
        gallery_labels: [G].

    Raises:
        ValueError: If shapes differ, a value is not finite, or the gallery or the probes are empty.

    Example:
        >>> found = search_ranks(
        ...     [[1.0, 0.1], [0.7, 0.7]], ["ann", "eve"], [[1.0, 0.0], [0.0, 1.0]], ["ann", "bob"]
        ... )
        >>> found.mate_rank.tolist(), found.other_score.round(3).tolist()
        ([1], [0.707])
    """
    probes = checked_embeddings("probes", probes)
    gallery = checked_embeddings("gallery", gallery)
    if probes.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"probes [P, {probes.shape[1]}] and gallery [G, {gallery.shape[1]}] must have embeddings "
            "of one size: are they from the same model?"
        )
    probe_labels = checked_labels("probe_labels", probe_labels, len(probes))
    probes, gallery = normalized(probes), normalized(gallery)
    size = max(1, _SCORES // max(len(gallery), 1))
    blocks = [
        rank_scores(probes[i : i + size] @ gallery.T, probe_labels[i : i + size], gallery_labels)
        for i in range(0, max(len(probes), 1), size)
    ]
    starts = range(0, len(probes), size)

    def joined(name: str, *, is_index: bool = False) -> np.ndarray:
        parts = [getattr(block, name) for block in blocks]
        if is_index:
            parts = [part + start for part, start in zip(parts, starts, strict=True)]
        return np.concatenate(parts)

    return SearchRanks(
        mate_rank=joined("mate_rank"),
        mate_score=joined("mate_score"),
        mated=joined("mated", is_index=True),
        other_score=joined("other_score"),
        other=joined("other", is_index=True),
        people=blocks[0].people,
    )


def rank_scores(scores: Any, probe_labels: Any, gallery_labels: Any) -> SearchRanks:
    """Ranks from a matrix of scores, of any matcher.

    Args:
        scores: [P, G], higher for more alike.
        probe_labels: [P] integers or strings.
        gallery_labels: [G].

    Raises:
        ValueError: If shapes differ, a score is not finite, or the gallery or the probes are empty.
    """
    scores = checked_embeddings("scores", scores)
    P, G = scores.shape
    if not P or not G:
        raise ValueError(f"there is nothing to search: {P} probes and {G} gallery entries.")
    probe_labels = checked_labels("probe_labels", probe_labels, P)
    gallery_labels = checked_labels("gallery_labels", gallery_labels, G)
    order = np.argsort(gallery_labels, kind="stable")
    people, starts = np.unique(gallery_labels[order], return_index=True)
    best = np.maximum.reduceat(scores[:, order], starts, axis=1)
    own = np.minimum(np.searchsorted(people, probe_labels), len(people) - 1)
    is_mated = people[own] == probe_labels
    mated, other = np.flatnonzero(is_mated), np.flatnonzero(~is_mated)
    mate_score = best[mated, own[mated]]
    return SearchRanks(
        # The mate itself is at least as good as itself: that is the one to be added.
        mate_rank=np.sum(best[mated] >= mate_score[:, None], axis=1),
        mate_score=mate_score.astype(np.float64),
        mated=mated,
        other_score=best[other].max(1, initial=-np.inf).astype(np.float64),
        other=other,
        people=len(people),
    )


def cumulative_match(ranks: SearchRanks, max_rank: int | None = None) -> np.ndarray:
    """Cumulative match characteristic [R] float64: fraction of mated probes of rank 1, 2, ... or better.

    Entry 0 is the rank-1 identification rate: nearest neighbour. Probes without a mate do not
    count.

    Args:
        ranks: From `search_ranks`.
        max_rank: R; None takes the number of people in the gallery.
    """
    _want(len(ranks.mated), "probe whose person is in the gallery")
    R = ranks.people if max_rank is None else max_rank
    if R < 1:
        raise ValueError(f"max_rank must be at least 1, found {R}.")
    counts = np.bincount(np.minimum(ranks.mate_rank, R + 1), minlength=R + 2)[1 : R + 1]
    return np.cumsum(counts) / len(ranks.mated)


def true_identification_rate_at(
    ranks: SearchRanks, false_positive_identification_rate: float, *, rank: int = 1
) -> IdentificationPoint:
    """The largest TPIR whose FPIR does not exceed the one asked for: open-set identification.

    As ISO/IEC 19795-1 and NIST's FRVT 1:N define them; TPIR = 1 - FNIR. Conservative like
    `true_accept_rate_at`, with the strictest of the thresholds that reach the TPIR.

    Args:
        ranks: From `search_ranks`, with mated probes and others.
        false_positive_identification_rate: The rate not to exceed, in [0, 1].
        rank: How many candidates are looked at.

    Raises:
        ValueError: If mated probes or others are missing.
    """
    rate = false_positive_identification_rate
    check_probability("false_positive_identification_rate", rate)
    _want(len(ranks.mated), "probe whose person is in the gallery")
    _want(len(ranks.other), "probe whose person is missing from the gallery")
    others = np.sort(ranks.other_score)
    hits = np.sort(ranks.mate_score[ranks.mate_rank <= rank])
    # A threshold that matters is the score of a hit: below it one more is found.
    alarms = len(others) - np.searchsorted(others, hits, side="left")
    allowed = alarms / len(others) <= rate
    if not allowed.any():
        return IdentificationPoint(
            threshold=np.inf,
            true_positive_identification_rate=0.0,
            false_positive_identification_rate=0.0,
        )
    lowest = int(np.argmax(allowed))
    return IdentificationPoint(
        threshold=float(hits[lowest]),
        true_positive_identification_rate=(len(hits) - lowest) / len(ranks.mated),
        false_positive_identification_rate=float(alarms[lowest] / len(others)),
    )


def nearest_neighbor_accuracy(embeddings: Any, labels: Any) -> float:
    """Share of the embeddings whose nearest other embedding has the same label.

    Leave-one-out rank-1, "precision at 1" of metric learning. A tie with another label is an error.
    Labels that occur once have no mate and do not count as probes.

    Args:
        embeddings: [N, D], of any length; compared by cosine.
        labels: [N] integers or strings.

    Raises:
        ValueError: If shapes differ, a value is not finite, or no label occurs twice.
    """
    rows = normalized(embeddings)
    labels = checked_labels("labels", labels, len(rows))
    _, people, images = np.unique(labels, return_inverse=True, return_counts=True)
    probes = np.flatnonzero(images[people] > 1)
    _want(len(probes), "label that occurs twice")
    right = 0
    size = max(1, _SCORES // len(rows))
    for start in range(0, len(probes), size):
        block = probes[start : start + size]
        scores = rows[block] @ rows.T
        same = people[block][:, None] == people
        others = np.where(same, -np.inf, scores).max(1)
        scores[np.arange(len(block)), block] = -np.inf
        mates = np.where(same, scores, -np.inf).max(1)
        right += int(np.sum(mates > others))
    return right / len(probes)


def _want(count: int, what: str) -> None:
    if not count:
        raise ValueError(f"there is no {what}.")
