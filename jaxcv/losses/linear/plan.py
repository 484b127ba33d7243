"""What the tile loop is told and what it tells: its settings, its arrays, its result."""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxcv.losses.margins.margin import Margin

Implementation = Literal["portable", "pallas_gpu", "pallas_tpu"]
"""What works on one tile:

* "portable": plain JAX, which XLA compiles for any machine; covers everything, and is the default.
* "pallas_gpu": a Pallas kernel, lowered through Triton, see `experimental/kernels.py`.
* "pallas_tpu": the same kernel, lowered through Mosaic.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """All that is known when the loop is traced.

    Attributes:
      row_block: Rows a tile, at most.
      class_block: Classes a tile, at most.
      dtype: In which products are formed; sums are float32 or more.
      normalize: Whether class rows are divided by their lengths.
      margin: Turns the scores of the other classes into logits; None leaves them.
      totals: Whether `Statistics.total` is wanted.
      padded: Whether classes at and beyond `Constants.limit` are padding.
      axis_name: The device axis that the rows and the classes are spread over.
      precision: Of the products, as in `jnp.matmul`.
      implementation: What works on one tile.
    """

    row_block: int
    class_block: int
    dtype: str
    normalize: bool = False
    margin: Margin | None = None
    totals: bool = False
    padded: bool = False
    axis_name: str | None = None
    precision: Any = None
    implementation: Implementation = "portable"

    @property
    def wide(self) -> Any:
        """The dtype of sums."""
        return jnp.promote_types(self.dtype, jnp.float32)

    @property
    def reshapes(self) -> bool:
        """Whether the logits may be in another order than the scores."""
        return self.margin is not None and self.margin.reshapes_negatives


class Inputs(NamedTuple):
    """What the statistics are differentiated by; n rows and c classes of this device."""

    embeddings: jax.Array  # [n, D], at least float32
    factors: jax.Array  # [n]
    classifier: jax.Array  # [c, D], or [c, K, D] with K centres a class, in any floating dtype
    bias: jax.Array | None  # [c]


class Constants(NamedTuple):
    """What they are not differentiated by; N rows of all devices."""

    labels: jax.Array  # int32 [N]: which of this device's classes is the row's; -1 for none
    limit: jax.Array | int  # from here on this device's classes are padding
    weights: jax.Array | None  # [c], of the total; None for 1
    state: Any  # of the margin


class Statistics(NamedTuple):
    """Of each row [n] over the classes of all devices; all but the first leave out its own class."""

    target: jax.Array  # score s_y; 0 for a row without a class
    log_sum_exp: jax.Array  # of the logits; `EMPTY` for none
    total: jax.Array  # sum of weight_c z_c
    peak: jax.Array  # the largest logit, `EMPTY` for none
    best: jax.Array  # the largest score, `EMPTY` for none; the peak unless `plan.reshapes`


class Cotangents(NamedTuple):
    """What arrives at a row [N] or a part of the rows, in the backward pass."""

    target: jax.Array
    log_sum_exp: jax.Array
    total: jax.Array


class Rows(NamedTuple):
    """The R rows of a tile; the last two in the backward pass alone."""

    embeddings: jax.Array  # [R, D]
    factors: jax.Array  # [R]
    labels: jax.Array  # int32 [R], as in `Constants`
    target: jax.Array  # [R], the score s_y
    log_sum_exp: jax.Array | None = None  # [R], of `Statistics`
    arriving: Cotangents | None = None


class Columns(NamedTuple):
    """The T classes of a tile."""

    start: Any  # the number of the first
    classifier: jax.Array  # [T, D] or [T, K, D]
    bias: jax.Array | None  # [T]
    weights: jax.Array | None  # [T]


class Running(NamedTuple):
    """What the forward pass carries from tile to tile, [N] each."""

    peak: jax.Array  # the largest logit so far
    exponentials: jax.Array  # sum of exp(z - peak)
    total: jax.Array
    best: jax.Array
