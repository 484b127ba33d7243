"""Bi-tempered logistic loss: bounded for outliers, with heavy tails for labels near a boundary."""

import functools

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_range
from jaxcv.losses.arguments import as_float, check_labels, is_integer, nan_for_unknown_labels
from jaxcv.losses.elementary import expm1

_NEWTON_STEPS = 12  # quadratic convergence: float64 is exhausted after 6 to 9, also for 1e5 classes


def bi_tempered_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    bound_temperature: float = 0.8,
    tail_temperature: float = 1.2,
    label_smoothing: float | jax.Array = 0.0,
) -> jax.Array:
    """Bi-tempered logistic loss (Amid et al. 2019, arXiv:1906.03361).

    With t1 = bound_temperature, t2 = tail_temperature, the tempered logarithm
    log_t(x) = (x^(1 - t) - 1) / (1 - t), its inverse exp_t, and the tempered softmax
    p_c = exp_t2(z_c - lambda), where lambda makes the p_c sum to 1:

        loss = sum_c y_c (log_t1 y_c - log_t1 p_c) - (y_c^(2 - t1) - p_c^(2 - t1)) / (2 - t1)

    For t1 < 1 no example costs more than 1 / (1 - t1); for t2 > 1 probabilities fall off like a
    power. t1 = t2 = 1 is the softmax cross-entropy, less the entropy of the labels. lambda is found
    by Newton's method and differentiated implicitly: with d_c = p_c^(t2 - t1) (p_c - y_c), the
    gradient in z_c is d_c - (p_c^t2 / sum_k p_k^t2) sum_k d_k.

    Args:
      logits: [..., C] floating, finite.
      labels: Integers [...] or distributions [..., C].
      bound_temperature: t1 in [0, 1].
      tail_temperature: t2 in [1, 10].
      label_smoothing: a in [0, 1]: y becomes (1 - a) y + a / C.

    Returns:
      [...] float32.

    Raises:
      ValueError: for shapes or settings that do not fit.
    """
    check_labels(labels, logits, dense=True)
    check_range("bound_temperature", bound_temperature, 0.0, 1.0)
    check_range("tail_temperature", tail_temperature, 1.0, 10.0)
    check_range("label_smoothing", label_smoothing, 0.0, 1.0)
    z = as_float(logits)
    num_classes = z.shape[-1]
    if is_integer(labels):
        y = jax.nn.one_hot(labels, num_classes, dtype=z.dtype)
    else:
        y = as_float(labels).astype(z.dtype)
    y = (1.0 - label_smoothing) * y + label_smoothing / num_classes

    log_p = tempered_log_softmax(z, temperature=tail_temperature)
    log_y = jnp.log(jnp.where(y > 0, y, 1.0))
    t1 = bound_temperature
    gain = jnp.where(y > 0, y * (_log_tempered(log_y, t1) - _log_tempered(log_p, t1)), 0.0)
    powers = jnp.where(y > 0, jnp.exp((2 - t1) * log_y), 0.0) - jnp.exp((2 - t1) * log_p)
    loss = jnp.sum(gain - powers / (2 - t1), axis=-1)
    return nan_for_unknown_labels(loss, labels, num_classes)


def tempered_log_softmax(logits: jax.Array, *, temperature: float) -> jax.Array:
    """Logarithm of the tempered softmax [..., C] for a temperature >= 1; 1 is the log-softmax.

    Args:
      logits: [..., C] floating, finite.
      temperature: t >= 1; the larger, the heavier the tails.
    """
    z = as_float(logits)
    return _log_exp_tempered(z - _normalizer(z, temperature)[..., None], temperature)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _normalizer(logits: jax.Array, temperature: float) -> jax.Array:
    """The lambda [...] with sum_c exp_t(z_c - lambda) = 1."""
    peak = jnp.max(logits, axis=-1)
    shifted = logits - peak[..., None]
    if temperature == 1.0:
        return peak + jnp.log(jnp.sum(jnp.exp(shifted), axis=-1))
    excess = temperature - 1.0

    def newton(_: int, offset: jax.Array) -> jax.Array:
        # In h = log_t of the sum, which is linear in lambda both for equal logits and for one that
        # dominates, a step from below lands below or on the solution, and few are needed.
        log_p = _log_exp_tempered(shifted - offset[..., None], temperature)
        log_sum = jax.nn.logsumexp(log_p, axis=-1)
        log_slope = jax.nn.logsumexp(temperature * log_p, axis=-1) - temperature * log_sum
        return offset - expm1(-excess * log_sum) / excess / jnp.exp(log_slope)

    return peak + jax.lax.fori_loop(0, _NEWTON_STEPS, newton, jnp.zeros_like(peak))


@_normalizer.defjvp
def _(temperature: float, primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple:
    # 0 = sum_c p_c^t (dz_c - d lambda): the mean of dz under the escort distribution of p.
    (logits,), (d_logits,) = primals, tangents
    value = _normalizer(logits, temperature)
    log_p = _log_exp_tempered(logits - value[..., None], temperature)
    escort = jax.nn.softmax(temperature * log_p, axis=-1)
    return value, jnp.sum(escort * d_logits, axis=-1)


def _log_exp_tempered(x: jax.Array, temperature: float) -> jax.Array:
    """log(exp_t(x)) for x <= 0, so finite where exp_t itself underflows."""
    if temperature == 1.0:
        return x
    excess = temperature - 1.0
    return -jnp.log1p(-excess * jnp.minimum(x, 0.0)) / excess


def _log_tempered(log_x: jax.Array, temperature: float) -> jax.Array:
    """log_t(x) from log(x)."""
    if temperature == 1.0:
        return log_x
    return expm1((1.0 - temperature) * log_x) / (1.0 - temperature)
