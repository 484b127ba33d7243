"""Lovász losses: the convex extension of the Jaccard loss, by sorting the pixels' errors.

Berman et al. 2018, arXiv:1705.08790, after Yu and Blaschko 2015. With errors in falling order, the
loss is sum_k error_k (J_k - J_{k-1}), J_k the Jaccard loss if exactly the first k pixels were
wrong.
"""

from typing import Unpack

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_choice
from jaxcv.devices import gather
from jaxcv.losses.arguments import as_float, check_same_shape, is_integer
from jaxcv.losses.regions.pixels import (
    Per,
    RegionOptions,
    mean_over_classes,
    per_image,
    pixel_mask,
    pixels_of,
)


def lovasz_softmax_loss(
    logits: jax.Array, labels: jax.Array, **options: Unpack[RegionOptions]
) -> jax.Array:
    """Lovász-softmax loss: the Jaccard loss extended to errors |y - p|, averaged over classes.

    Args:
      logits: [B, ..., C] floating: logits, or probabilities with `activation="none"`.
      labels: [B, ...] class indices.
      **options: See `RegionOptions`; the authors' "classes present" is `absent="exclude"`.

    Returns:
      [B] float32.

    Raises:
      ValueError: for shapes, dtypes or settings that do not fit.

    Example:
      >>> p = jnp.array([[[0.5, 0.5], [0.0, 1.0]]])  # One image, two pixels, two classes.
      >>> lovasz_softmax_loss(p, jnp.array([[0, 1]]), activation="none")  # (1/2 + 1/4) / 2
      Array([0.375], dtype=float32)
    """
    if not is_integer(labels):
        raise ValueError(
            f"labels have dtype {jnp.result_type(labels)}, but class indices (integers) are "
            "wanted: the Jaccard loss is extended from sets of pixels."
        )
    known = {k: v for k, v in options.items() if k in ("activation", "ignore_label", "mask")}
    pixels = pixels_of(logits, labels, **known)  # type: ignore[arg-type]
    truth = pixels.truth().astype(pixels.scores.dtype)
    errors = jnp.abs(truth - pixels.scores)
    errors, truth, valid = _grouped(
        errors, truth, pixels.valid, options.get("per", "image"), options.get("axis_name")
    )
    weights = jax.vmap(jax.vmap(_jaccard_steps, (1, 1, None), 1))(errors, truth, valid)
    losses = mean_over_classes(
        jnp.sum(errors * weights, axis=1),
        jnp.any(truth > 0, axis=1),
        absent=options.get("absent", "exclude"),
        class_weights=options.get("class_weights"),
    )
    return per_image(losses, pixels, options.get("per", "image"), options.get("axis_name"))


def lovasz_hinge_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    per: Per = "image",
    ignore_label: int | None = None,
    mask: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Binary Lovász hinge: the Jaccard loss of the foreground, extended to hinge errors.

    The errors are max(1 - z, 0) on foreground and max(1 + z, 0) on background.

    Args:
      logits: [B, ...] floating, positive for foreground.
      labels: [B, ...] integers or booleans, 1 for foreground.
      per: As in `RegionOptions`.
      ignore_label: Pixels with this label do not exist.
      mask: [B] or [B, ...]; False for images or pixels that do not exist.
      axis_name: The device axis over which the batch is spread, for `per="batch"`.

    Returns:
      [B] float32.

    Raises:
      ValueError: for shapes or settings that do not fit.

    Example:
      >>> lovasz_hinge_loss(jnp.array([[2.0, 0.5]]), jnp.array([[1, 0]]))  # 1.5 * 1/2
      Array([0.75], dtype=float32)
    """
    check_same_shape("labels", labels, "logits", logits)
    if jnp.ndim(logits) < 2:
        raise ValueError(f"logits have shape {jnp.shape(logits)}, but [B, ...] is wanted.")
    logits, labels = as_float(logits), jnp.asarray(labels)
    if jnp.issubdtype(labels.dtype, jnp.floating):
        raise ValueError(f"labels have dtype {labels.dtype}, but integers or booleans are wanted.")
    valid = pixel_mask(mask, logits.shape)
    if ignore_label is not None:
        valid &= labels != ignore_label
    flat = (logits.shape[0], -1)
    valid, logits, labels = valid.reshape(flat), logits.reshape(flat), labels.reshape(flat)
    truth = (valid & (labels == 1)).astype(logits.dtype)
    errors = jax.nn.relu(1 - jnp.where(valid, logits, 0) * (2 * truth - 1))
    some = jnp.any(valid, axis=1)
    errors, truth, valid = _grouped(errors, truth, valid, per, axis_name)
    weights = jax.vmap(_jaccard_steps)(errors, truth, valid)
    return jnp.where(some, jnp.sum(errors * weights, axis=1), 0)


def _grouped(
    errors: jax.Array, truth: jax.Array, valid: jax.Array, per: Per, axis_name: str | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """[B, P, ...] as they are, or as the one group [1, B P, ...] of all devices' pixels."""
    check_choice("per", per, ("image", "batch"))
    if per == "image":
        return errors, truth, valid
    errors, truth, valid = (
        gather(x.reshape(-1, *x.shape[2:]), axis_name)[None] for x in (errors, truth, valid)
    )
    return errors, truth, valid


def _jaccard_steps(errors: jax.Array, truth: jax.Array, valid: jax.Array) -> jax.Array:
    """J_k - J_{k-1} for each pixel of a group, [P], constants to differentiation.

    With I true pixels still right and U pixels in the union, a wrong true pixel lowers I by one and
    the step is 1 / U; a wrong background pixel raises U by one and the step is I / (U (U + 1)).
    Taken as differences of the J they would have few digits left in large images.
    """
    ranks = jnp.where(valid, jax.lax.stop_gradient(errors), -1)
    order = jnp.argsort(-ranks)
    hit = (truth[order] > 0).astype(jnp.int32)
    actual = jnp.sum(hit)
    right = (actual - jnp.cumsum(hit)).astype(errors.dtype)
    union = (actual + jnp.cumsum(1 - hit)).astype(errors.dtype)
    first = (jnp.arange(hit.size) == 0).astype(errors.dtype)
    grown = jnp.where(actual > 0, right / (union * jnp.maximum(union - 1, 1)), first)
    steps = jnp.where(hit == 1, 1 / jnp.maximum(union, 1), grown)
    steps = jnp.zeros_like(steps).at[order].set(steps)
    return jnp.where(valid, steps, 0)
