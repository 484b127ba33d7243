"""One number per image by squared or absolute error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxcv import losses
from jaxcv.metrics.regression import RegressionMetrics, summary
from jaxcv.train.task import Batch, Headline, Task, check_logits


@dataclass(frozen=True, kw_only=True)
class Regression(Task):
    """A number per image: an age, an angle, a count. The model gives [B,1].

    Attributes:
        error: what is minimised, the mean squared or the mean absolute error.
    """

    error: Literal["squared", "absolute"] = "squared"

    def check_outputs(self, outputs: Any, images: jax.ShapeDtypeStruct) -> None:
        """Wants logits [B, 1]."""
        check_logits(outputs, images, 1)

    def class_count(self) -> None:
        """Labels are numbers, not classes."""
        return

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, Any]:
        """Squared or absolute error per example."""
        error = losses.mean_squared_error if self.error == "squared" else losses.mean_absolute_error
        values = error(outputs, batch["label"].astype(jnp.float32)[:, None])
        return jnp.where(batch["mask"], values, 0.0), batch["mask"].astype(jnp.float32), state

    def metrics(self, outputs: jax.Array, batch: Batch) -> RegressionMetrics:
        """Sums for both errors and the coefficient of determination."""
        return RegressionMetrics.from_predictions(outputs[:, 0], batch["label"], mask=batch["mask"])

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

    def summary(self, metrics: RegressionMetrics) -> dict[str, Any]:
        """Mean squared error, mean absolute error, R squared; "loss" is the one minimised."""
        values = summary(metrics)
        loss = "mean_squared_error" if self.error == "squared" else "mean_absolute_error"
        return {"loss": values[loss], **values}

    def predict(self, outputs: jax.Array) -> dict[str, jax.Array]:
        """The number."""
        return {"prediction": outputs[:, 0].astype(jnp.float32)}
