"""Long arrays a block at a time, so that what is derived from them stays in the processor's cache.

On a CPU each intermediate result as long as its input goes out to main memory and back, and beyond
32 MiB into pages that the system must first clear: for sums over millions of rows that costs several
times what the sums do. Accelerators keep such results to themselves, and go on better in one piece.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

BLOCK = 2**16
"""Numbers in a block. Between 2^14 and 2^18 it matters little."""


def fold_blocks(
    add: Callable[..., Any], total: Any, arrays: tuple[jax.Array, ...], *, block: int | None = BLOCK
) -> Any:
    """`total = add(total, *blocks)` for consecutive blocks of the arrays, along their last axis.

    Args:
        add: (total, a block of each array) -> total; the last blocks may be shorter.
        total: to start from, any pytree.
        arrays: [..., N] each, all of one shape.
        block: how many numbers an array gives at a time, at least one along the last axis; None
            takes all at once.

    Example:
        >>> add = lambda total, rows: total + rows.sum()
        >>> int(fold_blocks(add, jnp.int32(0), (jnp.arange(10),), block=4))
        45
    """
    *first, N = arrays[0].shape
    length = max(1, N) if block is None else _length(block, first)
    whole = N // length

    def step(index: jax.Array, total: Any) -> Any:
        at = index * length
        return add(total, *(jax.lax.dynamic_slice_in_dim(x, at, length, -1) for x in arrays))

    if whole:
        total = jax.lax.fori_loop(0, whole, step, total)
    if N % length or not N:
        total = add(total, *(x[..., whole * length :] for x in arrays))
    return total


def map_blocks(function: Callable[..., Any], *arrays: jax.Array, block: int = BLOCK) -> Any:
    """`function(*arrays)` for a function of each row by itself, computed for blocks of rows.

    Args:
        function: ([n, ...], ...) -> a pytree of [n, ...], for any n.
        arrays: [N, ...] each.
        block: how many numbers the first array gives at a time, at least one row.

    Example:
        >>> map_blocks(lambda rows: rows.max(-1), jnp.arange(10).reshape(5, 2), block=4).tolist()
        [1, 3, 5, 7, 9]
    """
    N, *row = arrays[0].shape
    length = _length(block, row)
    if length >= N:
        return function(*arrays)

    def rows(index: jax.Array) -> tuple[jax.Array, Any]:
        # The last block begins early enough to be full; what it has in common with the one before
        # is computed twice, and is the same.
        at = jnp.minimum(index * length, N - length)
        return at, function(*(jax.lax.dynamic_slice_in_dim(x, at, length) for x in arrays))

    def step(index: jax.Array, results: Any) -> Any:
        at, found = rows(index)
        return jax.tree.map(
            lambda result, part: jax.lax.dynamic_update_slice_in_dim(result, part, at, 0),
            results,
            found,
        )

    shapes = jax.eval_shape(rows, jnp.int32(0))[1]
    results = jax.tree.map(lambda x: jnp.zeros((N, *x.shape[1:]), x.dtype), shapes)
    return jax.lax.fori_loop(0, -(-N // length), step, results)


def _length(block: int, others: list[int]) -> int:
    """How many along one axis make up a block, where the other axes are so long."""
    return max(1, block // max(1, math.prod(others)))
