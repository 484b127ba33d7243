"""Mixup and CutMix: each image of a batch mixed with its neighbour, and the labels with it.

Row i is paired with row i ^ 1: 0 with 1, 2 with 3. A training batch is already a random permutation
of the data, so that neighbours are random pairs; and no row looks farther than its pair, so that a
batch in even parts on several devices gives what it gives whole. For that every device needs the
*same* key: one mixing weight for the whole batch is drawn from it.

Labels are dense, `[B, C]`, one distribution a row (`jax.nn.one_hot(label, num_classes)`). The last
row of an odd batch, and a row whose neighbour is padding, stay as they are.

`Mixing` is what the training step asks of anything that joins rows: these two, `Mosaic`, or your own.
"""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from jaxcv.image.pixels import check_image, from_float32, to_float
from jaxcv.image.random_erasing import rectangle_mask


@runtime_checkable
class Mixing(Protocol):
    """Joins neighbouring rows of a training batch: a frozen dataclass.

    With n = `group_size`, rows k n to k n + n - 1 are a group, and no row looks outside of its own.
    Every device has whole groups of rows, and the same key.
    """

    @property
    def group_size(self) -> int:
        """How many neighbouring rows are joined, n; it divides the rows of a device."""
        ...

    def check_record(self, record: Mapping[str, Any], name: str) -> None:
        """Raises ValueError where a record lacks what is joined.

        Args:
          record: as the source gives it.
          name: what to call it.
        """
        ...

    def mix_batch(
        self,
        key: jax.Array,
        batch: Mapping[str, Any],
        *,
        rows: jax.Array,
        num_classes: int | None = None,
    ) -> dict[str, Any]:
        """Returns the batch with its rows joined.

        Args:
          key: PRNG key, the same on every device.
          batch: a device's rows: `image` [B, H, W, C], `mask` bool [B], and what the records hold.
          rows: int32 [B], the place of each row in the global batch.
          num_classes: C, where labels are classes; None where they are not.
        """
        ...


