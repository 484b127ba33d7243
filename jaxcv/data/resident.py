"""Data sets that fit in device memory: decoded once, gathered by index inside the jitted step."""

import concurrent.futures
import math
from typing import Any

import numpy as np

from jaxcv.data.batches import Batches
from jaxcv.data.reader import RecordReader
from jaxcv.data.source import Source

_CHUNK = 512


def resident_bytes(data: Source | Batches) -> int:
    """Memory that `materialize(data)` takes, in bytes. Reads one record.

    Example:
      >>> from jaxcv.data import Digits
      >>> resident_bytes(Digits().open("train"))  # 1437 records of 8x8 pixels, a label and a mask
      99153
    """
    if isinstance(data, Batches):
        return data.num_examples * _record_bytes(data.reader)
    return len(data) * _record_bytes(RecordReader(data, on_bad_record="skip"))


def _record_bytes(reader: RecordReader) -> int:
    return 1 + sum(math.prod(shape) * dtype.itemsize for shape, dtype in reader.spec.values())


def materialize(data: Source | Batches, *, num_threads: int | None = None) -> dict[str, np.ndarray]:
    """Reads every record once.

    Args:
      data: a source of N records; or the batches of one, whose policies on labels and bad records
        then hold (a skipped record is zeros with mask False, counted in `batches.bad_records`).
      num_threads: threads that read and decode; None takes the batches' number, else 4.

    Returns:
      Every key stacked to [N, ...], in the source's order, and `mask` bool [N]. `gather` makes
      batches of it.

    Raises:
      DecodeError: a record cannot be decoded.
      ValueError: a label is out of range, or a record's shape differs; or the batches show another
        rectangle of an image each time.
    """
    batches = data if isinstance(data, Batches) else Batches(data, 1, shuffle=False)
    if batches.rectangle is not None:
        raise ValueError(
            "with a random_resized_crop each training image is cut anew while it is decoded, so that the "
            "data cannot be decoded once and kept; stream them, or cut by augment on the device"
        )
    source, reader = batches.source, batches.reader
    num_threads = batches.num_threads if num_threads is None else num_threads
    length = len(source)
    whole = {k: np.zeros((length, *shape), dtype) for k, (shape, dtype) in reader.spec.items()}
    whole["mask"] = np.zeros(length, bool)

    def read_chunk(start: int) -> None:
        rows = np.arange(start, min(start + _CHUNK, length))
        for key, values in reader.read(rows, np.ones(len(rows), bool)).items():
            whole[key][rows[0] : rows[-1] + 1] = values

    with concurrent.futures.ThreadPoolExecutor(max(1, num_threads)) as pool:
        futures = [pool.submit(read_chunk, start) for start in range(0, length, _CHUNK)]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return whole


def gather(arrays: dict[str, Any], indices: Any, mask: Any) -> dict[str, Any]:
    """The batch of `batches.indices(step)` from materialized arrays; pure, for use inside `jit`.

    Args:
      arrays: what `materialize` returned, on the device: every key [N, ...] and `mask` [N].
      indices: int32 [B].
      mask: bool [B], False in padding.

    Returns:
      Equal to `batches[step]`: rows whose mask is False are zeros.
    """
    import jax.numpy as jnp

    kept = jnp.logical_and(jnp.take(arrays["mask"], indices, axis=0), mask)
    batch = {}
    for key, values in arrays.items():
        rows = jnp.take(values, indices, axis=0)
        shown = kept.reshape(kept.shape + (1,) * (rows.ndim - 1))
        batch[key] = jnp.where(shown, rows, jnp.zeros((), rows.dtype))
    batch["mask"] = kept
    return batch
