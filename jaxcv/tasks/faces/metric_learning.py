"""Embeddings learned from the pairs and triplets of a batch, without a class matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv import losses
from jaxcv.devices import AXIS
from jaxcv.metrics.margin import MarginMetrics
from jaxcv.models import EmbeddingOutputs
from jaxcv.tasks.faces.recognition import check_embeddings, compare_all_pairs
from jaxcv.train.task import Batch, Task


@runtime_checkable
class PairObjective(Protocol):
    """A frozen dataclass that gives a loss for each row of a batch spread over devices."""

    def of_batch(self, embeddings: jax.Array, labels: jax.Array, mask: jax.Array) -> jax.Array:
        """Gives [B] float32 from embeddings [B,D], labels [B] and mask [B] of this device."""
        ...


@dataclass(frozen=True, kw_only=True)
class Triplet:
    """`losses.batch_triplet_loss` on unit vectors (Schroff et al. 2015; Hermans et al. 2017).

    Attributes:
        mining: which triplets of the batch count.
        margin: least difference of the distances, >= 0, or "soft".
    """

    mining: Literal["all", "violating", "hard", "semi_hard"] = "hard"
    margin: float | Literal["soft"] = 0.2

    def of_batch(self, embeddings: jax.Array, labels: jax.Array, mask: jax.Array) -> jax.Array:
        """See `PairObjective`."""
        return losses.batch_triplet_loss(
            losses.l2_normalize(embeddings),
            labels,
            mining=self.mining,
            margin=self.margin,
            mask=mask,
            axis_name=AXIS,
        )


@dataclass(frozen=True, kw_only=True)
class SupervisedContrastive:
    """`losses.supervised_contrastive_loss` (Khosla et al. 2020).

    Attributes:
        temperature: > 0.
    """

    temperature: float = 0.1

    def of_batch(self, embeddings: jax.Array, labels: jax.Array, mask: jax.Array) -> jax.Array:
        """See `PairObjective`."""
        return losses.supervised_contrastive_loss(
            embeddings, labels, temperature=self.temperature, mask=mask, axis_name=AXIS
        )


@dataclass(frozen=True, kw_only=True)
class MetricLearning(Task):
    """Embeddings by a loss on the pairs within a batch; evaluated as `FaceRecognition` is.

    The batch must hold several pictures of a person: `jaxcv.data.BalancedIdentities`.

    Attributes:
        num_classes: people of the training set.
        objective: the loss.
        false_accept_rates: at which evaluation tells the true accept rate.
    """

    num_classes: int
    objective: PairObjective = Triplet()
    false_accept_rates: tuple[float, ...] = (0.01, 0.001)

    def class_count(self) -> int:
        """The people of the training set."""
        return self.num_classes

    def check_outputs(self, outputs: Any, images: jax.ShapeDtypeStruct) -> None:
        """Wants embeddings [B,D]."""
        check_embeddings(outputs, images)

    def loss(
        self, outputs: EmbeddingOutputs, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, Any]:
        """The objective per row of the batch of all devices."""
        values = self.objective.of_batch(outputs.embedding, batch["label"], batch["mask"])
        return jnp.where(batch["mask"], values, 0.0), batch["mask"].astype(jnp.float32), state

    def metrics(self, outputs: EmbeddingOutputs, batch: Batch) -> MarginMetrics:
        """The number of rows."""
        return MarginMetrics.counted(batch["mask"])

    def summary(self, metrics: MarginMetrics) -> dict[str, Any]:
        """The number of pictures."""
        return {"count": int(metrics.count)}

    def per_example(self, outputs: EmbeddingOutputs, batch: Batch) -> dict[str, jax.Array]:
        """The embeddings, with the people they belong to."""
        return {"embedding": outputs.embedding, "label": batch["label"]}

    def aggregate(self, per_example: dict[str, np.ndarray]) -> dict[str, Any]:
        """Equal error rate, true accept rates and area under the curve, over all pairs."""
        return compare_all_pairs(per_example, self.false_accept_rates)

    def predict(self, outputs: EmbeddingOutputs) -> dict[str, jax.Array]:
        """The embedding."""
        return {"embedding": outputs.embedding}
