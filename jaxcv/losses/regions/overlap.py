"""Overlap losses: Dice, generalised Dice, Tversky, focal Tversky, Jaccard, Matthews correlation.

All are 1 - a measure of overlap of the soft confusion counts, for probability p and truth y

    tp = sum p y,   fp = sum p (1 - y),   fn = sum (1 - p) y,   tn = sum (1 - p) (1 - y)

over the pixels of an image or batch, class by class, then averaged over classes. They are computed
as (errors) / (errors + hits), not as 1 - (hits) / (...), which would lose the digits of a small
loss. The options common to all are those of `regions.RegionOptions`.
"""

from typing import Literal, NamedTuple, Unpack

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_choice, check_non_negative, check_positive
from jaxcv.losses.regions.pixels import (
    Pixels,
    RegionOptions,
    mean_over_classes,
    per_image,
    pixels_of,
    pool,
)
from jaxcv.losses.similarity import square_root


class _Overlap(NamedTuple):
    """Soft counts [G, C] of G images, or of the batch (1), and how many pixels [G, 1]."""

    tp: jax.Array
    fp: jax.Array
    fn: jax.Array
    actual: jax.Array
    area: jax.Array
    pixels: Pixels


def dice_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    smooth: float = 0.0,
    squared: bool = False,
    **options: Unpack[RegionOptions],
) -> jax.Array:
    """Soft Dice loss, 1 - (2 tp + smooth) / (2 tp + fp + fn + smooth), averaged over classes.

    Sudre et al. 2017, arXiv:1707.03237. With `squared` (V-Net, Milletari et al. 2016,
    arXiv:1606.04797) the denominator is sum p^2 + sum y^2 + smooth. `tversky_loss` with both
    weights 1/2 is the same (with half the `smooth`).

    Args:
      logits: [B, ..., C] floating: logits, or probabilities with `activation="none"`.
      labels: [B, ...] class indices or [B, ..., C] floats.
      smooth: >= 0, in pixels; softens the loss of small and of absent classes.
      squared: See above.
      **options: See `RegionOptions`.

    Returns:
      [B] float32.

    Raises:
      ValueError: for shapes, dtypes or settings that do not fit.

    Example:
      >>> p = jnp.array([[[0.5, 0.5], [0.0, 1.0]]])  # One image, two pixels, two classes.
      >>> dice_loss(p, jnp.array([[0, 1]]), activation="none")  # (1/3 + 1/5) / 2
      Array([0.26666668], dtype=float32)
    """
    check_non_negative("smooth", smooth)
    overlap = _overlap(logits, labels, squared, **options)
    errors = overlap.fp + overlap.fn
    return _mean(overlap, _ratio(errors, errors + 2 * overlap.tp + smooth), **options)


def tversky_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    false_positive_weight: float = 0.3,
    false_negative_weight: float = 0.7,
    smooth: float = 0.0,
    **options: Unpack[RegionOptions],
) -> jax.Array:
    """Tversky loss (Salehi et al. 2017, arXiv:1706.05721), 1 - tp / (tp + a fp + b fn).

    Called by what they weigh, because papers disagree which of alpha and beta is which. Both 1/2 is
    Dice, both 1 is Jaccard; more weight on false negatives favours recall.

    Args:
      logits: As in `dice_loss`.
      labels: As in `dice_loss`.
      false_positive_weight: a >= 0.
      false_negative_weight: b >= 0.
      smooth: >= 0, added to numerator and denominator.
      **options: See `RegionOptions`.

    Returns:
      [B] float32.

    Raises:
      ValueError: for shapes, dtypes or settings that do not fit.
    """
    overlap, losses = _tversky(
        logits, labels, false_positive_weight, false_negative_weight, smooth, options
    )
    return _mean(overlap, losses, **options)


def focal_tversky_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    false_positive_weight: float = 0.3,
    false_negative_weight: float = 0.7,
    exponent: float = 0.75,
    smooth: float = 0.0,
    **options: Unpack[RegionOptions],
) -> jax.Array:
    """Focal Tversky loss (Abraham and Khan 2019, arXiv:1810.07842): each class's loss ^ exponent.

    The exponent is the paper's 1 / gamma, 3/4 by default. Below 1 the power has an infinite slope
    at loss 0; under 1e-6 it is continued by the straight line to the origin.

    Args and returns as in `tversky_loss`; `exponent` > 0.
    """
    check_positive("exponent", exponent)
    overlap, losses = _tversky(
        logits, labels, false_positive_weight, false_negative_weight, smooth, options
    )
    least = 1e-6
    power = jnp.power(jnp.maximum(losses, least), exponent)
    losses = jnp.where(losses > least, power, losses * least ** (exponent - 1))
    return _mean(overlap, losses, **options)


def jaccard_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    smooth: float = 0.0,
    **options: Unpack[RegionOptions],
) -> jax.Array:
    """Soft Jaccard (intersection over union) loss, 1 - tp / (tp + fp + fn).

    Rahman and Wang 2016. Args and returns as in `dice_loss`; `smooth` is added to numerator and
    denominator.
    """
    overlap, losses = _tversky(logits, labels, 1.0, 1.0, smooth, options)
    return _mean(overlap, losses, **options)


