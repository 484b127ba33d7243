"""The training step of a run, lowered and compiled for devices that are not here."""

import contextlib
import re
import sys
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax
import numpy as np

from jaxcv.train import Experiment, Runtime, open_run
from jaxcv.train.loop import make_advance
from jaxcv.train.window import Packing
from scripts.tpu.programs import Chip, collectives, loops, roofline_ms, slowest

# What the compiler says of a program that is too large, before it has placed the arrays and after.
_NO_ROOM = (
    re.compile(r"temporaries \(([\d.]+)([GM])\) exceeds available HBM \(([\d.]+)([GM])\)"),
    re.compile(r"Used ([\d.]+)([GM]) of ([\d.]+)([GM]) hbm"),
)
_UNIT = {"G": 2**30, "M": 2**20}


class ShapeFeed:
    """Lowers what other feeds run: `call(carry, step)` gives the lowered program, and no metrics.

    Args:
        batch: the shapes of a global batch.
        device_map: the devices.
    """

    def __init__(self, batch: dict[str, jax.ShapeDtypeStruct], device_map: Any) -> None:
        self._batch, self._map = batch, device_map

    def bind(
        self, function: Any, carry: Any = None, *, out: Any = None, donate: bool = False
    ) -> Any:
        """Maps the function as `jaxcv.train.feed.StreamFeed` does."""
        mapped = self._map.map(function, (carry, 0), out=out, donate=(0,) if donate else ())
        return lambda carried, step: (mapped.lower(carried, self._batch), None)


def lowered_step(experiment: Experiment, devices: list[Any], strategy: Any) -> jax.stages.Lowered:
    """Lowers one update of an experiment, with all that `jaxcv train` does in it, for some devices.

    Args:
        experiment: with data as `described` gives them.
        devices: of this machine, or of a topology.
        strategy: "shard_map" or "pmap".

    Raises:
        ValueError: where the experiment does not fit together, or not the devices.
    """
    if strategy == "pmap" and len({device.process_index for device in devices}) > 1:
        raise ValueError(
            "pmap over several hosts is mapped by each for itself: not compiled as one"
        )
    with as_on(devices):
        run = open_run(experiment, Runtime(strategy=strategy))
        device_map = run.device_map
        state = placed(jax.eval_shape(run.create_state), device_map.shardings(run.layout))
        batch = placed(batch_shapes(experiment, device_map.count), device_map.shardings(0))
        advance = make_advance(run, ShapeFeed(batch, device_map), 1, Packing())
        lowered, _, _ = advance(state, 0, 1)
    return lowered


@contextlib.contextmanager
def as_on(devices: list[Any]) -> Iterator[None]:
    """Within, JAX finds these devices: what asks for the machine is answered as on theirs."""
    with (
        mock.patch.object(jax, "devices", return_value=devices),
        mock.patch.object(jax, "default_backend", return_value=devices[0].platform),
    ):
        yield


def placed(shapes: Any, shardings: Any) -> Any:
    """The shapes with shardings, of which there is a pytree or a prefix of one."""

    def place(sharding: Any, part: Any) -> Any:
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), part
        )

    return jax.tree.map(place, shardings, shapes)


def batch_shapes(experiment: Any, devices: int) -> dict[str, jax.ShapeDtypeStruct]:
    """The arrays of a global batch [B, ...] as they are streamed, padded to a multiple of the devices."""
    rows = -(-experiment.batch_size // devices) * devices
    record, rectangle = experiment.data.record, experiment.data.random_rectangle
    shapes = {name: (value.shape, value.dtype) for name, value in record.items()}
    if rectangle is not None:
        shapes["image"] = (*rectangle.size, record["image"].shape[-1]), record["image"].dtype
    shapes["mask"] = (), np.dtype(bool)
    shapes["record"] = shapes["epoch"] = (), np.dtype(np.int32)
    return {name: jax.ShapeDtypeStruct((rows, *s), dtype) for name, (s, dtype) in shapes.items()}


def measure(lowered: jax.stages.Lowered, chip: Chip, show: int = 0) -> dict[str, Any]:
    """Compiles a program and says what it costs on a chip, or why it cannot run there.

    Args:
        lowered: from `lowered_step`.
        chip: the peaks of one of its devices.
        show: how many of the slowest instructions are listed, on the error output.
    """
    started = time.perf_counter()
    try:
        program = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        room = memory_wanted(str(error))
        if room is None:
            return {"error": str(error).strip().splitlines()[0][:200]}
        seconds = round(time.perf_counter() - started, 1)
        return {"seconds": seconds, "needs": room[0], "of": room[1]}
    seconds = round(time.perf_counter() - started, 1)
    hlo, costs, memory = program.as_text(), program.cost_analysis(), program.memory_analysis()
    for part, what in slowest(hlo, show):
        print(f"    {part:6.1%}  {what}", file=sys.stderr)
    arguments, temporaries = memory.argument_size_in_bytes, memory.temp_size_in_bytes
    # Results that take the place of donated arguments need no memory of their own.
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return {
        "seconds": seconds,
        "arguments": arguments,
        "temporaries": temporaries,
        "total": arguments + temporaries + results + memory.generated_code_size_in_bytes,
        "flops": costs["flops"],
        "bytes": costs["bytes accessed"],
        "loops": loops(hlo),
        "collectives": collectives(hlo),
        "roofline_ms": roofline_ms(chip, costs["flops"], costs["bytes accessed"]),
    }


def memory_wanted(message: str) -> tuple[float, float] | None:
    """Bytes that a program needs at least, and that a chip has; None for a message about something else.

    Example:
        >>> memory_wanted("Ran out of memory: Used 35.5G of 15.75G hbm. Exceeded hbm capacity by 19.75G.")
        (38117834752.0, 16911433728.0)
    """
    for pattern in _NO_ROOM:
        found = pattern.search(message)
        if found:
            return float(found[1]) * _UNIT[found[2]], float(found[3]) * _UNIT[found[4]]
    return None
