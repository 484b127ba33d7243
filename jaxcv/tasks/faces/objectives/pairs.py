"""Objectives that compare the embeddings of a batch with each other: pairs, triplets, all of them.

They look at the global batch, gathered over the devices; values and gradients are those of one device.
Embeddings come as the model gives them in training, of any length.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxcv import losses
from jaxcv.arguments import check_choice
from jaxcv.devices import AXIS, gather
from jaxcv.tasks.faces.objectives.embedded import Embedded, masked
from jaxcv.tasks.objective import IGNORED, Losses, Objective
from jaxcv.train.task import Batch


@dataclass(frozen=True, kw_only=True)
class PairObjective(Objective):
    """An objective that compares the rows of the global batch by their labels, without state.

    The batch must hold several pictures of a class: `jaxcv.data.BalancedIdentities`.
    """

    @abc.abstractmethod
    def of_batch(self, embeddings: jax.Array, labels: jax.Array, mask: jax.Array) -> jax.Array:
        """[B] float32 from embeddings [B, E], labels [B] and mask [B] of this device's rows.

        The mean over the valid rows of all devices is what is minimised.
        """

    def loss(
        self, outputs: Embedded, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        values = self.of_batch(outputs.embedding, batch["label"], batch["mask"])
        return *masked(values, batch), state


@dataclass(frozen=True, kw_only=True)
class Contrastive(PairObjective):
    """`losses.batch_contrastive_loss` on unit vectors (Hadsell et al. 2006).

    Attributes:
        margin: distance > 0, at most 2, beyond which strangers are left alone.
    """

    margin: float = 1.0

    def of_batch(self, embeddings: jax.Array, labels: jax.Array, mask: jax.Array) -> jax.Array:
        """See `PairObjective`."""
        return losses.batch_contrastive_loss(
            losses.l2_normalize(embeddings), labels, margin=self.margin, mask=mask, axis_name=AXIS
        )


@dataclass(frozen=True, kw_only=True)
class Triplet(PairObjective):
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
class LiftedStructure(PairObjective):
    """`losses.lifted_structure_loss` on unit vectors (Song et al. 2016).

    Attributes:
        margin: >= 0.
    """

    margin: float = 1.0

    def of_batch(self, embeddings: jax.Array, labels: jax.Array, mask: jax.Array) -> jax.Array:
        """See `PairObjective`."""
        return losses.lifted_structure_loss(
            losses.l2_normalize(embeddings), labels, margin=self.margin, mask=mask, axis_name=AXIS
        )


@dataclass(frozen=True, kw_only=True)
class MultiSimilarity(PairObjective):
    """`losses.multi_similarity_loss` (Wang et al. 2019, arXiv:1904.06627).

    Attributes:
        positive_scale, negative_scale: > 0.
        threshold: cosine in [-1, 1] between positives and negatives.
        mining_margin: how far pairs may be on the right side and still count; None for all pairs.
    """

    positive_scale: float = 2.0
    negative_scale: float = 50.0
    threshold: float = 0.5
    mining_margin: float | None = 0.1

    def of_batch(self, embeddings: jax.Array, labels: jax.Array, mask: jax.Array) -> jax.Array:
        """See `PairObjective`."""
        return losses.multi_similarity_loss(
            embeddings,
            labels,
            positive_scale=self.positive_scale,
            negative_scale=self.negative_scale,
            threshold=self.threshold,
            mining_margin=self.mining_margin,
            mask=mask,
            axis_name=AXIS,
        )


@dataclass(frozen=True, kw_only=True)
class Circle(PairObjective):
    """`losses.circle_loss` on pairs (Sun et al. 2020); with class centres see `CircleMargin`.

    Attributes:
        margin: in [0, 1].
        scale: > 0.
    """

    margin: float = 0.25
    scale: float = 256.0

    def of_batch(self, embeddings: jax.Array, labels: jax.Array, mask: jax.Array) -> jax.Array:
        """See `PairObjective`."""
        return losses.circle_loss(
            embeddings, labels, margin=self.margin, scale=self.scale, mask=mask, axis_name=AXIS
        )


@dataclass(frozen=True, kw_only=True)
class RankedList(PairObjective):
    """`losses.ranked_list_loss` on unit vectors (Wang et al. 2019, arXiv:1903.03238).

    Attributes:
        boundary: distance in (0, 2] beyond which negatives belong.
        margin: how much nearer positives belong, >= 0.
        negative_temperature, positive_temperature: >= 0, how much the worst pairs are preferred.
        negative_weight: fraction of the negatives' part in [0, 1].
    """

    boundary: float = 1.2
    margin: float = 0.4
    negative_temperature: float = 10.0
    positive_temperature: float = 0.0
    negative_weight: float = 0.5

    def of_batch(self, embeddings: jax.Array, labels: jax.Array, mask: jax.Array) -> jax.Array:
        """See `PairObjective`."""
        return losses.ranked_list_loss(
            embeddings,
            labels,
            boundary=self.boundary,
            margin=self.margin,
            negative_temperature=self.negative_temperature,
            positive_temperature=self.positive_temperature,
            negative_weight=self.negative_weight,
            mask=mask,
            axis_name=AXIS,
        )


@dataclass(frozen=True, kw_only=True)
class SupervisedContrastive(PairObjective):
    """`losses.supervised_contrastive_loss` (Khosla et al. 2020).

    Attributes:
        temperature: > 0.
        average: whether the mean over positives stands "outside" of the logarithm or "inside".
    """

    temperature: float = 0.1
    average: Literal["outside", "inside"] = "outside"

    def of_batch(self, embeddings: jax.Array, labels: jax.Array, mask: jax.Array) -> jax.Array:
        """See `PairObjective`."""
        return losses.supervised_contrastive_loss(
            embeddings,
            labels,
            temperature=self.temperature,
            average=self.average,
            mask=mask,
            axis_name=AXIS,
        )


@dataclass(frozen=True, kw_only=True)
class NTXent(Objective):
    """`losses.ntxent_loss` (Chen et al. 2020, arXiv:2002.05709).

    Attributes:
        temperature: > 0.
        positives: what belongs together: the two "views" of an image, each augmented anew, without a
            look at labels (SimCLR); or the rows of one "label", as in the other objectives.
    """

    temperature: float = 0.1
    positives: Literal["views", "label"] = "views"

    def __post_init__(self) -> None:
        """Raises ValueError for other positives."""
        check_choice("positives", self.positives, ("views", "label"))

    @property
    def views(self) -> int:
        """Two of each image, where they are the positives."""
        return 2 if self.positives == "views" else 1

    def loss(
        self, outputs: Embedded, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`."""
        values = losses.ntxent_loss(
            outputs.embedding,
            batch["record" if self.positives == "views" else "label"],
            temperature=self.temperature,
            mask=batch["mask"],
            axis_name=AXIS,
        )
        return *masked(values, batch), state


