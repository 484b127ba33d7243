"""Softmax cross-entropy of a linear classifier over any number of classes, tile by tile."""

from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_choice, check_non_negative, check_positive, check_range
from jaxcv.devices import total
from jaxcv.losses.arguments import as_float, check_class_weights
from jaxcv.losses.linear.arguments import (
    check_block_size,
    check_implementation,
    check_linear,
    is_static,
)
from jaxcv.losses.linear.blocks import choose_blocks
from jaxcv.losses.linear.plan import Constants, Implementation, Inputs, Plan, Statistics
from jaxcv.losses.linear.sampling import ClassSample
from jaxcv.losses.linear.shards import Shard, shard_of
from jaxcv.losses.linear.tiles import (
    own_rows,
    plain_statistics,
    target_scores,
    tiled_statistics,
)
from jaxcv.losses.margins.margin import Margin
from jaxcv.losses.similarity import embedding_norm, square_root
from jaxcv.losses.softmax import Smoothing


class LinearCrossEntropy(NamedTuple):
    """The result of `linear_softmax_cross_entropy`; everything of an ignored row is 0 or False.

    Attributes:
      loss: [N], differentiable like the next two.
      log_sum_exp: [N], of all logits, the true class's with its margin.
      target_logit: [N], the true class's, with its margin.
      target_score: [N], a constant: what the true class's margin was applied to, its cosine; without a
        margin its logit.
      correct: bool [N]: without its margin the true class is above all others (not equal to one).
      separated: bool [N]: with its margin it still is.
      margin_state: The margin's state after this batch; `()` without one.
    """

    loss: jax.Array
    log_sum_exp: jax.Array
    target_logit: jax.Array
    target_score: jax.Array
    correct: jax.Array
    separated: jax.Array
    margin_state: Any