class _PairMixing(abc.ABC):
    """What `Mixup` and `CutMix` have in common: rows in pairs, and one weight for image and label."""

    group_size: ClassVar[int] = 2
    # Of float labels, without the batch's axis.
    _largest_rank: ClassVar[int]

    @abc.abstractmethod
    def __call__(
        self,
        key: jax.Array,
        images: jax.Array,
        labels: jax.Array,
        mask: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Returns mixed images `[B, H, W, C]` and mixed dense labels `[B, C]`."""

    def check_record(self, record: Mapping[str, Any], name: str) -> None:
        """Raises ValueError unless the label is a class or, of a rank that can be blended, of floats."""
        found = ", ".join(key for key in record if key != "image")
        if "label" in record:
            rank = jnp.ndim(record["label"])
            is_class = jnp.issubdtype(jnp.result_type(record["label"]), jnp.integer)
            if rank <= (0 if is_class else self._largest_rank):
                return
            found = (
                f"a label of {'integers' if is_class else 'floats'} {jnp.shape(record['label'])}"
            )
        raise ValueError(
            f"{type(self).__name__} blends labels that are one class per image, or floats, but {name} "
            f"has {found}"
        )

    def mix_batch(
        self,
        key: jax.Array,
        batch: Mapping[str, Any],
        *,
        rows: jax.Array,
        num_classes: int | None = None,
    ) -> dict[str, Any]:
        """Returns the batch with mixed images, floats in [0, 1], and mixed labels, float32.

        Classes [B] become distributions [B, C]; labels of floats keep their shape. Of a float map, a
        pixel is `valid` where it is in both images.

        Arguments as for `Mixing`.

        Raises:
          ValueError: labels are whole numbers, but no classes.
        """
        label, mask = jnp.asarray(batch["label"]), batch["mask"]
        if jnp.issubdtype(label.dtype, jnp.integer):
            if num_classes is None:
                raise ValueError(
                    f"{type(self).__name__} cannot blend whole numbers that are no classes; make them "
                    "floats"
                )
            label = jax.nn.one_hot(label, num_classes)
        images, dense = self(key, to_float(batch["image"]), label.reshape(len(label), -1), mask)
        mixed = {**batch, "image": images, "label": dense.reshape(label.shape)}
        if "valid" in batch:
            valid = batch["valid"]
            paired = _has_partner(len(valid), mask).reshape(-1, *[1] * (valid.ndim - 1))
            mixed["valid"] = valid & (swap_neighbors(valid) | ~paired)
        return mixed


@dataclass(frozen=True)
class Mixup(_PairMixing):
    """lambda x_i + (1 - lambda) x_j for images and labels alike, lambda ~ Beta(alpha, alpha).

    H. Zhang et al., mixup: beyond empirical risk minimization, ICLR 2018. Labels may be classes, or
    floats of any shape: numbers to predict, distributions, pictures.

    Attributes:
      alpha: > 0. Small values leave most batches nearly unmixed, 1 is a uniform lambda.
    """

    alpha: float = 0.2

    _largest_rank: ClassVar[int] = 3

    def __post_init__(self) -> None:
        _check_alpha(self.alpha)

    def __call__(
        self,
        key: jax.Array,
        images: jax.Array,
        labels: jax.Array,
        mask: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Returns mixed images `[B, H, W, C]` in their dtype and mixed float32 labels `[B, C]`.

        Args:
          key: PRNG key, the same on every device.
          images: `[B, H, W, C]`.
          labels: `[B, C]`, dense.
          mask: bool `[B]`, False for padding; None for none.

        Raises:
          ValueError: shapes that do not belong together, or labels that are not dense.
        """
        images, labels = _check_batch(images, labels)
        weight = jax.random.beta(key, self.alpha, self.alpha, dtype=jnp.float32)
        kept = jnp.where(_has_partner(len(images), mask), weight, 1.0)
        values = images.astype(jnp.float32)
        mixed = _mix(values, swap_neighbors(values), kept[:, None, None, None])
        return from_float32(mixed, images.dtype), _mix(
            labels, swap_neighbors(labels), kept[:, None]
        )


@dataclass(frozen=True)
class CutMix(_PairMixing):
    """A rectangle of each image is replaced by the neighbour's, the labels mixed by its area.

    S. Yun et al., CutMix: regularization strategy to train strong classifiers with localizable
    features, ICCV 2019. With lambda ~ Beta(alpha, alpha) the rectangle has the image's shape and 1
    - lambda of its area, its centre is uniform, and what lies outside the image is cut off; the
    labels then get the area that is left exactly, in whole pixels. Labels may be classes, or floats
    [D] or [], but no maps: they would have to be cut themselves.

    Attributes:
      alpha: > 0; 1 is a uniform lambda.
    """

    alpha: float = 1.0

    _largest_rank: ClassVar[int] = 1

    def __post_init__(self) -> None:
        _check_alpha(self.alpha)

    def __call__(
        self,
        key: jax.Array,
        images: jax.Array,
        labels: jax.Array,
        mask: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Returns mixed images `[B, H, W, C]` in their dtype and mixed float32 labels `[B, C]`.

        Arguments and errors as for `Mixup`.
        """
        images, labels = _check_batch(images, labels)
        height, width = images.shape[1:3]
        weight_key, place_key = jax.random.split(key)
        weight = jax.random.beta(weight_key, self.alpha, self.alpha, dtype=jnp.float32)
        sides = jnp.round(jnp.sqrt(1.0 - weight) * jnp.asarray([height, width])).astype(jnp.int32)
        center = jax.random.randint(place_key, (2,), 0, jnp.asarray([height, width]))
        top, left = center - sides // 2
        hole = rectangle_mask((height, width), left, top, sides[1], sides[0])
        paired = _has_partner(len(images), mask)
        mixed = jnp.where(hole & paired[:, None, None, None], swap_neighbors(images), images)
        # Counted, not computed from the sides: this is the area after the image's edge cut it.
        kept = jnp.where(paired, jnp.sum(~hole, dtype=jnp.float32) / (height * width), 1.0)
        return mixed, _mix(labels, swap_neighbors(labels), kept[:, None])


def swap_neighbors(rows: jax.Array) -> jax.Array:
    """Returns `rows` `[B, ...]` with rows 2k and 2k + 1 exchanged; an odd last row stays."""
    paired = len(rows) // 2 * 2
    # A reversal of pairs, not a gather.
    pairs = jnp.flip(rows[:paired].reshape(paired // 2, 2, *rows.shape[1:]), axis=1)
    return jnp.concatenate([pairs.reshape(paired, *rows.shape[1:]), rows[paired:]])


def _has_partner(batch_size: int, mask: jax.Array | None) -> jax.Array:
    """Returns bool `[B]`: whether a row has a neighbour that is not padding."""
    paired = jnp.arange(batch_size) < batch_size // 2 * 2
    return paired if mask is None else paired & swap_neighbors(mask.astype(bool))


def _mix(values: jax.Array, others: jax.Array, weight: jax.Array) -> jax.Array:
    return values * weight + others * (1.0 - weight)


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < float("inf"):
        raise ValueError(f"alpha={alpha} is not a positive number; leave mixing out for none")


def _check_batch(images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the batch with labels in float32, having checked that its parts fit together."""
    images, labels = check_image(images), jnp.asarray(labels)
    if images.ndim != 4:
        raise ValueError(f"mixing takes a batch [B, H, W, C], but images are {images.shape}")
    if labels.ndim != 2:
        raise ValueError(
            f"mixing takes dense labels [B, C], but these have shape {labels.shape}; "
            "jax.nn.one_hot(labels, num_classes) makes them so"
        )
    if len(labels) != len(images):
        raise ValueError(f"{len(images)} images cannot have {len(labels)} labels")
    return images, labels.astype(jnp.float32)
