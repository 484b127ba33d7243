"""Which classes a device holds, and where a label is among them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxcv.devices import first_row, gather
from jaxcv.losses.linear.sampling import ClassSample


class Shard(NamedTuple):
    """One device's part of the classes.

    Attributes:
      num_classes: Of all devices, padding not counted.
      start: The first class of this device.
      rows: How many rows of the classifier this device holds, padding and unsampled counted.
      limit: From here on the rows that take part are padding.
      padded: Whether any device has padding.
      taking_part: How many classes of all devices are in the softmax.
      axis_name: The device axis, if any.
    """

    num_classes: int
    start: Any
    rows: int
    limit: Any
    padded: bool
    taking_part: Any
    axis_name: str | None

    def positions(self, labels: jax.Array, sample: ClassSample | None = None) -> jax.Array:
        """Where the classes of all devices' rows are among this device's: int32 [N], -1 elsewhere.

        Args:
          labels: [n] of this device's rows of the batch, -1 for none.
          sample: The classes that take part; all without.
        """
        labels = gather(labels, self.axis_name)
        row = jnp.where(labels >= 0, labels - self.start, -1)
        row = jnp.where((row >= 0) & (row < self.rows), row, -1).astype(jnp.int32)
        if sample is None:
            return row
        found = jnp.searchsorted(sample.rows, row).astype(jnp.int32)
        found = jnp.minimum(found, sample.rows.shape[0] - 1)
        return jnp.where((row >= 0) & (sample.rows[found] == row), found, -1)


def shard_of(
    rows: int, num_classes: int | None, sample: ClassSample | None, axis_name: str | None
) -> Shard:
    """The shard of a device whose classifier has this many rows (its sampled ones, with a sample).

    Raises:
      ValueError: if `num_classes` does not fit, a sample has other rows, or the axis is not bound.
    """
    if sample is not None:
        if sample.rows.shape != (rows,):
            raise ValueError(
                f"classifier has {rows} rows, but the sample has {sample.rows.shape[0]}: pass "
                "classifier[sample.rows]."
            )
        rows = sample.total_rows
    start = first_row(rows, axis_name)
    devices = 1 if axis_name is None else jax.lax.psum(1, axis_name)
    every = devices * rows
    if num_classes is None:
        num_classes = every
    if not 1 <= num_classes <= every:
        raise ValueError(
            f"num_classes is {num_classes}, but the classifier has {every} rows on {devices} "
            f"device(s): a value in [1, {every}] is wanted."
        )
    padded = num_classes < every
    limit: Any = jnp.clip(num_classes - start, 0, rows) if padded else rows
    taking_part: Any = num_classes
    if sample is not None:
        limit = jnp.sum(sample.rows < limit)
        taking_part = limit if axis_name is None else jax.lax.psum(limit, axis_name)
    return Shard(num_classes, start, rows, limit, padded, taking_part, axis_name)
