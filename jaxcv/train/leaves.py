"""The arrays of a state, one digest each: equal states have equal digests, however they lie on devices."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxcv.train.parallel import DeviceMap


def leaf_digests(state: Any) -> dict[str, dict[str, Any]]:
    """Returns shape, dtype and SHA-256 of each array; equal states have equal digests.

    Args:
        state: pytree of arrays and PRNG keys.
    """
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): _leaf_digest(leaf) for path, leaf in leaves}


def _leaf_digest(leaf: Any) -> dict[str, Any]:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    array = _whole(leaf)
    return {
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "sha256": hashlib.sha256(array.tobytes()).hexdigest(),
    }


def over_all_devices(leaf: Any) -> Any:
    """An array that each process has whole, as one over the devices of all processes."""
    return leaf if _is_sharded(leaf) else DeviceMap().replicate(leaf)


def _is_sharded(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and not leaf.is_fully_replicated


def _whole(leaf: Any) -> np.ndarray:
    """An array on this host, whatever part of it each process holds."""
    if _is_sharded(leaf) and not leaf.is_fully_addressable:
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf)


def as_key(name: str) -> str:
    """The path of a leaf whose first part is the field of a dataclass, as if that were a key.

    Example:
        >>> as_key(".params['conv']['kernel']")
        "['params']['conv']['kernel']"
    """
    return re.sub(r"^\.(\w+)", r"['\1']", name)


def shown_leaf(leaf: dict[str, Any] | None) -> str:
    """The dtype and shape of a leaf for a message."""
    return "absent" if leaf is None else f"{leaf['dtype']}{leaf['shape']}"
