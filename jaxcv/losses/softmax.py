"""Softmax cross-entropy: one core with a stated gradient serves every kind of label.

Whatever the labels - class indices or distributions, smoothed, weighted by class - the loss of one
example is

    loss = sum_c q_c (logsumexp(z) - z_c),      d loss / d z_c = (sum_k q_k) softmax(z)_c - q_c,

where q is the target: q_c = dense_c + spike * [c = label]. Class indices contribute a spike only,
so that no [B, C] one-hot array exists; smoothing adds a constant to every class; dense labels are
the dense part. `cross_entropy_of_target` is that core.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxcv.losses.arguments import (
    as_float,
    check_choice,
    check_class_weights,
    check_labels,
    check_non_negative,
    check_positive,
    check_range,
    check_same_shape,
    is_integer,
)

Smoothing = Literal["all_classes", "other_classes"]
"""Over which classes the smoothed mass is spread: see `softmax_cross_entropy`."""


def softmax_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    label_smoothing: float | jax.Array = 0.0,
    smoothing: Smoothing = "all_classes",
    class_weights: jax.Array | None = None,
    ignore_label: int | None = None,
    temperature: float | jax.Array = 1.0,
    z_loss: float | jax.Array = 0.0,
    where: jax.Array | None = None,
) -> jax.Array:
    """Cross-entropy between labels and the softmax of logits, one value per example.

    With p = softmax(z), z = logits / temperature, and the smoothed target q:

        loss = sum_c w_c q_c (-log p_c) + z_loss * logsumexp(z)^2

    * `smoothing="all_classes"` (Szegedy et al. 2016, arXiv:1512.00567, section 7; also PyTorch,
      Keras and optax): q = (1 - a) y + a / K. The true class keeps 1 - a + a / K.
    * `smoothing="other_classes"` (big_vision): the true class keeps 1 - a and the K - 1 others
      share a: q = (1 - a) y + a (1 - y) / (K - 1).

    Class weights multiply each *term* of the sum: without smoothing, an example's loss is
    multiplied by the weight of its class; with smoothing, the mass that went to class c carries the
    weight of class c. PyTorch's `cross_entropy(reduction="none")` is the same. The weights are not
    normalised; for PyTorch's weighted mean, divide by the sum of `class_weights[labels]`.

    Labels must lie in [0, C) or equal `ignore_label`; any other gives NaN, in value and gradient,
    rather than the loss of a class that nobody named.

    Args:
      logits: [..., C] floating. Half precision is computed in float32; the gradient comes back in
        the dtype of the logits. Entries of -inf are treated as masked.
      labels: Integers [...] (class indices) or floats [..., C] (distributions over the classes).
      label_smoothing: The mass a in [0, 1] moved away from the label.
      smoothing: To which classes the mass goes, see above. K counts the classes not masked.
      class_weights: [C], one weight per class.
      ignore_label: Integer labels of this value give loss 0 and gradient 0, whatever the logits.
      temperature: Divides the logits; > 0; may be a traced scalar and is differentiable.
      z_loss: Weight >= 0 of the squared log-normaliser (Chowdhery et al. 2022, arXiv:2204.02311,
        section 5), which keeps logits near zero. Class weights do not apply to it.
      where: Booleans that broadcast to [..., C]; False takes a class out of the softmax, as a logit
        of -inf does. A label on such a class has infinite loss. An example with every class masked
        has loss 0 and gradient 0.

    Returns:
      [...] float32 (float64 for float64 logits), no reduction; see `masked_mean`.

    Raises:
      ValueError: for shapes, dtypes or settings that do not fit.

    Example:
      >>> softmax_cross_entropy(jnp.zeros((2, 4)), jnp.array([3, -1]), ignore_label=-1)
      Array([1.3862944, 0.       ], dtype=float32)
    """
    check_labels(labels, logits, dense=True)
    check_range("label_smoothing", label_smoothing, 0.0, 1.0)
    check_choice("smoothing", smoothing, ("all_classes", "other_classes"))
    check_positive("temperature", temperature)
    check_non_negative("z_loss", z_loss)
    labels = jnp.asarray(labels)
    num_classes = logits.shape[-1]
    if class_weights is not None:
        check_class_weights(class_weights, num_classes)
    if ignore_label is not None and not is_integer(labels):
        raise ValueError(
            f"ignore_label is {ignore_label}, but labels are dense (dtype {labels.dtype}); it "
            "applies to integer labels only. Mask the loss of an example that is to be ignored."
        )

    z = scaled_logits(logits, temperature, where)
    ignored = None if ignore_label is None else labels.astype(jnp.int32) == ignore_label
    if ignored is not None:
        z = jnp.where(ignored[..., None], 0.0, z)
        labels = jnp.where(ignored, 0, labels)

    keep, share = _smoothed(z, label_smoothing, smoothing)
    weights = None if class_weights is None else as_float(class_weights).astype(z.dtype)
    if is_integer(labels):
        labels = labels.astype(jnp.int32)
        in_range = (labels >= 0) & (labels < num_classes)
        weight = 1.0 if weights is None else weights[jnp.clip(labels, 0, num_classes - 1)]
        kept = keep if isinstance(keep, float) else keep[..., 0]
        spike = jnp.where(in_range, kept * weight, jnp.nan).astype(z.dtype)
        dense = share if share is None or weights is None else share * weights
        loss, log_normalizer = cross_entropy_of_target(z, dense, labels, spike)
    else:
        dense = as_float(labels).astype(z.dtype)
        dense = dense if share is None else keep * dense + share
        dense = dense if weights is None else dense * weights
        loss, log_normalizer = cross_entropy_of_target(z, dense, None, None)
    if not _is_static(z_loss, 0.0):
        loss = loss + z_loss * jnp.square(log_normalizer)
    return loss if ignored is None else jnp.where(ignored, 0.0, loss)


def log_softmax_of_label(
    logits: jax.Array, labels: jax.Array, *, where: jax.Array | None = None
) -> jax.Array:
    """Log-probability of each example's class, log softmax(logits)[label]: [...] float32.

    The negative of `softmax_cross_entropy` with integer labels and no options, hence with its
    gradient. Losses that are functions of the label's probability alone (focal, poly-1, generalised
    cross-entropy, ...) are written on top of it.
    """
    check_labels(labels, logits)
    return -softmax_cross_entropy(logits, labels, where=where)


def scaled_logits(
    logits: jax.Array, temperature: float | jax.Array = 1.0, where: jax.Array | None = None
) -> jax.Array:
    """Logits [..., C] in at least float32, divided by the temperature, -inf where masked."""
    z = as_float(logits)
    if not _is_static(temperature, 1.0):
        z = z / temperature
    if where is None:
        return z
    if jnp.result_type(where) != jnp.bool_:
        raise ValueError(f"where has dtype {jnp.result_type(where)}, but bool is wanted.")
    try:
        where = jnp.broadcast_to(where, z.shape)
    except ValueError:
        check_same_shape("where", where, "logits", logits)
    return jnp.where(where, z, -jnp.inf)


@jax.custom_jvp
def cross_entropy_of_target(
    logits: jax.Array,
    dense: jax.Array | None,
    labels: jax.Array | None,
    spike: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
    """The core: cross-entropy with the target q_c = dense_c + spike * [c = labels].

    Its first derivatives in logits, dense and spike are stated below; higher ones follow from them.

    Args:
      logits: [..., C] float32 or float64; -inf marks classes that are out of the softmax.
      dense: The dense part of the target, [..., C] or anything that broadcasts to it; None for 0.
      labels: int32 [...] in [0, C), or None if there is no spike.
      spike: [...] The mass at the label; None only with `labels=None`.

    Returns:
      (loss [...], log-normaliser logsumexp(logits) [...], 0 where every class is masked).
    """
    return _evaluate(logits, dense, labels, spike).value


class _Evaluation(NamedTuple):
    """The value and what the derivatives need of it; one entry per example but for `dense`."""

    value: tuple[jax.Array, jax.Array]
    peak: jax.Array  # the largest logit
    log_sum: jax.Array  # log of the sum of exp(logits - peak)
    below: jax.Array  # how far the label's logit lies below the peak
    dense: jax.Array | None  # the target's parts, 0 where every class is masked
    spike: jax.Array
    mass: jax.Array  # sum of the target


def _evaluate(logits: jax.Array, dense: Any, labels: Any, spike: Any) -> _Evaluation:
    peak = jax.lax.stop_gradient(jnp.max(logits, axis=-1))
    empty = jnp.isneginf(peak)
    peak = jnp.where(empty, 0.0, peak)
    total = jnp.sum(jnp.exp(logits - peak[..., None]), axis=-1)
    log_sum = jnp.log(jnp.where(empty, 1.0, total))
    loss = mass = below = jnp.zeros_like(peak)
    if dense is not None:
        dense = jnp.where(empty[..., None], 0.0, dense)
        mass = jnp.sum(dense, axis=-1)
        # A masked class has an infinite distance to the peak; no mass on it must cost nothing.
        distance = jnp.where(dense == 0, 0.0, peak[..., None] - logits)
        loss = jnp.sum(dense * distance, axis=-1)
    if labels is None:
        spike = jnp.zeros_like(peak)
    else:
        spike = jnp.where(empty, 0.0, spike)
        target = jnp.take_along_axis(logits, labels[..., None], axis=-1, mode="clip")[..., 0]
        below = jnp.where(spike == 0, 0.0, peak - target)
        mass = mass + spike
        loss = loss + spike * below
    # log_sum is at most log(C) and the rest is a sum of differences to the peak, so that nothing
    # cancels when all logits are large: logsumexp - z_c loses log2(|z|) bits there.
    value = (loss + mass * log_sum, peak + log_sum)
    return _Evaluation(value, peak, log_sum, below, dense, spike, mass)


def _derivative(primals: Any, tangents: Any) -> Any:
    """States the derivatives; tangents that are not asked for are symbolic zeros and cost nothing.

    d loss = sum_c (mass p_c - q_c) dz_c + sum_c (-log p_c) dq_c,    d logsumexp = sum_c p_c dz_c.
    """
    logits, _, labels, _ = primals
    d_logits, d_dense, _, d_spike = tangents
    value, peak, log_sum, below, dense, spike, mass = _evaluate(*primals)
    d_loss = d_normalizer = jnp.zeros_like(peak)
    if not isinstance(d_logits, SymbolicZero):
        probabilities = jnp.exp(logits - peak[..., None] - log_sum[..., None])
        slope = mass[..., None] * probabilities
        if dense is not None:
            slope = slope - dense
        if labels is not None:
            classes = jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)
            slope = slope - jnp.where(classes == labels[..., None], spike[..., None], 0.0)
        d_loss = d_loss + jnp.sum(slope * d_logits, axis=-1)
        d_normalizer = jnp.sum(probabilities * d_logits, axis=-1)
    if dense is not None and not isinstance(d_dense, SymbolicZero):
        surprise = log_sum[..., None] + (peak[..., None] - logits)
        surprise = jnp.where(jnp.isneginf(logits), 0.0, surprise)
        d_loss = d_loss + jnp.sum(surprise * d_dense, axis=-1)
    if labels is not None and not isinstance(d_spike, SymbolicZero):
        d_loss = d_loss + (log_sum + below) * d_spike
    return value, (d_loss, d_normalizer)


cross_entropy_of_target.defjvp(_derivative, symbolic_zeros=True)


def _smoothed(
    logits: jax.Array, label_smoothing: float | jax.Array, smoothing: Smoothing
) -> tuple[float | jax.Array, float | jax.Array | None]:
    """(keep [..., 1], share [..., C]): the smoothed target is keep * y_c + share_c."""
    if _is_static(label_smoothing, 0.0):
        return 1.0, None
    valid = ~jnp.isneginf(logits)
    count = jnp.sum(valid, axis=-1, keepdims=True).astype(logits.dtype)
    if smoothing == "all_classes":
        share = label_smoothing / jnp.maximum(count, 1)
        keep = jnp.full_like(share, 1.0 - label_smoothing)
    else:  # a class that has no others keeps everything
        share = jnp.where(count > 1, label_smoothing / jnp.maximum(count - 1, 1), 0.0)
        keep = jnp.where(count > 1, 1.0 - label_smoothing - share, 1.0)
    return keep, jnp.where(valid, share, 0.0)


def _is_static(value: Any, wanted: float) -> bool:
    """Whether `value` is known at trace time and equal to `wanted`."""
    return not isinstance(value, jax.core.Tracer) and jnp.ndim(value) == 0 and value == wanted
