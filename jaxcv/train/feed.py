"""From a data set to the devices: resident in their memory, or streamed. Both feed the same batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import numpy as np

from jaxcv.data import Batches, gather
from jaxcv.train.parallel import DeviceMap, Layout

Batch = dict[str, Any]
PerDevice = Callable[[Any, Batch], Any]


class Feed(Protocol):
    """Runs per-device functions on the batches of a data set, by step.

    Beside what the records hold, a batch has `record` [B] and `epoch` [B], see `Batches.origins`.

    Attributes:
        batches: which records make up which step.
    """

    batches: Batches

    def bind(
        self, function: PerDevice, carry: Layout = None, *, out: Layout = None, donate: bool = False
    ) -> Callable[[Any, int], Any]:
        """Gives `call(carry, step)`, which runs `function(carry, batch)` on every device's rows.

        Args:
            function: per device, inside the mapped axis.
            carry: how the carry lies on the devices, see `DeviceMap.map`.
            out: how the result does.
            donate: whether the buffers of the carry may be reused for the result.
        """
        ...

    def bind_many(
        self, function: PerDevice, count: int, carry: Layout = None
    ) -> Callable[[Any, int], Any]:
        """Gives `call(carry, step)`, which runs `count` steps of `(carry, batch) -> (carry, out)`.

        The carry is donated; the outputs come with a leading axis `count`.
        """
        ...


class ResidentFeed:
    """Keeps a decoded data set on every device; a step is told which rows to gather.

    Args:
        batches: say which rows make up each step's batch, a multiple of the devices.
        arrays: the whole data set, first axis N.
        device_map: the devices.
    """

    def __init__(self, batches: Batches, arrays: Batch, device_map: DeviceMap) -> None:
        self.batches, self._map = batches, device_map
        self._arrays = device_map.replicate(arrays)

    def bind(
        self, function: PerDevice, carry: Layout = None, *, out: Layout = None, donate: bool = False
    ) -> Callable[[Any, int], Any]:
        """Gives `call(carry, step)`; see `Feed`."""

        def on_rows(carried: Any, arrays: Batch, origins: Batch, mask: jax.Array) -> Any:
            return function(carried, {**gather(arrays, origins["record"], mask), **origins})

        donated = (0,) if donate else ()
        mapped = self._map.map(on_rows, (carry, None, 0, 0), out=out, donate=donated)

        def call(carried: Any, step: int) -> Any:
            return mapped(carried, self._arrays, *self._map.split(self._rows(step)))

        return call

    def bind_many(
        self, function: PerDevice, count: int, carry: Layout = None
    ) -> Callable[[Any, int], Any]:
        """Gives `call(carry, step)` for `count` steps in one dispatch; see `Feed`."""

        def on_rows(carried: Any, arrays: Batch, origins: Batch, mask: jax.Array) -> Any:
            def body(carried: Any, chosen: tuple[Batch, jax.Array]) -> Any:
                origins, mask = chosen
                return function(carried, {**gather(arrays, origins["record"], mask), **origins})

            return jax.lax.scan(body, carried, (origins, mask))

        mapped = self._map.map(on_rows, (carry, None, 1, 1), out=(carry, None), donate=(0,))

        def call(carried: Any, step: int) -> Any:
            steps = [self._rows(step + i) for i in range(count)]
            rows = jax.tree.map(lambda *parts: np.stack(parts), *steps)
            return mapped(carried, self._arrays, *self._map.split(rows, axis=1))

        return call

    def replace(self, arrays: Batch) -> None:
        """Puts other arrays of the same shapes in place of the data; what was compiled stays in use."""
        self._arrays = self._map.replicate(arrays)

    def _rows(self, step: int) -> tuple[Batch, np.ndarray]:
        """Where the rows of the batch come from that are this process's, and which are real."""
        return own_rows(self.batches.origins(step)), own_rows(self.batches.indices(step)[1])


class StreamFeed:
    """Decodes each batch as it is needed, some steps ahead of the devices.

    Args:
        batches: read the records; rows are a multiple of the devices.
        device_map: the devices.
    """

    def __init__(self, batches: Batches, device_map: DeviceMap) -> None:
        self.batches, self._map = batches, device_map
        self._stream: Iterator[Batch] = iter(())
        self._next = -1

    def bind(
        self, function: PerDevice, carry: Layout = None, *, out: Layout = None, donate: bool = False
    ) -> Callable[[Any, int], Any]:
        """Gives `call(carry, step)`; see `Feed`."""
        donated = (0,) if donate else ()
        mapped = self._map.map(function, (carry, 0), out=out, donate=donated)

        def call(carried: Any, step: int) -> Any:
            return mapped(carried, self._map.split(self._batch(step)))

        return call

    def bind_many(
        self, function: PerDevice, count: int, carry: Layout = None
    ) -> Callable[[Any, int], Any]:
        """Refuses: several steps in one dispatch need the data on the devices."""
        raise ValueError(
            f"steps_per_dispatch is {count}, but the data are streamed; only resident data allow more "
            "than 1. Say --resident True where they fit in memory"
        )

    def _batch(self, step: int) -> Batch:
        if step != self._next:  # The position is the step's: a resumed run starts here too.
            self._stream = self.batches.stream(
                step, process_index=jax.process_index(), process_count=jax.process_count()
            )
        self._next = step + 1
        return {**next(self._stream), **own_rows(self.batches.origins(step))}


def own_rows(tree: Any) -> Any:
    """The share of this process of arrays with one row for each of a global batch."""

    def share(rows: np.ndarray) -> np.ndarray:
        size = len(rows) // jax.process_count()
        return rows[jax.process_index() * size : (jax.process_index() + 1) * size]

    return jax.tree.map(share, tree)
