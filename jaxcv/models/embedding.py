"""A network that embeds faces, and the classifier it is trained with and then leaves behind."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv.devices import AXIS

_CLASSIFIER = "classifier"
_SHORTEST = 1e-12  # rows shorter than this are zero rows


class EmbeddingOutputs(NamedTuple):
    """What `EmbeddingClassifier` returns: a pytree, with None an empty part of it.

    Attributes:
        embedding: [B, E] float32; raw in training, see `EmbeddingClassifier`.
        classifier: [C, E] or, with K sub-centres a class, [C, K, E] float32: its rows on this
            device, padding included. None where there is no classifier.
    """

    embedding: jax.Array
    classifier: jax.Array | None


class EmbeddingClassifier(nn.Module):
    """A backbone whose outputs are embeddings, with one row of weights for each person.

    The rows are not multiplied with the embeddings here: the two are handed on, so that
    `losses.linear_softmax_cross_entropy` can do it a tile at a time, with any margin and with the
    rows spread over devices. The classifier is marked as spread over the axis "devices" (Flax's
    metadata, `nn.with_partitioning`) when variables are initialized. When they are applied, it may
    have fewer rows than were initialized: those of one device.

    An embedder is deployed without its classifier: take `classifier` out of `params`, and
    evaluation gives the same embeddings and None.

    Attributes:
        backbone: Linen module, images [B, H, W, C] to embeddings [B, E], such as `IResNet`.
        num_classes: People to tell apart, C. 0 makes no classifier, for triplets and the like.
        embedding_size: E, which must be the backbone's.
        sub_centers: Rows K for each person, see `losses.class_cosines`.
        flip_test: In evaluation, add the embedding of the mirror image. Doubles the work.
        normalize: In evaluation, divide embeddings by their length. In training they stay raw:
            margin losses normalize by themselves, and some read the length.
        multiple_of: C is padded up to a multiple of it, so that every device count that divides it
            gets equal parts. The loss takes the true count as `num_classes`.

    Example:
        >>> from jaxcv.models import MLP
        >>> model = EmbeddingClassifier(MLP(num_classes=8), num_classes=3, embedding_size=8)
        >>> images = jnp.ones((2, 4, 4, 1))
        >>> variables = nn.unbox(model.init(jax.random.key(0), images))
        >>> outputs = model.apply(variables, images)
        >>> outputs.embedding.shape, outputs.classifier.shape
        ((2, 8), (128, 8))
    """

    backbone: nn.Module
    num_classes: int
    embedding_size: int = 512
    sub_centers: int = 1
    flip_test: bool = False
    normalize: bool = True
    multiple_of: int = 128

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> EmbeddingOutputs:
        """Embeddings of images, and the classifier.

        Args:
            images: [B, H, W, C] float.
            train: Whether to train: raw embeddings, no mirror images.
            mask: [B] bool; False keeps a row out of BatchNorm's statistics.

        Raises:
            ValueError: If the backbone gives embeddings of another size, a setting is out of range,
                or training lacks the classifier.
        """
        self._check_settings()
        if self.flip_test and not train:
            # One pass through the network, not two: half of the program to compile.
            both = jnp.concatenate([images, images[:, :, ::-1]])
            first, second = jnp.split(self._embed(both, train=False, mask=None), 2)
            embedding = (first + second) / 2
        else:
            embedding = self._embed(images, train=train, mask=mask)
        if self.normalize and not train:
            embedding = _unit_rows(embedding)
        return EmbeddingOutputs(embedding, self._classifier(train))

    def _embed(self, images: jax.Array, *, train: bool, mask: jax.Array | None) -> jax.Array:
        embedding = self.backbone(images, train=train, mask=mask)
        name, wanted = type(self.backbone).__name__, (images.shape[0], self.embedding_size)
        found = getattr(embedding, "shape", type(embedding).__name__)
        if found != wanted:
            setting = (
                "embedding_size" if hasattr(self.backbone, "embedding_size") else "num_classes"
            )
            raise ValueError(
                f"EmbeddingClassifier has embedding_size={self.embedding_size} and wants embeddings "
                f"{wanted} from its backbone, but {name} gives {found}; set {name}({setting}="
                f"{self.embedding_size})."
            )
        return embedding.astype(jnp.float32)

    def _classifier(self, train: bool) -> jax.Array | None:
        if self.num_classes == 0:
            return None
        rows = -(-self.num_classes // self.multiple_of) * self.multiple_of
        centers = (self.sub_centers,) if self.sub_centers > 1 else ()
        shape = (rows, *centers, self.embedding_size)
        if self.is_initializing():
            names = (AXIS, *(None for _ in shape[1:]))
            init = nn.with_partitioning(nn.initializers.normal(0.01), names)
            made: Any = self.param(_CLASSIFIER, init, shape, jnp.float32)
            return made
        # Not by `self.param`, which refuses a part of the rows.
        if not self.has_variable("params", _CLASSIFIER):
            if train:
                raise ValueError(
                    f"the variables hold no classifier of {self.num_classes} people, as those of an "
                    "exported embedder; initialize one to train it, or set num_classes=0."
                )
            return None
        classifier: Any = self.get_variable("params", _CLASSIFIER)
        if isinstance(classifier, nn.Partitioned):
            classifier = classifier.unbox(apply_constraint=False)
        if classifier.shape[1:] != shape[1:]:
            raise ValueError(
                f"the classifier has shape {classifier.shape}, but [rows, "
                f"{', '.join(map(str, shape[1:]))}] is wanted; were the variables made with other "
                "settings of sub_centers or embedding_size?"
            )
        return classifier

    def _check_settings(self) -> None:
        for name, least in (
            ("num_classes", 0),
            ("embedding_size", 1),
            ("sub_centers", 1),
            ("multiple_of", 1),
        ):
            if getattr(self, name) < least:
                raise ValueError(
                    f"EmbeddingClassifier needs {name} >= {least}, found {getattr(self, name)}."
                )


def _unit_rows(x: jax.Array) -> jax.Array:
    """Divides rows [B, E] by their length; a zero row stays zero and has gradient zero."""
    squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    usable = squared > _SHORTEST**2
    return x * jnp.where(usable, jax.lax.rsqrt(jnp.where(usable, squared, 1.0)), 0.0)
