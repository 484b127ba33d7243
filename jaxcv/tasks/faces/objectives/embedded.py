"""What objectives on embeddings are handed, and what they have in common."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from jaxcv.devices import AXIS, gather
from jaxcv.train.task import Batch


@struct.dataclass
class Embedded:
    """What `MetricLearning` hands over to its objective.

    Attributes:
        embedding: [B, E] of this device's rows.
        classifier: [C', E] or [C', K, E], this device's rows of the class matrix, padding included; None
            where the model has none.
        num_classes: C.
    """

    embedding: jax.Array
    classifier: jax.Array | None
    num_classes: int = struct.field(pytree_node=False)

    def proxies(self) -> jax.Array:
        """[C, E], the class matrix of all devices as one proxy for each class.

        Raises:
            ValueError: where the model has no such matrix.
        """
        shape = None if self.classifier is None else self.classifier.shape
        if self.classifier is None or len(self.classifier.shape) != 2:
            raise ValueError(
                f"the proxies are the rows of the model's classifier, which is {shape}, but [C, E] is "
                f"expected; say --model.num-classes {self.num_classes} --model.sub-centers 1"
            )
        proxies = gather(self.classifier, AXIS)
        if len(proxies) < self.num_classes:
            raise ValueError(
                f"the model's classifier has {len(proxies)} rows, but the task has {self.num_classes} "
                f"classes; say --model.num-classes {self.num_classes}"
            )
        return proxies[: self.num_classes]


def masked(values: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Values [B], 0 for padding, and their weights."""
    return jnp.where(batch["mask"], values, 0.0), batch["mask"].astype(jnp.float32)
