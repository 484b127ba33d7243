"""Yes or no by one sigmoid output and binary cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxcv import losses
from jaxcv.metrics.binary import BinaryMetrics, summary
from jaxcv.train.task import Batch, Headline, Task, check_logits


@dataclass(frozen=True, kw_only=True)
class BinaryClassification(Task):
    """Label 1 against label 0; the model gives one logit, [B,1].

    Attributes:
        positive_weight: factor for the loss of positive examples, > 0.
    """

    positive_weight: float = 1.0

    def check_outputs(self, outputs: Any, images: jax.ShapeDtypeStruct) -> None:
        """Wants logits [B, 1]."""
        check_logits(outputs, images, 1)

    def class_count(self) -> int:
        """The labels are 0 and 1."""
        return 2

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, Any]:
        """Sigmoid cross-entropy per example."""
        labels = batch["label"].astype(jnp.float32)
        values = losses.sigmoid_cross_entropy(
            outputs[:, 0], labels, positive_weight=self.positive_weight
        )
        return jnp.where(batch["mask"], values, 0.0), batch["mask"].astype(jnp.float32), state

    def metrics(self, outputs: jax.Array, batch: Batch) -> BinaryMetrics:
        """Counts at the threshold 0 of the logit, and the sum of the plain cross-entropy."""
        return BinaryMetrics.from_logits(outputs[:, 0], batch["label"], mask=batch["mask"])

    @property
    def headlines(self) -> tuple[Headline, ...]:
        """Accuracy first."""
        return (
            Headline(name="accuracy", title="Accuracy", fraction=True),
            Headline(name="f1", title="F1", fraction=True),
            Headline(name="precision", title="Precision", fraction=True),
            Headline(name="recall", title="Recall", fraction=True),
            Headline(name="loss", title="Loss", unit="nats", better="lower"),
            Headline(name="count", title="Test examples", better=None),
        )

    def summary(self, metrics: BinaryMetrics) -> dict[str, Any]:
        """Loss, accuracy, precision, recall, F1."""
        return summary(metrics)

    def predict(self, outputs: jax.Array) -> dict[str, jax.Array]:
        """The likelier label, its probability, and both probabilities [B,2]."""
        positive = jax.nn.sigmoid(outputs[:, 0].astype(jnp.float32))
        return {
            "prediction": (outputs[:, 0] > 0).astype(jnp.int32),
            "confidence": jnp.maximum(positive, 1 - positive),
            "probabilities": jnp.stack([1 - positive, positive], -1),
        }

    def presentation(self) -> Any:
        """See `jaxcv.tasks.classification.presentation`."""
        from jaxcv.tasks.classification.presentation import ClassificationPresentation

        return ClassificationPresentation()
