"""Face recognition: a margin softmax over the identities of the training set, verification on others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv import losses
from jaxcv.devices import AXIS
from jaxcv.losses import ArcFace, LinearCrossEntropy, Margin
from jaxcv.metrics.margin import MarginMetrics, summary
from jaxcv.metrics.pairs import pair_scores
from jaxcv.metrics.verification import verification_summary
from jaxcv.models import EmbeddingOutputs
from jaxcv.train.task import Batch, Headline, Task
from jaxcv.train.training_data import TrainingData

_NOBODY = -1
# Beyond this, evaluation draws impostor pairs at random: 130 MB of scores.
_MOST_IMPOSTORS = 10_000_000


@dataclass(frozen=True, kw_only=True)
class FaceRecognition(Task):
    """Embeddings in which one person's pictures lie close together.

    Training classifies the `num_classes` people of the training set by `linear_softmax_cross_entropy`,
    the class matrix divided over the devices, embeddings gathered. Evaluation compares all pairs of
    test pictures by cosine; its people need not be those of training.

    Attributes:
        num_classes: people of the training set.
        margin: any margin softmax; `Warmup(margin=..., steps=...)` lets it grow.
        sampling_rate: part of the classes in (0, 1] that each step's softmax is taken over, those of
            the batch always among them (Partial FC, An et al. 2022); 1 is exact.
        false_accept_rates: at which evaluation tells the true accept rate.
    """

    num_classes: int
    margin: Margin = field(default_factory=ArcFace)
    sampling_rate: float = 1.0
    false_accept_rates: tuple[float, ...] = (0.01, 0.001)

    def class_count(self) -> int:
        """The people of the training set."""
        return self.num_classes

    def check_outputs(self, outputs: Any, images: jax.ShapeDtypeStruct) -> None:
        """Wants embeddings [B,D] and a class matrix of at least `num_classes` rows."""
        check_embeddings(outputs, images)
        rows = 0 if outputs.classifier is None else outputs.classifier.shape[0]
        if rows < self.num_classes:
            raise ValueError(
                f"the model's classifier has {rows} rows, but the task has {self.num_classes} classes; "
                f"say --model.num-classes {self.num_classes}"
            )

    def init_state(self, data: TrainingData | None = None) -> Any:
        """The margin's statistics."""
        return self.margin.init()

    def loss(
        self,
        outputs: EmbeddingOutputs,
        batch: Batch,
        state: Any = (),
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array, Any]:
        """The margin softmax's cross-entropy per picture, over the classes of all devices."""
        result = self._softmax(outputs, batch, state, key)
        return result.loss, batch["mask"].astype(jnp.float32), result.margin_state

    def metrics(self, outputs: EmbeddingOutputs, batch: Batch) -> MarginMetrics:
        """The number of pictures: the people of an evaluation are not those of training."""
        return MarginMetrics.counted(batch["mask"])

    def loss_and_metrics(
        self, outputs: EmbeddingOutputs, batch: Batch, state: Any, key: jax.Array
    ) -> tuple[jax.Array, jax.Array, MarginMetrics, Any]:
        """As `loss`, with sums of the same softmax: hits, margin violations, cosines, norms."""
        result = self._softmax(outputs, batch, state, key)
        norm = jnp.linalg.norm(outputs.embedding.astype(jnp.float32), axis=-1)
        metrics = MarginMetrics.from_rows(
            loss=result.loss,
            correct=result.correct,
            separated=result.separated,
            cosine=result.target_score,
            norm=jax.lax.stop_gradient(norm),
            mask=batch["mask"],
        )
        return result.loss, batch["mask"].astype(jnp.float32), metrics, result.margin_state

    def _softmax(
        self, outputs: EmbeddingOutputs, batch: Batch, state: Any, key: jax.Array | None
    ) -> LinearCrossEntropy:
        labels = jnp.where(batch["mask"], batch["label"], _NOBODY)
        classifier, sample = outputs.classifier, None
        assert classifier is not None, "checked before training"
        if self.sampling_rate < 1:
            assert key is not None, "sampling classes needs a key"
            sample = losses.sample_classes(
                key,
                labels,
                classifier.shape[0],
                rate=self.sampling_rate,
                num_classes=self.num_classes,
                axis_name=AXIS,
            )
            classifier = classifier[sample.rows]
        return losses.linear_softmax_cross_entropy(
            outputs.embedding,
            classifier,
            labels,
            margin=self.margin,
            margin_state=state,
            ignore_label=_NOBODY,
            num_classes=self.num_classes,
            sample=sample,
            axis_name=AXIS,
        )

    @property
    def headlines(self) -> tuple[Headline, ...]:
        """Equal error rate first; loss and accuracy are of training."""
        return verification_headlines(self.false_accept_rates)

    def presentation(self) -> Any:
        """See `jaxcv.tasks.faces.presentation`."""
        from jaxcv.tasks.faces.presentation import FacePresentation

        return FacePresentation()

    def summary(self, metrics: MarginMetrics) -> dict[str, Any]:
        """Loss, accuracy, margin violations, target angle and norm in training; else the count."""
        if float(metrics.norm) > 0:
            return summary(metrics)
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


def verification_headlines(false_accept_rates: Sequence[float]) -> tuple[Headline, ...]:
    """The numbers that matter of a comparison of all pairs, and of the training before it."""
    return (
        Headline(name="equal_error_rate", title="Equal error rate", fraction=True, better="lower"),
        *(
            Headline(
                name=f"true_accept_rate_at_far_{rate:g}",
                title=f"True accept rate at FAR {100 * rate:g}%",
                fraction=True,
            )
            for rate in false_accept_rates
        ),
        Headline(name="area_under_roc", title="Area under ROC"),
        Headline(name="accuracy", title="Training accuracy", fraction=True),
        Headline(name="loss", title="Loss", unit="nats", better="lower"),
        Headline(name="count", title="Test pictures", better=None),
    )


def compare_all_pairs(
    examples: dict[str, np.ndarray], false_accept_rates: Sequence[float]
) -> dict[str, Any]:
    """Verification over the pairs of N pictures; {} where all show one person, or each another.

    Args:
        examples: `embedding` [N,D] and `label` [N].
        false_accept_rates: at which to tell the true accept rate.
    """
    labels = examples["label"]
    people = len(np.unique(labels))
    if people < 2 or people == len(labels):
        return {}
    pairs = pair_scores(examples["embedding"], labels, max_impostors=_MOST_IMPOSTORS)
    return dict(
        verification_summary(
            pairs.scores, pairs.same, false_accept_rates=false_accept_rates, folds=None
        )
    )


def check_embeddings(outputs: Any, images: jax.ShapeDtypeStruct) -> None:
    """Raises ValueError unless a model gives `EmbeddingOutputs` with embeddings [B,D]."""
    if not isinstance(outputs, EmbeddingOutputs):
        raise ValueError(
            f"the model gives {type(outputs).__name__}, but faces want embeddings: wrap it as "
            "EmbeddingClassifier(backbone=...)"
        )
    shape = outputs.embedding.shape
    if len(shape) != 2 or shape[0] != images.shape[0]:
        raise ValueError(f"the model gives embeddings of shape {shape}, but [B, D] is wanted")