def generalized_dice_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    weighting: Literal["square", "inverse", "uniform"] = "square",
    **options: Unpack[RegionOptions],
) -> jax.Array:
    """Generalised Dice loss (Sudre et al. 2017, arXiv:1707.03237): one ratio over all classes.

    1 - 2 sum_c w_c tp_c / sum_c w_c (2 tp_c + fp_c + fn_c), with w_c = 1 / (true pixels of c)^2
    ("square", the paper's), 1 / (true pixels) ("inverse") or 1 ("uniform"). The weight of an absent
    class would be infinite: `absent="include"` counts it as one pixel, otherwise it has weight 0.

    Args and returns as in `dice_loss`; `class_weights` multiply w_c.
    """
    check_choice("weighting", weighting, ("square", "inverse", "uniform"))
    overlap = _overlap(logits, labels, False, **options)
    power = {"square": 2, "inverse": 1, "uniform": 0}[weighting]
    # Relative to the image's size: the weights of large images would underflow.
    fraction = jnp.maximum(overlap.actual, 1) / jnp.maximum(overlap.area, 1)
    weights = fraction**-power
    present = (overlap.actual > 0) | (options.get("absent", "exclude") == "include")
    errors = overlap.fp + overlap.fn
    # Sums over classes would do; the means' denominators cancel.
    wrong, everything = (
        mean_over_classes(
            jnp.where(present, weights, 0) * counts,
            present,
            absent=options.get("absent", "exclude"),
            class_weights=options.get("class_weights"),
        )
        for counts in (errors, errors + 2 * overlap.tp)
    )
    return _per_image(overlap, _ratio(wrong, everything), **options)


def mcc_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    epsilon: float = 1e-6,
    **options: Unpack[RegionOptions],
) -> jax.Array:
    """1 - Matthews correlation coefficient (Abhishek and Hamarneh 2021, arXiv:2010.13454).

    MCC = (tp tn - fp fn) / sqrt((tp + fp) (tp + fn) (tn + fp) (tn + fn)), of counts as fractions of
    the pixels, with epsilon added to numerator and denominator. It uses the true negatives, which
    Dice and Jaccard do not see. The loss lies in [0, 2].

    Args and returns as in `dice_loss`; `epsilon` > 0.
    """
    check_positive("epsilon", epsilon)
    overlap = _overlap(logits, labels, False, **options)
    count = jnp.maximum(overlap.area, 1)
    tp, fp, fn = overlap.tp / count, overlap.fp / count, overlap.fn / count
    tn = jnp.maximum(1 - tp - fp - fn, 0)
    square = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    losses = 1 - (tp * tn - fp * fn + epsilon) / (square_root(square) + epsilon)
    return _mean(overlap, losses, **options)


def _overlap(
    logits: jax.Array, labels: jax.Array, squared: bool, **options: Unpack[RegionOptions]
) -> _Overlap:
    """Counts the overlap. Squared: fp + fn becomes sum (p - y)^2, 2 tp stays (V-Net's Dice)."""
    known = {k: v for k, v in options.items() if k in ("activation", "ignore_label", "mask")}
    pixels = pixels_of(logits, labels, **known)  # type: ignore[arg-type]
    p, y = pixels.scores, pixels.truth()
    valid = pixels.valid[..., None]
    if y.dtype == bool:
        tp, fn = jnp.where(y, p, 0), jnp.where(y, 1 - p, 0)
        fp = jnp.where(y, p * (p - 1), p * p) if squared else jnp.where(y, 0, p)
    else:
        tp, fn = p * y, jnp.where(valid, y * (y - p) if squared else y * (1 - p), 0)
        fp = p * (p - y) if squared else p * (1 - y)
    per, axis_name = options.get("per", "image"), options.get("axis_name")
    tp, fp, fn, actual, area = (
        pool(jnp.sum(x, axis=1, dtype=p.dtype), per, axis_name) for x in (tp, fp, fn, y, valid)
    )
    return _Overlap(tp, fp, fn, actual, area, pixels)


def _tversky(
    logits: jax.Array,
    labels: jax.Array,
    false_positive_weight: float,
    false_negative_weight: float,
    smooth: float,
    options: RegionOptions,
) -> tuple[_Overlap, jax.Array]:
    check_non_negative("false_positive_weight", false_positive_weight)
    check_non_negative("false_negative_weight", false_negative_weight)
    check_non_negative("smooth", smooth)
    overlap = _overlap(logits, labels, False, **options)
    errors = false_positive_weight * overlap.fp + false_negative_weight * overlap.fn
    return overlap, _ratio(errors, errors + overlap.tp + smooth)


def _ratio(errors: jax.Array, everything: jax.Array) -> jax.Array:
    """The quotient, 0 where there is nothing: not even a trillionth of a pixel."""
    some = everything > 1e-12
    return jnp.where(some, errors, 0) / jnp.where(some, everything, 1)


def _mean(overlap: _Overlap, losses: jax.Array, **options: Unpack[RegionOptions]) -> jax.Array:
    mean = mean_over_classes(
        losses,
        overlap.actual > 0,
        absent=options.get("absent", "exclude"),
        class_weights=options.get("class_weights"),
    )
    return _per_image(overlap, mean, **options)


def _per_image(overlap: _Overlap, losses: jax.Array, **options: Unpack[RegionOptions]) -> jax.Array:
    return per_image(losses, overlap.pixels, options.get("per", "image"), options.get("axis_name"))
