"""One number per image."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv.arguments import check_range
from jaxcv.metrics.regression import RegressionMetrics, summary
from jaxcv.tasks.objective import Objective, check_objective, loss_per_example
from jaxcv.tasks.regression.objectives import MeanAbsolute, MeanSquared
from jaxcv.train.task import Batch, Headline, Task, check_logits
from jaxcv.train.training_data import TrainingData


class RegressionSums(NamedTuple):
    """What adds up over batches and devices: the objective, and the errors."""

    loss: jax.Array
    errors: RegressionMetrics


@dataclass(frozen=True, kw_only=True)
class Regression(Task):
    """A number per image: an age, an angle, a count. The model gives [B,1].

    The model predicts by how much a number differs from `offset`, and so do the labels of a batch,
    from which it was taken in float64 on the host. float32 would keep of a pressure of 1e5 Pa the
    hundredths, of a UNIX time two minutes, and of the squares that R squared is made of still less.

    Attributes:
        objective: what is minimised in training, such as `Huber(delta=1.0)`; its mean is an
            evaluation's loss too.
        offset: what the outputs are counted from, in label units; None for the mean of the training
            labels, which is settled when a run starts (0 where there is no run).
    """

    objective: Objective = field(default_factory=MeanSquared)
    offset: float | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for an offset that is no number."""
        if self.offset is not None:
            check_range("offset", self.offset, open_low=True, open_high=True)

    @property
    def label_offset(self) -> float:  # type: ignore[override]
        """See `Task`."""
        return self.offset or 0.0

    def settled(self, data: TrainingData, earlier: Regression | None) -> Regression:
        """With the offset: that of the run when it started, else the mean of the training labels."""
        if self.offset is not None or "label" not in self.annotations:
            return self
        if earlier is not None and earlier.offset is not None:
            return replace(self, offset=earlier.offset)
        return replace(self, offset=data.label_mean())

    @classmethod
    def upgrade(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """Turns the field of earlier versions' config.json into an objective; they had no offset."""
        fields = {"offset": 0.0, **fields}
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

    @property
    def headlines(self) -> tuple[Headline, ...]:
        """Mean absolute error first."""
        return (
            Headline(
                name="mean_absolute_error",
                title="Mean absolute error",
                unit="label units",
                better="lower",
            ),
            Headline(
                name="root_mean_squared_error",
                title="Root mean squared error",
                unit="label units",
                better="lower",
            ),
            Headline(name="r_squared", title="R²"),
            Headline(name="loss", title="Loss", better="lower"),
            Headline(name="count", title="Test examples", better=None),
        )

    def summary(self, metrics: RegressionSums) -> dict[str, Any]:
        """Mean of the objective as "loss", mean squared error, mean absolute error, R squared."""
        values = summary(metrics.errors)
        loss = float(metrics.loss) / values["count"] if values["count"] else float("nan")
        return {"loss": loss, **values}

    def predict(self, outputs: jax.Array) -> dict[str, jax.Array]:
        """The number less the offset, see `restored`."""
        return {"prediction": outputs[:, 0].astype(jnp.float32)}

    def restored(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Adds the offset to "prediction" and "label", in float64."""
        if not self.offset:
            return arrays
        counted: tuple[str, ...] = ("prediction", "label")
        return {
            name: np.asarray(array, np.float64) + self.offset if name in counted else array
            for name, array in arrays.items()
        }
