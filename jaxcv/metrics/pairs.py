"""From embeddings to scored pairs: cosines of given pairs, of all pairs of a labelled set.

Scores are cosines in float32 (float64 for float64 embeddings), cut to [-1, 1]; an embedding of zero
length scores 0 with all. Work is done in blocks, so that beyond the result little memory is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxcv.metrics.score_checks import checked_embeddings, checked_labels

_GATHERED = 1 << 10  # pairs whose embeddings are gathered at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class PairScores:
    """Scored pairs of a labelled set.

    Attributes:
        scores: [P] cosines.
        same: [P] bool, whether both have the same label.
        first, second: [P] int32, rows of the set, first < second.
    """

    scores: np.ndarray
    same: np.ndarray
    first: np.ndarray
    second: np.ndarray


def normalized(embeddings: Any) -> np.ndarray:
    """Embeddings [N, D] divided by their L2 norms; zero stays zero.

    Raises:
        ValueError: If a value is not finite.
    """
    embeddings = checked_embeddings("embeddings", embeddings)
    # By the largest entry first: squares of 1e30 are beyond float32.
    largest = np.abs(embeddings).max(1, keepdims=True, initial=0)
    scaled = embeddings / np.where(largest > 0, largest, 1)
    norm = np.sqrt(np.vecdot(scaled, scaled))[:, None]
    return scaled / np.where(norm > 0, norm, 1)


def cosine_scores(first: Any, second: Any) -> np.ndarray:
    """Cosine of each pair of rows, [P].

    Flip-test is the caller's: add the embeddings of an image and its mirror image before.

    Args:
        first, second: [P, D] embeddings of the two images of each pair, of any length.

    Raises:
        ValueError: If the shapes differ or a value is not finite.

    Example:
        >>> cosine_scores([[1.0, 0.0], [2.0, 0.0]], [[3.0, 0.0], [0.0, 1.0]]).tolist()
        [1.0, 0.0]
    """
    first, second = checked_embeddings("first", first), checked_embeddings("second", second)
    if first.shape != second.shape:
        raise ValueError(
            f"both sides of the pairs must be alike, [P, D]: found {first.shape} and {second.shape}."
        )
    return _clipped(np.vecdot(normalized(first), normalized(second)))


def indexed_scores(embeddings: Any, first: Any, second: Any) -> np.ndarray:
    """Cosine of the rows `first[p]` and `second[p]`, [P].

    Args:
        embeddings: [N, D], of any length.
        first, second: [P] integers in [0, N).

    Raises:
        ValueError: If an index names no row, or a value is not finite.
    """
    rows = normalized(embeddings)
    first, second = np.asarray(first), np.asarray(second)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(
            f"first and second must both be [P]: found {first.shape} and {second.shape}."
        )
    for side in (first, second):
        if side.size and (side.min() < 0 or side.max() >= len(rows)):
            raise ValueError(
                f"pairs name rows {side.min()} to {side.max()}, there are {len(rows)} embeddings."
            )
    return _gathered_scores(rows, first, second)


def pair_scores(
    embeddings: Any,
    labels: Any,
    *,
    max_impostors: int | None = None,
    seed: int = 0,
    block: int = 512,
) -> PairScores:
    """Cosines of all pairs of a labelled set, each once: its genuine and its impostor pairs.

    The result takes 13 bytes a pair: 25 MB for 2,000 embeddings, 650 MB for 10,000. Beyond that,
    `max_impostors` keeps all genuine pairs and a uniform sample of the impostor pairs.

    Args:
        embeddings: [N, D], of any length.
        labels: [N] integers or strings.
        max_impostors: How many impostor pairs to keep at most, drawn by seed without replacement;
            None keeps all.
        seed: Of the sample.
        block: Rows that are multiplied with all others at a time.

    Returns:
        The pairs, ordered by `first`, then `second`.

    Raises:
        ValueError: If shapes differ, a value is not finite, or no label occurs twice, or all are
            one label.

    Example:
        >>> pairs = pair_scores([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]], [0, 1, 1])
        >>> pairs.scores.tolist(), pairs.same.tolist()
        ([0.0, 0.0, 1.0], [False, False, True])
    """
    rows = normalized(embeddings)
    labels = checked_labels("labels", labels, len(rows))
    names, people, images = np.unique(labels, return_inverse=True, return_counts=True)
    if len(names) == len(rows):
        raise ValueError(
            f"there is no genuine pair: each of {len(rows)} embeddings has a label of its own."
        )
    if len(names) == 1:
        raise ValueError(
            f"there is no impostor pair: all {len(rows)} embeddings are labelled {names[0]}."
        )
    N = len(rows)
    genuine = int(np.sum(images * (images - 1) // 2))
    if max_impostors is None or N * (N - 1) // 2 - genuine <= max_impostors:
        return _all_pairs(rows, people, block)
    if max_impostors < 1:
        raise ValueError(f"max_impostors must be at least 1, found {max_impostors}.")
    kinds = (_genuine_pairs(people, images), _sampled_impostors(people, max_impostors, seed))
    first, second = (np.concatenate(side) for side in zip(*kinds, strict=True))
    order = np.lexsort((second, first))
    first, second = first[order], second[order]
    return PairScores(
        scores=_gathered_scores(rows, first, second),
        same=people[first] == people[second],
        first=first.astype(np.int32),
        second=second.astype(np.int32),
    )


def _clipped(cosines: np.ndarray) -> np.ndarray:
    return np.clip(cosines, -1, 1)


def _gathered_scores(rows: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    scores = np.empty(len(first), rows.dtype)
    for start in range(0, len(first), _GATHERED):
        part = slice(start, start + _GATHERED)
        scores[part] = np.vecdot(rows[first[part]], rows[second[part]])
    return _clipped(scores)


def _all_pairs(rows: np.ndarray, people: np.ndarray, block: int) -> PairScores:
    """The upper triangle, a block of rows at a time."""
    N = len(rows)
    pairs = N * (N - 1) // 2
    scores, same = np.empty(pairs, rows.dtype), np.empty(pairs, bool)
    first, second = np.empty(pairs, np.int32), np.empty(pairs, np.int32)
    end = 0
    for start in range(0, N - 1, block):
        stop = min(start + block, N - 1)
        i, j = np.nonzero(np.arange(start, N) > np.arange(start, stop)[:, None])
        part = slice(end, end + len(i))
        scores[part] = _clipped(rows[start:stop] @ rows[start:].T)[i, j]
        same[part] = people[start + i] == people[start + j]
        first[part], second[part] = start + i, start + j
        end = part.stop
    return PairScores(scores=scores, same=same, first=first, second=second)


def _genuine_pairs(people: np.ndarray, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of rows of the same person."""
    order = np.argsort(people, kind="stable")
    ordered = people[order]
    pairs = []
    # Rows of a person stand together: pairs are those that are 1, 2, ... places apart.
    for apart in range(1, int(images.max())):
        found = np.flatnonzero(ordered[apart:] == ordered[:-apart])
        pairs.append((order[found], order[found + apart]))
    first, second = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return first, second


def _sampled_impostors(people: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A uniform sample of the pairs of different people, without replacement."""
    N = len(people)
    rng = np.random.default_rng(seed)
    drawn = np.empty(0, np.int64)
    # Any set of distinct impostor pairs is as likely as any other of its size; so is a part of it.
    while len(drawn) < count:
        first, second = rng.integers(N, size=(2, count + 1024))
        impostors = people[first] != people[second]
        first, second = first[impostors], second[impostors]
        numbers = np.minimum(first, second) * N + np.maximum(first, second)
        drawn = np.sort(np.concatenate((drawn, numbers)))
        drawn = drawn[np.append(True, drawn[1:] != drawn[:-1])]
    chosen = rng.choice(drawn, count, replace=False)
    return chosen // N, chosen % N
