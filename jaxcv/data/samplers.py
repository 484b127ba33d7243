"""Which records make up a training batch, where that is more than a shuffled pass over all of them."""

import dataclasses
from typing import Protocol, runtime_checkable

import numpy as np

from jaxcv.data.order import BalancedOrder
from jaxcv.data.source import Source, record_labels


class Order(Protocol):
    """The batches of one source, for one batch size and seed."""

    def indices(self, step: int) -> np.ndarray:
        """The records of batch `step`, int [batch_size]: a pure function of the step, in any thread."""
        ...


@runtime_checkable
class Sampler(Protocol):
    """A frozen dataclass that chooses the records of training batches; it stands in a config."""

    def order(self, source: Source, batch_size: int, seed: int) -> Order:
        """The order in which records come.

        Args:
          source: the training records.
          batch_size: of the global batch.
          seed: at least 0; another seed gives another order.

        Raises:
          ValueError: the records or the batch size do not allow it.
        """
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class BalancedIdentities:
    """Batches of different identities with K different images of each, see `BalancedOrder`.

    For losses on pairs, which learn nothing from a batch in which no two images are of one person.

    Attributes:
      images_per_identity: K, which divides the batch size; every identity needs as many images.

    Example:
      >>> from jaxcv.data import Digits
      >>> order = BalancedIdentities(images_per_identity=4).order(Digits().open("train"), 32, seed=0)
      >>> order.indices(1000).shape
      (32,)
    """

    images_per_identity: int = 4

    def order(self, source: Source, batch_size: int, seed: int) -> BalancedOrder:
        """The order of a source whose labels are identities; see `Sampler`."""
        return BalancedOrder(
            record_labels(source), batch_size, self.images_per_identity, seed, source.class_names
        )
