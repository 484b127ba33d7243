"""What the processes of one run must have in common, compared before the first step."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import metadata
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxcv.train.checks import SetupError
from jaxcv.train.config_file import differences_of, to_json
from jaxcv.train.experiment import Experiment, Runtime

# Fields of the runtime in which processes may differ: nothing that the devices do together depends on them.
_OWN = {"platform", "num_threads"}


def gathered(value: Any) -> list[Any]:
    """A JSON value of every process, in their order."""
    if jax.process_count() == 1:
        return [value]
    text = json.dumps(value).encode()
    lengths = multihost_utils.process_allgather(np.int32(len(text)))
    padded = np.zeros(lengths.max(), np.uint8)
    padded[: len(text)] = np.frombuffer(text, np.uint8)
    texts = multihost_utils.process_allgather(padded)
    return [json.loads(t[:n].tobytes()) for t, n in zip(texts, lengths, strict=True)]


def from_first(value: Any) -> Any:
    """The JSON value of process 0, on all of them."""
    return gathered(value)[0]


def on_first(do: Callable[[], Any]) -> Any:
    """Does something on process 0 alone; its JSON value is returned, and its refusal raised, on all."""
    value, refusal = None, None
    if jax.process_index() == 0:
        try:
            value = do()
        except (ValueError, OSError) as error:
            refusal = error
    value, said = from_first([value, None if refusal is None else str(refusal)])
    if said is not None:
        raise refusal or SetupError(said)
    return value


def check_agreement(mine: dict[str, Any]) -> None:
    """Raises SetupError, on every process, where one has other values than process 0.

    Args:
        mine: JSON values by name.
    """
    first, *others = gathered(mine)
    different = [
        f"{name} is {value} on process 0 and {other} on process {process}"
        for process, theirs in enumerate(others, 1)
        for name, value, other in differences_of(first, theirs)
    ]
    if different:
        raise SetupError(
            f"the processes of this run disagree: {'; '.join(different)}. Start all of them with the "
            "same settings, versions and data"
        )


def settings_of(experiment: Experiment, runtime: Runtime) -> dict[str, Any]:
    """All that every process must have alike before the data are opened."""
    shared = {k: v for k, v in to_json(runtime).items() if k not in _OWN}
    versions = {
        name: metadata.version(name) for name in ("jaxcv", "jax", "jaxlib", "flax", "optax")
    }
    return {**to_json(experiment), "runtime": shared, "versions": versions}
