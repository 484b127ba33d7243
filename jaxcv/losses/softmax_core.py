"""The softmax cross-entropy's core: any target against any logits, with the gradient stated.

The loss of one example and its gradient are

    loss = sum_c q_c (logsumexp(z) - z_c),      d loss / d z_c = (sum_k q_k) softmax(z)_c - q_c,

where q is the target. Class indices contribute a spike to it, dense labels a dense part, smoothing
an equal share for every class; so that with class indices no [B, C] target exists.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero


class Target(NamedTuple):
    """What the core compares with: q_c = dense_c + spike [c = label] + share * share_weights_c.

    Any part may be None. The share goes to the classes that are not masked. Examples that are
    ignored, or have every class masked, have no target at all; and of the logits of ignored ones
    nothing, NaN or not, reaches value or gradient.
    """

    dense: jax.Array | None = None  # [..., C]
    labels: jax.Array | None = None  # int32 [...] in [0, C)
    spike: jax.Array | None = None  # [...], present with labels
    share: jax.Array | None = None  # [...]
    share_weights: jax.Array | None = None  # [C]; None for 1
    ignored: jax.Array | None = None  # bool [...]


@jax.custom_jvp
def cross_entropy_of_target(logits: jax.Array, target: Target) -> tuple[jax.Array, jax.Array]:
    """The core: cross-entropy between a target and the softmax of logits [..., C].

    Its first derivatives, in the logits and in every part of the target, are stated below; higher
    ones follow from them. Logits are float32 or float64; -inf marks classes out of the softmax.

    Returns:
      (loss [...], log-normaliser logsumexp(logits) [...]); both 0 where every class is masked
      and for ignored examples.
    """
    return _evaluate(logits, target).value


class _Evaluation(NamedTuple):
    """The value and what the derivatives need of it, [...] each but for the dense target."""

    value: tuple[jax.Array, jax.Array]
    target: Target  # spike and share are 0 where `empty`
    empty: jax.Array  # ignored, or every class masked
    mass: jax.Array  # sum of the target
    peak: jax.Array  # the largest logit
    total: jax.Array  # sum of exp(logits - peak), in [1, C]
    label_surprisal: jax.Array | None  # -log p of the label
    share_surprisal: jax.Array | None  # sum of share_weights * -log p


def _evaluate(logits: jax.Array, target: Target) -> _Evaluation:
    peak = jax.lax.stop_gradient(jnp.max(logits, axis=-1))
    empty = jnp.isneginf(peak) if target.ignored is None else jnp.isneginf(peak) | target.ignored
    peak = jnp.where(empty, 0.0, peak)
    total = jnp.sum(jnp.exp(logits - peak[..., None]), axis=-1)
    total = jnp.where(empty, 1.0, total)
    log_sum = jnp.log(total)
    # log_sum is at most log(C), and to it come differences to the peak, never logits: nothing
    # cancels when all are large. logsumexp - z_c loses log2(|z|) bits there.
    loss = mass = jnp.zeros_like(peak)
    label_surprisal = share_surprisal = None
    dense, labels, spike, share, weights, ignored = target
    if dense is not None:
        mass = jnp.where(empty, 0.0, jnp.sum(dense, axis=-1))
        # A masked class has an infinite distance to the peak; no mass on it must cost nothing.
        distance = jnp.where(dense == 0, 0.0, peak[..., None] - logits)
        loss = jnp.where(empty, 0.0, jnp.sum(dense * distance, axis=-1)) + mass * log_sum
    if labels is not None and spike is not None:
        spike = jnp.where(empty, 0.0, spike)
        logit = jnp.take_along_axis(logits, labels[..., None], axis=-1, mode="clip")[..., 0]
        label_surprisal = log_sum + jnp.where(spike == 0, 0.0, peak - logit)
        mass = mass + spike
        loss = loss + spike * label_surprisal
    if share is not None:
        valid = jnp.logical_not(jnp.isneginf(logits))
        each = 1.0 if weights is None else weights
        share_mass = jnp.sum(jnp.where(valid, each, 0.0), axis=-1, dtype=logits.dtype)
        distance = jnp.sum(jnp.where(valid, each * (peak[..., None] - logits), 0.0), axis=-1)
        share = jnp.where(empty, 0.0, share)
        share_surprisal = jnp.where(empty, 0.0, share_mass * log_sum + distance)
        mass = mass + share * share_mass
        loss = loss + share * share_surprisal
    target = Target(dense, labels, spike, share, weights, ignored)
    value = (loss, peak + log_sum)
    return _Evaluation(value, target, empty, mass, peak, total, label_surprisal, share_surprisal)


def _derivative(primals: Any, tangents: Any) -> Any:
    """States the derivatives; those not asked for arrive as symbolic zeros and cost nothing.

    d loss = sum_c (mass p_c - q_c) dz_c + sum_c (-log p_c) dq_c,    d logsumexp = sum_c p_c dz_c.
    """
    logits, _ = primals
    d_logits, d_target = tangents
    value, target, empty, mass, peak, total, label_surprisal, share_surprisal = _evaluate(*primals)
    valid = jnp.logical_not(jnp.isneginf(logits))
    d_loss = d_normalizer = jnp.zeros_like(peak)
    if _varies(d_logits):
        # The same exponentials as in the value: XLA computes them once, into the gradient's buffer.
        exponentials = jnp.exp(logits - peak[..., None])
        if target.ignored is not None:
            exponentials = jnp.where(empty[..., None], 0.0, exponentials)
        slope = (mass / total)[..., None] * exponentials
        if target.dense is not None:
            slope = slope - jnp.where(empty[..., None], 0.0, target.dense)
        if target.labels is not None and target.spike is not None:
            classes = jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)
            is_label = classes == target.labels[..., None]
            slope = slope - jnp.where(is_label, target.spike[..., None], 0.0)
        if target.share is not None:
            each = 1.0 if target.share_weights is None else target.share_weights
            slope = slope - jnp.where(valid, target.share[..., None] * each, 0.0)
        d_loss = d_loss + jnp.sum(slope * d_logits, axis=-1)
        d_normalizer = jnp.sum(exponentials * d_logits, axis=-1) / total
    if _varies(d_target.dense) or _varies(d_target.share_weights):
        surprisal = jnp.log(total)[..., None] + (peak[..., None] - logits)
        surprisal = jnp.where(valid, surprisal, 0.0)
        if _varies(d_target.dense):
            d_loss = d_loss + jnp.sum(surprisal * d_target.dense, axis=-1)
        if _varies(d_target.share_weights) and target.share is not None:
            d_loss = d_loss + target.share * jnp.sum(surprisal * d_target.share_weights, axis=-1)
    if _varies(d_target.spike):
        d_loss = d_loss + label_surprisal * d_target.spike
    if _varies(d_target.share):
        d_loss = d_loss + share_surprisal * d_target.share
    return value, (d_loss, d_normalizer)


cross_entropy_of_target.defjvp(_derivative, symbolic_zeros=True)


def _varies(tangent: Any) -> bool:
    return tangent is not None and not isinstance(tangent, SymbolicZero)
