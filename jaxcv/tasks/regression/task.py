"""One number per image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxcv.metrics.regression import RegressionMetrics, summary
from jaxcv.tasks.objective import Objective, check_objective, loss_per_example
from jaxcv.tasks.regression.objectives import MeanAbsolute, MeanSquared
from jaxcv.train.task import Batch, Task, check_logits
from jaxcv.train.training_data import TrainingData


class RegressionSums(NamedTuple):
    """What adds up over batches and devices: the objective, and the errors."""

    loss: jax.Array
    errors: RegressionMetrics


@dataclass(frozen=True, kw_only=True)
class Regression(Task):
    """A number per image: an age, an angle, a count. The model gives [B,1].

    Attributes:
        objective: what is minimised in training, such as `Huber(delta=1.0)`; its mean is an
            evaluation's loss too.
    """

    objective: Objective = field(default_factory=MeanSquared)

    @classmethod
    def upgrade(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """Turns the field of earlier versions' config.json into an objective."""
        if "error" not in fields:
            return fields
        objective = {"squared": MeanSquared, "absolute": MeanAbsolute}[fields.pop("error")]
        return {"objective": objective(), **fields}

    def check_outputs(self, outputs: Any, images: jax.ShapeDtypeStruct) -> None:
        """Expects numbers [B, 1], and an objective that can be computed from them."""
        check_logits(outputs, images, 1)
        labels = jax.ShapeDtypeStruct(outputs.shape[:1], jnp.float32)
        check_objective(self.objective, outputs, labels, None)

    def class_count(self) -> None:
        """Labels are numbers, not classes."""
        return

    def init_state(self, data: TrainingData | None = None) -> Any:
        """The objective's."""
        return self.objective.init(data)

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, Any]:
        """The objective per example."""
        numbers = {**batch, "label": batch["label"].astype(jnp.float32)}
        return loss_per_example(self.objective, outputs, numbers, state, key)

    def metrics(self, outputs: jax.Array, batch: Batch) -> RegressionSums:
        """Sums for the objective, both errors and the coefficient of determination."""
        values, _, _ = self.loss(outputs, batch, self.init_state())
        errors = RegressionMetrics.from_predictions(
            outputs[:, 0], batch["label"], mask=batch["mask"]
        )
        return RegressionSums(jnp.sum(values), errors)

    def summary(self, metrics: RegressionSums) -> dict[str, Any]:
        """Mean of the objective as "loss", mean squared error, mean absolute error, R squared."""
        values = summary(metrics.errors)
        loss = float(metrics.loss) / values["count"] if values["count"] else float("nan")
        return {"loss": loss, **values}

    def predict(self, outputs: jax.Array) -> dict[str, jax.Array]:
        """The number."""
        return {"prediction": outputs[:, 0].astype(jnp.float32)}
