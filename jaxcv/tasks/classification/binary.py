"""Yes or no by one sigmoid output."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from jaxcv.metrics.binary import BinaryMetrics, summary
from jaxcv.tasks.classification.objectives import SigmoidCrossEntropy
from jaxcv.tasks.objective import Objective, check_objective, loss_per_example, with_ignored
from jaxcv.train.task import Batch, Task, check_logits
from jaxcv.train.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class BinaryClassification(Task):
    """Label 1 against label 0; the model gives one logit, [B,1].

    Attributes:
        objective: what is minimised in training. One on a softmax sees the logits (0, z) of no and yes.
            An evaluation's loss is the plain cross-entropy whatever it is.
    """

    objective: Objective = field(default_factory=SigmoidCrossEntropy)

    @classmethod
    def upgrade(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """Turns the field of earlier versions' config.json into an objective."""
        if "positive_weight" not in fields:
            return fields
        return {
            "objective": SigmoidCrossEntropy(positive_weight=fields.pop("positive_weight")),
            **fields,
        }

    def check_outputs(self, outputs: Any, images: jax.ShapeDtypeStruct) -> None:
        """Expects logits [B, 1], and an objective that can be computed from them."""
        check_logits(outputs, images, 1)
        labels = jax.ShapeDtypeStruct(outputs.shape[:1], jnp.int32)
        check_objective(self.objective, outputs, labels, 2)

    def class_count(self) -> int:
        """The labels are 0 and 1."""
        return 2

    def init_state(self, data: TrainingData | None = None) -> Any:
        """The objective's."""
        return self.objective.init(data)

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, Any]:
        """The objective per example."""
        return loss_per_example(self.objective, outputs, with_ignored(batch), state, key)

    def metrics(self, outputs: jax.Array, batch: Batch) -> BinaryMetrics:
        """Counts at the threshold 0 of the logit, and the sum of the plain cross-entropy."""
        return BinaryMetrics.from_logits(outputs[:, 0], batch["label"], mask=batch["mask"])

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
