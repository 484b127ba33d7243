"""Entropies and divergences of discrete distributions, in nats or bits.

Distributions lie along the last axis, joint distributions along the last two; all other axes are
examples. With `from_logits=True` arguments are unnormalised log-probabilities, which is exact where
probabilities have already lost what is small. Probabilities are taken as they are: they should be
non-negative and sum to 1. 0 log 0 is 0. Inside a logarithm, a probability of 0 counts as the
smallest normal float32, so that every result and gradient is finite: where the exact value is
infinite, the result is 87.3 nats times the mass concerned.

Source: Cover and Thomas, Elements of Information Theory, chapter 2; Lin 1991 for Jensen-Shannon.
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_choice
from jaxcv.losses.arguments import as_float, check_same_shape, check_scores
from jaxcv.losses.elementary import floored_log

Unit = Literal["nats", "bits"]
"""Natural logarithms or logarithms to base 2."""


def entropy(
    distribution: jax.Array, *, unit: Unit = "nats", from_logits: bool = False
) -> jax.Array:
    """Shannon entropy H(p) = -sum_k p_k log p_k.

    Args:
      distribution: [..., K] probabilities or logits.
      unit: "nats" or "bits".
      from_logits: Whether `distribution` holds logits.

    Returns:
      [...] float32, from 0 to log K.

    Raises:
      ValueError: for a shape, dtype or unit that does not fit.

    Example:
      >>> entropy(jnp.array([0.5, 0.25, 0.25]), unit="bits")
      Array(1.5, dtype=float32)
    """
    p, log_p = _distribution("distribution", distribution, from_logits, axes=1)
    return -_expectation(p, log_p, 1, unit)


def joint_entropy(joint: jax.Array, *, unit: Unit = "nats", from_logits: bool = False) -> jax.Array:
    """Entropy H(X, Y) = -sum_xy p_xy log p_xy of a joint distribution [..., X, Y].

    Arguments and returns as in `entropy`; logits are normalised over both axes.
    """
    p, log_p = _distribution("joint", joint, from_logits, axes=2)
    return -_expectation(p, log_p, 2, unit)


def conditional_entropy(
    joint: jax.Array, *, unit: Unit = "nats", from_logits: bool = False
) -> jax.Array:
    """Entropy H(Y | X) = H(X, Y) - H(X) that Y keeps when X is known, from p(x, y) [..., X, Y].

    Y is the last axis. Arguments and returns as in `joint_entropy`.
    """
    p, log_p = _distribution("joint", joint, from_logits, axes=2)
    log_given = log_p - _log_marginal(p, log_p, -1, from_logits)
    return -_expectation(p, log_given, 2, unit)


def mutual_information(
    joint: jax.Array, *, unit: Unit = "nats", from_logits: bool = False
) -> jax.Array:
    """Information I(X; Y) = sum_xy p_xy log(p_xy / (p_x p_y)) that X and Y have in common.

    0 for independent X and Y. Arguments and returns as in `joint_entropy`.
    """
    p, log_p = _distribution("joint", joint, from_logits, axes=2)
    log_x = _log_marginal(p, log_p, -1, from_logits)
    log_y = _log_marginal(p, log_p, -2, from_logits)
    return _expectation(p, log_p - log_x - log_y, 2, unit)


def cross_entropy(
    p: jax.Array, q: jax.Array, *, unit: Unit = "nats", from_logits: bool = False
) -> jax.Array:
    """Cross-entropy H(p, q) = -sum_k p_k log q_k of two distributions [..., K].

    To train a classifier, take `softmax_cross_entropy`, which goes from logits to labels.

    Args:
      p: [..., K] the true distribution.
      q: [..., K] the distribution that codes for it; differentiable, as p is.
      unit: "nats" or "bits".
      from_logits: Whether both hold logits.

    Returns:
      [...] float32, at least the entropy of p.

    Raises:
      ValueError: for a shape, dtype or unit that does not fit.
    """
    check_same_shape("q", q, "p", p)
    mass, _ = _distribution("p", p, from_logits, axes=1)
    _, log_q = _distribution("q", q, from_logits, axes=1)
    return -_expectation(mass, log_q, 1, unit)


def kl_divergence(
    p: jax.Array, q: jax.Array, *, unit: Unit = "nats", from_logits: bool = False
) -> jax.Array:
    """Kullback-Leibler divergence D(p || q) = sum_k p_k log(p_k / q_k), 0 for p = q.

    Arguments and returns as in `cross_entropy`. In logits its gradient is q - p with respect to q.
    """
    check_same_shape("q", q, "p", p)
    mass, log_p = _distribution("p", p, from_logits, axes=1)
    _, log_q = _distribution("q", q, from_logits, axes=1)
    return _expectation(mass, log_p - log_q, 1, unit)


def js_divergence(
    p: jax.Array, q: jax.Array, *, unit: Unit = "nats", from_logits: bool = False
) -> jax.Array:
    """Jensen-Shannon divergence (D(p || m) + D(q || m)) / 2 with m = (p + q) / 2.

    Symmetric, and at most log 2. Arguments and returns as in `cross_entropy`.
    """
    check_same_shape("q", q, "p", p)
    mass_p, log_p = _distribution("p", p, from_logits, axes=1)
    mass_q, log_q = _distribution("q", q, from_logits, axes=1)
    log_m = floored_log((mass_p + mass_q) / 2)
    if from_logits:
        log_m = jnp.logaddexp(log_p, log_q) - math.log(2.0)
    from_p = _expectation(mass_p, log_p - log_m, 1, unit)
    return (from_p + _expectation(mass_q, log_q - log_m, 1, unit)) / 2


def _distribution(
    name: str, values: jax.Array, from_logits: bool, axes: int
) -> tuple[jax.Array, jax.Array]:
    """(probabilities, their logarithms) in at least float32."""
    check_scores(name, values)
    if jnp.ndim(values) < axes:
        raise ValueError(
            f"{name} has shape {list(jnp.shape(values))}, but [..., X, Y] is wanted: the joint "
            "distribution of two variables."
        )
    values = as_float(values)
    if not from_logits:
        return values, floored_log(values)
    # A logit of -inf is probability 0; a finite logarithm keeps 0 log 0 = 0.
    lowest = jnp.finfo(values.dtype).min / 4
    log_p = jax.nn.log_softmax(jnp.maximum(values, lowest), axis=tuple(range(-axes, 0)))
    return jnp.exp(log_p), log_p


def _log_marginal(p: jax.Array, log_p: jax.Array, axis: int, from_logits: bool) -> jax.Array:
    """Logarithm of the distribution summed over `axis`, which is kept with size 1."""
    if from_logits:
        return jax.nn.logsumexp(log_p, axis=axis, keepdims=True)
    return floored_log(jnp.sum(p, axis=axis, keepdims=True))


def _expectation(p: jax.Array, values: jax.Array, axes: int, unit: Unit) -> jax.Array:
    check_choice("unit", unit, ("nats", "bits"))
    total = jnp.sum(p * values, axis=tuple(range(-axes, 0)))
    return total if unit == "nats" else total / math.log(2.0)
