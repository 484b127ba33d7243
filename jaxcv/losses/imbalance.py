"""Losses and weights for long-tailed data. Class counts are plain arrays, state is an argument.

`class_counts` [C] are the numbers of training examples per class, as integers or floats. A class
without examples counts as the smallest normal float32 where a logarithm is taken, so that nothing
is infinite.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv.arguments import check_non_negative, check_positive, check_range
from jaxcv.losses.arguments import as_float, check_class_weights, check_labels, check_scores
from jaxcv.losses.elementary import floored_log
from jaxcv.losses.softmax import softmax_cross_entropy


def count_classes(
    labels: jax.Array, num_classes: int, *, ignore_label: int | None = None
) -> jax.Array:
    """How often each class occurs in integer labels of any shape: [num_classes] float32.

    Labels outside [0, num_classes), and the ignored one, are not counted.
    """
    flat = jnp.reshape(jnp.asarray(labels), -1).astype(jnp.int32)
    counted = (flat >= 0) & (flat < num_classes)
    if ignore_label is not None:
        counted = counted & (flat != ignore_label)
    # Counted in integers: a float32 that 1 is added to stands still at 2^24, a few label maps.
    ones = counted.astype(jnp.int32)
    counts = jax.ops.segment_sum(ones, jnp.where(counted, flat, 0), num_segments=num_classes)
    return counts.astype(jnp.float32)


def class_balanced_weights(
    class_counts: jax.Array, *, beta: float | jax.Array = 0.9999
) -> jax.Array:
    """Weights by the effective number of examples (Cui et al. 2019, arXiv:1901.05555).

        w_c = (1 - beta) / (1 - beta^n_c),    scaled to sum to the number of classes

    beta = 0 weighs all classes equally, beta -> 1 by the inverse of their counts. A class without
    examples gets weight 0.

    Args:
      class_counts: [C] numbers of examples.
      beta: In [0, 1).

    Returns:
      [C] float32, for the `class_weights` of other losses.

    Example:
      >>> class_balanced_weights(jnp.array([1, 3]), beta=0.5)  # 1 : 4/7
      Array([1.2727273, 0.7272727], dtype=float32)
    """
    counts = _counts(class_counts)
    check_range("beta", beta, 0.0, 1.0, open_high=True)
    present = counts > 0
    # 1 - beta^n in log space: beta^n is 1 to float32 when n is small and beta near 1.
    log_beta = floored_log(as_float(beta))
    if not isinstance(beta, jax.core.Tracer):  # 0.9999 is 0.99989998 in float32
        log_beta = jnp.asarray(np.log(np.maximum(np.float64(beta), 1e-30)), counts.dtype)
    effective = -jnp.expm1(jnp.where(present, counts, 1.0) * log_beta)
    weights = jnp.where(present, 1.0 / effective, 0.0)
    return weights * counts.shape[0] / jnp.maximum(jnp.sum(weights), jnp.finfo(weights.dtype).tiny)


def deferred_weights(
    class_counts: jax.Array,
    step: int | jax.Array,
    *,
    start_step: int | jax.Array,
    beta: float | jax.Array = 0.9999,
) -> jax.Array:
    """Deferred re-weighting (Cao et al. 2019, arXiv:1906.07413, algorithm 1): [C] class weights.

    All ones before `start_step`, `class_balanced_weights` from there on. The paper defers to the
    first decay of the learning rate (160 of 200 epochs) and pairs it with `ldam_loss`.
    """
    weights = class_balanced_weights(class_counts, beta=beta)
    return jnp.where(jnp.asarray(step) >= start_step, weights, jnp.ones_like(weights))


def logit_adjusted_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    class_counts: jax.Array,
    *,
    tau: float | jax.Array = 1.0,
    label_smoothing: float | jax.Array = 0.0,
    ignore_label: int | None = None,
) -> jax.Array:
    """Softmax cross-entropy of z + tau log(prior) (Menon et al. 2020, arXiv:2007.07314).

    Trained so, the bare logits z are those of a classifier for balanced classes: predict with them.

    Args:
      logits: [..., C] floating.
      labels: Integers [...] or distributions [..., C].
      class_counts: [C] numbers of training examples.
      tau: >= 0; 0 is the softmax cross-entropy.
      label_smoothing: As in `softmax_cross_entropy`.
      ignore_label: As in `softmax_cross_entropy`.

    Returns:
      [...] float32.

    Raises:
      ValueError: for shapes or settings that do not fit.
    """
    check_scores("logits", logits)
    check_non_negative("tau", tau)
    counts = _counts(class_counts, logits)
    log_prior = floored_log(counts / jnp.maximum(jnp.sum(counts), 1.0))
    return softmax_cross_entropy(
        as_float(logits) + tau * log_prior,
        labels,
        label_smoothing=label_smoothing,
        ignore_label=ignore_label,
    )


def balanced_softmax_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    class_counts: jax.Array,
    *,
    ignore_label: int | None = None,
) -> jax.Array:
    """Balanced softmax (Ren et al. 2020, arXiv:2007.10740).

        loss = -log(n_y e^z_y / sum_c n_c e^z_c)

    It is `logit_adjusted_cross_entropy` with tau = 1. Arguments and returns as there.
    """
    return logit_adjusted_cross_entropy(logits, labels, class_counts, ignore_label=ignore_label)


def ldam_loss(
    cosines: jax.Array,
    labels: jax.Array,
    class_counts: jax.Array,
    *,
    max_margin: float | jax.Array = 0.5,
    scale: float | jax.Array = 30.0,
    class_weights: jax.Array | None = None,
    ignore_label: int | None = None,
) -> jax.Array:
    """Label-distribution-aware margin loss (Cao et al. 2019, arXiv:1906.07413).

    Cross-entropy of scale (z - margin_y [c = y]) with margin_c proportional to n_c^(-1/4), so that
    the rarest class has `max_margin`: the boundary is pushed away from rare classes. A class
    without examples has the margin of one with a single example.

    Args:
      cosines: [..., C] cosines of embeddings and class weights (or plain logits with scale 1).
      labels: Integers [...].
      class_counts: [C] numbers of training examples.
      max_margin: >= 0.
      scale: > 0.
      class_weights: [C], for example `deferred_weights(...)`.
      ignore_label: As in `softmax_cross_entropy`.

    Returns:
      [...] float32.

    Raises:
      ValueError: for shapes or settings that do not fit.
    """
    check_labels(labels, cosines, scores_name="cosines")
    check_non_negative("max_margin", max_margin)
    check_positive("scale", scale)
    counts = jnp.maximum(_counts(class_counts, cosines, "cosines"), 1.0)
    margins = max_margin * (jnp.min(counts) / counts) ** 0.25
    z = as_float(cosines)
    z = jnp.where(_is_label(z, labels), z - margins, z)
    return softmax_cross_entropy(
        scale * z, labels, class_weights=class_weights, ignore_label=ignore_label
    )


def seesaw_loss(
    logits: jax.Array,
    labels: jax.Array,
    class_counts: jax.Array,
    *,
    mitigation: float | jax.Array = 0.8,
    compensation: float | jax.Array = 2.0,
    floor: float | jax.Array = 1e-2,
    ignore_label: int | None = None,
) -> jax.Array:
    """Seesaw loss (Wang et al. 2020, arXiv:2008.10032): rare classes are punished less.

    Cross-entropy with each rival's exponential multiplied by S_yc = M_yc C_yc, where

        M_yc = min(1, n_c / n_y)^mitigation             a rival rarer than the label weighs less,
        C_yc = max(1, p_c / p_y)^compensation           unless it is mistaken for it.

    No gradient flows through S. The paper counts classes as training goes: add `count_classes` of
    every batch to the counts, in the training state.

    Args:
      logits: [..., C] floating.
      labels: Integers [...].
      class_counts: [C] numbers of examples so far; below 1 counts as 1.
      mitigation: The paper's p, >= 0.
      compensation: The paper's q, >= 0.
      floor: p_y in the ratio is at least this, > 0.
      ignore_label: As in `softmax_cross_entropy`.

    Returns:
      [...] float32.

    Raises:
      ValueError: for shapes or settings that do not fit.
    """
    check_labels(labels, logits)
    check_non_negative("mitigation", mitigation)
    check_non_negative("compensation", compensation)
    check_positive("floor", floor)
    z = as_float(logits)
    log_counts = jnp.log(jnp.maximum(_counts(class_counts, logits), 1.0))
    index = jnp.clip(labels, 0, z.shape[-1] - 1).astype(jnp.int32)[..., None]
    log_p = jax.nn.log_softmax(jax.lax.stop_gradient(z), axis=-1)
    own = jnp.maximum(jnp.take_along_axis(log_p, index, axis=-1), jnp.log(floor))
    rarer = jnp.minimum(log_counts - log_counts[index], 0.0)
    mistaken = jnp.maximum(log_p - own, 0.0)
    factor = jnp.where(_is_label(z, labels), 0.0, mitigation * rarer + compensation * mistaken)
    return softmax_cross_entropy(z + factor, labels, ignore_label=ignore_label)


def _is_label(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Booleans [..., C]: true at each example's label."""
    classes = jax.lax.broadcasted_iota(jnp.int32, scores.shape, scores.ndim - 1)
    return classes == jnp.asarray(labels)[..., None]


def _counts(
    class_counts: jax.Array, scores: jax.Array | None = None, name: str = "logits"
) -> jax.Array:
    counts = jnp.asarray(class_counts)
    if counts.ndim != 1:
        raise ValueError(f"class_counts has shape {list(counts.shape)}, but [C] is wanted.")
    if scores is not None:
        check_scores(name, scores)
        check_class_weights("class_counts", counts, scores.shape[-1])
    check_non_negative("class_counts", counts)
    return as_float(counts)
