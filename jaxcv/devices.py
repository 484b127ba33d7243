"""The device axis, and sums and gathers over it: the identity where there is no axis.

Inside `jax.pmap` or `jax.shard_map(..., check_vma=False)` the gradient of what a device computes,
with respect to what it holds, is the gradient of the *sum over all devices* of their results: the
transpose of `all_gather` brings every device's share home. That is why losses that look at the
whole batch need nothing but a gather to have the gradients of the single-device batch exactly.
"""

import jax
import jax.numpy as jnp

# The mapped axis of the devices that share a global batch.
AXIS = "devices"


def bound_axis(axis_name: str | None) -> str | None:
    """The device axis to average over here: None for `AXIS` where no device axis is mapped.

    So a model that is trained over devices also works by itself, on a batch that one device holds. Any
    other name is taken at its word, so that a slip of the pen is an error where it is used.
    """
    if axis_name != AXIS:
        return axis_name
    try:
        jax.lax.psum(1, AXIS)  # The axis's size, which costs nothing.
    except NameError:
        return None
    return AXIS


def gather(array: jax.Array, axis_name: str | None) -> jax.Array:
    """Joins the leading axes of all devices: [b, ...] to [B, ...]; differentiable."""
    if axis_name is None:
        return array
    _check_bound(axis_name)
    return jax.lax.all_gather(array, axis_name, tiled=True)


def total(array: jax.Array, axis_name: str | None) -> jax.Array:
    """Adds an array up over the devices."""
    if axis_name is None:
        return array
    _check_bound(axis_name)
    return jax.lax.psum(array, axis_name)


def largest(array: jax.Array, axis_name: str | None) -> jax.Array:
    """The entrywise maximum over the devices; no gradient flows through it."""
    array = jax.lax.stop_gradient(array)
    if axis_name is None:
        return array
    _check_bound(axis_name)
    return jax.lax.pmax(array, axis_name)


def first_row(local_rows: int, axis_name: str | None) -> jax.Array | int:
    """Where this device's rows begin in the gathered batch."""
    if axis_name is None:
        return 0
    _check_bound(axis_name)
    return jax.lax.axis_index(axis_name) * local_rows


def masked_average(
    values: jax.Array, mask: jax.Array | None, axis_name: str | None
) -> tuple[jax.Array, jax.Array]:
    """Mean over the valid rows of all devices, and how many there are; 0 where there are none."""
    weights = jnp.ones(values.shape, values.dtype) if mask is None else mask.astype(values.dtype)
    valid = values if mask is None else jnp.where(mask, values, 0)
    count = total(jnp.sum(weights), axis_name)
    return total(jnp.sum(valid), axis_name) / jnp.maximum(count, 1), count


def _check_bound(axis_name: str) -> None:
    try:
        jax.lax.axis_index(axis_name)
    except NameError:
        raise ValueError(
            f"axis_name is {axis_name!r}, but no device axis of that name is bound here: call the "
            "loss inside jax.pmap or jax.shard_map over that axis, or pass axis_name=None."
        ) from None
