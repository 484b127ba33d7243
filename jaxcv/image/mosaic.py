"""Mosaic: four images of a batch side by side, seen through a window, and their boxes with them.

Rows 4k to 4k + 3 of a batch are a group. Every row of a group becomes a picture of its own: the four
images in an order of its own as 2 x 2 tiles, with the corner where they meet at a place of its own.
A training batch is already a random permutation of the data, so that neighbours are random; and no
row looks farther than its group, so that a batch in parts of whole groups on several devices gives
what it gives whole. For that every device needs the *same* key and the places of its rows in the
global batch, `rows`.

Rows of a group that is incomplete, at the end of a batch or because of padding, stay as they are.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxcv.arguments import check_interval, check_probability, check_range
from jaxcv.image.pixels import check_image, size_of

GROUP = 4
"""Images of a mosaic: rows of a batch that belong together."""

Marked = tuple[jax.Array, jax.Array, jax.Array, jax.Array]
"""Images [B, H, W, C], boxes [B, M, 4], classes [B, M], ignored [B, M]."""

# The 24 orders of a group, of which one is drawn by its number.
_ORDERS = np.asarray(list(itertools.permutations(range(GROUP))), np.int32)


@dataclass(frozen=True)
class Mosaic:
    """Four neighbouring images, unscaled, as tiles of one that is cut to the size of each.

    A. Bochkovskiy et al., YOLOv4: optimal speed and accuracy of object detection, 2020. Objects are
    seen beside foreign surroundings, and cut off at the tiles' edges. A box follows its tile, is
    clipped to what is seen of it, and is dropped - class -1, all zeros - where less than
    `min_visibility` of its area is seen or nothing of it.

    Attributes:
      probability: of a row becoming a mosaic.
      center: (smallest, largest) place of the corner where the tiles meet, as a fraction of the
        image's sides; drawn uniformly, in whole pixels.
      min_visibility: smallest fraction of a box's area that keeps it, in [0, 1].
      max_boxes: boxes a row of the result, M'; None: 4 M, with which none is lost. Where more are
        seen, those with the largest visible fraction stay.

    Example:
      >>> images, boxes = jnp.zeros((4, 8, 8, 3)), jnp.asarray([[[1.0, 1, 7, 5]]] * 4)
      >>> classes, ignored = jnp.zeros((4, 1), jnp.int32), jnp.zeros((4, 1), bool)
      >>> mixed = Mosaic()(jax.random.key(0), images, boxes, classes, ignored)
      >>> [part.shape for part in mixed]
      [(4, 8, 8, 3), (4, 4, 4), (4, 4), (4, 4)]
    """

    probability: float = 1.0
    center: tuple[float, float] = (0.2, 0.8)
    min_visibility: float = 0.1
    max_boxes: int | None = None

    group_size: ClassVar[int] = GROUP

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)
        check_interval("center", self.center, 0.0, 1.0)
        check_range("min_visibility", self.min_visibility, 0.0, 1.0)
        if self.max_boxes is not None and self.max_boxes < 1:
            raise ValueError(
                f"max_boxes={self.max_boxes} leaves no boxes; give at least 1, or None"
            )

    def __call__(
        self,
        key: jax.Array,
        images: jax.Array,
        boxes: jax.Array,
        classes: jax.Array,
        ignored: jax.Array,
        mask: jax.Array | None = None,
        rows: jax.Array | None = None,
    ) -> Marked:
        """Returns the batch with mosaics for images; boxes are in pixels, as in `annotations`.

        Args:
          key: PRNG key, the same on every device.
          images: `[B, H, W, C]`.
          boxes: `[B, M, 4]`, (x0, y0, x1, y1).
          classes: integers `[B, M]`, -1 for padding.
          ignored: bool `[B, M]`.
          mask: bool `[B]`, False for padding; None for none.
          rows: int32 `[B]`, the place of each row in the global batch, which its key depends on;
            None: 0 to B - 1. On several devices,
            `jax.lax.axis_index(axis) * B + jnp.arange(B)`, B a multiple of 4.

        Returns:
          images `[B, H, W, C]` in their dtype, boxes float32 `[B, M', 4]`, classes `[B, M']` in their
          dtype, ignored bool `[B, M']`, of which padding may stand anywhere.

        Raises:
          ValueError: shapes that do not belong together.
        """
        images, boxes, classes, ignored = _checked(images, boxes, classes, ignored)
        batch_size, count, size = len(images), boxes.shape[1], size_of(images)
        rows = jnp.arange(batch_size) if rows is None else jnp.asarray(rows)
        mask = jnp.ones(batch_size, bool) if mask is None else jnp.asarray(mask, bool)
        if rows.shape != (batch_size,) or mask.shape != (batch_size,):
            raise ValueError(
                f"rows and mask must be [{batch_size}], as many as the images, but have shapes "
                f"{rows.shape} and {mask.shape}"
            )
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
        chosen, order, corner = jax.vmap(self._drawn, (0, None))(keys, size)
        own = jnp.arange(batch_size)
        first = own // GROUP * GROUP
        complete = first + GROUP <= batch_size
        members = jnp.minimum(first[:, None] + order, batch_size - 1)  # [B, 4], tile by tile
        mixed = chosen & complete & mask[members].all(axis=1)

        moved, fraction = jax.vmap(_placed, (0, 0, None))(boxes[members], corner, size)
        fraction = jnp.where(mixed[:, None], fraction, 1.0)
        boxes = jnp.where(mixed[:, None, None], moved, _padded(boxes, 0, GROUP * count))
        classes = jnp.where(
            mixed[:, None],
            classes[members].reshape(batch_size, -1),
            _padded(classes, -1, GROUP * count),
        )
        ignored = jnp.where(
            mixed[:, None],
            ignored[members].reshape(batch_size, -1),
            _padded(ignored, False, GROUP * count),
        )
        kept = (classes >= 0) & (fraction > 0) & (fraction >= self.min_visibility)
        return _shown(images, members, corner, mixed), *self._compacted(
            jnp.where(kept[..., None], boxes, 0.0),
            jnp.where(kept, classes, -1),
            ignored & kept,
            jnp.where(kept, fraction, -1.0),
        )

    def check_record(self, record: Mapping[str, Any], name: str) -> None:
        """Raises ValueError where a record has no boxes; see `Mixing`."""
        missing = [part for part in ("boxes", "classes", "ignored") if part not in record]
        if missing:
            raise ValueError(
                f"a mosaic joins images with boxes, classes and ignored, but {name} has no "
                f"{', '.join(missing)}"
            )

    def mix_batch(
        self,
        key: jax.Array,
        batch: Mapping[str, Any],
        *,
        rows: jax.Array,
        num_classes: int | None = None,
    ) -> dict[str, Any]:
        """Returns the batch with mosaics for images, and their boxes; see `Mixing`."""
        images, boxes, classes, ignored = self(
            key,
            batch["image"],
            batch["boxes"],
            batch["classes"],
            batch["ignored"],
            batch["mask"],
            rows,
        )
        joined = {"image": images, "boxes": boxes, "classes": classes, "ignored": ignored}
        return {**batch, **joined}

    def _drawn(
        self, key: jax.Array, size: tuple[int, int]
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Whether there is a mosaic, which image is each tile `[4]`, and the corner `[2]`, (y, x)."""
        # One draw for all: it compiles faster than one each.
        chance, order, *corner = jax.random.uniform(key, (4,), jnp.float32)
        sides = jnp.asarray(size, jnp.float32)
        low, high = (jnp.round(fraction * sides) for fraction in self.center)
        places = low + jnp.floor(jnp.stack(corner) * (high - low + 1))
        return (
            chance < self.probability,
            jnp.asarray(_ORDERS)[jnp.floor(order * len(_ORDERS)).astype(jnp.int32)],
            jnp.minimum(places, high).astype(jnp.int32),
        )

    def _compacted(
        self, boxes: jax.Array, classes: jax.Array, ignored: jax.Array, fraction: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The first M' rows by falling fraction, lower rows first among equals; all without a limit."""
        if self.max_boxes is None:
            return boxes, classes, ignored
        order = jnp.argsort(-fraction, axis=1, stable=True)[:, : self.max_boxes]
        boxes = jnp.take_along_axis(boxes, order[..., None], axis=1)
        classes, ignored = (jnp.take_along_axis(x, order, axis=1) for x in (classes, ignored))
        return (
            _padded(boxes, 0, self.max_boxes),
            _padded(classes, -1, self.max_boxes),
            _padded(ignored, False, self.max_boxes),
        )


def _padded(values: jax.Array, fill: float, count: int) -> jax.Array:
    """`[B, M, ...]` with rows of `fill` after the others, `[B, count, ...]`."""
    width = [(0, 0), (0, count - values.shape[1]), *[(0, 0)] * (values.ndim - 2)]
    return jnp.pad(values, width, constant_values=fill)


def _shown(images: jax.Array, members: jax.Array, corner: jax.Array, mixed: jax.Array) -> jax.Array:
    """The window of each row `[B, H, W, C]`; where not `mixed`, the row's own image."""
    height, width, channels = images.shape[1:]

    def one(row: tuple[jax.Array, ...]) -> jax.Array:
        own, order, (y, x), is_mixed = row
        tiles = images[order].reshape(2, 2, height, width, channels)
        canvas = jnp.swapaxes(tiles, 1, 2).reshape(2 * height, 2 * width, channels)
        window = jax.lax.dynamic_slice(
            canvas, (height - y, width - x, 0), (height, width, channels)
        )
        return jnp.where(is_mixed, window, images[own])

    # One after the other: under `vmap` the slices would become a gather, 2.5 times as slow on a CPU.
    return jax.lax.map(one, (jnp.arange(len(images)), members, corner, mixed))


def _placed(
    boxes: jax.Array, corner: jax.Array, size: tuple[int, int]
) -> tuple[jax.Array, jax.Array]:
    """Boxes `[4, M, 4]` of the tiles in the window `[4 M, 4]`, and the seen fraction of each `[4 M]`."""
    height, width = size
    y, x = corner[0], corner[1]
    left = jnp.stack([x - width, x, x - width, x])
    top = jnp.stack([y - height, y - height, y, y])
    moved = boxes + jnp.stack([left, top, left, top], axis=-1)[:, None].astype(jnp.float32)
    # What the window shows of each tile: the tiles meet at the corner.
    zero, right, bottom = jnp.zeros_like(x), jnp.full_like(x, width), jnp.full_like(y, height)
    low = jnp.stack([zero, x, zero, x]), jnp.stack([zero, zero, y, y])
    high = jnp.stack([x, right, x, right]), jnp.stack([y, y, bottom, bottom])
    lowest, highest = (jnp.stack([*side, *side], axis=-1)[:, None] for side in (low, high))
    clipped = jnp.clip(moved, lowest, highest)
    whole, seen = _area(moved), _area(clipped)
    fraction = jnp.where(whole > 0, seen / jnp.where(whole > 0, whole, 1.0), 0.0)
    return clipped.reshape(-1, 4), fraction.reshape(-1)


def _area(boxes: jax.Array) -> jax.Array:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _checked(images: ArrayLike, boxes: ArrayLike, classes: ArrayLike, ignored: ArrayLike) -> Marked:
    """Returns the parts of the batch as arrays, having checked that they fit together."""
    images, classes = check_image(images), jnp.asarray(classes)
    boxes, ignored = jnp.asarray(boxes, jnp.float32), jnp.asarray(ignored, bool)
    if images.ndim != 4:
        raise ValueError(f"a mosaic takes a batch [B, H, W, C], but images are {images.shape}")
    marks = (len(images), *boxes.shape[1:2])
    if boxes.shape != (*marks, 4) or classes.shape != marks or ignored.shape != marks:
        raise ValueError(
            f"boxes must be [B, M, 4] with classes and ignored [B, M] for B = {len(images)} images, "
            f"but have shapes {boxes.shape}, {classes.shape} and {ignored.shape}"
        )
    return images, boxes, classes, ignored
