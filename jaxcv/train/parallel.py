"""Mapping a per-device function over devices: `pmap` or `shard_map`, the same function, equal results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcv.train.step import AXIS

Strategy = Literal["pmap", "shard_map"]


class DeviceMap:
    """The devices that share each global batch, and how a function runs on all of them.

    Args:
        devices: the devices; all of every process's, in the order of `jax.devices()`.
        strategy: `shard_map` (one jitted program) or `pmap` (the older interface to the same, with
            more work on the host per call).
    """

    def __init__(
        self, devices: Sequence[jax.Device] | None = None, strategy: Strategy = "shard_map"
    ) -> None:
        self.devices = tuple(devices if devices is not None else jax.devices())
        self.strategy = strategy
        self.mesh = Mesh(np.array(self.devices), (AXIS,))
        self.local_count = sum(d.process_index == jax.process_index() for d in self.devices)

    @property
    def count(self) -> int:
        """Devices over all processes."""
        return len(self.devices)

    def padded(self, batch_size: int) -> int:
        """The least multiple of the device count that holds `batch_size` rows."""
        return -(-batch_size // self.count) * self.count

    def map(
        self,
        function: Callable[..., Any],
        split: Sequence[int | None],
        *,
        donate: tuple[int, ...] = (),
    ) -> Callable[..., Any]:
        """Maps `function` over the devices.

        Args:
            function: runs on each device, with the axis `AXIS` bound; every output must be equal on
                all devices (summed or gathered over `AXIS`).
            split: per argument, the axis along which its arrays are divided over the devices, or None
                for an argument that each device gets whole.
            donate: positions of arguments whose buffers the result may reuse.
        """
        if self.strategy == "pmap":
            return self._pmap(function, split, donate)
        in_specs = tuple(P() if axis is None else P(*[None] * axis, AXIS) for axis in split)
        mapped = jax.shard_map(
            function,
            mesh=self.mesh,
            in_specs=in_specs,
            out_specs=P(),
            # The default, True, sums the gradient of a replicated input over the axis by itself, and
            # the step's own psum would multiply it by the device count. False has pmap's meaning.
            check_vma=False,
        )
        return jax.jit(mapped, donate_argnums=donate)

    def _pmap(
        self, function: Callable[..., Any], split: Sequence[int | None], donate: tuple[int, ...]
    ) -> Callable[..., Any]:
        mapped = jax.pmap(
            function,
            axis_name=AXIS,
            in_axes=tuple(split),
            out_axes=None,
            devices=self.devices,
            donate_argnums=donate,
        )

        def stacked(array: Any, axis: int) -> Any:
            # pmap wants an axis of its own: [.., rows, ..] -> [.., devices, rows / devices, ..]
            shape = array.shape
            rows = shape[axis] // self.local_count
            return array.reshape(*shape[:axis], self.local_count, rows, *shape[axis + 1 :])

        def call(*arguments: Any) -> Any:
            return mapped(
                *(
                    argument
                    if axis is None
                    else jax.tree.map(lambda x, axis=axis: stacked(x, axis), argument)
                    for argument, axis in zip(arguments, split, strict=True)
                )
            )

        return call

    def replicate(self, tree: Any) -> Any:
        """Places a whole copy of every array, equal in all processes, on every device."""
        sharding = NamedSharding(self.mesh, P())

        def place(x: Any) -> jax.Array:
            if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
                return jax.random.wrap_key_data(place(jax.random.key_data(x)))
            return jax.make_array_from_process_local_data(sharding, np.asarray(x))

        return jax.tree.map(place, tree)

    def split(self, tree: Any, axis: int = 0) -> Any:
        """Places this process's rows of a global batch on its devices, divided along `axis`.

        Under `pmap` the arrays stay on the host: pmap itself divides and places them.
        """
        if self.strategy == "pmap":
            return tree
        sharding = NamedSharding(self.mesh, P(*[None] * axis, AXIS))
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)
