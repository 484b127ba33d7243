"""Transforms that depend on how often a record was seen: what one epoch drew, the next takes in turn.

An ordinary transform draws anew at every visit. One of these has, besides,

    at_visit(record_key, visit) -> transform

where `record_key` belongs to the record - the same at each of its visits - and `visit` is the number
of earlier epochs, int32 []. The result is an ordinary transform `(key, image) -> image`, which the
training step applies in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax

from jaxcv.image.composition import Transform
from jaxcv.image.random_geometry import RandomHorizontalFlip


@runtime_checkable
class AlternatingTransform(Protocol):
    """What the transforms of this module have in common."""

    def at_visit(self, record_key: jax.Array, visit: jax.Array) -> Transform:
        """Returns the transform for one record at one visit."""


@dataclass(frozen=True)
class AlternatingHorizontalFlip(RandomHorizontalFlip):
    """Exchanges left and right at every other visit; by chance the first time.

    In any two epochs in a row each image is seen once as it is and once mirrored, where independent
    flips show one of four images the same side again: fewer epochs for the same accuracy (K. Jordan,
    94% on CIFAR-10 in 3.29 seconds on a single GPU, 2024, arXiv:2404.00498).

    Called by itself, or within another transform such as `RandomApply`, it knows of no visits and is
    a `RandomHorizontalFlip`.

    Attributes:
      probability: of a flip at the first visit.
    """

    def at_visit(self, record_key: jax.Array, visit: jax.Array) -> Transform:
        """Returns the flip of the record at a visit: that of visit 0, then not that, and so on."""
        first = jax.random.bernoulli(record_key, self.probability)
        return _DecidedFlip(flips=first ^ (visit % 2 == 1))


@dataclass(frozen=True)
class _DecidedFlip(RandomHorizontalFlip):
    """A flip that no key decides any more: `flips` is bool []."""

    flips: Any = False

    def _flips(self, key: jax.Array) -> jax.Array:
        return self.flips


def transforms_at_visit(
    transforms: Sequence[Transform], key: jax.Array, record: jax.Array, visit: jax.Array
) -> list[Transform]:
    """Returns the transforms for one record at one visit; ordinary ones stay as they are.

    Args:
      transforms: of an augmentation.
      key: the same for all records and visits: the run's.
      record: int [], number of the record.
      visit: int [], number of earlier epochs.

    Example:
      >>> import jax.numpy as jnp
      >>> image = jnp.asarray([[[1], [2]]])
      >>> seen = []
      >>> for visit in range(4):
      ...     flip, = transforms_at_visit([AlternatingHorizontalFlip()], jax.random.key(0), 7, visit)
      ...     seen.append(flip(jax.random.key(visit), image).ravel().tolist())
      >>> seen[0] == seen[2] != seen[1] == seen[3]
      True
    """
    return [
        transform.at_visit(jax.random.fold_in(jax.random.fold_in(key, i), record), visit)
        if isinstance(transform, AlternatingTransform)
        else transform
        for i, transform in enumerate(transforms)
    ]
