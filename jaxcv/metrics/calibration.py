"""Calibration: whether predictions made with confidence 0.8 are right in 80% of cases."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxcv.metrics.blocks import BLOCK, fold_blocks
from jaxcv.metrics.ratio import divide, ratio

LANES = 64
"""Sums that a bin is divided into: float32 loses less in each than in one that outgrows its terms."""


@struct.dataclass
class CalibrationBins:
    """Predictions sorted by confidence into M bins of equal width; bin m is ((m - 1) / M, m / M].

    Attributes:
        count: [M] int32, predictions in each bin.
        confidence_sum: [M] float32, sum of their confidences.
        correct: [M] int32, how many of them were right.
    """

    count: jax.Array
    confidence_sum: jax.Array
    correct: jax.Array

    @classmethod
    def from_confidences(
        cls, confidence: jax.Array, correct: jax.Array, valid: jax.Array, *, bins: int = 15
    ) -> CalibrationBins:
        """Sort predictions into bins.

        Args:
            confidence: [B] float, probability given to the predicted class, in [0, 1].
            correct: [B] bool, whether the prediction was right.
            valid: [B] bool; rows marked False are left out.
            bins: Number M of bins.
        """
        sort = partial(_sort_into_bins, bins=bins)
        return jax.lax.platform_dependent(
            confidence, correct, valid, cpu=partial(sort, block=BLOCK), default=sort
        )


def _sort_into_bins(
    confidence: jax.Array,
    correct: jax.Array,
    valid: jax.Array,
    *,
    bins: int,
    block: int | None = None,
) -> CalibrationBins:
    """[B] predictions, seen to `block` at a time, see `blocks`; None takes all at once."""

    def add(
        total: tuple[jax.Array, jax.Array],
        confidence: jax.Array,
        correct: jax.Array,
        valid: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        counts, sums = total
        index = jnp.ceil(jnp.nan_to_num(confidence) * bins).astype(jnp.int32) - 1
        # One past the bins for what does not count.
        index = jnp.where(valid, jnp.clip(index, 0, bins - 1), bins)
        lane = jnp.arange(len(index)) % LANES
        return (
            counts.at[2 * index + correct].add(1, mode="drop"),
            sums.at[LANES * index + lane].add(confidence.astype(jnp.float32), mode="drop"),
        )

    start = jnp.zeros(2 * bins, jnp.int32), jnp.zeros(LANES * bins, jnp.float32)
    counts, sums = fold_blocks(add, start, (confidence, correct, valid), block=block)
    counts = counts.reshape(bins, 2)
    return CalibrationBins(
        count=jnp.sum(counts, 1),
        confidence_sum=jnp.sum(sums.reshape(bins, LANES), 1),
        correct=counts[:, 1],
    )


def expected_calibration_error(bins: CalibrationBins) -> float:
    """Mean gap between accuracy and confidence over the bins, weighted by their counts.

    `ECE = sum_m count_m / N * |accuracy_m - confidence_m|` (Guo, Pleiss, Sun & Weinberger 2017,
    equation 3). NaN without a prediction.
    """
    gaps = np.abs(
        np.asarray(bins.correct, np.float64) - np.asarray(bins.confidence_sum, np.float64)
    )
    return ratio(gaps.sum(), np.sum(bins.count))


def summary(bins: CalibrationBins) -> dict[str, Any]:
    """What a reliability diagram draws.

    Returns:
        `{"count": [M], "confidence": [M], "accuracy": [M]}` as lists: per bin the number of
        predictions, their mean confidence and their accuracy. An empty bin has None for both.
    """
    count = np.asarray(bins.count)

    def means(total: Any) -> list[float | None]:
        values = divide(np.asarray(total), count, empty=0.0).tolist()
        return [value if n else None for value, n in zip(values, count.tolist(), strict=True)]

    return {
        "count": count.tolist(),
        "confidence": means(bins.confidence_sum),
        "accuracy": means(bins.correct),
    }
