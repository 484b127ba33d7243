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
# [..., 3, rows] int32: rows of the data set, which of them are real, and their epochs. One array, since
# what it costs to put arrays on the devices goes by their number.
Order = Any
# Of the order, this much is put on the devices at a time.
_TABLE_STEPS = 256
_TABLE_ROWS = 2**20


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
    """Keeps a decoded data set on every device, with the order of the next steps beside it.

    A dispatch takes nothing from the host: which rows come next is a table on the devices, and so is
    the place in it.

    Args:
        batches: say which rows make up each step's batch, a multiple of the devices.
        arrays: the whole data set, first axis N.
        device_map: the devices.
    """

    def __init__(self, batches: Batches, arrays: Batch, device_map: DeviceMap) -> None:
        self.batches, self._map = batches, device_map
        self._arrays = device_map.replicate(arrays)
        self._order = OrderOnDevices(batches, device_map)

    def bind(
        self, function: PerDevice, carry: Layout = None, *, out: Layout = None, donate: bool = False
    ) -> Callable[[Any, int], Any]:
        """Gives `call(carry, step)`; see `Feed`."""

        def on_rows(carried: Any, arrays: Batch, order: Order, place: jax.Array) -> Any:
            chosen = jax.lax.dynamic_index_in_dim(order, place, keepdims=False)
            return function(carried, gathered(arrays, chosen)), place + 1

        donated = (0,) if donate else ()
        mapped = self._map.map(on_rows, (carry, None, 2, None), out=(out, None), donate=donated)

        def call(carried: Any, step: int) -> Any:
            result, place = mapped(carried, self._arrays, *self._order.at(step))
            self._order.moved_to(step + 1, place)
            return result

        return call

    def bind_many(
        self, function: PerDevice, count: int, carry: Layout = None
    ) -> Callable[[Any, int], Any]:
        """Gives `call(carry, step)` for `count` steps in one dispatch; see `Feed`.

        On a CPU, XLA has no fast routine for the gradients of a stock convolution inside a loop: there
        the steps of a function with one are dispatched one after the other.
        """

        def on_rows(carried: Any, arrays: Batch, order: Order, place: jax.Array) -> Any:
            def body(carried: Any, chosen: Order) -> Any:
                return function(carried, gathered(arrays, chosen))

            chosen = jax.lax.dynamic_slice_in_dim(order, place, count)
            return jax.lax.scan(body, carried, chosen), place + count

        layouts = (carry, None, 2, None)
        mapped = self._map.map(on_rows, layouts, out=((carry, None), None), donate=(0,))
        one = self.bind(function, carry, out=(carry, None), donate=True)
        loops: bool | None = None  # decided at the first call, which traces the step in any case

        def call(carried: Any, step: int) -> Any:
            nonlocal loops
            order, place = self._order.at(step, count)
            if loops is None:
                loops = not self._loops_slowly(mapped, carried, self._arrays, order, place)
            if loops:
                result, place = mapped(carried, self._arrays, order, place)
                self._order.moved_to(step + count, place)
                return result
            outs = []
            for i in range(count):
                carried, out = one(carried, step + i)
                outs.append(out)
            return carried, jax.tree.map(lambda *x: np.stack(x), *jax.device_get(outs))

        return call

    def replace(self, batches: Batches, arrays: Batch) -> None:
        """Puts other data of the same shapes, in another order, in place; compiled code stays in use."""
        self.batches, self._arrays = batches, self._map.replicate(arrays)
        self._order = OrderOnDevices(batches, self._map)

    def _loops_slowly(self, mapped: Any, *arguments: Any) -> bool:
        if self._map.devices[0].platform != "cpu" or not hasattr(mapped, "trace"):
            return False
        return has_primitive(mapped.trace(*arguments).jaxpr, "conv_general_dilated")


def gathered(arrays: Batch, chosen: Order) -> Batch:
    """The batch of the chosen rows, with what `Batches.origins` says of them."""
    rows, mask, epoch = chosen
    return {**gather(arrays, rows, mask.astype(bool)), "record": rows, "epoch": epoch}


class OrderOnDevices:
    """Which rows of a resident data set make up the next steps, as a table on the devices.

    Args:
        batches: give the rows of each step.
        device_map: the devices, each of which holds its own columns.
    """

    def __init__(self, batches: Batches, device_map: DeviceMap) -> None:
        self._batches, self._map = batches, device_map
        self._start, self._steps = 0, 0  # of the table
        self._next = -1  # the step that `_place` is at
        self._order: Order
        self._place: jax.Array

    def at(self, step: int, count: int = 1) -> tuple[Order, jax.Array]:
        """The table [steps, 3, rows] int32, and the place in it, [] int32, of a step.

        Args:
            step: any; steps in a row are the fast case.
            count: steps from there on that the table must hold.
        """
        if not self._start <= step <= self._start + self._steps - count:
            self._load(step, count)
        elif step != self._next:
            self.moved_to(step, self._map.replicate(np.int32(step - self._start)))
        return self._order, self._place

    def moved_to(self, step: int, place: jax.Array) -> None:
        """Notes the place of the step that comes next, which the devices have computed."""
        self._next, self._place = step, place

    def _load(self, step: int, count: int) -> None:
        batches = self._batches
        # As many steps as are cheap to keep; few enough that the host is never long about them.
        steps = max(count, min(_TABLE_STEPS, _TABLE_ROWS // batches.rows) // count * count)
        if batches.sampled:  # Each step takes the host some time, while the devices are at work.
            steps = count
        if not batches.shuffle:
            steps = max(count, min(steps, batches.steps_per_epoch - step))
        order = np.stack(
            [*batches.index_table(step, steps), batches.epoch_table(step, steps)], axis=1
        )
        self._order = self._map.split(own_rows(order, axis=2), axis=2)
        self._start, self._steps = step, steps
        self.moved_to(step, self._map.replicate(np.int32(0)))


def has_primitive(jaxpr: Any, name: str) -> bool:
    """Whether a jaxpr, or one inside of it, uses the primitive of that name."""
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    if not hasattr(jaxpr, "eqns"):
        return False
    for equation in jaxpr.eqns:
        inner = jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        )
        if equation.primitive.name == name or any(has_primitive(x, name) for x in inner):
            return True
    return False


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


def own_rows(tree: Any, axis: int = 0) -> Any:
    """The share of this process of arrays with one row along `axis` for each of a global batch."""

    def share(rows: np.ndarray) -> np.ndarray:
        size = rows.shape[axis] // jax.process_count()
        mine = slice(jax.process_index() * size, (jax.process_index() + 1) * size)
        return rows[(slice(None),) * axis + (mine,)]

    return jax.tree.map(share, tree)