@dataclass(frozen=True, kw_only=True)
class NPairs(Objective):
    """`losses.n_pairs_loss` (Sohn 2016): of each class in the batch its first two rows are a pair.

    The other classes' second rows are the negatives. On dot products, so that an L2 penalty
    (`Experiment.l2`) keeps the embeddings short.
    """

    def loss(
        self, outputs: Embedded, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`; the weights are 1 for the rows that are a pair's first."""
        labels, mask = batch["label"], batch["mask"]
        first, partner = first_pairs(jnp.where(mask, labels, IGNORED))
        positives = gather(outputs.embedding, AXIS)[partner]
        values = losses.n_pairs_loss(
            outputs.embedding, positives, labels, mask=first, axis_name=AXIS
        )
        return values, first.astype(jnp.float32), state


def first_pairs(labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of each class in the batch of all devices, the first two rows.

    Args:
        labels: [B] of this device's rows, negative for what counts for nothing.

    Returns:
        `(first, partner)`: [B] bool, whether a row is its class's first and there is a second; [B] int32,
        which row of all devices that is.
    """
    others = gather(labels, AXIS)
    row = jax.lax.axis_index(AXIS) * len(labels) + jnp.arange(len(labels))
    same = labels[:, None] == others
    place = jnp.arange(len(others))
    earlier = jnp.any(same & (place < row[:, None]), axis=1)
    later = same & (place > row[:, None])
    first = (labels >= 0) & ~earlier & jnp.any(later, axis=1)
    return first, jnp.argmax(later, axis=1)
