"""Objectives that compare embeddings with a representative of each class: proxies, centres, a softmax."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from jaxcv import losses
from jaxcv.arguments import check_positive, check_range
from jaxcv.devices import AXIS
from jaxcv.losses import CosFace, Margin
from jaxcv.tasks.faces.objectives.embedded import Embedded, masked
from jaxcv.tasks.objective import IGNORED, Losses, Objective, known_data
from jaxcv.train.task import Batch
from jaxcv.train.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class ProxyNCA(Objective):
    """`losses.proxy_nca_loss`; the proxies are the rows of the model's classifier (arXiv:1703.07464).

    Attributes:
        scale: > 0 on squared distances of unit vectors; Proxy-NCA++ takes 9.
        include_positive: whether the class itself is in the softmax, as in Proxy-NCA++
            (arXiv:2004.01113); without, the loss may be negative.
    """

    scale: float = 1.0
    include_positive: bool = False

    def loss(
        self, outputs: Embedded, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        values = losses.proxy_nca_loss(
            outputs.embedding,
            batch["label"],
            outputs.proxies(),
            scale=self.scale,
            include_positive=self.include_positive,
            mask=batch["mask"],
        )
        return *masked(values, batch), state


@dataclass(frozen=True, kw_only=True)
class ProxyAnchor(Objective):
    """`losses.proxy_anchor_loss`; the proxies are the rows of the model's classifier (arXiv:2003.13911).

    Attributes:
        margin: in [0, 1].
        scale: > 0.
    """

    margin: float = 0.1
    scale: float = 32.0

    def loss(
        self, outputs: Embedded, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        values = losses.proxy_anchor_loss(
            outputs.embedding,
            batch["label"],
            outputs.proxies(),
            margin=self.margin,
            scale=self.scale,
            mask=batch["mask"],
            axis_name=AXIS,
        )
        return *masked(values, batch), state


@dataclass(frozen=True, kw_only=True)
class MarginSoftmax(Objective):
    """The softmax of `FaceRecognition` over the model's classifier, to be summed with other objectives.

    Attributes:
        margin: any margin softmax; its statistics are the state.
    """

    margin: Margin = field(default_factory=CosFace)

    def init(self, data: TrainingData | None) -> Any:
        """The margin's statistics."""
        return self.margin.init()

    def loss(
        self, outputs: Embedded, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        if outputs.classifier is None:
            raise ValueError(
                "the softmax is over the rows of the model's classifier, but it has none; say "
                f"--model.num-classes {outputs.num_classes}"
            )
        found = losses.linear_softmax_cross_entropy(
            outputs.embedding,
            outputs.classifier,
            jnp.where(batch["mask"], batch["label"], IGNORED),
            margin=self.margin,
            margin_state=state,
            ignore_label=IGNORED,
            num_classes=outputs.num_classes,
            axis_name=AXIS,
        )
        return *masked(found.loss, batch), found.margin_state


@dataclass(frozen=True, kw_only=True)
class Center(Objective):
    """`losses.center_loss` (Wen et al. 2016): a centre for each class, moved by a rule of its own.

    To be summed with a softmax, `Sum((MarginSoftmax(), 1.0), (Center(...), 0.003))`: alone, all
    embeddings may meet in one point.

    Attributes:
        embedding_size: E, as the model has.
        rate: in [0, 1], how fast the centres follow their examples; the paper's alpha.
    """

    embedding_size: int
    rate: float = 0.5

    def __post_init__(self) -> None:
        """Raises ValueError for a size or a rate that cannot be."""
        check_positive("embedding_size", self.embedding_size)
        check_range("rate", self.rate, 0.0, 1.0)

    def init(self, data: TrainingData | None) -> jax.Array:
        """The centres [C, E], at the origin."""
        return jnp.zeros((known_data(data, self).classes, self.embedding_size))

    def loss(
        self, outputs: Embedded, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`; the centres move after the loss."""
        found = outputs.embedding.shape[1]
        if found != self.embedding_size:
            raise ValueError(
                f"Center's embedding_size is {self.embedding_size}, but the model gives embeddings of "
                f"{found} numbers; say --task.objective.embedding-size {found}"
            )
        labels, mask = batch["label"], batch["mask"]
        values = losses.center_loss(outputs.embedding, labels, state, mask=mask)
        centers = losses.updated_centers(
            state, outputs.embedding, labels, rate=self.rate, mask=mask, axis_name=AXIS
        )
        return *masked(values, batch), centers
