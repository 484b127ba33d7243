"""Margins on a dense [B, C] matrix of cosines, and the softmax cross-entropy over it.

    cosines, norm = class_cosines(embeddings, classifier)
    state = updated_state(margin, state, cosines, labels, norm=norm)
    logits = margin_logits(margin, cosines, labels, state, norm=norm)
    loss = softmax_cross_entropy(logits, labels)

`margin_softmax_cross_entropy` is these four lines, with masks.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxcv.losses.arguments import as_float, check_labels, check_shape
from jaxcv.losses.margins.margin import Margin
from jaxcv.losses.similarity import embedding_norm, l2_normalize, log_sum_exp
from jaxcv.losses.softmax import softmax_cross_entropy


def class_cosines(
    embeddings: jax.Array, classifier: jax.Array, *, precision: jax.lax.PrecisionLike = None
) -> tuple[jax.Array, jax.Array]:
    """Cosines between embeddings and class centres, and the embeddings' lengths.

    With K sub-centres a class ([C, K, D]) the cosine of a class is that of its nearest sub-centre,
    so that noisy faces may gather around a centre of their own (Deng et al. 2020, Sub-center
    ArcFace).

    Args:
      embeddings: [B, D] floating. The product is formed in the wider dtype of embeddings and
        classifier and summed in float32; lengths are float32.
      classifier: [C, D], one row a class, or [C, K, D], K sub-centres a class.
      precision: Of the product, as in `jnp.matmul`.

    Returns:
      Cosines [B, C] and norms [B]; a zero row has cosine 0 to everything.

    Raises:
      ValueError: unless D agrees and the ranks are 2 and 2 or 3.
    """
    check_shape("embeddings", embeddings, ("B", "D"))
    if jnp.ndim(classifier) == 3:
        check_shape("classifier", classifier, ("C", "K", embeddings.shape[1]))
        rows = classifier.reshape(-1, classifier.shape[-1])
    else:
        check_shape("classifier", classifier, ("C", embeddings.shape[1]))
        rows = classifier
    dtype = jnp.promote_types(embeddings.dtype, rows.dtype)
    cosines = jnp.matmul(
        l2_normalize(embeddings).astype(dtype),
        l2_normalize(rows).astype(dtype).T,
        precision=precision,
        preferred_element_type=jnp.promote_types(dtype, jnp.float32),
    )
    if jnp.ndim(classifier) == 3:
        cosines = jnp.max(cosines.reshape(cosines.shape[0], *classifier.shape[:2]), axis=-1)
    return cosines, embedding_norm(embeddings)


def margin_logits(
    margin: Margin,
    cosines: jax.Array,
    labels: jax.Array,
    state: Any = (),
    *,
    norm: jax.Array | None = None,
) -> jax.Array:
    """Logits of all classes under a margin.

    Args:
      margin: Any `Margin`.
      cosines: [B, C] floating.
      labels: [B] integers; a row whose label is not in [0, C) has no target.
      state: The margin's state, `margin.init()` at first; `()` for margins without.
      norm: [B] lengths of the embeddings, for the margins that need them.

    Returns:
      [B, C], at least float32.

    Raises:
      ValueError: for shapes and dtypes that do not fit, a missing state or norm.

    Example:
      >>> from jaxcv.losses.margins import CosFace
      >>> margin_logits(CosFace(scale=10.0, margin=0.5), jnp.array([[0.5, 0.2]]), jnp.array([0]))
      Array([[0., 2.]], dtype=float32)
    """
    target_cosine, is_target = _target(cosines, labels)
    if norm is not None:
        check_shape("norm", norm, jnp.shape(labels))
    target = margin.target_logit(target_cosine, state, norm=norm)
    negatives = margin.negative_logits(as_float(cosines), target_cosine, state)
    return jnp.where(is_target, target[:, None], negatives)


def updated_state(
    margin: Margin,
    state: Any,
    cosines: jax.Array,
    labels: jax.Array,
    *,
    norm: jax.Array | None = None,
    mask: jax.Array | None = None,
    axis_name: str | None = None,
) -> Any:
    """The margin's state after a batch of dense cosines; arguments as in `margin_logits`.

    `mask` [B] is False for rows that do not count; `axis_name` names the device axis over which the
    batch is spread, if any.
    """
    if not margin.statistics:
        return state
    cosines = jax.lax.stop_gradient(as_float(cosines))
    target_cosine, is_target = _target(cosines, labels)
    log_sums = None
    if "negative_log_sum_exp" in margin.statistics:
        negatives = margin.negative_logits(cosines, target_cosine, state)
        log_sums = log_sum_exp(negatives, ~is_target)
    return margin.update(
        state,
        target_cosine=target_cosine,
        norm=norm,
        negative_log_sum_exp=log_sums,
        mask=mask,
        axis_name=axis_name,
    )


def margin_softmax_cross_entropy(
    embeddings: jax.Array,
    classifier: jax.Array,
    labels: jax.Array,
    margin: Margin,
    state: Any = (),
    *,
    label_smoothing: float | jax.Array = 0.0,
    class_weights: jax.Array | None = None,
    ignore_label: int | None = None,
    mask: jax.Array | None = None,
    axis_name: str | None = None,
    precision: jax.lax.PrecisionLike = None,
) -> tuple[jax.Array, Any]:
    """Softmax cross-entropy over the cosines between embeddings and class centres, with a margin.

    Args:
      embeddings: [B, D] floating, of any length.
      classifier: [C, D] class centres of any length, or [C, K, D] with K sub-centres a class.
      labels: [B] integers.
      margin: Any `Margin`; its regulariser, if it has one, is added to the loss.
      state: The margin's state before this batch, `margin.init()` at first.
      label_smoothing: As in `softmax_cross_entropy`.
      class_weights: [C], as in `softmax_cross_entropy`; they weigh the regulariser too.
      ignore_label: Rows with this label have loss 0, gradient 0 and no part in the state.
      mask: [B]; False does the same.
      axis_name: The device axis over which the batch is spread, for the state alone.
      precision: Of the product of embeddings and classifier.

    Returns:
      Losses [B], and the margin's new state.

    Raises:
      ValueError: for shapes and dtypes that do not fit, a missing state, an unbound axis.
    """
    check_shape("labels", labels, (jnp.shape(embeddings)[0],))
    valid = jnp.ones(jnp.shape(labels), bool)
    if mask is not None:
        check_shape("mask", mask, jnp.shape(labels))
        valid &= mask
    if ignore_label is not None:
        valid &= labels != ignore_label
    embeddings = jnp.where(valid[:, None], embeddings, 0)
    labels = jnp.where(valid, labels, 0)
    cosines, norm = class_cosines(embeddings, classifier, precision=precision)
    state = updated_state(
        margin, state, cosines, labels, norm=norm, mask=valid, axis_name=axis_name
    )
    logits = margin_logits(margin, cosines, labels, state, norm=norm)
    loss = softmax_cross_entropy(
        logits, labels, label_smoothing=label_smoothing, class_weights=class_weights
    )
    extra = margin.regularizer(norm)
    if class_weights is not None:
        extra = extra * jnp.asarray(class_weights, extra.dtype)[labels]
    return jnp.where(valid, loss + extra, 0), state


def _target(cosines: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The true class's cosine [B] and where it stands [B, C]."""
    check_shape("cosines", cosines, ("B", "C"))
    check_labels(labels, cosines, scores_name="cosines")
    num_classes = cosines.shape[1]
    column = jnp.clip(labels, 0, num_classes - 1)[:, None]
    cosine = jnp.take_along_axis(as_float(cosines), column, axis=1)[:, 0]
    return cosine, jnp.arange(num_classes) == labels[:, None]
