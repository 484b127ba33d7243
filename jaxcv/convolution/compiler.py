"""Options for XLA that are worth setting, given to each compilation and nowhere else."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

# XLA's CPU backend gives convolutions to the library YNNPACK by default (jaxlib 0.10). The routine
# it would use otherwise is as fast forwards and two to six times as fast for the filter's gradient.
# The operations listed here stay with YNNPACK.
_ON_CPU = {
    "xla_cpu_experimental_ynn_fusion_type": (
        "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
    )
}


def compiler_options(devices: Sequence[jax.Device]) -> dict[str, str]:
    """What to give `jax.jit(..., compiler_options=...)` for programs on these devices.

    As an environment variable an option that XLA does not know ends the process; this way it is
    tried on an empty program first, and left out where it is refused.

    Example:
        >>> jax.jit(jnp.sin, compiler_options=compiler_options(jax.devices()))(0.0).item()
        0.0
    """
    return _accepted() if all(device.platform == "cpu" for device in devices) else {}


@functools.cache
def _accepted() -> dict[str, str]:
    nothing = jax.ShapeDtypeStruct((), jnp.float32)
    accepted = {}
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        for name, value in _ON_CPU.items():
            trial = jax.jit(lambda x: x, compiler_options={name: value})
            try:
                trial.lower(nothing).compile()
            except (jax.errors.JaxRuntimeError, ValueError):
                continue
            accepted[name] = value
    return accepted
