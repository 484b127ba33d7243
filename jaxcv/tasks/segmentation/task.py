"""Semantic segmentation: a class for every pixel, by pixel and region losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv.metrics.boundary import BoundaryCounts, boundary_counts, boundary_summary
from jaxcv.metrics.segmentation import SegmentationMetrics, summary
from jaxcv.tasks.classification.objectives import CrossEntropy
from jaxcv.tasks.objective import Objective, check_objective, loss_per_example, with_ignored
from jaxcv.tasks.segmentation.earlier import upgrade_segmentation
from jaxcv.tasks.segmentation.outputs import main_logits
from jaxcv.train.task import Batch, Headline, Task
from jaxcv.train.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class Segmentation(Task):
    """One class of `num_classes` for every pixel; labels are class indices [B,H,W].

    The objective is the mean over the valid pixels of the global batch of a pixel loss, plus the mean
    of the images' region losses, each weighed by its image's valid pixels: an image with few labelled
    pixels counts little in either.

    Attributes:
        num_classes: number of classes C; the model gives logits [B,H,W,C], or a dict of `logits`
            and, of a second head, `auxiliary`.
        ignore_label: pixels with this label have no loss, no gradient, and count in no metric.
        objective: what is minimised in training, such as `Sum((CrossEntropy(), 1.0), (Dice(), 0.5))`;
            an evaluation's loss is the plain cross-entropy whatever it is.
        auxiliary_weight: weight of the objective on the second head's logits, if the model has one.
        boundary_tolerance: greatest distance in pixels between edges that count as met in an
            evaluation; None compares no edges.
        with_confidence: whether `predict` also gives the probability of each pixel's class.
    """

    num_classes: int
    ignore_label: int = 255
    objective: Objective = field(default_factory=CrossEntropy)
    auxiliary_weight: float = 0.4
    boundary_tolerance: int | None = 2
    with_confidence: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for an ignored label that is a class."""
        if 0 <= self.ignore_label < self.num_classes:
            raise ValueError(
                f"ignore_label is {self.ignore_label}, which is one of the {self.num_classes} classes"
            )

    @classmethod
    def upgrade(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """Turns the fields of earlier versions' config.json into an objective."""
        return upgrade_segmentation(fields)

    def check_outputs(self, outputs: Any, images: jax.ShapeDtypeStruct) -> None:
        """Expects logits [B, H, W, C] at the size of the images, from every head."""
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
        labels = jax.ShapeDtypeStruct(images.shape[:3], jnp.int32)
        check_objective(self.objective, heads["logits"], labels, self.num_classes)

    def class_count(self) -> int:
        """As many as there are logits at a pixel; the ignored label is none of them."""
        return self.num_classes

    def init_state(self, data: TrainingData | None = None) -> Any:
        """The objective's."""
        return self.objective.init(data)

    def loss(
        self, outputs: Any, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, Any]:
        """Sums of the pixel loss, and region losses times the pixels they are of; see the class.

        The state is that of the main head; the second one sees the step's as it was.
        """
        rows = with_ignored(batch, self.ignore_label)
        values, weights, updated = loss_per_example(
            self.objective, main_logits(outputs), rows, state, key
        )
        if isinstance(outputs, Mapping) and "auxiliary" in outputs and self.auxiliary_weight:
            auxiliary, auxiliary_weights, _ = loss_per_example(
                self.objective, outputs["auxiliary"], rows, state, key
            )
            # Both heads have the same weights, but where each keeps its own hard pixels: ties.
            fraction = weights / jnp.maximum(auxiliary_weights, 1)
            values = values + self.auxiliary_weight * auxiliary * fraction
        return values, weights, updated

    def _labels(self, batch: Batch) -> jax.Array:
        """[B,H,W] int32; every pixel of a padding row is ignored."""
        mask = batch["mask"][:, None, None]
        return jnp.where(mask, batch["label"].astype(jnp.int32), self.ignore_label)

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
