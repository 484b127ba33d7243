"""Who is compared with whom in a batch of labelled embeddings, on one device or over many.

Every loss on pairs and triplets shares these rules:

* Input are embeddings [B, D] and integer labels [B]; rows with mask False do not exist.
* With `axis_name` each device passes its own rows, all alike in number. They are the anchors of the
  device; the partners are the rows of all devices. Values and gradients are those of the whole
  batch on one device (see `jaxcv.devices`).
* The result is one value per anchor, and the *mean over the valid rows of the whole batch* is the
  published loss. Where that is a mean over pairs, triplets or anchors that have partners, the
  values are sums multiplied by (valid rows / number of these); where there are none, 0.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxcv.devices import first_row, gather, total
from jaxcv.losses.arguments import as_float, check_shape, is_integer


class Comparison(NamedTuple):
    """The anchors of this device against the rows of all devices.

    Attributes:
      anchors: [b, D] embeddings, zero where invalid.
      others: [B, D] embeddings of the whole batch, zero where invalid.
      positive: [b, B], same label and not the anchor itself, both valid.
      negative: [b, B], different label, both valid.
      valid: [b].
      axis_name: The device axis.
    """

    anchors: jax.Array
    others: jax.Array
    positive: jax.Array
    negative: jax.Array
    valid: jax.Array
    axis_name: str | None

    def average(self, values: jax.Array, weights: jax.Array) -> jax.Array:
        """Scales the anchors' sums so that their mean over valid rows is sum(values) /
        sum(weights).

        Args:
          values: [b] sums of an anchor's terms.
          weights: [b] how many terms each anchor has.
        """
        weights = jnp.where(self.valid, weights, 0).astype(values.dtype)
        terms = total(jnp.sum(weights), self.axis_name)
        rows = total(jnp.sum(self.valid.astype(values.dtype)), self.axis_name)
        return jnp.where(self.valid, values, 0) * rows / jnp.where(terms > 0, terms, 1)


def compare(
    embeddings: jax.Array,
    labels: jax.Array,
    mask: jax.Array | None = None,
    axis_name: str | None = None,
) -> Comparison:
    """Gathers a labelled batch and says which pairs are positive and which negative.

    Args:
      embeddings: [b, D] floating, the rows of this device.
      labels: [b] integers.
      mask: [b], False for rows that do not exist.
      axis_name: The device axis, None for one device.

    Raises:
      ValueError: for shapes and dtypes that do not fit, an unbound axis.
    """
    anchors, valid = valid_rows(embeddings, labels, mask)
    others, other_labels = gather(anchors, axis_name), gather(labels, axis_name)
    other_valid = gather(valid, axis_name)
    rows = jnp.arange(anchors.shape[0]) + first_row(anchors.shape[0], axis_name)
    itself = rows[:, None] == jnp.arange(others.shape[0])
    both = valid[:, None] & other_valid
    same = labels[:, None] == other_labels
    return Comparison(anchors, others, both & same & ~itself, both & ~same, valid, axis_name)


def valid_rows(
    embeddings: jax.Array, labels: jax.Array, mask: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Embeddings in at least float32, zero where masked out, and the mask [B]."""
    check_shape("embeddings", embeddings, ("B", "D"))
    check_shape("labels", labels, (jnp.shape(embeddings)[0],))
    if not is_integer(labels):
        raise ValueError(f"labels have dtype {jnp.result_type(labels)}, but integers are wanted.")
    if mask is None:
        return as_float(embeddings), jnp.ones(jnp.shape(labels), bool)
    check_shape("mask", mask, jnp.shape(labels))
    mask = jnp.asarray(mask).astype(bool)
    return jnp.where(mask[:, None], as_float(embeddings), 0), mask
