"""Classification into C classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from jaxcv.metrics.classification import ClassificationMetrics, summary
from jaxcv.tasks.classification.objectives import CrossEntropy
from jaxcv.tasks.objective import Objective, check_objective, loss_per_example, with_ignored
from jaxcv.train.task import Batch, Task, check_logits
from jaxcv.train.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class Classification(Task):
    """One class of `num_classes` per image.

    Attributes:
        num_classes: number of classes C; the model gives logits [B,C].
        objective: what is minimised in training, such as `Focal(gamma=2.0)`; an evaluation's loss is
            the plain cross-entropy whatever it is.
        top_k: an example counts as a top-k hit when its class is among the k best.
    """

    num_classes: int
    objective: Objective = field(default_factory=CrossEntropy)
    top_k: int = 5

    @classmethod
    def upgrade(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """Turns the fields of earlier versions' config.json into an objective."""
        old = {
            name: fields.pop(name)
            for name in ("label_smoothing", "class_weights")
            if name in fields
        }
        return {"objective": CrossEntropy(**old), **fields} if old else fields

    def check_outputs(self, outputs: Any, images: jax.ShapeDtypeStruct) -> None:
        """Expects logits [B, C], and an objective that can be computed from them."""
        check_logits(outputs, images, self.num_classes)
        labels = jax.ShapeDtypeStruct(outputs.shape[:1], jnp.int32)
        check_objective(self.objective, outputs, labels, self.num_classes)

    def class_count(self) -> int:
        """As many as there are logits."""
        return self.num_classes

    def init_state(self, data: TrainingData | None = None) -> Any:
        """The objective's."""
        return self.objective.init(data)

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, Any]:
        """The objective per example, for labels [B] or, after mixing, distributions [B,C]."""
        return loss_per_example(self.objective, outputs, with_ignored(batch), state, key)

    def metrics(self, outputs: jax.Array, batch: Batch) -> ClassificationMetrics:
        """Sums for accuracy, confusion and calibration; the loss is the plain cross-entropy."""
        return ClassificationMetrics.from_logits(
            outputs, batch["label"], mask=batch["mask"], top_k=self.top_k
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
