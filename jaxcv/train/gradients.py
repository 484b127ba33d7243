"""Sums and norms of gradients over devices, where some parameters are sharded among them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxcv.devices import AXIS


def sum_over_devices(gradients: Any, sharded: Any = None) -> Any:
    """Adds up each device's summands of a gradient.

    Args:
        gradients: one device's.
        sharded: pytree of bools like `gradients`, True where the device holds rows of its own, whose
            gradient is complete as it is; None for nowhere.
    """
    if sharded is None:
        return jax.lax.psum(gradients, AXIS)
    return jax.tree.map(lambda g, own: g if own else jax.lax.psum(g, AXIS), gradients, sharded)


def global_norm(tree: Any, sharded: Any = None) -> jax.Array:
    """The L2 norm [] of all leaves together, as `optax.global_norm`, sharded ones counted whole."""
    if sharded is None:
        return optax.global_norm(tree)
    whole, parts = jnp.zeros(()), jnp.zeros(())
    for leaf, own in zip(jax.tree.leaves(tree), jax.tree.leaves(sharded), strict=True):
        squares = jnp.sum(jnp.square(leaf.astype(jnp.float32)))
        whole, parts = (whole, parts + squares) if own else (whole + squares, parts)
    return jnp.sqrt(whole + jax.lax.psum(parts, AXIS))


def clip_by_global_norm(limit: float, sharded: Any = None) -> optax.GradientTransformation:
    """Scales gradients of a larger `global_norm` than `limit` down to it; Optax's own, over devices."""

    def update(updates: Any, state: optax.EmptyState, params: Any = None) -> tuple[Any, Any]:
        norm = global_norm(updates, sharded)
        factor = limit / jnp.maximum(norm, limit)
        return jax.tree.map(lambda g: g * factor.astype(g.dtype), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
