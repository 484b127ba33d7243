"""What embeddings are trained by: frozen objects over the losses on pairs, triplets, proxies and centres.

All look at the global batch: they gather it over the devices, and their values and gradients are those of
one device. Embeddings come as the model gives them in training, of any length.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct

from jaxcv import losses
from jaxcv.devices import AXIS, gather
from jaxcv.losses import CosFace, Margin
from jaxcv.losses.arguments import check_choice, check_positive, check_range
from jaxcv.tasks.objective import IGNORED, Losses, Objective, known_data
from jaxcv.train.task import Batch
from jaxcv.train.training_data import TrainingData


@struct.dataclass
class Embedded:
    """What `MetricLearning` hands over to its objective.

    Attributes:
        embedding: [B, E] of this device's rows.
        classifier: [C', E] or [C', K, E], this device's rows of the class matrix, padding included; None
            where the model has none.
        num_classes: C.
    """

    embedding: jax.Array
    classifier: jax.Array | None
    num_classes: int = struct.field(pytree_node=False)

    def proxies(self) -> jax.Array:
        """[C, E], the class matrix of all devices as one proxy for each class.

        Raises:
            ValueError: where the model has no such matrix.
        """
        shape = None if self.classifier is None else self.classifier.shape
        if self.classifier is None or len(self.classifier.shape) != 2:
            raise ValueError(
                f"the proxies are the rows of the model's classifier, which is {shape}, but [C, E] is "
                f"expected; say --model.num-classes {self.num_classes} --model.sub-centers 1"
            )
        proxies = gather(self.classifier, AXIS)
        if len(proxies) < self.num_classes:
            raise ValueError(
                f"the model's classifier has {len(proxies)} rows, but the task has {self.num_classes} "
                f"classes; say --model.num-classes {self.num_classes}"
            )
        return proxies[: self.num_classes]


@dataclass(frozen=True, kw_only=True)
class PairObjective(Objective):
    """An objective that compares the rows of the global batch by their labels, without state.

    The batch must hold several pictures of a class: `Experiment.images_per_identity`.
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
        return *_masked(values, batch), state


def _masked(values: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Values [B], 0 for padding, and their weights."""
    return jnp.where(batch["mask"], values, 0.0), batch["mask"].astype(jnp.float32)


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
        return *_masked(values, batch), state


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
        return *_masked(values, batch), state


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
        return *_masked(values, batch), state


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
        return *_masked(found.loss, batch), found.margin_state


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
        return *_masked(values, batch), centers
