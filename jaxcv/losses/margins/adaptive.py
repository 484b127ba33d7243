"""Margins and scales that follow the data: AdaFace, MagFace (embedding norms) and AdaCos."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_non_negative, check_positive, check_range
from jaxcv.devices import gather, largest, masked_average, total
from jaxcv.losses.arguments import as_float
from jaxcv.losses.margins.margin import (
    BeyondPi,
    Gradient,
    Margin,
    ScaledMargin,
    cosine_of_sum,
    needed,
    with_gradient,
)
from jaxcv.losses.similarity import log_of_sum


class AdaFaceState(NamedTuple):
    """Running mean and standard deviation of the embeddings' norms, scalars."""

    mean: jax.Array
    std: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaFace(ScaledMargin):
    """s (cos(theta + g_angle) - g_add), with margins led by image quality.

    The norm of the embedding stands for quality (Kim et al. 2022, arXiv:2204.00964):
    z = clip(h (norm - mean) / (std + eps), -1, 1), g_angle = -m z, g_add = m + m z. z is a
    constant to differentiation. Mean and standard deviation (unbiased) are running averages over
    batches.

    Attributes:
      scale: s.
      margin: m in [0, pi].
      concentration: h > 0.
      rate: Weight in (0, 1] of the new batch in the running averages: the paper's 0.01; 1 forgets
        all older batches.
      epsilon: Added to the standard deviation.
      beyond_pi: The treatment of angles beyond 0 and pi; the authors' "clamp".
      gradient: "exact" or "straight_through", see `Gradient`.
    """

    margin: float = 0.4
    concentration: float = 0.333
    rate: float = 0.01
    epsilon: float = 1e-3
    beyond_pi: BeyondPi = "clamp"
    gradient: Gradient = "exact"

    needs_norm = True
    statistics = ("norm",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("margin", self.margin, 0.0, math.pi)
        check_non_negative("concentration", self.concentration)
        check_range("rate", self.rate, 0.0, 1.0, open_low=True)
        check_positive("epsilon", self.epsilon)

    def init(self) -> AdaFaceState:
        """The authors' start: mean 20, standard deviation 100."""
        return AdaFaceState(jnp.float32(20.0), jnp.float32(100.0))

    def quality(self, norm: jax.Array, state: AdaFaceState) -> jax.Array:
        """The standardised norm z in [-1, 1], [N]."""
        norm = self._bounded(norm)
        standard = (norm - state.mean) / (state.std + self.epsilon)
        return jnp.clip(self.concentration * standard, -1, 1)

    def target_logit(
        self, cosine: jax.Array, state: Any = (), *, norm: jax.Array | None = None
    ) -> jax.Array:
        """The logit s (cos(theta - m z) - m - m z)."""
        state = needed(self, "state", state)
        z = self.quality(needed(self, "norm", norm), state)
        moved = with_gradient(
            self.gradient,
            lambda c: cosine_of_sum(c, -self.margin * z, self.beyond_pi),
            as_float(cosine),
        )
        return self.scale * (moved - self.margin * (1 + z))

    def update(
        self,
        state: Any,
        *,
        target_cosine: jax.Array | None = None,
        norm: jax.Array | None = None,
        negative_log_sum_exp: jax.Array | None = None,
        mask: jax.Array | None = None,
        axis_name: str | None = None,
    ) -> AdaFaceState:
        """Moves the averages towards this batch's; a batch without valid rows changes nothing."""
        del target_cosine, negative_log_sum_exp
        state = AdaFaceState(*map(jnp.asarray, needed(self, "state", state)))
        norm = self._bounded(needed(self, "norm", norm))
        mean, count = masked_average(norm, mask, axis_name)
        variance, _ = masked_average(jnp.square(norm - mean), mask, axis_name)
        std = jnp.sqrt(variance * count / jnp.maximum(count - 1, 1))
        new = AdaFaceState(
            state.mean + self.rate * (mean - state.mean), state.std + self.rate * (std - state.std)
        )
        return jax.tree.map(
            lambda n, old: jnp.where(count > 0, n, old).astype(old.dtype), new, state
        )

    def _bounded(self, norm: jax.Array) -> jax.Array:
        return jnp.clip(jax.lax.stop_gradient(as_float(norm)), 0.001, 100.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MagFace(ScaledMargin):
    """s cos(theta + m(a)) with a margin that grows with the embedding's norm a, and a pull on a.

    Meng et al. 2021, arXiv:2103.06627: m(a) rises linearly from `lower_margin` at
    `lower_norm` to `upper_margin` at `upper_norm`; g(a) = a / upper_norm^2 + 1 / a, times `pull`,
    is added to the loss. Norms are clipped to the two ends, beyond which neither has a gradient. m
    and g are differentiated with respect to the norm: it is learned.

    Attributes:
      scale: s.
      lower_norm: l_a > 0.
      upper_norm: u_a > l_a.
      lower_margin: l_m in [0, pi].
      upper_margin: u_m in [0, pi].
      pull: lambda_g >= 0.
      beyond_pi: The treatment of theta + m > pi; the authors' default is "easy".
      gradient: "exact" or "straight_through" with respect to the cosine, see `Gradient`.
    """

    lower_norm: float = 10.0
    upper_norm: float = 110.0
    lower_margin: float = 0.45
    upper_margin: float = 0.8
    pull: float = 35.0
    beyond_pi: BeyondPi = "easy"
    gradient: Gradient = "exact"

    needs_norm = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("lower_norm", self.lower_norm)
        check_range("upper_norm", self.upper_norm, self.lower_norm, open_low=True)
        check_range("lower_margin", self.lower_margin, 0.0, math.pi)
        check_range("upper_margin", self.upper_margin, 0.0, math.pi)
        check_non_negative("pull", self.pull)

    def margin_of(self, norm: jax.Array) -> jax.Array:
        """m(a) in radians, [N] from the norms [N]."""
        slope = (self.upper_margin - self.lower_margin) / (self.upper_norm - self.lower_norm)
        return self.lower_margin + slope * (self._bounded(norm) - self.lower_norm)

    def target_logit(
        self, cosine: jax.Array, state: Any = (), *, norm: jax.Array | None = None
    ) -> jax.Array:
        """The logit s cos(theta + m(a))."""
        del state
        margin = self.margin_of(needed(self, "norm", norm))
        return self.scale * with_gradient(
            self.gradient, lambda c: cosine_of_sum(c, margin, self.beyond_pi), as_float(cosine)
        )

    def regularizer(self, norm: jax.Array) -> jax.Array:
        """lambda_g (a / u_a^2 + 1 / a)."""
        bounded = self._bounded(norm)
        return self.pull * (bounded / self.upper_norm**2 + 1 / bounded)

    def _bounded(self, norm: jax.Array) -> jax.Array:
        return jnp.clip(as_float(norm), self.lower_norm, self.upper_norm)


class AdaCosState(NamedTuple):
    """The scale in use, a scalar."""

    scale: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaCos(Margin):
    """s cos(theta) with a scale that needs no tuning (Zhang et al. 2019, arXiv:1905.00292).

    The fixed scale is sqrt(2) log(C - 1). The dynamic one follows training: log(B) / cos(min(pi /
    4, theta)), with B the mean over the batch of the sum of exp(s cos) over the other classes,
    with the scale before, and theta the median angle to the true classes. As the cosine falls with
    the angle, the denominator is max(cos(pi / 4), median cosine), without arccos.

    Attributes:
      num_classes: C >= 3.
      dynamic: Whether `update` adapts the scale.
    """

    num_classes: int
    dynamic: bool = True

    statistics = ("target_cosine", "negative_log_sum_exp")

    def __post_init__(self) -> None:
        check_range("num_classes", self.num_classes, 3)

    def init(self) -> AdaCosState:
        """The fixed scale, sqrt(2) log(C - 1)."""
        return AdaCosState(jnp.float32(math.sqrt(2.0) * math.log(self.num_classes - 1)))

    def target_logit(
        self, cosine: jax.Array, state: Any = (), *, norm: jax.Array | None = None
    ) -> jax.Array:
        """The logit s cos(theta)."""
        del norm
        return needed(self, "state", state).scale * as_float(cosine)

    def negative_logits(
        self, cosines: jax.Array, target_cosine: jax.Array, state: Any = ()
    ) -> jax.Array:
        """The logit s cos(theta)."""
        del target_cosine
        return needed(self, "state", state).scale * as_float(cosines)

    def update(
        self,
        state: Any,
        *,
        target_cosine: jax.Array | None = None,
        norm: jax.Array | None = None,
        negative_log_sum_exp: jax.Array | None = None,
        mask: jax.Array | None = None,
        axis_name: str | None = None,
    ) -> AdaCosState:
        """The scale for this batch; unchanged if `dynamic` is False or no row is valid."""
        del norm
        state = AdaCosState(*map(jnp.asarray, needed(self, "state", state)))
        if not self.dynamic:
            return state
        log_sums = jax.lax.stop_gradient(
            as_float(needed(self, "negative_log_sum_exp", negative_log_sum_exp))
        )
        cosine = jax.lax.stop_gradient(as_float(needed(self, "target_cosine", target_cosine)))
        valid = jnp.ones(cosine.shape, bool) if mask is None else mask
        count = total(jnp.sum(valid), axis_name)
        top = largest(jnp.max(jnp.where(valid, log_sums, -jnp.inf)), axis_name)
        top = jnp.where(jnp.isfinite(top), top, 0)
        sums = jnp.where(valid, jnp.exp(jnp.where(valid, log_sums - top, 0)), 0)
        log_mean = log_of_sum(total(jnp.sum(sums), axis_name) / jnp.maximum(count, 1), top)
        median = _masked_median(gather(cosine, axis_name), gather(valid, axis_name))
        scale = log_mean / jnp.maximum(math.cos(math.pi / 4), median)
        return AdaCosState(jnp.where(count > 0, scale, state.scale).astype(state.scale.dtype))


def _masked_median(values: jax.Array, valid: jax.Array) -> jax.Array:
    """Median of the valid entries, the mean of the two middle ones for an even number."""
    ordered = jnp.sort(jnp.where(valid, values, jnp.inf))
    count = jnp.sum(valid)
    low, high = ordered[jnp.maximum(count - 1, 0) // 2], ordered[count // 2 % values.size]
    return jnp.where(count > 0, (low + high) / 2, 0)
