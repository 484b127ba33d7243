"""Embeddings learned by comparing the pictures of a batch, with each other or with proxies of classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv.metrics.margin import MarginMetrics
from jaxcv.models import EmbeddingOutputs
from jaxcv.tasks.faces.objectives import Triplet
from jaxcv.tasks.faces.objectives.embedded import Embedded
from jaxcv.tasks.faces.recognition import (
    check_embeddings,
    compare_all_pairs,
    verification_headlines,
)
from jaxcv.tasks.objective import Objective, check_objective, loss_per_example, with_ignored
from jaxcv.train.task import Batch, Headline, Task
from jaxcv.train.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class MetricLearning(Task):
    """Embeddings by an objective that compares them; evaluated as `FaceRecognition` is.

    For objectives on pairs and triplets the batch must hold several pictures of a person:
    `jaxcv.data.BalancedIdentities`.

    Attributes:
        num_classes: people of the training set.
        objective: what is minimised: on pairs and triplets `Triplet`, `Contrastive`, `LiftedStructure`,
            `MultiSimilarity`, `Circle`, `RankedList`, `NPairs`, `NTXent`, `SupervisedContrastive`; with
            the model's classifier as proxies `ProxyNCA`, `ProxyAnchor`, `MarginSoftmax`; with centres of
            its own `Center`; or a `Sum` of some.
        false_accept_rates: at which evaluation tells the true accept rate.
    """

    num_classes: int
    objective: Objective = field(default_factory=Triplet)
    false_accept_rates: tuple[float, ...] = (0.01, 0.001)

    def class_count(self) -> int:
        """The people of the training set."""
        return self.num_classes

    def check_outputs(self, outputs: Any, images: jax.ShapeDtypeStruct) -> None:
        """Wants embeddings [B,D], and what else the objective reads."""
        check_embeddings(outputs, images)
        labels = jax.ShapeDtypeStruct(images.shape[:1], jnp.int32)
        check_objective(self.objective, self._embedded(outputs), labels, self.num_classes)

    def init_state(self, data: TrainingData | None = None) -> Any:
        """That of the objective."""
        return self.objective.init(data)

    def loss(
        self, outputs: EmbeddingOutputs, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, Any]:
        """The objective per row of the batch of all devices."""
        rows = with_ignored(batch)
        return loss_per_example(self.objective, self._embedded(outputs), rows, state, key)

    def _embedded(self, outputs: EmbeddingOutputs) -> Embedded:
        return Embedded(
            embedding=outputs.embedding,
            classifier=outputs.classifier,
            num_classes=self.num_classes,
        )

    def metrics(self, outputs: EmbeddingOutputs, batch: Batch) -> MarginMetrics:
        """The number of rows."""
        return MarginMetrics.counted(batch["mask"])

    @property
    def headlines(self) -> tuple[Headline, ...]:
        """Equal error rate first; the loss is of training."""
        return verification_headlines(self.false_accept_rates)

    def presentation(self) -> Any:
        """See `jaxcv.tasks.faces.presentation`."""
        from jaxcv.tasks.faces.presentation import FacePresentation

        return FacePresentation()

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
