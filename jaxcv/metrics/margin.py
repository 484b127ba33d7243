"""What a margin softmax looks like from within, while it trains."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct


@struct.dataclass
class MarginMetrics:
    """Sums over the valid rows of a batch.

    Attributes:
        count: [] int32, rows.
        loss: [] sum of the losses.
        correct: [] int32, rows whose class has the largest cosine.
        violations: [] int32, rows whose class, its margin taken off, does not have the largest logit.
        angle: [] sum of the angles to the class's centre, radians.
        norm: [] sum of the embeddings' lengths.
    """

    count: jax.Array
    loss: jax.Array
    correct: jax.Array
    violations: jax.Array
    angle: jax.Array
    norm: jax.Array

    @classmethod
    def from_rows(
        cls,
        *,
        loss: jax.Array,
        correct: jax.Array,
        separated: jax.Array,
        cosine: jax.Array,
        norm: jax.Array,
        mask: jax.Array,
    ) -> MarginMetrics:
        """Adds up a batch; all arguments [B], rows with `mask` False left out.

        Args:
            loss: per row.
            correct: whether the true class has the largest cosine.
            separated: whether it has the largest logit even with its margin.
            cosine: between the embedding and the true class's centre.
            norm: length of the embedding.
            mask: which rows count.
        """
        cosine = jnp.clip(cosine.astype(jnp.float32), -1.0, 1.0)
        angle = jnp.arctan2(jnp.sqrt((1 - cosine) * (1 + cosine)), cosine)
        return cls(
            count=jnp.sum(mask, dtype=jnp.int32),
            loss=_sum(loss, mask),
            correct=jnp.sum(correct & mask, dtype=jnp.int32),
            violations=jnp.sum(~separated & mask, dtype=jnp.int32),
            angle=_sum(angle, mask),
            norm=_sum(norm, mask),
        )

    @classmethod
    def counted(cls, mask: jax.Array) -> MarginMetrics:
        """Of rows whose classes are not those of the head: only their number."""
        zero, none = jnp.zeros(()), jnp.zeros((), jnp.int32)
        count = jnp.sum(mask, dtype=jnp.int32)
        return cls(count=count, loss=zero, correct=none, violations=none, angle=zero, norm=zero)


def _sum(values: jax.Array, mask: jax.Array) -> jax.Array:
    return jnp.sum(jnp.where(mask, values.astype(jnp.float32), 0))


def summary(metrics: MarginMetrics) -> dict[str, Any]:
    """Means over the rows, on the host.

    Returns:
        `loss`, `accuracy`, `margin_violations` (fractions), `target_angle` in degrees, `embedding_norm`,
        `count`.
    """
    count = max(int(metrics.count), 1)
    return {
        "loss": float(metrics.loss) / count,
        "accuracy": int(metrics.correct) / count,
        "margin_violations": int(metrics.violations) / count,
        "target_angle": float(np.rad2deg(float(metrics.angle) / count)),
        "embedding_norm": float(metrics.norm) / count,
        "count": int(metrics.count),
    }
