"""Exact counts of classes, and of pairs of classes, on the device."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from jaxcv.metrics.blocks import BLOCK, fold_blocks

PRODUCT_BLOCK = 2**16
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
    labels, predictions = (x.reshape(B, -1) for x in (labels, predictions))
    valid = jnp.ones(labels.shape, bool) if valid is None else valid.reshape(B, -1)
    # A scatter is some fifty times as fast as a product on a CPU; on a TPU it goes one by one.
    return jax.lax.platform_dependent(
        labels,
        predictions,
        valid,
        cpu=partial(count_by_scatter, num_classes=num_classes, block=BLOCK),
        tpu=partial(count_by_product, num_classes=num_classes),
        default=partial(count_by_scatter, num_classes=num_classes),
    )


def class_counts(classes: jax.Array, num_classes: int, valid: jax.Array | None = None) -> jax.Array:
    """Counts classes [B, ...], for each example: [B, C] int32. Arguments as above.

    Example:
        >>> class_counts(jnp.array([[0, 2, 2]]), 3).tolist()
        [[1, 0, 2]]
    """
    B = classes.shape[0]
    classes = classes.reshape(B, -1)
    valid = jnp.ones(classes.shape, bool) if valid is None else valid.reshape(B, -1)

    def cells(classes: jax.Array, valid: jax.Array) -> jax.Array:
        classes = classes.astype(jnp.int32)
        return jnp.where(valid & _in_range(classes, num_classes), classes, num_classes)

    return jax.lax.platform_dependent(
        classes,
        valid,
        cpu=partial(count_cells, cells, num_classes, block=BLOCK),
        default=partial(count_cells, cells, num_classes),
    )


def count_by_scatter(
    labels: jax.Array,
    predictions: jax.Array,
    valid: jax.Array,
    num_classes: int,
    block: int | None = None,
) -> jax.Array:
    """[B, P] classes, and whether they count -> [B, C, C] int32, by adding up a pixel at a time."""
    count = num_classes**2

    def cells(labels: jax.Array, predictions: jax.Array, valid: jax.Array) -> jax.Array:
        labels, predictions = labels.astype(jnp.int32), predictions.astype(jnp.int32)
        known = valid & _in_range(labels, num_classes) & _in_range(predictions, num_classes)
        return jnp.where(known, labels * num_classes + predictions, count)

    counts = count_cells(cells, count, labels, predictions, valid, block=block)
    return counts.reshape(len(labels), num_classes, num_classes)


def count_cells(
    cells: Callable[..., jax.Array], count: int, *arrays: jax.Array, block: int | None = None
) -> jax.Array:
    """Counts how often each example falls into each cell, exactly.

    Args:
        cells: [B, n] of each array -> [B, n] int32 in [0, count], where `count` counts nowhere.
        count: Number of cells.
        arrays: [B, P] each.
        block: Elements processed per block, see `blocks`; None takes all at once.

    Returns:
        [B, count] int32.
    """
    B = len(arrays[0])
    if B * count >= 2**31:
        raise ValueError(
            f"the counts of {B} examples have {B * count} cells, too many for one array of int32; "
            "count fewer examples at a time"
        )
    first = count * jnp.arange(B, dtype=jnp.int32)[:, None]

    def add(total: jax.Array, *blocks: jax.Array) -> jax.Array:
        # One index into all the cells of the batch, and one past them for what does not count: on
        # a CPU such a scatter is four to five times as fast as one with an index for each axis
        # and weights.
        found = cells(*blocks)
        index = jnp.where(found < count, first + found, B * count).ravel()
        return total.at[index].add(1, mode="drop")

    total = fold_blocks(add, jnp.zeros(B * count, jnp.int32), arrays, block=block)
    return total.reshape(B, count)


def _in_range(classes: jax.Array, num_classes: int) -> jax.Array:
    return (classes >= 0) & (classes < num_classes)


def count_by_product(
    labels: jax.Array, predictions: jax.Array, valid: jax.Array, num_classes: int
) -> jax.Array:
    """[B, P] classes, and whether they count -> [B, C, C] int32, by products of 0s and 1s, in blocks."""
    B, P = labels.shape
    size = min(PRODUCT_BLOCK, max(P, 1))
    blocks = math.ceil(P / size)
    # Padding has class -1, which is no class.
    labels, predictions = (
        jnp.pad(
            jnp.where(valid, x.astype(jnp.int32), -1),
            ((0, 0), (0, blocks * size - P)),
            constant_values=-1,
        )
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
