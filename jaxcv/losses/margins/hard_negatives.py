"""Margins that also reshape hard negatives: CurricularFace, MV-softmax, Circle; and a noise filter.

A negative is hard if its cosine exceeds the target's with its margin on. The comparison needs the
target's cosine alone, hence a tile of classes can be reshaped without seeing the others.
"""

import dataclasses
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_choice, check_non_negative, check_range
from jaxcv.devices import masked_average
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


class CurricularFaceState(NamedTuple):
    """Running mean of the target cosine, a scalar: how far training has come."""

    t: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurricularFace(ScaledMargin):
    """ArcFace whose hard negatives count little early and much late in training.

    Huang et al. 2020, arXiv:2004.00288: target s cos(theta_y + m); a negative with
    cos(theta_j) > cos(theta_y + m) becomes s cos(theta_j) (t + cos(theta_j)), t a running mean of
    the target cosine, 0 at first.

    Attributes:
      scale: s.
      margin: m in [0, pi].
      rate: Weight in (0, 1] of the new batch in t.
      beyond_pi: The treatment of theta + m > pi; the authors' "linear".
      gradient: "exact" or "straight_through", see `Gradient`.
    """

    margin: float = 0.5
    rate: float = 0.01
    beyond_pi: BeyondPi = "linear"
    gradient: Gradient = "exact"

    reshapes_negatives = True
    statistics = ("target_cosine",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("margin", self.margin, 0.0, math.pi)
        check_range("rate", self.rate, 0.0, 1.0, open_low=True)

    def init(self) -> CurricularFaceState:
        """The start, t = 0."""
        return CurricularFaceState(jnp.float32(0.0))

    def target_logit(
        self, cosine: jax.Array, state: Any = (), *, norm: jax.Array | None = None
    ) -> jax.Array:
        """The logit s cos(theta + m)."""
        del state, norm
        return self.scale * with_gradient(
            self.gradient,
            lambda c: cosine_of_sum(c, self.margin, self.beyond_pi),
            as_float(cosine),
        )

    def negative_logits(
        self, cosines: jax.Array, target_cosine: jax.Array, state: Any = ()
    ) -> jax.Array:
        """The logit s cos, or s cos (t + cos) where hard."""
        t = needed(self, "state", state).t
        cosines = as_float(cosines)
        hard = cosines > cosine_of_sum(as_float(target_cosine), self.margin)[:, None]
        return self.scale * jnp.where(hard, cosines * (t + cosines), cosines)

    def update(
        self,
        state: Any,
        *,
        target_cosine: jax.Array | None = None,
        norm: jax.Array | None = None,
        negative_log_sum_exp: jax.Array | None = None,
        mask: jax.Array | None = None,
        axis_name: str | None = None,
    ) -> CurricularFaceState:
        """Moves t towards this batch's mean target cosine."""
        del norm, negative_log_sum_exp
        t = jnp.asarray(needed(self, "state", state).t)
        cosine = jax.lax.stop_gradient(as_float(needed(self, "target_cosine", target_cosine)))
        mean, count = masked_average(cosine, mask, axis_name)
        moved = jnp.where(count > 0, t + self.rate * (mean - t), t)
        return CurricularFaceState(moved.astype(t.dtype))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MVSoftmax(ScaledMargin):
    """A margin softmax whose misclassified vectors, the hard negatives, are emphasised.

    Wang et al. 2020, arXiv:1912.00833: a negative with a cosine above the target's
    with its margin gets logit s (cos + t) ("fixed") or s (cos + t (cos + 1)) ("adaptive").

    Attributes:
      scale: s; 32 in FaceX-Zoo's training, 64 elsewhere.
      kind: "angle" for cos(theta + m) (MV-Arc), "cosine" for cos(theta) - m (MV-AM).
      margin: m >= 0.
      emphasis: "adaptive" or "fixed".
      t: The strength >= 0 of the emphasis; 0 leaves negatives alone. FaceX-Zoo's 0.12.
      beyond_pi: The treatment of theta + m > pi, for "angle".
      gradient: "exact" or "straight_through", see `Gradient`.
    """

    kind: Literal["angle", "cosine"] = "angle"
    margin: float = 0.5
    emphasis: Literal["adaptive", "fixed"] = "adaptive"
    t: float = 0.12
    beyond_pi: BeyondPi = "linear"
    gradient: Gradient = "exact"

    reshapes_negatives = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("kind", self.kind, ("angle", "cosine"))
        check_choice("emphasis", self.emphasis, ("adaptive", "fixed"))
        check_range("margin", self.margin, 0.0, math.pi)
        check_non_negative("t", self.t)

    def target_logit(
        self, cosine: jax.Array, state: Any = (), *, norm: jax.Array | None = None
    ) -> jax.Array:
        """The logit s cos(theta + m) or s (cos(theta) - m)."""
        del state, norm
        return self.scale * with_gradient(
            self.gradient, lambda c: self._moved(c, self.beyond_pi), as_float(cosine)
        )

    def negative_logits(
        self, cosines: jax.Array, target_cosine: jax.Array, state: Any = ()
    ) -> jax.Array:
        """The logit s cos, plus the emphasis where hard."""
        del state
        cosines = as_float(cosines)
        hard = cosines > self._moved(as_float(target_cosine), "continue")[:, None]
        extra = self.t * (cosines + 1) if self.emphasis == "adaptive" else self.t
        return self.scale * jnp.where(hard, cosines + extra, cosines)

    def _moved(self, cosine: jax.Array, beyond_pi: BeyondPi) -> jax.Array:
        if self.kind == "cosine":
            return cosine - self.margin
        return cosine_of_sum(cosine, self.margin, beyond_pi)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CircleMargin(ScaledMargin):
    """Circle loss with class labels (Sun et al. 2020, arXiv:2002.10857).

    Target s a_p (cos - (1 - m)) with a_p = max(1 + m - cos, 0); the others s a_n (cos - m) with
    a_n = max(cos + m, 0). For pairs without classes see `circle_loss`.

    Attributes:
      scale: The paper's gamma.
      margin: m in [0, 1].
      constant_weights: Whether a_p and a_n are constants to differentiation, as in the paper's
        gradients (its equation 10) and in all implementations; False differentiates them too.
    """

    scale: float = 256.0
    margin: float = 0.25
    constant_weights: bool = True

    reshapes_negatives = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("margin", self.margin, 0.0, 1.0)

    def target_logit(
        self, cosine: jax.Array, state: Any = (), *, norm: jax.Array | None = None
    ) -> jax.Array:
        """The logit s max(1 + m - cos, 0) (cos - 1 + m)."""
        del state, norm
        cosine = as_float(cosine)
        weight = jnp.maximum(1 + self.margin - self._weighing(cosine), 0)
        return self.scale * weight * (cosine - (1 - self.margin))

    def negative_logits(
        self, cosines: jax.Array, target_cosine: jax.Array, state: Any = ()
    ) -> jax.Array:
        """The logit s max(cos + m, 0) (cos - m)."""
        del target_cosine, state
        cosines = as_float(cosines)
        weight = jnp.maximum(self._weighing(cosines) + self.margin, 0)
        return self.scale * weight * (cosines - self.margin)

    def _weighing(self, cosine: jax.Array) -> jax.Array:
        return jax.lax.stop_gradient(cosine) if self.constant_weights else cosine


@dataclasses.dataclass(frozen=True, kw_only=True)
class InterclassFilter(Margin):
    """Another margin, with suspiciously similar negatives taken for label noise and set to logit 0.

    As in insightface's training on noisy sets (`interclass_filtering_threshold`), where one person
    has several identities: a negative with a cosine above the threshold has logit 0 and no
    gradient.

    Attributes:
      inner: The margin that does the rest.
      threshold: Cosine in [-1, 1]; insightface's noisy settings use 0.4.
    """

    inner: Margin
    threshold: float = 0.4

    reshapes_negatives = True

    def __post_init__(self) -> None:
        check_range("threshold", self.threshold, -1.0, 1.0)

    @property
    def needs_norm(self) -> bool:  # type: ignore[override]
        """Whether the inner margin needs norms."""
        return self.inner.needs_norm

    @property
    def statistics(self) -> tuple[str, ...]:  # type: ignore[override]
        """What the inner margin's update needs."""
        return self.inner.statistics

    def init(self) -> Any:
        """The inner margin's state."""
        return self.inner.init()

    def target_logit(
        self, cosine: jax.Array, state: Any = (), *, norm: jax.Array | None = None
    ) -> jax.Array:
        """The inner margin's target logit."""
        return self.inner.target_logit(cosine, state, norm=norm)

    def negative_logits(
        self, cosines: jax.Array, target_cosine: jax.Array, state: Any = ()
    ) -> jax.Array:
        """The inner margin's, 0 above the threshold."""
        logits = self.inner.negative_logits(cosines, target_cosine, state)
        return jnp.where(cosines > self.threshold, 0, logits)

    def update(self, state: Any, **statistics: Any) -> Any:
        """The inner margin's update."""
        return self.inner.update(state, **statistics)

    def regularizer(self, norm: jax.Array) -> jax.Array:
        """The inner margin's regulariser."""
        return self.inner.regularizer(norm)
