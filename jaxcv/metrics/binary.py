"""Metrics of a yes-or-no question answered by one logit."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxcv.metrics import calibration
from jaxcv.metrics.calibration import CalibrationBins
from jaxcv.metrics.confusion import confusion_matrices
from jaxcv.metrics.ratio import divide


@struct.dataclass
class BinaryMetrics:
    """Sums and counts over examples that add up over batches and devices.

    The prediction is 1 where the logit is above 0, which is where the probability is above 1/2.

    Attributes:
        loss_sum: [] float32.
        confusion: [2, 2] int32, examples by true label (row) and predicted label (column).
        calibration: Predictions by confidence, the probability of the predicted label.
        out_of_range: [] int32, unmasked examples whose label is neither 0 nor 1; they count nowhere
            else.
    """

    loss_sum: jax.Array
    confusion: jax.Array
    calibration: CalibrationBins
    out_of_range: jax.Array

    @classmethod
    def from_logits(
        cls,
        logits: jax.Array,
        labels: jax.Array,
        *,
        mask: jax.Array | None = None,
        losses: jax.Array | None = None,
    ) -> BinaryMetrics:
        """Count one batch.

        Args:
            logits: [B] or [B, 1].
            labels: [B] or [B, 1], 0 or 1.
            mask: [B] bool; rows marked False are left out. None takes all rows.
            losses: [B] losses to add up; None takes the cross-entropy of sigmoid(logits).

        Raises:
            ValueError: If the shapes do not fit.
        """
        logits, labels = jnp.asarray(logits), jnp.asarray(labels)
        if logits.shape not in ((logits.shape[0],), (logits.shape[0], 1)) or (
            labels.size != logits.size
        ):
            raise ValueError(
                "binary metrics want one logit and one label per example, [B] or [B, 1]: found "
                f"logits {logits.shape} and labels {labels.shape}."
            )
        logits = logits.reshape(-1).astype(jnp.float32)
        labels = labels.reshape(-1)
        in_range = (labels == 0) | (labels == 1)
        unmasked = jnp.ones(logits.shape, bool) if mask is None else mask.astype(bool)
        valid = unmasked & in_range
        label = (labels == 1).astype(jnp.int32)
        prediction = (logits > 0).astype(jnp.int32)
        if losses is None:
            losses = jax.nn.softplus(jnp.where(label == 1, -logits, logits))
        return cls(
            loss_sum=jnp.sum(jnp.where(valid, losses.astype(jnp.float32), 0.0)),
            confusion=confusion_matrices(label[None], prediction[None], 2, valid[None])[0],
            calibration=CalibrationBins.from_confidences(
                jax.nn.sigmoid(jnp.abs(logits)), prediction == label, valid
            ),
            out_of_range=jnp.sum((unmasked & ~in_range).astype(jnp.int32)),
        )


def summary(metrics: BinaryMetrics) -> dict[str, Any]:
    """Turn the total of all batches into named numbers, in float64 on the host.

    Returns:
        `count`, `loss`, `accuracy`, `precision`, `recall`, `f1` of label 1 (0 where their
        denominator is 0), `expected_calibration_error`, `out_of_range_labels` if there are any,
        `confusion_matrix` (rows are true labels) and `calibration`. Ratios are NaN without an
        example.
    """
    m = jax.tree.map(np.asarray, metrics)
    confusion = m.confusion.astype(np.int64)  # twice a count may be beyond int32
    (true_negatives, false_positives), (false_negatives, true_positives) = confusion
    count = confusion.sum()
    empty = 0.0 if count else np.nan
    result: dict[str, Any] = {
        "count": int(count),
        "loss": float(divide(m.loss_sum, count, empty=np.nan)),
        "accuracy": float(divide(true_positives + true_negatives, count, empty=np.nan)),
        "precision": float(divide(true_positives, true_positives + false_positives, empty=empty)),
        "recall": float(divide(true_positives, true_positives + false_negatives, empty=empty)),
        "f1": float(
            divide(
                2 * true_positives,
                2 * true_positives + false_positives + false_negatives,
                empty=empty,
            )
        ),
        "expected_calibration_error": calibration.expected_calibration_error(m.calibration),
    }
    if m.out_of_range:
        result["out_of_range_labels"] = int(m.out_of_range)
    result["confusion_matrix"] = m.confusion.tolist()
    result["calibration"] = calibration.summary(m.calibration)
    return result
