"""How large a tile of logits is, by shape and machine, and the loop over tiles."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax

Carry = TypeVar("Carry")

ROWS = {"cpu": 2048}
"""Rows a tile, at most; more are visited in turns, so that few classes make no narrow tiles."""

ELEMENTS = {"cpu": 2**17}
"""Logits a tile, if the block is not given: half a MiB of float32, which a core's own cache holds.
256 rows took 0.94 of the time with 512 classes that they took with 2,048. An accelerator is given
more to do: 256 MiB."""

FEWEST = 256
"""Classes a tile, at least, if there are so many: each tile reads and writes the gradient of all
its rows."""

KEPT = {"cpu": 2**21}
"""Logits in all that are made at once and kept for the backward pass, if the block is not given:
as much memory as some tiles."""

KEPT_PLAIN = {"cpu": 2**25}
"""The same where nothing is made of the logits but their softmax: 128 MiB. On a CPU tiles, with a
fourth product, take 1.06 (one core) to 1.12 (two) of the time of the dense form there; but with
normalised rows or a margin 0.7 of the time of one tile."""

ROWS_ELSEWHERE, ELEMENTS_ELSEWHERE = 16384, 2**26


class Blocks(NamedTuple):
    """Rows and classes a tile, and whether one tile is all there is."""

    rows: int
    classes: int
    whole: bool


def choose_blocks(
    rows: int, classes: tuple[int, ...], block_size: int | None = None, *, plain: bool = False
) -> Blocks:
    """The tile for [rows, classes] logits: all rows and some classes, or, for few classes, both.

    Args:
      rows: N, of all devices.
      classes: (C,) of this device, or (C, K) with K centres a class.
      block_size: Classes a tile; None chooses.
      plain: Whether nothing is made of the logits but their softmax.

    Example:
      >>> choose_blocks(100, (10,))
      Blocks(rows=100, classes=10, whole=True)
    """
    machine = jax.default_backend()
    count, centres = classes[0], math.prod(classes[1:])
    kept = (KEPT_PLAIN if plain else KEPT).get(machine, ELEMENTS_ELSEWHERE)
    if block_size is None and rows * count * centres <= kept:
        return Blocks(rows, count, True)
    rows_block = min(rows, ROWS.get(machine, ROWS_ELSEWHERE))
    if block_size is None:
        width = ELEMENTS.get(machine, ELEMENTS_ELSEWHERE) // max(rows_block, 1)
        # A multiple of 128 fills vector registers and matrix units.
        block_size = max(FEWEST, min(width, 8192) // centres // 128 * 128)
    class_block = min(block_size, count)
    return Blocks(rows_block, class_block, rows_block == rows and class_block == count)


def over_tiles(
    size: int, block: int, body: Callable[[Any, int, Carry], Carry], carry: Carry
) -> Carry:
    """Runs `carry = body(start, width, carry)` over [0, size) in blocks and a smaller remainder."""
    whole, rest = divmod(size, block)
    if whole == 1:
        carry = body(0, block, carry)
    elif whole > 1:
        carry = jax.lax.fori_loop(0, whole, lambda i, c: body(i * block, block, c), carry)
    return body(whole * block, rest, carry) if rest else carry


def part(array: Any, start: Any, size: int) -> Any:
    """`array[start:start + size]` of a leading axis, nothing to do for the whole or for None."""
    if array is None or array.shape[0] == size:
        return array
    return jax.lax.dynamic_slice_in_dim(array, start, size)


def with_part(array: jax.Array, piece: jax.Array, start: Any) -> jax.Array:
    """`array` with `piece` at `start` of its leading axis."""
    if array.shape[0] == piece.shape[0]:
        return piece
    return jax.lax.dynamic_update_slice_in_dim(array, piece, start, 0)
