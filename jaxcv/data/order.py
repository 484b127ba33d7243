"""Which record comes when: orders that are pure functions of a seed and a number."""

import math
import threading
from collections.abc import Sequence

import numpy as np


def permutation(seed: int, epoch: int, length: int) -> np.ndarray:
    """The order of the records in one epoch: a pure function of its arguments.

    The ranks of `length` 64-bit numbers of a Philox generator keyed by (seed, epoch). NumPy
    promises that raw streams of its bit generators never change, which it does not for
    `Generator.permutation`.

    Args:
      seed: at least 0.
      epoch: at least 0.
      length: number of records N.

    Returns:
      int32 [N] (int64 where N >= 2^31), each of 0..N-1 once.

    Example:
      >>> sorted(permutation(seed=0, epoch=3, length=5).tolist())
      [0, 1, 2, 3, 4]
    """
    return _ranks([seed, epoch], length)


def _ranks(key: Sequence[int], length: int) -> np.ndarray:
    stream = np.random.Philox(np.random.SeedSequence(key)).random_raw(length)
    order = np.argsort(stream)
    ranked = stream[order]
    if (ranked[1:] == ranked[:-1]).any():
        # Equal numbers, of 64 bits, hardly ever occur. Only they need the stable sort, which takes up to
        # six times as long.
        order = np.argsort(stream, kind="stable")
    return order.astype(np.int32 if length < 2**31 else np.int64)


class DistinctDraws:
    """Draws of `size` things out of `length`, all different, and every thing once an epoch.

    The draws are consecutive pieces of one endless stream, epoch after epoch, each epoch a
    permutation of all things. Where a draw takes the last t things of an epoch and goes on with the
    next, that epoch's permutation is changed so that the first size - t things that are not among
    those t come first; the others keep their order. So both hold at once: no draw has a thing
    twice, and no epoch leaves one out.

    `draws[number]` depends on nothing but the arguments and `number`. With length >= 2 size - 1 the
    change never reaches the last things of an epoch, and two permutations suffice; otherwise those
    since an epoch last began with a draw do, at most `size`.

    Args:
      length: number of things, at least `size`.
      size: things in a draw, at least 1.
      seed: at least 0.
      stream: other streams of the same seed give other orders, at least 0.

    Example:
      >>> draws = DistinctDraws(length=5, size=3, seed=0)
      >>> sorted(np.concatenate([draws[n] for n in range(5)]).tolist())
      [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    """

    def __init__(self, length: int, size: int, seed: int, stream: int = 0):
        if not 1 <= size <= length:
            raise ValueError(f"cannot draw {size} different things out of {length}")
        self.length, self.size, self._seed, self._stream = length, size, seed, stream
        self._orders: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def __getitem__(self, number: int) -> np.ndarray:
        """Int [size]: the things of draw `number`, at least 0."""
        epoch, first = divmod(number * self.size, self.length)
        drawn = self._order(epoch)[first : first + self.size]
        if len(drawn) < self.size:
            rest = self._order(epoch + 1)[: self.size - len(drawn)]
            drawn = np.concatenate([drawn, rest])
        return drawn

    def _order(self, epoch: int) -> np.ndarray:
        with self._lock:
            if epoch not in self._orders:
                order = self._computed(epoch)
                # A draw looks at one epoch or two neighbours; threads run only a little ahead.
                while len(self._orders) >= 2:
                    self._orders.pop(min(self._orders))
                self._orders[epoch] = order
            return self._orders[epoch]

    def _computed(self, epoch: int) -> np.ndarray:
        """The epoch's order, built up from the last one that does not depend on its predecessor."""
        whole = self.size // math.gcd(self.size, self.length)  # epochs in a whole number of draws
        first = epoch - epoch % whole
        if self.length >= 2 * self.size - 1:
            first = max(first, epoch - 1)
        if first < epoch and epoch - 1 in self._orders:
            first, order = epoch - 1, self._orders[epoch - 1]
        else:
            order = self._shuffled(first)
        for later in range(first + 1, epoch + 1):
            begun = later * self.length % self.size
            order = _without_first(self._shuffled(later), order[-begun:], self.size - begun)
        return order

    def _shuffled(self, epoch: int) -> np.ndarray:
        return _ranks([self._seed, epoch, self._stream], self.length)


