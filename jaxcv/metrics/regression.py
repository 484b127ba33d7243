"""Metrics of the prediction of one number."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxcv.metrics.ratio import divide


@struct.dataclass
class RegressionMetrics:
    """Sums over examples that add up over batches and devices.

    Attributes:
        count: [] int32, examples that count.
        squared_error_sum, absolute_error_sum: [] float32.
        label_sum, label_square_sum: [] float32, of labels less `offset`; from them comes the spread
            of the labels.
        offset: A number near the labels' mean; not an array. Where the mean is large beside the
            spread (years, say), giving it keeps the digits of R squared.
    """

    count: jax.Array
    squared_error_sum: jax.Array
    absolute_error_sum: jax.Array
    label_sum: jax.Array
    label_square_sum: jax.Array
    offset: float = struct.field(pytree_node=False, default=0.0)

    @classmethod
    def from_predictions(
        cls,
        predictions: jax.Array,
        labels: jax.Array,
        *,
        mask: jax.Array | None = None,
        offset: float = 0.0,
    ) -> RegressionMetrics:
        """Count one batch.

        Args:
            predictions: [B] or [B, 1].
            labels: [B] or [B, 1].
            mask: [B] bool; rows marked False are left out. None takes all rows.
            offset: See the class; the same for all batches.

        Raises:
            ValueError: If the shapes do not fit.
        """
        predictions, labels = jnp.asarray(predictions), jnp.asarray(labels)
        B = predictions.shape[0] if predictions.ndim else 0
        if predictions.shape not in ((B,), (B, 1)) or labels.shape not in ((B,), (B, 1)):
            raise ValueError(
                "regression metrics want one prediction and one label per example, [B] or [B, 1]: "
                f"found predictions {predictions.shape} and labels {labels.shape}."
            )
        predictions = predictions.reshape(-1).astype(jnp.float32)
        labels = labels.reshape(-1).astype(jnp.float32)
        valid = jnp.ones(B, bool) if mask is None else mask.astype(bool)
        error = jnp.where(valid, predictions - labels, 0.0)
        label = jnp.where(valid, labels - offset, 0.0)
        return cls(
            count=jnp.sum(valid.astype(jnp.int32)),
            squared_error_sum=jnp.sum(jnp.square(error)),
            absolute_error_sum=jnp.sum(jnp.abs(error)),
            label_sum=jnp.sum(label),
            label_square_sum=jnp.sum(jnp.square(label)),
            offset=offset,
        )


def summary(metrics: RegressionMetrics) -> dict[str, Any]:
    """Turn the total of all batches into named numbers, in float64 on the host.

    `r_squared = 1 - sum (label - prediction)^2 / sum (label - mean label)^2`: 1 is perfect, 0 is as
    good as the mean. As in scikit-learn it is 1 or 0 where all labels are equal, and NaN for fewer
    than two examples.

    Returns:
        `count`, `mean_squared_error`, `root_mean_squared_error`, `mean_absolute_error` and
        `r_squared`.
    """
    m = jax.tree.map(lambda x: np.asarray(x, np.float64), metrics)
    mean_squared = float(divide(m.squared_error_sum, m.count, empty=np.nan))
    return {
        "count": int(m.count),
        "mean_squared_error": mean_squared,
        "root_mean_squared_error": float(np.sqrt(mean_squared)),
        "mean_absolute_error": float(divide(m.absolute_error_sum, m.count, empty=np.nan)),
        "r_squared": _r_squared(m),
    }


def _r_squared(m: Any) -> float:
    if m.count < 2:
        return float("nan")
    spread = max(float(m.label_square_sum - m.label_sum**2 / m.count), 0.0)
    if spread == 0:
        return 1.0 if m.squared_error_sum == 0 else 0.0
    return float(1 - m.squared_error_sum / spread)
