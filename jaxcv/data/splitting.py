"""Which records are for training and which for testing, where no list says so."""

import hashlib
import math
from collections.abc import Hashable, Sequence

import numpy as np

from jaxcv.names import name_bytes


def stratified_split(
    labels: Sequence[int] | np.ndarray,
    names: Sequence[str],
    test_fraction: float,
    seed: int = 0,
    *,
    groups: Sequence[Hashable] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Divides records into train and test, every class in the same proportion, reproducibly.

    The test set takes ceil(N * test_fraction) records, shared out over the classes by largest
    remainder; a class with at least one record keeps one for training. Within a class the records
    are ordered by SHA-256 of "seed:name", and the first go to the test set: a record's place
    depends on its name, not on its position, so that adding files moves at most a few others.

    Records of one group - rows of one file - stay together, and N above is the number of groups. A
    group of several classes counts for the rarest of them.

    Args:
      labels: [N] class of each record.
      names: [N] name of each record.
      test_fraction: fraction of the test set, 0 to 1.
      seed: another seed gives another split.
      groups: [N] equal where records are of one thing; None: those of one name.

    Returns:
      (train, test): int64 positions, each in ascending order; together every record once.

    Example:
      >>> train, test = stratified_split([0] * 6, ["a", "a", "b", "b", "c", "c"], 0.3)
      >>> train.tolist(), test.tolist()
      ([2, 3, 4, 5], [0, 1])
    """
    if not 0.0 <= test_fraction < 1.0:
        raise ValueError(f"test_fraction must be at least 0 and below 1, not {test_fraction}")
    labels = np.asarray(labels)
    members = _members(names if groups is None else groups)
    if len(members) == len(labels):
        chosen = _test_part(labels, names, test_fraction, seed)
    else:
        chosen = _test_groups(labels, names, members, test_fraction, seed)
    test_indices = np.sort(np.asarray([i for group in chosen for i in members[group]], np.int64))
    train_indices = np.setdiff1d(np.arange(len(labels), dtype=np.int64), test_indices)
    return train_indices, test_indices


def _members(groups: Sequence[Hashable]) -> list[list[int]]:
    """Positions of the records of each group, the groups in the order of their first records."""
    found: dict[Hashable, list[int]] = {}
    for place, group in enumerate(groups):
        found.setdefault(group, []).append(place)
    return list(found.values())


def _test_part(
    labels: np.ndarray, names: Sequence[str], test_fraction: float, seed: int
) -> list[int]:
    """Positions of the test set, where every record stands for itself."""
    classes, counts = np.unique(labels, return_counts=True)
    quota = counts * test_fraction
    taken = np.floor(quota).astype(int)
    missing = math.ceil(round(len(labels) * test_fraction, 6)) - int(taken.sum())
    for position in np.argsort(taken - quota, kind="stable")[:missing]:
        taken[position] += 1
    taken = np.minimum(taken, counts - 1)
    test: list[int] = []
    for value, count in zip(classes, taken):
        members = np.flatnonzero(labels == value)
        ordered = sorted(members.tolist(), key=lambda i: _place(seed, names[i]))
        test.extend(ordered[:count])
    return test


def _test_groups(
    labels: np.ndarray,
    names: Sequence[str],
    members: list[list[int]],
    test_fraction: float,
    seed: int,
) -> list[int]:
    """Numbers of the groups of the test set: each goes by its rarest class and its first name."""
    _, own, counts = np.unique(labels, return_inverse=True, return_counts=True)
    rarest = [min((counts[own[i]], own[i]) for i in group)[1] for group in members]
    first = [min((names[i] for i in group), key=lambda n: _place(seed, n)) for group in members]
    test = set(_test_part(np.asarray(rarest), first, test_fraction, seed))
    # A class may be rarest nowhere: it too keeps a group for training.
    having: dict[int, list[int]] = {}
    for number, group in enumerate(members):
        for value in {int(own[i]) for i in group}:
            having.setdefault(value, []).append(number)
    for value in sorted(having):
        if test.issuperset(having[value]):
            test.remove(max(having[value], key=lambda g: _place(seed, first[g])))
    return sorted(test)


def _place(seed: int, name: str) -> bytes:
    return hashlib.sha256(name_bytes(f"{seed}:{name}")).digest()