def _without_first(order: np.ndarray, taken: np.ndarray, count: int) -> np.ndarray:
    """`order` with its first `count` members that are not in `taken` moved to the front."""
    # Of the first count + len(taken) members, at most len(taken) are taken.
    head = order[: count + len(taken)]
    is_taken = np.zeros(len(order), bool)
    is_taken[taken] = True
    moved = np.flatnonzero(~is_taken[head])[:count]
    stays = np.ones(len(head), bool)
    stays[moved] = False
    return np.concatenate([head[moved], head[stays], order[len(head) :]])


class BalancedOrder:
    """Batches of P identities with K images each: "P x K sampling", for losses on pairs.

    Batch s holds the identities of draw s of P out of all (`DistinctDraws`), so that every identity
    comes once in an epoch of identities, however many images it has. On its visit number e an
    identity gives draw e of K out of its images, so that all its images come equally often. Rows
    are in groups: K of the first identity, K of the second, and so on.

    Introduced for the triplet loss by Hermans, Beyer and Leibe, "In Defense of the Triplet Loss for
    Person Re-Identification", arXiv 1703.07737, section 2.

    Args:
      labels: int [N], identity of each record.
      batch_size: P * K.
      images_per_identity: K, at least 1.
      seed: at least 0.
      names: of the identities by label, for messages.

    Raises:
      ValueError: the sizes do not fit, or an identity has fewer than K images.

    Example:
      >>> order = BalancedOrder([0, 0, 1, 1, 1, 2, 2], batch_size=4, images_per_identity=2, seed=0)
      >>> sorted(np.asarray([0, 0, 1, 1, 1, 2, 2])[order.indices(0)].tolist())
      [0, 0, 1, 1]
    """

    def __init__(
        self,
        labels: Sequence[int] | np.ndarray,
        batch_size: int,
        images_per_identity: int,
        seed: int,
        names: Sequence[str] = (),
    ):
        labels = np.asarray(labels)
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                "images_per_identity needs a class for each record; these labels are "
                f"{labels.dtype} of shape {labels.shape}"
            )
        if images_per_identity < 1 or batch_size % images_per_identity:
            raise ValueError(
                f"batch_size {batch_size} is not a multiple of "
                f"images_per_identity={images_per_identity}"
            )
        identities, counts = np.unique(labels, return_counts=True)
        _check_counts(identities, counts, images_per_identity, names)
        count = batch_size // images_per_identity
        if count > len(identities):
            raise ValueError(
                f"batch_size {batch_size} with images_per_identity={images_per_identity} needs "
                f"{count} different identities, but there are {len(identities)}; lower batch_size "
                f"to at most {len(identities) * images_per_identity}, or raise images_per_identity"
            )
        self._seed, self._images = seed, images_per_identity
        # The records of identity i are _records[_starts[i] : _starts[i + 1]].
        self._records = np.argsort(labels, kind="stable")
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self._identities = DistinctDraws(len(identities), count, seed)

    def indices(self, step: int) -> np.ndarray:
        """int64 [P * K]: the records of batch `step`, at least 0."""
        identities = self._identities[step]
        number = step * len(identities) + np.arange(len(identities))
        visits = number // self._identities.length
        rows = []
        for identity, visit in zip(identities.tolist(), visits.tolist()):
            records = self._records[self._starts[identity] : self._starts[identity + 1]]
            # Stream 0 is that of the identities themselves.
            draws = DistinctDraws(len(records), self._images, self._seed, stream=identity + 1)
            rows.append(records[draws[visit]])
        return np.concatenate(rows)


def _check_counts(
    identities: np.ndarray, counts: np.ndarray, images_per_identity: int, names: Sequence[str]
) -> None:
    few = np.flatnonzero(counts < images_per_identity)
    if not len(few):
        return
    label, count = int(identities[few[0]]), int(counts[few[0]])
    name = f"{names[label]!r} (label {label})" if 0 <= label < len(names) else f"{label}"
    more = f" and {len(few) - 1} more identities have too few" if len(few) > 1 else ""
    raise ValueError(
        f"identity {name} has {count} image{'s' * (count != 1)}, fewer than "
        f"images_per_identity={images_per_identity}{more}; leave such identities out with "
        f"FrequentIdentities(data=..., minimum_images={images_per_identity}), or lower "
        "images_per_identity"
    )
