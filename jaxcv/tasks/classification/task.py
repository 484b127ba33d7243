"""Classification into C classes by softmax cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxcv import losses
from jaxcv.metrics.classification import ClassificationMetrics, summary
from jaxcv.train.task import Batch, Headline, Task, check_logits


@dataclass(frozen=True, kw_only=True)
class Classification(Task):
    """One class of `num_classes` per image.

    Attributes:
        num_classes: number of classes C; the model gives logits [B,C].
        label_smoothing: fraction of the label that is spread evenly over all classes, in [0, 1).
        class_weights: one factor per class for the loss of its examples; () weighs all alike.
        top_k: an example counts as a top-k hit when its class is among the k best.
    """

    num_classes: int
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()
    top_k: int = 5

    def check_outputs(self, outputs: Any, images: jax.ShapeDtypeStruct) -> None:
        """Wants logits [B, C]."""
        check_logits(outputs, images, self.num_classes)

    def class_count(self) -> int:
        """As many as there are logits."""
        return self.num_classes

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, Any]:
        """Softmax cross-entropy per example, for labels [B] or, after mixing, distributions [B,C]."""
        values = losses.softmax_cross_entropy(
            outputs,
            batch["label"],
            label_smoothing=self.label_smoothing,
            class_weights=jnp.array(self.class_weights) if self.class_weights else None,
        )
        weights = batch["mask"].astype(jnp.float32)
        return jnp.where(batch["mask"], values, 0.0), weights, state

    def metrics(self, outputs: jax.Array, batch: Batch) -> ClassificationMetrics:
        """Sums for accuracy, confusion and calibration; the loss is the plain cross-entropy."""
        return ClassificationMetrics.from_logits(
            outputs, batch["label"], mask=batch["mask"], top_k=self.top_k
        )

    @property
    def headlines(self) -> tuple[Headline, ...]:
        """Accuracy first."""
        return (
            Headline(name="accuracy", title="Accuracy", fraction=True),
            Headline(name="loss", title="Loss", unit="nats", better="lower"),
            Headline(
                name=f"top_{self.top_k}_accuracy", title=f"Top-{self.top_k} accuracy", fraction=True
            ),
            Headline(name="macro_f1", title="Macro F1", fraction=True),
            Headline(
                name="expected_calibration_error",
                title="Calibration error",
                fraction=True,
                better="lower",
            ),
            Headline(name="count", title="Test examples", better=None),
        )

    def summary(self, metrics: ClassificationMetrics) -> dict[str, Any]:
        """Loss, accuracy, top-k, precision, recall, F1, confusion matrix, calibration."""
        return summary(metrics)

    def predict(self, outputs: jax.Array) -> dict[str, jax.Array]:
        """The best class, its probability, and all probabilities [B,C]."""
        probabilities = jax.nn.softmax(outputs.astype(jnp.float32))
        return {
            "prediction": jnp.argmax(outputs, -1),
            "confidence": jnp.max(probabilities, -1),
            "probabilities": probabilities,
        }

    def presentation(self) -> Any:
        """See `jaxcv.tasks.classification.presentation`."""
        from jaxcv.tasks.classification.presentation import ClassificationPresentation

        return ClassificationPresentation()
