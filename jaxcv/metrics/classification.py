"""Metrics of classification into C classes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxcv.metrics import calibration
from jaxcv.metrics.blocks import map_blocks
from jaxcv.metrics.calibration import CalibrationBins
from jaxcv.metrics.confusion import class_counts, confusion_matrices
from jaxcv.metrics.ratio import divide, ratio

MAX_CONFUSION_CLASSES = 1000
"""Above this many classes no confusion matrix is kept: it has C * C entries."""


@struct.dataclass
class ClassificationMetrics:
    """Sums and counts over examples that add up over batches and devices.

    Attributes:
        count: [] int32, examples that count.
        out_of_range: [] int32, unmasked examples whose label is no class; they count nowhere
            else.
        loss_sum: [] float32.
        brier_sum: [] float32, sum of the scores `sum_c (p_c - y_c)^2` in [0, 2] (Brier 1950).
        correct: [] int32, examples whose class has the highest logit.
        top_k_correct: [] int32, examples whose class is among the k highest logits.
        true_positives, predicted, support: [C] int32; per class, examples rightly predicted,
            predicted, and present.
        confusion: [C, C] int32, examples by true class (row) and predicted class (column); None
            above `MAX_CONFUSION_CLASSES` classes.
        calibration: Predictions by confidence.
        top_k: The k of `top_k_correct`; not an array.

    Example:
        >>> logits = jnp.array([[2.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
        >>> metrics = ClassificationMetrics.from_logits(logits, jnp.array([0, 1, 1]))
        >>> summary(metrics)["confusion_matrix"]
        [[1, 0], [1, 1]]
    """

    count: jax.Array
    out_of_range: jax.Array
    loss_sum: jax.Array
    brier_sum: jax.Array
    correct: jax.Array
    top_k_correct: jax.Array
    true_positives: jax.Array
    predicted: jax.Array
    support: jax.Array
    confusion: jax.Array | None
    calibration: CalibrationBins
    top_k: int = struct.field(pytree_node=False, default=5)

    @classmethod
    def from_logits(
        cls,
        logits: jax.Array,
        labels: jax.Array,
        *,
        mask: jax.Array | None = None,
        losses: jax.Array | None = None,
        top_k: int = 5,
    ) -> ClassificationMetrics:
        """Count one batch.

        Args:
            logits: [B, C] unnormalised scores.
            labels: [B] integer classes, or [B, C] distributions over the classes, whose most
                probable class then counts as the true one.
            mask: [B] bool; rows marked False are left out. None takes all rows.
            losses: [B] losses to add up; None takes the cross-entropy of softmax(logits).
            top_k: How many of the highest logits are a hit. Of equal logits the first is higher.

        Raises:
            ValueError: If the shapes do not fit.
        """
        logits = jnp.asarray(logits).astype(jnp.float32)
        labels = jnp.asarray(labels)
        _check_shapes(logits, labels)
        B, C = logits.shape
        dense = labels.ndim == 2
        label = jnp.argmax(labels, -1).astype(jnp.int32) if dense else labels.astype(jnp.int32)
        in_range = (label >= 0) & (label < C)
        unmasked = jnp.ones(B, bool) if mask is None else mask.astype(bool)
        valid = unmasked & in_range
        label = jnp.where(in_range, label, 0)

        score = _scores_of_distributions if dense else _scores_of_classes
        cross_entropy, brier, confidence, prediction, rank = jax.lax.platform_dependent(
            logits,
            labels.astype(jnp.float32) if dense else label,
            label,
            cpu=partial(map_blocks, partial(_scores, score)),
            default=partial(_scores, score),
        )
        losses = cross_entropy if losses is None else losses.astype(jnp.float32)
        is_correct = valid & (prediction == label)

        ones = valid.astype(jnp.int32)
        confusion = None
        if C <= MAX_CONFUSION_CLASSES:
            confusion = confusion_matrices(label[None], prediction[None], C, valid[None])[0]
            right = jnp.diagonal(confusion)
            predicted, support = (jnp.sum(confusion, axis, dtype=jnp.int32) for axis in (0, 1))
        else:
            right, predicted, support = (
                class_counts(classes[None], C, counts[None])[0]
                for classes, counts in ((label, is_correct), (prediction, valid), (label, valid))
            )
        return cls(
            count=jnp.sum(ones),
            out_of_range=jnp.sum((unmasked & ~in_range).astype(jnp.int32)),
            loss_sum=jnp.sum(jnp.where(valid, losses, 0.0)),
            brier_sum=jnp.sum(jnp.where(valid, brier, 0.0)),
            correct=jnp.sum(is_correct.astype(jnp.int32)),
            top_k_correct=jnp.sum((valid & (rank < top_k)).astype(jnp.int32)),
            true_positives=right,
            predicted=predicted,
            support=support,
            confusion=confusion,
            calibration=CalibrationBins.from_confidences(confidence, is_correct, valid),
            top_k=top_k,
        )


def _check_shapes(logits: jax.Array, labels: jax.Array) -> None:
    if logits.ndim != 2:
        raise ValueError(f"classification metrics want logits [B, C], found shape {logits.shape}.")
    if labels.shape not in (logits.shape[:1], logits.shape):
        raise ValueError(
            f"labels must be classes [B] or distributions [B, C]: found {labels.shape} for logits "
            f"{logits.shape}."
        )
    if labels.ndim == 1 and not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels [B] must be integers, found {labels.dtype}.")


def _scores(
    score: Callable[..., tuple[jax.Array, ...]],
    logits: jax.Array,
    target: jax.Array,
    label: jax.Array,
) -> tuple[jax.Array, ...]:
    """What is to know of each row, [B] each: its scores, its prediction, the rank of its label."""
    return *score(logits, target), _first_highest(logits), _rank(logits, label)


def _scores_of_classes(
    logits: jax.Array, label: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Cross-entropy, Brier score and highest probability, [B] each, for labels [B].

    With e_c = exp(z_c - max z), r the sum of e_c over the other classes and s = r + e_y:
    `log(s) - (z_y - max z)`, `(sum_{c != y} e_c^2 + r^2) / s^2` and `1 / s`. One exponential a logit
    and no one-hot, and nothing cancels where the label's own probability is nearly 1.
    """
    highest = jnp.max(logits, -1)
    own = jnp.take_along_axis(logits, label[:, None], -1)[:, 0] - highest
    is_own = jnp.arange(logits.shape[-1]) == label[:, None]
    others = jnp.where(is_own, 0.0, jnp.exp(logits - highest[:, None]))
    rest, squares = jnp.sum(others, -1), jnp.sum(jnp.square(others), -1)
    total = rest + jnp.exp(own)
    return jnp.log(total) - own, (squares + jnp.square(rest)) / jnp.square(total), 1 / total


def _scores_of_distributions(
    logits: jax.Array, target: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The same for labels [B, C]."""
    log_probabilities = jax.nn.log_softmax(logits)
    probabilities = jnp.exp(log_probabilities)
    # 0 * -inf must be 0: an impossible class that does not occur costs nothing.
    products = jnp.where(target == 0, 0.0, target * log_probabilities)
    brier = jnp.sum(jnp.square(probabilities - target), -1)
    return -jnp.sum(products, -1), brier, jnp.max(probabilities, -1)


def _first_highest(logits: jax.Array) -> jax.Array:
    """`argmax`, [B] int32, which XLA for CPUs does a number at a time; both take NaN for highest."""
    C = logits.shape[-1]
    highest = (logits == jnp.max(logits, -1, keepdims=True)) | jnp.isnan(logits)
    return jnp.min(jnp.where(highest, jnp.arange(C, dtype=jnp.int32), C), -1)


def _rank(logits: jax.Array, label: jax.Array) -> jax.Array:
    """How many classes come before the label's class, [B]; a NaN logit comes before any number."""
    own = jnp.take_along_axis(logits, label[:, None], -1)
    later = jnp.arange(logits.shape[-1]) >= label[:, None]
    behind = (logits < own) | ((logits == own) & later)
    return jnp.sum(~behind, -1)


def summary(metrics: ClassificationMetrics) -> dict[str, Any]:
    """Turn the total of all batches into named numbers, in float64 on the host.

    Precision, recall and F1 are scikit-learn's with `zero_division=0`: a class that is never
    predicted has precision 0. `macro_*` is the plain mean over the classes that occur as a label or
    as a prediction, `weighted_*` the mean weighted by support, `micro_*` counts all examples alike.

    Returns:
        Numbers: `count`, `loss`, `accuracy`, `top_{k}_accuracy` (if 1 < k < C), `brier_score`,
        `expected_calibration_error`, `{macro,micro,weighted}_{precision,recall,f1}`, and
        `out_of_range_labels` if there are any. Tables: `per_class` (lists `precision`, `recall`,
        `f1`, `support`), `confusion_matrix` (rows are true classes; None where it was not kept),
        `calibration` (see `jaxcv.metrics.calibration.summary`). Ratios are NaN without an example.
    """
    m = jax.tree.map(np.asarray, metrics)
    count = int(m.count)
    C = len(m.support)
    precision = divide(m.true_positives, m.predicted, empty=0.0)
    recall = divide(m.true_positives, m.support, empty=0.0)
    f1 = divide(2.0 * m.true_positives, m.predicted.astype(np.int64) + m.support, empty=0.0)

    def per_example(total: np.ndarray) -> float:
        return ratio(float(total), count)

    accuracy = per_example(m.correct)
    result: dict[str, Any] = {
        "count": count,
        "loss": per_example(m.loss_sum),
        "accuracy": accuracy,
    }
    if 1 < m.top_k < C:
        result[f"top_{m.top_k}_accuracy"] = per_example(m.top_k_correct)
    result["brier_score"] = per_example(m.brier_sum)
    result["expected_calibration_error"] = calibration.expected_calibration_error(m.calibration)
    if m.out_of_range:
        result["out_of_range_labels"] = int(m.out_of_range)

    present = (m.support + m.predicted) > 0
    scores = {"precision": precision, "recall": recall, "f1": f1}
    for name, values in scores.items():
        result[f"macro_{name}"] = ratio(values[present].sum(), present.sum())
        result[f"weighted_{name}"] = per_example((values * m.support).sum())
        # With one label and one prediction per example, each false positive is a false negative.
        result[f"micro_{name}"] = accuracy
    result["per_class"] = {name: values.tolist() for name, values in scores.items()}
    result["per_class"]["support"] = m.support.tolist()
    result["confusion_matrix"] = None if m.confusion is None else m.confusion.tolist()
    result["calibration"] = calibration.summary(m.calibration)
    return result
