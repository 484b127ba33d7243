"""Mapping a per-device function over devices: `pmap` or `shard_map`, the same function, equal results.

In one process pmap is the default: its meaning is one sentence, run this on every device, and as JAX itself
makes it `jit(shard_map)`, both compile to the same program. Over several processes shard_map is the
default: it takes global arrays as they lie, where pmap cuts and places the rows of each batch on the host.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcv.devices import AXIS

Strategy = Literal["pmap", "shard_map"]
# How the arrays of an argument lie on the devices: None, whole on each; an int, sharded along that
# axis; or a pytree, a prefix of the argument's, of `P()` for whole and `P(AXIS)` for sharded by rows.
Layout = Any


class DeviceMap:
    """The devices that share each global batch, and how a function runs on all of them.

    Args:
        devices: the devices; all of every process's, in the order of `jax.devices()`.
        strategy: `pmap` or `shard_map`; None takes pmap in a single process and shard_map over several.
        compiler_options: for XLA, from `jaxcv.convolution.compiler`. With any, what is
            mapped is a program of its own and cannot be part of another `jax.jit`.
    """

    def __init__(
        self,
        devices: Sequence[jax.Device] | None = None,
        strategy: Strategy | None = None,
        compiler_options: dict[str, str] | None = None,
    ) -> None:
        self.devices = tuple(devices if devices is not None else jax.devices())
        self.strategy = strategy or ("pmap" if jax.process_count() == 1 else "shard_map")
        self.compiler_options = compiler_options or {}
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
        split: Sequence[Layout],
        *,
        out: Layout = None,
        donate: tuple[int, ...] = (),
    ) -> Callable[..., Any]:
        """Maps `function` over the devices.

        Args:
            function: runs on each device, with the axis `AXIS` bound.
            split: per argument, how its arrays lie on the devices.
            out: how the result does. What lies whole on each must be equal on all devices (summed or
                gathered over `AXIS`).
            donate: positions of arguments whose buffers the result may reuse.
        """
        if self.strategy == "pmap":
            return self._pmap(function, split, out, donate)
        mapped = jax.shard_map(
            function,
            mesh=self.mesh,
            in_specs=tuple(_specs(layout) for layout in split),
            out_specs=_specs(out),
            # The default, True, sums the gradient of a replicated input over the axis by itself, and
            # the step's own psum would multiply it by the device count. False has pmap's meaning.
            check_vma=False,
        )
        return jax.jit(mapped, donate_argnums=donate, compiler_options=self.compiler_options)

    def _pmap(
        self,
        function: Callable[..., Any],
        split: Sequence[Layout],
        out: Layout,
        donate: tuple[int, ...],
    ) -> Callable[..., Any]:
        layouts, out = tuple(_specs(layout) for layout in split), _specs(out)
        with _pmap_by_shard_map():
            mapped = jax.pmap(
                function,
                axis_name=AXIS,
                in_axes=tuple(
                    jax.tree.map(_sharded_axis, layout, is_leaf=_is_spec) for layout in layouts
                ),
                out_axes=jax.tree.map(_sharded_axis, out, is_leaf=_is_spec),
                devices=self.devices,
                donate_argnums=donate,
            )

        @functools.wraps(function)  # so that logs and profiles name the function
        def call(*arguments: Any) -> Any:
            stacked = (
                _at_sharded(layout, argument, self._stacked)
                for layout, argument in zip(layouts, arguments, strict=True)
            )
            return _at_sharded(out, mapped(*stacked), _joined)

        if jax.process_count() > 1:
            return call
        # Inside jit the axis comes and goes at no cost: the arrays stay where they are, and a call
        # takes jit's fast path instead of pmap's own work in Python on every leaf.
        shardings = jax.tree.map(lambda s: NamedSharding(self.mesh, s), out, is_leaf=_is_spec)
        return jax.jit(
            call,
            donate_argnums=donate,
            out_shardings=shardings,
            compiler_options=self.compiler_options,
        )

    def _stacked(self, array: Any, axis: int) -> Any:
        # pmap wants an axis of its own: [.., rows, ..] -> [.., devices, rows / devices, ..]
        shape = array.shape
        rows = shape[axis] // self.local_count
        return array.reshape(*shape[:axis], self.local_count, rows, *shape[axis + 1 :])

    def replicate(self, tree: Any) -> Any:
        """Places a whole copy of every array, equal in all processes, on every device."""
        return self.place(tree, None)

    def place(self, tree: Any, layout: Layout) -> Any:
        """Places arrays, whole and equal in all processes, on the devices as the layout says."""

        def put(x: Any, sharding: NamedSharding) -> jax.Array:
            if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
                return jax.random.wrap_key_data(put(jax.random.key_data(x), sharding))
            x = np.asarray(x)
            return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

        return jax.tree.map(
            lambda sharding, part: jax.tree.map(lambda x: put(x, sharding), part),
            self.shardings(layout),
            tree,
        )

    def shardings(self, layout: Layout) -> Any:
        """Gives the layout with a `NamedSharding` in place of each `P`."""
        return jax.tree.map(
            lambda spec: NamedSharding(self.mesh, spec), _specs(layout), is_leaf=_is_spec
        )

    def split(self, tree: Any, axis: int = 0) -> Any:
        """Places this process's rows of a global batch on its devices, sharded along `axis`.

        Under `pmap` over several processes the arrays stay on the host: pmap divides and places them.
        """
        if self.strategy == "pmap" and jax.process_count() > 1:
            return tree
        sharding = NamedSharding(self.mesh, P(*[None] * axis, AXIS))
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


@contextlib.contextmanager
def _pmap_by_shard_map() -> Iterator[None]:
    """Makes what `jax.pmap` gives here `jit(shard_map)`, as it is in any case since jax 0.8.

    Before, arrays moved through one device where a pmap stood inside a jit. jax 0.7 has the new one behind
    a switch that is read where a pmap is made; without that switch there is nothing to do.
    """
    switch = "jax_pmap_shmap_merge"
    before = getattr(jax.config, switch, True)
    if not before:
        jax.config.update(switch, True)
    try:
        yield
    finally:
        if not before:
            jax.config.update(switch, before)


def is_sharded(spec: P) -> bool:
    """Whether a spec divides an array over the devices."""
    return AXIS in spec


def _is_spec(x: Any) -> bool:
    return isinstance(x, P)


def _specs(layout: Layout) -> Any:
    """A layout as a pytree of `P`."""
    if isinstance(layout, int):
        return P(*[None] * layout, AXIS)
    if layout is None:
        return P()
    if isinstance(layout, tuple) and not isinstance(layout, P) and not hasattr(layout, "_fields"):
        return tuple(_specs(part) for part in layout)
    # One spec where one does: pmap over several processes wants what it can hash.
    sharded = any(is_sharded(spec) for spec in jax.tree.leaves(layout, is_leaf=_is_spec))
    return layout if sharded else P()


def _sharded_axis(spec: P) -> int | None:
    return tuple(spec).index(AXIS) if is_sharded(spec) else None


def _at_sharded(layout: Any, tree: Any, change: Callable[[Any, int], Any]) -> Any:
    """The tree with the arrays that the layout divides changed."""

    def one(spec: P, part: Any) -> Any:
        axis = _sharded_axis(spec)
        return part if axis is None else jax.tree.map(lambda x: change(x, axis), part)

    return jax.tree.map(one, layout, tree, is_leaf=_is_spec)


def _joined(array: Any, axis: int) -> Any:
    # The inverse of `_stacked`.
    shape = array.shape
    return array.reshape(*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])