def linear_softmax_cross_entropy(
    embeddings: jax.Array,
    classifier: jax.Array,
    labels: jax.Array,
    *,
    bias: jax.Array | None = None,
    margin: Margin | None = None,
    margin_state: Any = (),
    scale: float | jax.Array = 1.0,
    normalize: bool = False,
    label_smoothing: float | jax.Array = 0.0,
    smoothing: Smoothing = "all_classes",
    class_weights: jax.Array | None = None,
    ignore_label: int | None = None,
    z_loss: float | jax.Array = 0.0,
    temperature: float | jax.Array = 1.0,
    num_classes: int | None = None,
    sample: ClassSample | None = None,
    block_size: int | None = None,
    axis_name: str | None = None,
    precision: jax.lax.PrecisionLike = None,
    implementation: Implementation | None = None,
) -> LinearCrossEntropy:
    """Cross-entropy of softmax(embeddings @ classifier.T), without the matrix of logits.

    Logits are z_nc = (scale <x_n, w_c> + b_c) / temperature, or with `normalize` the same with the
    cosine in place of the product; with a margin, what the margin makes of the cosines. Then

        loss = -log softmax(z)_y + z_loss logsumexp(z)^2 + the margin's regulariser,

    with smoothing and class weights as in `softmax_cross_entropy`. The logits exist one tile of
    classes at a time (Wijmans et al. 2024, arXiv:2411.09009, "Cut your losses"); the backward pass
    computes them again. Beyond inputs, outputs and gradients, memory is that of a few tiles [N,
    block] and of the embeddings, whatever C. Reverse-mode differentiable once, by embeddings,
    classifier, bias, scale and temperature; weights and margin state are constants.

    With `axis_name`, under `jax.pmap` or `jax.shard_map(..., check_vma=False)`: each device passes
    its rows of the batch and its rows of the classifier, device i holding classes i c to (i + 1) c
    - 1; the labels number the classes of all. Results are those of the device's own rows. The
    gradient of a device's part of the classifier is complete: do not sum it over the axis. For a
    class count that k devices cannot share evenly, pad the parameter once to the next multiple and
    give the true count as `num_classes`: padding is masked, and has gradient 0.

    Args:
      embeddings: [N, D] floating. Products are formed in the wider dtype of embeddings and
        classifier and summed in float32.
      classifier: [C, D] floating, one row a class, or [C, K, D] with K centres a class, of which the
        one of the largest logit counts (Deng et al. 2020, Sub-center ArcFace); with a sample, its
        rows `sample.rows`.
      labels: [N] integers in [0, C) or `ignore_label`; any other gives NaN.
      bias: [C].
      margin: Any `Margin`, applied to cosines; `scale`, `temperature` and `bias` are its own
        business then, `normalize` is understood.
      margin_state: The margin's state before this batch, `margin.init()` at first.
      scale: > 0, may be traced.
      normalize: Whether rows of both are divided by their lengths.
      label_smoothing: The mass in [0, 1] moved away from the label.
      smoothing: To which classes: "all_classes" or "other_classes", as in `softmax_cross_entropy`.
      class_weights: [C].
      ignore_label: Rows with this label have loss 0, gradient 0 and no part in the margin's state.
      z_loss: Weight >= 0 of the squared log-sum-exp.
      temperature: > 0, may be traced.
      num_classes: How many of the classifier's rows, over all devices, are classes; None for all.
      sample: Which classes take part, from `sample_classes`; None for all. `bias` and
        `class_weights` are then theirs too.
      block_size: Classes a tile; None chooses by shape. One tile of all C classes is kept for the
        backward pass, as large as the dense form; that is chosen for a few MiB of logits, and on a
        CPU, where it is quicker, for plain ones of up to 128 MiB.
      axis_name: The device axis that batch and classes are spread over.
      precision: Of the products, as in `jnp.matmul`.
      implementation: "portable", or a Pallas kernel for the tiles: "pallas_gpu", "pallas_tpu" (on a
        CPU both are interpreted, slowly). None is "portable" on every machine: the kernels, see
        `linear/experimental`, were timed on none. They refuse what they do not cover.

    Returns:
      A `LinearCrossEntropy`, float32 (float64 for float64 inputs).

    Raises:
      ValueError: for shapes, dtypes or settings that do not fit, and an axis that is not bound.

    Example:
      >>> result = linear_softmax_cross_entropy(jnp.eye(2), jnp.ones((3, 2)), jnp.array([0, 2]))
      >>> result.loss
      Array([1.0986123, 1.0986123], dtype=float32)
    """
    check_linear(embeddings, classifier, labels, bias)
    check_choice("smoothing", smoothing, get_args(Smoothing))
    _check_settings(label_smoothing, scale, temperature, z_loss, block_size)
    if class_weights is not None:
        check_class_weights("class_weights", class_weights, classifier.shape[0])
    if margin is not None:
        _check_margin_alone(scale=scale, temperature=temperature, bias=bias)
    shard = shard_of(classifier.shape[0], num_classes, sample, axis_name)

    labels = jnp.asarray(labels).astype(jnp.int32)
    valid = jnp.ones(labels.shape, bool) if ignore_label is None else labels != ignore_label
    known = (labels >= 0) & (labels < shard.num_classes)
    wide = jnp.promote_types(embeddings.dtype, classifier.dtype)
    x = jnp.where(valid[:, None], embeddings, 0)
    x = as_float(x).astype(jnp.promote_types(wide, jnp.float32))
    own = shard.positions(jnp.where(valid & known, labels, -1), sample)

    totals = not is_static(label_smoothing, 0.0)
    normalize = normalize or margin is not None
    # On several devices, and by kernels, the logits are made again in any case.
    alone = axis_name is None and implementation in (None, "portable")
    plain = alone and not (normalize or totals or classifier.ndim == 3)
    blocks = choose_blocks(own.shape[0], classifier.shape[:-1], block_size, plain=plain)
    plan = Plan(
        row_block=blocks.rows,
        class_block=blocks.classes,
        dtype=str(wide),
        normalize=normalize,
        margin=margin,
        totals=totals,
        padded=shard.padded,
        axis_name=axis_name,
        precision=precision,
        implementation=implementation or "portable",
    )
    check_implementation(plan, classifier)
    weights = None if class_weights is None else jax.lax.stop_gradient(jnp.asarray(class_weights))
    inputs = _inputs(x, jnp.asarray(classifier), bias, scale, temperature, plan.normalize)
    norm = embedding_norm(x)
    constants = Constants(own, shard.limit, weights, jax.lax.stop_gradient(margin_state))
    state = _updated(plan, inputs, constants, norm, valid, blocks.whole)
    constants = constants._replace(state=state)
    others = _statistics(plan, inputs, constants, blocks.whole)

    target_logit, extra = others.target, jnp.zeros_like(norm)
    if margin is not None:
        target_logit = margin.target_logit(others.target, state, norm=norm)
        extra = margin.regularizer(norm)
    log_sum_exp = jnp.logaddexp(others.log_sum_exp, target_logit)
    # -log p_y as a function of the difference: where it is small, lse - z_y would have no digits.
    surprisal = jax.nn.softplus(others.log_sum_exp - target_logit)
    weight = _weight_of_label(weights, own, x.shape[0], axis_name, x.dtype)
    loss = surprisal * weight
    if plan.totals:
        keep, share = _smoothed(label_smoothing, smoothing, shard.taking_part)
        mass = _total_weight(weights, classifier.shape[0], shard, x.dtype)
        loss = keep * loss + share * (mass * log_sum_exp - others.total - weight * target_logit)
    loss = loss + z_loss * jnp.square(log_sum_exp) + extra * weight
    loss = loss * jnp.where(known | ~valid, 1, jnp.nan)
    return LinearCrossEntropy(
        jnp.where(valid, loss, 0),
        jnp.where(valid, log_sum_exp, 0),
        jnp.where(valid, target_logit, 0),
        jax.lax.stop_gradient(jnp.where(valid, others.target, 0)),
        valid & known & _is_best(plan, others, state),
        valid & known & (target_logit > others.peak),
        state,
    )


