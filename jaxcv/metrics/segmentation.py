"""Metrics of semantic segmentation: what is counted is pixels, over a data set and per image."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxcv.metrics.confusion import confusion_matrices
from jaxcv.metrics.ratio import divide, mean_of_known


@struct.dataclass
class SegmentationMetrics:
    """Sums and counts that add up over batches and devices.

    Attributes:
        count: [] int32, images that count: those not masked, with a pixel that is not ignored.
        out_of_range: [] int32, pixels whose label is neither a class nor the ignored one; they count
            nowhere else.
        loss_sum: [] float32, over pixels.
        confusion: [C, C] int32, pixels by true class (row) and predicted class (column).
        image_iou_sum: [] float32, sum over images of the mean IoU within the image.

    Example:
        >>> logits = jnp.array([[[[2.0, 0.0], [1.0, 0.0], [0.0, 3.0]]]])
        >>> labels = jnp.array([[[0, 1, 1]]])
        >>> summary(SegmentationMetrics.from_logits(logits, labels))["per_class"]["iou"]
        [0.5, 0.5]
    """

    count: jax.Array
    out_of_range: jax.Array
    loss_sum: jax.Array
    confusion: jax.Array
    image_iou_sum: jax.Array

    @classmethod
    def from_logits(
        cls,
        logits: jax.Array,
        labels: jax.Array,
        *,
        losses: jax.Array | None = None,
        mask: jax.Array | None = None,
        ignore_label: int | None = 255,
    ) -> SegmentationMetrics:
        """Counts one batch.

        Args:
            logits: [B, H, W, C] unnormalised scores.
            labels: [B, H, W] integer classes.
            losses: [B, H, W] losses to add up; None takes the cross-entropy of softmax(logits).
            mask: [B] bool; images marked False are left out. None takes all.
            ignore_label: Pixels with this label are left out; None for none.

        Raises:
            ValueError: If shapes or dtypes do not fit.
        """
        logits = jax.lax.stop_gradient(jnp.asarray(logits).astype(jnp.float32))
        labels = jnp.asarray(labels)
        _check(logits, labels)
        C = logits.shape[-1]
        labels = labels.astype(jnp.int32)
        predictions = jnp.argmax(logits, -1).astype(jnp.int32)
        wanted = jnp.ones(labels.shape, bool)
        if mask is not None:
            wanted &= mask.astype(bool)[:, None, None]
        if ignore_label is not None:
            wanted &= labels != ignore_label
        in_range = (labels >= 0) & (labels < C)
        valid = wanted & in_range
        labels = jnp.where(valid, labels, 0)
        if losses is None:
            own = jnp.take_along_axis(logits, labels[..., None], -1)[..., 0]
            losses = jax.nn.logsumexp(logits, -1) - own

        confusion = confusion_matrices(labels, predictions, C, valid)
        return cls(
            count=jnp.sum(jnp.any(valid, axis=(1, 2)).astype(jnp.int32)),
            out_of_range=jnp.sum((wanted & ~in_range).astype(jnp.int32)),
            loss_sum=jnp.sum(jnp.where(valid, losses.astype(jnp.float32), 0.0)),
            confusion=jnp.sum(confusion, axis=0),
            image_iou_sum=jnp.sum(mean_iou_of_images(confusion)),
        )


def _check(logits: jax.Array, labels: jax.Array) -> None:
    if logits.ndim != 4:
        raise ValueError(f"segmentation metrics want logits [B, H, W, C], found {logits.shape}.")
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"labels must be classes [B, H, W]: found {labels.shape} for logits {logits.shape}."
        )
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels must be integers, found {labels.dtype}.")


def mean_iou_of_images(confusion: jax.Array) -> jax.Array:
    """[B, C, C] pixel counts -> [B]: mean IoU over the classes in truth or prediction, 0 for none."""
    hits = jnp.diagonal(confusion, axis1=1, axis2=2)
    union = jnp.sum(confusion, axis=1) + jnp.sum(confusion, axis=2) - hits
    iou = hits.astype(jnp.float32) / jnp.maximum(union, 1)
    return jnp.sum(iou, axis=-1) / jnp.maximum(jnp.sum(union > 0, axis=-1), 1)


def summary(metrics: SegmentationMetrics) -> dict[str, Any]:
    """Turns the total of all batches into named numbers, in float64 on the host.

    IoU is true positives / (true positives + false positives + false negatives), scikit-learn's
    `jaccard_score`; Dice is its F1. A class that is nowhere, neither in the truth nor in the
    prediction, has no IoU (None in the table) and is left out of means; one that is only predicted
    has IoU 0 and counts.

    Returns:
        Numbers: `count` (images), `pixels`, `loss` (per pixel), `mean_iou`,
        `frequency_weighted_iou`, `pixel_accuracy`, `mean_class_accuracy` (recall, over the classes
        in the truth), `mean_dice`, `image_mean_iou` (mean over images of the mean IoU within each),
        and `out_of_range_pixels` if there are any. NaN without a pixel.
        Tables: `per_class` (lists `iou`, `dice`, `precision`, `accuracy`, `pixels`),
        `confusion_matrix` (rows are true classes).
    """
    m = jax.tree.map(np.asarray, metrics)
    hits = np.diagonal(m.confusion).astype(np.int64)
    support, predicted = m.confusion.sum(1, dtype=np.int64), m.confusion.sum(0, dtype=np.int64)
    pixels = int(support.sum())
    iou = divide(hits, support + predicted - hits, empty=np.nan)
    per_class = {
        "iou": iou,
        "dice": divide(2 * hits, support + predicted, empty=np.nan),
        "precision": divide(hits, predicted, empty=np.nan),
        "accuracy": divide(hits, support, empty=np.nan),
    }

    def per_pixel(total: np.ndarray) -> float:
        return float(divide(total, np.asarray(pixels), empty=np.nan))

    result: dict[str, Any] = {
        "count": int(m.count),
        "pixels": pixels,
        "loss": per_pixel(m.loss_sum),
        "mean_iou": mean_of_known(iou),
        "frequency_weighted_iou": per_pixel(np.nansum(iou * support)),
        "pixel_accuracy": per_pixel(hits.sum()),
        "mean_class_accuracy": mean_of_known(per_class["accuracy"]),
        "mean_dice": mean_of_known(per_class["dice"]),
        "image_mean_iou": float(divide(m.image_iou_sum, m.count, empty=np.nan)),
    }
    if m.out_of_range:
        result["out_of_range_pixels"] = int(m.out_of_range)
    result["per_class"] = {
        name: [None if np.isnan(value) else float(value) for value in values]
        for name, values in per_class.items()
    }
    result["per_class"]["pixels"] = support.tolist()
    result["confusion_matrix"] = m.confusion.tolist()
    return result
