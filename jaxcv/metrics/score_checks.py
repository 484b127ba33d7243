"""What a set of scored pairs must be before it is counted."""

from __future__ import annotations

from typing import Any

import numpy as np


def checked_scores(scores: Any, same: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scores [P] as floats and `same` [P] as bool.

    float32 stays float32, all else becomes float64; neither changes a value of at most 53 bits.

    Raises:
        ValueError: If the shapes differ, a score is not finite, `same` holds anything but 0 and 1,
            or genuine or impostor pairs are missing.
    """
    scores, same = np.asarray(scores), np.asarray(same)
    if scores.ndim != 1 or scores.shape != same.shape:
        raise ValueError(
            "verification wants one score and one answer per pair, both [P]: found scores "
            f"{scores.shape} and same {same.shape}."
        )
    if scores.dtype != np.float32:
        scores = scores.astype(np.float64)
    finite = np.isfinite(scores)
    if not finite.all():
        first = int(np.argmin(finite))
        raise ValueError(
            f"{np.sum(~finite)} of {len(scores)} scores are not finite; the first is "
            f"{scores[first]} at pair {first}. An embedding with NaN, or one of zero length divided "
            "by its norm, gives such scores."
        )
    if same.dtype != bool:
        odd = same[(same != 0) & (same != 1)]
        if odd.size:
            raise ValueError(f"same must be True or False (1 or 0) for each pair, found {odd[0]}.")
        same = same.astype(bool)
    genuine = int(same.sum())
    for count, kind in ((genuine, "genuine"), (len(same) - genuine, "impostor")):
        if not count:
            raise ValueError(
                f"there is no {kind} pair among the {len(same)} pairs: rates need both pairs of "
                "the same person and pairs of different people."
            )
    return scores, same


def checked_embeddings(name: str, embeddings: Any) -> np.ndarray:
    """Embeddings [N, D] as float32, or float64 if they are.

    Raises:
        ValueError: If the shape is another or a value is not finite; names the row.
    """
    embeddings = np.asarray(embeddings)
    if embeddings.ndim != 2:
        raise ValueError(f"{name} must be [N, D], found shape {embeddings.shape}.")
    if embeddings.dtype != np.float64:
        embeddings = embeddings.astype(np.float32)
    finite = np.isfinite(embeddings).all(1)
    if not finite.all():
        raise ValueError(
            f"{np.sum(~finite)} of {len(embeddings)} rows of {name} hold NaN or infinity; the "
            f"first is row {int(np.argmin(finite))}."
        )
    return embeddings


def checked_labels(name: str, labels: Any, count: int) -> np.ndarray:
    """Labels [N], integers or strings.

    Raises:
        ValueError: If they are not `count` in one row, or are floats.
    """
    labels = np.asarray(labels)
    if labels.shape != (count,):
        raise ValueError(f"{name} must be [{count}], one per row: found shape {labels.shape}.")
    if count and np.issubdtype(labels.dtype, np.inexact):
        raise ValueError(f"{name} must be integers or strings, found {labels.dtype}.")
    return labels
