"""The nearest rows of a matrix on the device: tiles, and blocks of which most are never sorted."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

BLOCK = 64
"""Rows whose largest score stands for them. XLA sorts on a CPU at a tenth of the speed at which it
takes a maximum, so that sorting maxima and then the best blocks alone pays."""

TILE = {"cpu": 4096}
"""Rows a tile, whose scores stay in the caches: of 2,048 to 32,768 the fastest for 100 queries."""

TILE_ELSEWHERE = 32768

_SMALLEST = 128


def tile_rows() -> int:
    """Rows a tile on this machine."""
    return TILE.get(jax.default_backend(), TILE_ELSEWHERE)


def capacity(count: int, tile: int) -> int:
    """How many rows to reserve for `count`, so that few sizes, hence few compilations, occur.

    Powers of two up to a tile, then whole tiles in steps of an eighth of a power of two.

    Example:
        >>> capacity(3, 4096), capacity(5000, 4096), capacity(100_000, 4096)
        (128, 8192, 106496)
    """
    if count <= tile:
        return min(tile, max(_SMALLEST, 1 << (count - 1).bit_length()))
    step = max(tile, (1 << count.bit_length()) // 16)
    return -(-count // step) * step


def query_capacity(count: int) -> int:
    """The same for queries: powers of two up to 8, then eighths of them.

    Example:
        >>> [query_capacity(count) for count in (1, 3, 9, 100, 1000)]
        [1, 4, 9, 104, 1024]
    """
    if count <= 8:
        return 1 << (count - 1).bit_length()
    step = max(1, (1 << count.bit_length()) // 16)
    return -(-count // step) * step


def as_tiles(rows: np.ndarray, tile: int) -> np.ndarray:
    """Lays rows out as `nearest_rows` reads them.

    Each tile is transposed, since XLA multiplies by it a tenth faster on a CPU than by its transpose.

    Args:
        rows: [N, E] float32.
        tile: rows a tile, a multiple of 64, at most; fewer where there are few rows.

    Returns:
        [capacity / tile, E, tile] float32, zero where there are no rows.
    """
    size = capacity(len(rows), tile)
    tile = min(tile, size)
    tiles = np.zeros((size // tile, rows.shape[1], tile), np.float32)
    for i, start in enumerate(range(0, len(rows), tile)):
        part = rows[start : start + tile]
        tiles[i, :, : len(part)] = part.T
    return tiles


@partial(jax.jit, static_argnames="k")
def nearest_rows(
    queries: jax.Array, tiles: jax.Array, count: jax.Array | int, *, k: int
) -> tuple[jax.Array, jax.Array]:
    """The k largest scores of queries @ rows[:count].T, without the [Q, N] matrix.

    Exact: every row of a block that is left aside is at most its maximum, and k blocks with larger
    or equal maxima remain. `losses.linear_top_k` answers the same question by sorting tiles; this
    one takes the number of rows as an array, so that a growing gallery meets a compiled program.

    Args:
        queries: [Q, E] float32.
        tiles: [N / T, E, T] float32, the rows as `as_tiles` lays them out.
        count: how many rows there are; the rest is padding, and tiles of it alone are not visited.
        k: how many.

    Returns:
        Scores [Q, k] in falling order and rows [Q, k] int32; -inf and -1 where there are none.

    Example:
        >>> tiles = as_tiles(np.array([[1.0], [3.0], [2.0]]), 4096)
        >>> nearest_rows(jnp.ones((1, 1)), tiles, 3, k=2)[1]
        Array([[1, 2]], dtype=int32)
    """
    tile = tiles.shape[2]
    blocks = tile // BLOCK

    def visit(number: Any, best: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        start = number * tile
        part = jax.lax.dynamic_index_in_dim(tiles, number, keepdims=False)
        # An accelerator's default would round the factors to 10 bits or fewer.
        scores = jnp.matmul(queries, part, precision="highest")
        scores = jnp.where(start + jnp.arange(tile) < count, scores, -jnp.inf)
        scores = scores.reshape(-1, blocks, BLOCK)
        names = start + jnp.arange(tile, dtype=jnp.int32).reshape(blocks, BLOCK)
        if k < blocks:
            kept = jax.lax.top_k(scores.max(axis=2), k)[1]
            scores = jnp.take_along_axis(scores, kept[:, :, None], axis=1)
            names = names[kept]
        names = jnp.broadcast_to(names, scores.shape).reshape(scores.shape[0], -1)
        scores = jnp.concatenate([best[0], scores.reshape(scores.shape[0], -1)], axis=1)
        names = jnp.concatenate([best[1], names], axis=1)
        scores, order = jax.lax.top_k(scores, k)
        return scores, jnp.take_along_axis(names, order, axis=1)

    shape = (queries.shape[0], k)
    empty = jnp.full(shape, -jnp.inf, jnp.float32), jnp.full(shape, -1, jnp.int32)
    scores, names = jax.lax.fori_loop(0, (count + tile - 1) // tile, visit, empty)
    return scores, jnp.where(jnp.isfinite(scores), names, -1)
