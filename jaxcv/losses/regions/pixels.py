"""What the region losses share: pixels of scores and truth, and the mean over classes and images.

Scores [B, ..., C] and labels [B, ...] (class indices) or [B, ..., C] (floats, several classes at
once) may have any number of pixel axes, for images, volumes or none. A single foreground class is
C = 1 with `activation="sigmoid"` and labels of shape [B, ..., 1].
"""

from typing import Literal, NamedTuple, TypedDict, get_args

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_choice
from jaxcv.devices import total
from jaxcv.losses.arguments import as_float, check_class_weights, check_labels, is_integer

Activation = Literal["softmax", "sigmoid", "none"]
"""What turns scores into probabilities; "none" if they are probabilities."""

Per = Literal["image", "batch"]
"""Whether every image has a loss of its own, or one loss is taken over all pixels of the batch.

"batch" gives every image that loss, so that shape and mean stay the same.
"""

Absent = Literal["exclude", "zero", "include"]
"""What a class without a true pixel (in the image, or the batch) does in the mean over classes.

* "exclude": it is left out; 0 if no class is left.
* "zero": its loss is 0 and it counts (segmentation_models.pytorch).
* "include": its loss is the formula's: 1, or less with `smooth`, for whatever is predicted as it,
  0 if exactly nothing is.
"""


class RegionOptions(TypedDict, total=False):
    """Keyword options of every region loss.

    Attributes:
      activation: See `Activation`; "softmax" by default.
      per: See `Per`; "image" by default.
      absent: See `Absent`; "exclude" by default.
      class_weights: [C] weights >= 0 of the mean over classes; 0 leaves a class, the background
        say, out. They are normalised: only their ratios matter.
      ignore_label: Pixels with this class index do not exist.
      mask: [B] or [B, ...]; False for images or pixels that do not exist. An image without any
        pixel has loss 0 and gradient 0.
      axis_name: The device axis over which the batch is spread, needed for `per="batch"`: the loss
        is that of all devices' pixels, with the gradients of the single-device batch.
    """

    activation: Activation
    per: Per
    absent: Absent
    class_weights: jax.Array | None
    ignore_label: int | None
    mask: jax.Array | None
    axis_name: str | None


class Pixels(NamedTuple):
    """Scores and truth of a batch, with the pixel axes flattened into P.

    Attributes:
      scores: [B, P, C], at least float32, 0 where not valid.
      labels: [B, P] class indices, or [B, P, C] floats, 0 where not valid.
      valid: [B, P].
    """

    scores: jax.Array
    labels: jax.Array
    valid: jax.Array

    def truth(self) -> jax.Array:
        """[B, P, C], whether the pixel is of the class, or the soft labels.

        The comparison is fused into the sums that use it: no one-hot floats need to be stored.
        """
        if not is_integer(self.labels):
            return self.labels
        classes = jnp.arange(self.scores.shape[-1])
        return (self.labels[..., None] == classes) & self.valid[..., None]


def pixels_of(
    logits: jax.Array,
    labels: jax.Array,
    *,
    activation: Activation = "softmax",
    ignore_label: int | None = None,
    mask: jax.Array | None = None,
) -> Pixels:
    """Checks and flattens; scores become probabilities. Arguments as in `RegionOptions`."""
    check_choice("activation", activation, get_args(Activation))
    check_labels(labels, logits, dense=True)
    if jnp.ndim(logits) < 2:
        raise ValueError(f"logits have shape {jnp.shape(logits)}, but [B, ..., C] is wanted.")
    if activation == "sigmoid" and is_integer(labels):
        raise ValueError(
            "labels are class indices, but activation='sigmoid' wants one float per class: shape "
            f"{jnp.shape(logits)}, 1.0 where the class is."
        )
    if ignore_label is not None and not is_integer(labels):
        raise ValueError(
            f"ignore_label is {ignore_label}, but labels are floats; it applies to class indices. "
            "Use mask instead."
        )
    shape = jnp.shape(logits)
    valid = pixel_mask(mask, shape[:-1])
    if ignore_label is not None:
        valid &= labels != ignore_label
    flat = (shape[0], -1, shape[-1])
    scores = jnp.where(valid[..., None], as_float(logits), 0).reshape(flat)
    valid = valid.reshape(flat[:2])
    labels = jnp.asarray(labels)
    if is_integer(labels):
        labels = jnp.where(valid, labels.reshape(flat[:2]), 0)
    else:
        labels = jnp.where(valid[..., None], as_float(labels).reshape(flat), 0)
    if activation == "softmax":
        scores = jax.nn.softmax(scores, axis=-1)
    elif activation == "sigmoid":
        scores = jax.nn.sigmoid(scores)
    return Pixels(jnp.where(valid[..., None], scores, 0), labels, valid)


def pixel_mask(mask: jax.Array | None, shape: tuple[int, ...]) -> jax.Array:
    """A mask [B] or [B, ...] as booleans of the pixels' shape [B, ...]."""
    if mask is None:
        return jnp.ones(shape, bool)
    found = jnp.shape(mask)
    if found not in (shape, shape[:1]):
        raise ValueError(f"mask has shape {found}, but {shape[:1]} or {shape} is wanted.")
    mask = jnp.asarray(mask).astype(bool)
    return jnp.broadcast_to(mask.reshape(found + (1,) * (len(shape) - len(found))), shape)


def pool(sums: jax.Array, per: Per, axis_name: str | None) -> jax.Array:
    """Sums of each image [B, ...], or their sum over the batch [1, ...]."""
    check_choice("per", per, get_args(Per))
    if per == "image":
        return sums
    return total(jnp.sum(sums, axis=0, keepdims=True), axis_name)


def mean_over_classes(
    losses: jax.Array,
    present: jax.Array,
    *,
    absent: Absent = "exclude",
    class_weights: jax.Array | None = None,
) -> jax.Array:
    """Weighted mean over classes, [G, C] to [G], with absent classes treated as told.

    Args:
      losses: [G, C].
      present: [G, C], whether the class has a true pixel.
      absent: See `Absent`.
      class_weights: [C].
    """
    check_choice("absent", absent, get_args(Absent))
    num_classes = losses.shape[1]
    weights = jnp.ones(num_classes, losses.dtype)
    if class_weights is not None:
        check_class_weights("class_weights", class_weights, num_classes)
        weights = as_float(class_weights).astype(losses.dtype)
    counted = weights if absent == "include" else jnp.where(present, weights, 0)
    denominator = jnp.sum(
        weights * jnp.ones_like(counted) if absent == "zero" else counted, axis=-1
    )
    mean = jnp.sum(counted * losses, axis=-1)
    return mean / jnp.where(denominator > 0, denominator, 1)


def per_image(losses: jax.Array, pixels: Pixels, per: Per, axis_name: str | None) -> jax.Array:
    """Losses [B], or the batch's [1] for every image, 0 for images without a valid pixel.

    A label that names no class makes the loss of its image, or batch, NaN.
    """
    if is_integer(pixels.labels):
        stray = (pixels.labels < 0) | (pixels.labels >= pixels.scores.shape[-1])
        strays = pool(jnp.sum(stray.astype(losses.dtype), axis=1), per, axis_name)
        losses = losses * jnp.where(strays > 0, jnp.nan, 1)
    return jnp.where(jnp.any(pixels.valid, axis=1), losses, 0)
