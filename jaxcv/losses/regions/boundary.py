"""Boundary loss: probabilities weighed by their signed distance to the true region's edge."""

from typing import get_args

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_choice
from jaxcv.losses.arguments import (
    as_float,
    check_class_weights,
    check_same_shape,
    check_scores,
    check_shape,
    is_integer,
)
from jaxcv.losses.regions.pixels import Activation, pixel_mask


def boundary_loss(
    logits: jax.Array,
    distances: jax.Array,
    *,
    activation: Activation = "softmax",
    class_weights: jax.Array | None = None,
    mask: jax.Array | None = None,
) -> jax.Array:
    """Boundary loss (Kervadec et al. 2019, arXiv:1812.07032, equation 5).

    The mean over pixels of sum_c w_c p_c phi_c, phi the signed distance to the edge of class c:
    negative inside, so that the loss is least, and below 0, for the true region. It is meant to be
    added to a region loss. In the paper the background has weight 0.

    Args:
      logits: [B, ..., C] floating: logits, or probabilities with `activation="none"`.
      distances: [B, ..., C], for example of `signed_distances`; constants to differentiation.
      activation: "softmax", "sigmoid" or "none".
      class_weights: [C]; all 1 by default, not normalised.
      mask: [B] or [B, ...]; False for images or pixels that do not exist.

    Returns:
      [B] float32.

    Raises:
      ValueError: for shapes, dtypes or settings that do not fit.
    """
    check_choice("activation", activation, get_args(Activation))
    check_scores("logits", logits)
    check_same_shape("distances", distances, "logits", logits)
    valid = pixel_mask(mask, jnp.shape(logits)[:-1])
    scores = jnp.where(valid[..., None], as_float(logits), 0)
    if activation == "softmax":
        scores = jax.nn.softmax(scores, axis=-1)
    elif activation == "sigmoid":
        scores = jax.nn.sigmoid(scores)
    phi = jnp.where(valid[..., None], jax.lax.stop_gradient(as_float(distances)), 0)
    if class_weights is not None:
        check_class_weights("class_weights", class_weights, scores.shape[-1])
        phi = phi * as_float(class_weights)
    axes = tuple(range(1, scores.ndim - 1))
    values = jnp.sum(jnp.sum(scores * phi, axis=-1), axis=axes)
    return values / jnp.maximum(jnp.sum(valid, axis=axes), 1)


def signed_distances(labels: jax.Array, num_classes: int) -> jax.Array:
    """Signed Euclidean distances in pixels to the edge of every class.

    Outside a class: the distance to its nearest pixel. Inside: one minus the distance to the
    nearest pixel outside, so that pixels at the edge have 0 and deeper ones are negative (the
    convention of Kervadec et al. 2019). A class that is absent, or fills the image, has 0
    everywhere.

    Exact, with O(H^2 W) operations and O(H W) memory an image and class; not differentiable, and
    best done once in the input pipeline or on the device outside the gradient.

    Args:
      labels: [B, H, W] class indices; a label that is no class is outside of all.
      num_classes: C.

    Returns:
      [B, H, W, C] float32.

    Raises:
      ValueError: for labels that are not integers [B, H, W].

    Example:
      >>> signed_distances(jnp.array([[[0, 0, 1, 1, 1]]]), 2)[0, 0, :, 1]
      Array([ 2.,  1.,  0., -1., -2.], dtype=float32)
    """
    check_shape("labels", labels, ("B", "H", "W"))
    if not is_integer(labels):
        raise ValueError(f"labels have dtype {jnp.result_type(labels)}, but integers are wanted.")

    def of_class(image: jax.Array, index: jax.Array) -> jax.Array:
        inside = image == index
        outward, inward = _distance_to(inside), _distance_to(~inside)
        signed = jnp.where(inside, 1 - inward, outward)
        return jnp.where(jnp.any(inside) & jnp.any(~inside), signed, 0)

    classes = jnp.arange(num_classes)
    return jax.vmap(jax.vmap(of_class, (None, 0), -1), (0, None))(labels, classes)


def _distance_to(region: jax.Array) -> jax.Array:
    """Distance of every pixel to the nearest one of a region [H, W] that is not empty.

    Felzenszwalb and Huttenlocher's separation: distances along rows, by running minima, then the
    best of all rows.
    """
    height, width = region.shape
    far = height + width
    column, row = jnp.arange(width), jnp.arange(height)
    left = jax.lax.cummax(jnp.where(region, column, -far), axis=1)
    right = jax.lax.cummin(jnp.where(region, column, width + far), axis=1, reverse=True)
    along = jnp.square(jnp.minimum(column - left, right - column).astype(jnp.float32))

    def nearer(other: jax.Array, best: jax.Array) -> jax.Array:
        across = jnp.square((row - other).astype(jnp.float32))
        return jnp.minimum(best, across[:, None] + along[other])

    return jnp.sqrt(jax.lax.fori_loop(0, height, nearer, jnp.full(region.shape, jnp.inf)))