def _inputs(
    x: jax.Array,
    classifier: jax.Array,
    bias: jax.Array | None,
    scale: float | jax.Array,
    temperature: float | jax.Array,
    normalize: bool,
) -> Inputs:
    """Rows and factors such that scores are finished logits, or cosines for a margin."""
    factors = jnp.broadcast_to(jnp.asarray(scale / temperature, x.dtype), x.shape[:1])
    if normalize:
        factors = factors * _inverse_length(x)
    if bias is not None:
        bias = jnp.asarray(bias)
        bias = bias if is_static(temperature, 1.0) else as_float(bias) / temperature
    return Inputs(x, factors, classifier, bias)


def _statistics(plan: Plan, inputs: Inputs, constants: Constants, whole: bool) -> Statistics:
    # One tile on one device is small: keeping it saves the backward pass a product.
    alone = whole and plan.axis_name is None and plan.implementation == "portable"
    run = plain_statistics if alone else tiled_statistics
    return run(plan, inputs, constants)


def _updated(
    plan: Plan,
    inputs: Inputs,
    constants: Constants,
    norm: jax.Array,
    valid: jax.Array,
    whole: bool,
) -> Any:
    """The margin's state after this batch, from which its logits are then computed."""
    margin = plan.margin
    if margin is None or not margin.statistics:
        return constants.state
    inputs = jax.lax.stop_gradient(inputs)
    log_sums = None
    if "negative_log_sum_exp" in margin.statistics:
        others = _statistics(plan, inputs, constants, whole)
        cosine, log_sums = others.target, others.log_sum_exp
    else:
        every = target_scores(plan, inputs, constants.labels)
        cosine = own_rows(every, inputs.embeddings.shape[0], plan.axis_name)
    state = margin.update(
        constants.state,
        target_cosine=cosine,
        norm=jax.lax.stop_gradient(norm),
        negative_log_sum_exp=log_sums,
        mask=valid,
        axis_name=plan.axis_name,
    )
    return jax.lax.stop_gradient(state)


def _smoothed(
    label_smoothing: float | jax.Array, smoothing: Smoothing, classes: Any
) -> tuple[Any, Any]:
    """(keep, share): the smoothed target is keep y_c + share."""
    if smoothing == "all_classes":
        return 1 - label_smoothing, label_smoothing / classes
    # A class that has no others keeps everything.
    some = classes > 1
    share = jnp.where(some, label_smoothing / jnp.maximum(classes - 1, 1), 0)
    return jnp.where(some, 1 - label_smoothing - share, 1), share


def _is_best(plan: Plan, others: Statistics, state: Any) -> jax.Array:
    score = others.target
    if plan.margin is not None and not plan.reshapes:
        # `best` is a logit: compare with what the target's logit would be without its margin.
        score = plan.margin.negative_logits(score[:, None], score, state)[:, 0]
    return score > others.best


def _inverse_length(x: jax.Array) -> jax.Array:
    """1 / |x|, [N] from [N, D], with gradient; 0 for zero rows."""
    length = square_root(jnp.sum(jnp.square(x), axis=-1))
    usable = length > 1e-12
    return jnp.where(usable, 1 / jnp.where(usable, length, 1), 0)


def _weight_of_label(
    weights: jax.Array | None, labels: jax.Array, local: int, axis_name: str | None, dtype: Any
) -> jax.Array:
    """The class weight [n] of this device's rows, wherever their class is; 1 without weights."""
    if weights is None:
        return jnp.ones(local, dtype)
    mine = jnp.where(labels >= 0, weights[jnp.maximum(labels, 0)], 0).astype(dtype)
    return own_rows(total(mine, axis_name), local, axis_name)


def _total_weight(weights: jax.Array | None, rows: int, shard: Shard, dtype: Any) -> jax.Array:
    if weights is None:
        return jnp.asarray(shard.taking_part, dtype)
    counted = jnp.arange(rows) < shard.limit
    return total(jnp.sum(jnp.where(counted, weights, 0).astype(dtype)), shard.axis_name)


def _check_settings(
    label_smoothing: Any, scale: Any, temperature: Any, z_loss: Any, block_size: Any
) -> None:
    check_range("label_smoothing", label_smoothing, 0.0, 1.0)
    check_positive("scale", scale)
    check_positive("temperature", temperature)
    check_non_negative("z_loss", z_loss)
    check_block_size(block_size)


def _check_margin_alone(**settings: Any) -> None:
    for name, value in settings.items():
        if value is not None and not is_static(value, 1.0):
            raise ValueError(
                f"{name} is {value}, but a margin makes its logits itself: set the margin's own "
                f"scale, and leave {name} out."
            )
