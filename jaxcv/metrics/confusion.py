"""Exact counts of classes, and of pairs of classes, on the device."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp

BLOCK = 2**16
"""Pixels that are counted by one matrix product; float32 counts exactly up to 2^24."""


def confusion_matrices(
    labels: jax.Array, predictions: jax.Array, num_classes: int, valid: jax.Array | None = None
) -> jax.Array:
    """Counts pairs of classes, for each example of a batch.

    Args:
        labels: [B, ...] integers.
        predictions: [B, ...] integers.
        num_classes: C. A class outside [0, C) counts nowhere.
        valid: [B, ...] bool; False counts nowhere. None takes all.

    Returns:
        [B, C, C] int32: by true class (row) and predicted class (column).

    Example:
        >>> confusion_matrices(jnp.array([[0, 0, 1, 1]]), jnp.array([[0, 1, 1, 1]]), 2).tolist()
        [[[1, 1], [0, 2]]]
    """
    B = labels.shape[0]
    labels, predictions = (x.astype(jnp.int32).reshape(B, -1) for x in (labels, predictions))
    known = (labels >= 0) & (labels < num_classes)
    known &= (predictions >= 0) & (predictions < num_classes)
    if valid is not None:
        known &= valid.reshape(B, -1)
    # A scatter is some ten times as fast as a product on a CPU; on a TPU it goes one by one.
    return jax.lax.platform_dependent(
        labels,
        predictions,
        known,
        tpu=partial(count_by_product, num_classes=num_classes),
        default=partial(count_by_scatter, num_classes=num_classes),
    )


def class_counts(classes: jax.Array, num_classes: int, valid: jax.Array | None = None) -> jax.Array:
    """Counts classes [B, ...], for each example: [B, C] int32. Arguments as above.

    Example:
        >>> class_counts(jnp.array([[0, 2, 2]]), 3).tolist()
        [[1, 0, 2]]
    """
    nothing = jnp.zeros_like(classes, jnp.int32)
    known = (classes >= 0) & (classes < num_classes)
    valid = known if valid is None else known & valid
    B = classes.shape[0]
    columns = jnp.where(valid, classes.astype(jnp.int32), nothing).reshape(B, -1)
    return _count_cells(columns, valid.reshape(B, -1), num_classes)


def count_by_scatter(
    labels: jax.Array, predictions: jax.Array, valid: jax.Array, num_classes: int
) -> jax.Array:
    """[B, P] classes in range where valid -> [B, C, C] int32, by adding up one pixel at a time."""
    cells = _count_cells(labels * num_classes + predictions, valid, num_classes**2)
    return cells.reshape(len(labels), num_classes, num_classes)


def _count_cells(cells: jax.Array, valid: jax.Array, count: int) -> jax.Array:
    """[B, P] numbers of cells, in [0, count) where valid -> [B, count] int32.

    One index into all the cells of the batch, and one past them for what does not count: on a CPU
    that scatter is four to five times as fast as one with an index for each axis and weights.
    """
    B = len(cells)
    if B * count >= 2**31:
        raise ValueError(
            f"the counts of {B} examples have {B * count} cells, too many for one array of int32; "
            "count fewer examples at a time"
        )
    first = count * jnp.arange(B, dtype=jnp.int32)[:, None]
    index = jnp.where(valid, first + cells, B * count).ravel()
    return jnp.zeros(B * count, jnp.int32).at[index].add(1, mode="drop").reshape(B, count)


def count_by_product(
    labels: jax.Array, predictions: jax.Array, valid: jax.Array, num_classes: int
) -> jax.Array:
    """[B, P] classes in range where valid -> [B, C, C] int32, by products of 0s and 1s, in blocks."""
    B, P = labels.shape
    size = min(BLOCK, max(P, 1))
    blocks = math.ceil(P / size)
    # Padding has class -1, which is no class.
    labels, predictions = (
        jnp.pad(jnp.where(valid, x, -1), ((0, 0), (0, blocks * size - P)), constant_values=-1)
        .reshape(B, blocks, size)
        .swapaxes(0, 1)
        for x in (labels, predictions)
    )
    classes = jnp.arange(num_classes)[:, None]

    def add(total: jax.Array, block: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        true, predicted = ((x[:, None] == classes).astype(jnp.bfloat16) for x in block)
        counts = jnp.einsum("bip,bjp->bij", true, predicted, preferred_element_type=jnp.float32)
        return total + counts.astype(jnp.int32), None

    start = jnp.zeros((B, num_classes, num_classes), jnp.int32)
    return jax.lax.scan(add, start, (labels, predictions))[0]
