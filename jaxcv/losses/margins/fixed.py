"""Margins equal for every example: NormFace, SphereFace, CosFace, ArcFace and their sum."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_non_negative, check_positive, check_range
from jaxcv.losses.arguments import as_float
from jaxcv.losses.margins.margin import (
    BeyondPi,
    Gradient,
    ScaledMargin,
    angle,
    cosine_of_sum,
    with_gradient,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NormFace(ScaledMargin):
    """No margin: logits are s cos(theta) (Wang et al. 2017, arXiv:1704.06369)."""

    def target_logit(
        self, cosine: jax.Array, state: Any = (), *, norm: jax.Array | None = None
    ) -> jax.Array:
        """The logit s cos(theta)."""
        del state, norm
        return self.scale * as_float(cosine)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CosFace(ScaledMargin):
    """s (cos(theta) - m) (Wang et al. 2018, arXiv:1801.09414; also AM-softmax, arXiv:1801.05599).

    Attributes:
      scale: s. The paper's and insightface's 64.
      margin: m >= 0. The paper's 0.35; insightface uses 0.4.
    """

    margin: float = 0.35

    def __post_init__(self) -> None:
        super().__post_init__()
        check_non_negative("margin", self.margin)

    def target_logit(
        self, cosine: jax.Array, state: Any = (), *, norm: jax.Array | None = None
    ) -> jax.Array:
        """The logit s (cos(theta) - m)."""
        del state, norm
        return self.scale * (as_float(cosine) - self.margin)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArcFace(ScaledMargin):
    """s cos(theta + m) (Deng et al. 2019, arXiv:1801.07698, equation 3).

    Attributes:
      scale: s.
      margin: m in radians, in [0, pi]. The paper's 0.5, which is 28.6 degrees.
      beyond_pi: The treatment of theta + m > pi, see `BeyondPi`.
      gradient: "exact" or insightface's "straight_through", see `Gradient`.

    Example:
      >>> ArcFace(scale=1.0, margin=0.5).target_logit(jnp.array([1.0, 0.0]))  # cos(.5), -sin(.5)
      Array([ 0.87758255, -0.47942555], dtype=float32)
    """

    margin: float = 0.5
    beyond_pi: BeyondPi = "linear"
    gradient: Gradient = "exact"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("margin", self.margin, 0.0, math.pi)

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class CombinedMargin(ScaledMargin):
    """s (cos(m1 theta + m2) - m3) (Deng et al. 2019, arXiv:1801.07698, equation 4).

    (1, m, 0) is ArcFace, (1, 0, m) CosFace, (m, 0, 0) the angular factor of SphereFace without its
    continuation beyond pi / m, (1, 0, 0) NormFace.

    Attributes:
      scale: s.
      m1: Factor on the angle, > 0.
      m2: Angle added, radians in [0, pi].
      m3: Cosine subtracted, >= 0.
      beyond_pi: The treatment of m1 theta + m2 > pi, see `BeyondPi`; "linear" needs m1 = 1.
      gradient: "exact" or "straight_through", see `Gradient`.
    """

    m1: float = 1.0
    m2: float = 0.5
    m3: float = 0.0
    beyond_pi: BeyondPi = "continue"
    gradient: Gradient = "exact"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("m1", self.m1)
        check_range("m2", self.m2, 0.0, math.pi)
        check_non_negative("m3", self.m3)
        if self.beyond_pi == "linear" and self.m1 != 1.0:
            raise ValueError(
                f"beyond_pi is 'linear' with m1 {self.m1}, but it is defined for m1 = 1 only: "
                "choose 'continue', 'easy' or 'clamp'."
            )

    def target_logit(
        self, cosine: jax.Array, state: Any = (), *, norm: jax.Array | None = None
    ) -> jax.Array:
        """The logit s (cos(m1 theta + m2) - m3)."""
        del state, norm
        moved = with_gradient(self.gradient, self._moved, as_float(cosine))
        return self.scale * (moved - self.m3)

    def _moved(self, cosine: jax.Array) -> jax.Array:
        if self.m1 == 1.0:
            return cosine_of_sum(cosine, self.m2, self.beyond_pi)
        moved = self.m1 * angle(cosine) + self.m2
        if self.beyond_pi == "clamp":
            return jnp.cos(jnp.minimum(moved, jnp.pi))
        if self.beyond_pi == "easy":
            return jnp.where(cosine > 0, jnp.cos(moved), cosine)
        return jnp.cos(moved)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SphereFace(ScaledMargin):
    """s psi(theta), psi = (-1)^k cos(m theta) - 2k on [k pi / m, (k + 1) pi / m].

    Liu et al. 2017, arXiv:1704.08063, section 3.2 (with m and the paper's unnormalised embeddings,
    also L-softmax, arXiv:1612.02295); here the embedding is normalised and scaled. cos(m theta) is
    the Chebyshev polynomial T_m(cos theta), so that no angle is ever taken: value and derivative
    (at most m^2) are exact at cosine +-1, and psi falls monotonically from 1 to 1 - 2m.

    Attributes:
      scale: s.
      margin: m, a whole number >= 1; the paper's 4. 1 is NormFace.
      annealing: The paper's lambda >= 0: the target is (lambda cos(theta) + psi) / (1 + lambda).
        Start large (the authors' 1000, falling to 5) where training does not get off the ground.
      gradient: "exact" or "straight_through", see `Gradient`.
    """

    scale: float = 30.0
    margin: int = 4
    annealing: float = 0.0
    gradient: Gradient = "exact"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_non_negative("annealing", self.annealing)
        if not (isinstance(self.margin, int) and self.margin >= 1):
            raise ValueError(f"margin is {self.margin!r}, but a whole number >= 1 is wanted.")

    def target_logit(
        self, cosine: jax.Array, state: Any = (), *, norm: jax.Array | None = None
    ) -> jax.Array:
        """The logit s psi(theta)."""
        del state, norm
        cosine = as_float(cosine)
        psi = with_gradient(self.gradient, self._psi, cosine)
        return self.scale * (self.annealing * cosine + psi) / (1 + self.annealing)

    def _psi(self, cosine: jax.Array) -> jax.Array:
        before, chebyshev = jnp.ones_like(cosine), cosine
        for _ in range(self.margin - 1):
            before, chebyshev = chebyshev, 2 * cosine * chebyshev - before
        turns = [math.cos(j * math.pi / self.margin) for j in range(1, self.margin)]
        k = sum((cosine < turn).astype(cosine.dtype) for turn in turns)
        sign = 1 - 2 * (k % 2)
        return sign * chebyshev - 2 * k
