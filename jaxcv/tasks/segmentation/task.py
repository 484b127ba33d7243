"""Semantic segmentation: a class for every pixel, by pixel and region losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv import losses
from jaxcv.losses.hard_examples import hardest
from jaxcv.metrics.boundary import BoundaryCounts, boundary_counts, boundary_summary
from jaxcv.metrics.segmentation import SegmentationMetrics, summary
from jaxcv.train.task import Batch, Headline, Task


@dataclass(frozen=True, kw_only=True)
class Segmentation(Task):
    """One class of `num_classes` for every pixel; labels are class indices [B,H,W].

    The objective is the mean over the valid pixels of the global batch of the pixel loss, plus the
    mean of the images' region losses, each weighed by its image's valid pixels: an image with few
    labelled pixels counts little in either.

    Attributes:
        num_classes: number of classes C; the model gives logits [B,H,W,C], or a dict of `logits`
            and, of a second head, `auxiliary`.
        ignore_label: pixels with this label have no loss, no gradient, and count in no metric.
        cross_entropy_weight: weight of the pixel loss.
        label_smoothing: fraction of the label that is spread evenly over all classes, in [0, 1).
        focal_gamma: > 0 makes the pixel loss the focal loss, which turns easy pixels down.
        hard_pixels: fraction in (0, 1] of an image's valid pixels, those with the highest loss, to which
            the pixel loss is kept (online hard example mining); the mean is over those.
        class_weights: one factor per class for the pixel loss of its pixels; () weighs all alike.
            They do not enter the denominator.
        dice_weight, tversky_weight, lovasz_weight: weights of region losses, which are means over the
            classes in the image; 0 leaves one out. On a CPU the sort of Lovász is slow.
        tversky_false_negatives: weight of false negatives in the Tversky loss, against 1 minus it of
            false positives; 0.5 is Dice.
        auxiliary_weight: weight of the same loss on the second head's logits, if the model has one.
        boundary_tolerance: greatest distance in pixels between edges that count as met in an
            evaluation; None compares no edges.
        with_confidence: whether `predict` also gives the probability of each pixel's class.
    """

    num_classes: int
    ignore_label: int = 255
    cross_entropy_weight: float = 1.0
    label_smoothing: float = 0.0
    focal_gamma: float = 0.0
    hard_pixels: float = 1.0
    class_weights: tuple[float, ...] = ()
    dice_weight: float = 0.0
    tversky_weight: float = 0.0
    lovasz_weight: float = 0.0
    tversky_false_negatives: float = 0.7
    auxiliary_weight: float = 0.4
    boundary_tolerance: int | None = 2
    with_confidence: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for settings that contradict each other or make no sense."""
        if self.focal_gamma > 0 and self.label_smoothing > 0:
            raise ValueError(
                f"focal_gamma is {self.focal_gamma} and label_smoothing {self.label_smoothing}; the "
                "focal loss is not defined for smoothed labels, so one of them must be 0"
            )
        if not 0 < self.hard_pixels <= 1:
            raise ValueError(
                f"hard_pixels is {self.hard_pixels}, but a fraction in (0, 1] is wanted"
            )
        if not 0 <= self.tversky_false_negatives <= 1:
            raise ValueError(
                f"tversky_false_negatives is {self.tversky_false_negatives}, but a weight in [0, 1] "
                "is wanted"
            )
        if 0 <= self.ignore_label < self.num_classes:
            raise ValueError(
                f"ignore_label is {self.ignore_label}, which is one of the {self.num_classes} classes"
            )
        if self.class_weights and len(self.class_weights) != self.num_classes:
            raise ValueError(
                f"there are {len(self.class_weights)} class_weights for {self.num_classes} classes"
            )

    def check_outputs(self, outputs: Any, images: jax.ShapeDtypeStruct) -> None:
        """Wants logits [B, H, W, C] at the size of the images, from every head."""
        heads = outputs if isinstance(outputs, Mapping) else {"logits": outputs}
        if "logits" not in heads:
            raise ValueError(
                f"the model gives a dict of {sorted(heads)}, but the task wants 'logits' in it"
            )
        wanted = (*images.shape[:3], self.num_classes)
        for name, head in heads.items():
            shape = getattr(head, "shape", None)
            if shape is None or shape[:-1] != wanted[:-1]:
                found = type(head).__name__ if shape is None else f"shape {shape}"
                raise ValueError(
                    f"the model gives {name} of {found}, but the task wants {wanted}: a class for "
                    "every pixel; take a model of jaxcv.models.segmentation"
                )
            if shape != wanted:
                raise ValueError(
                    f"the model gives {name} for {shape[-1]} classes, but the task wants "
                    f"{self.num_classes}; say --model.num-classes {self.num_classes}"
                )

    def class_count(self) -> int:
        """As many as there are logits at a pixel; the ignored label is none of them."""
        return self.num_classes

    def loss(
        self, outputs: Any, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, Any]:
        """Sums of the pixel loss, and region losses times the pixels they are of; see the class."""
        labels = self._labels(batch)
        values, weights = self._head_loss(main_logits(outputs), labels)
        if isinstance(outputs, Mapping) and "auxiliary" in outputs and self.auxiliary_weight:
            auxiliary, auxiliary_weights = self._head_loss(outputs["auxiliary"], labels)
            # Both heads have the same weights, but where each keeps its own hard pixels: ties.
            fraction = weights / jnp.maximum(auxiliary_weights, 1)
            values = values + self.auxiliary_weight * auxiliary * fraction
        return values, weights, state

    def _labels(self, batch: Batch) -> jax.Array:
        """[B,H,W] int32; every pixel of a padding row is ignored."""
        mask = batch["mask"][:, None, None]
        return jnp.where(mask, batch["label"].astype(jnp.int32), self.ignore_label)

    def _head_loss(self, logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Values and weights [B] of one head."""
        valid = (labels != self.ignore_label).reshape(labels.shape[0], -1)
        pixels = self._pixel_losses(logits, labels).reshape(valid.shape)
        if self.hard_pixels < 1:
            count = jnp.sum(valid, axis=1)
            number = jnp.ceil(self.hard_pixels * count).astype(jnp.int32)
            kept = hardest(pixels, valid, number)
            pixels, valid = jnp.where(kept, pixels, 0.0), kept
        weights = jnp.sum(valid, axis=1, dtype=jnp.float32)
        values = self.cross_entropy_weight * jnp.sum(pixels, axis=1)
        for weight, loss in (
            (self.dice_weight, losses.dice_loss),
            (self.tversky_weight, self._tversky_loss),
            (self.lovasz_weight, losses.lovasz_softmax_loss),
        ):
            if weight:
                region = loss(logits, labels, ignore_label=self.ignore_label)
                values = values + weight * weights * region
        return values, weights

    def _pixel_losses(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        """[B,H,W], 0 where ignored."""
        weights = jnp.array(self.class_weights) if self.class_weights else None
        if self.focal_gamma > 0:
            return losses.softmax_focal_loss(
                logits,
                labels,
                gamma=self.focal_gamma,
                class_weights=weights,
                ignore_label=self.ignore_label,
            )
        return losses.softmax_cross_entropy(
            logits,
            labels,
            label_smoothing=self.label_smoothing,
            class_weights=weights,
            ignore_label=self.ignore_label,
        )

    def _tversky_loss(
        self, logits: jax.Array, labels: jax.Array, *, ignore_label: int
    ) -> jax.Array:
        return losses.tversky_loss(
            logits,
            labels,
            false_positive_weight=1 - self.tversky_false_negatives,
            false_negative_weight=self.tversky_false_negatives,
            ignore_label=ignore_label,
        )

    def metrics(self, outputs: Any, batch: Batch) -> SegmentationMetrics:
        """Confusion matrix and IoU within images; the loss is the plain cross-entropy."""
        return SegmentationMetrics.from_logits(
            main_logits(outputs),
            batch["label"],
            mask=batch["mask"],
            ignore_label=self.ignore_label,
        )

    def per_example(self, outputs: Any, batch: Batch) -> dict[str, jax.Array]:
        """Counts of each image's edges, [B,4,C] int32: too slow to be made in every training step."""
        if self.boundary_tolerance is None:
            return {}
        labels = self._labels(batch)
        counts = boundary_counts(
            labels,
            jnp.argmax(main_logits(outputs), -1),
            self.num_classes,
            tolerance=self.boundary_tolerance,
            valid=(labels >= 0) & (labels < self.num_classes) & (labels != self.ignore_label),
        )
        return {"boundary": jnp.stack(counts, axis=1)}

    def aggregate(self, per_example: dict[str, np.ndarray]) -> dict[str, Any]:
        """Boundary F1, over all images and within each."""
        if "boundary" not in per_example:
            return {}
        return boundary_summary(BoundaryCounts(*np.moveaxis(per_example["boundary"], 1, 0)))

    @property
    def headlines(self) -> tuple[Headline, ...]:
        """Mean IoU first."""
        return (
            Headline(name="mean_iou", title="Mean IoU", fraction=True),
            Headline(name="pixel_accuracy", title="Pixel accuracy", fraction=True),
            Headline(name="boundary_f1", title="Boundary F1", fraction=True),
            Headline(name="loss", title="Loss", unit="nats", better="lower"),
            Headline(name="count", title="Test examples", better=None),
        )

    def summary(self, metrics: SegmentationMetrics) -> dict[str, Any]:
        """Loss, IoU, accuracy, Dice, by class and as means; confusion matrix."""
        return summary(metrics)

    def predict(self, outputs: Any) -> dict[str, jax.Array]:
        """The best class of every pixel, [B,H,W] uint8 (int32 for over 255 classes).

        With `with_confidence` also its probability, [B,H,W].
        """
        logits = main_logits(outputs).astype(jnp.float32)
        dtype = jnp.uint8 if self.num_classes <= 255 else jnp.int32
        predictions = {"prediction": jnp.argmax(logits, -1).astype(dtype)}
        if self.with_confidence:
            predictions["confidence"] = jnp.max(jax.nn.softmax(logits, -1), -1)
        return predictions

    def presentation(self) -> Any:
        """See `jaxcv.tasks.segmentation.presentation`."""
        from jaxcv.tasks.segmentation.presentation import SegmentationPresentation

        return SegmentationPresentation()


def main_logits(outputs: Any) -> jax.Array:
    """The logits [B,H,W,C] of a model that may have a second head."""
    return outputs["logits"] if isinstance(outputs, Mapping) else outputs
