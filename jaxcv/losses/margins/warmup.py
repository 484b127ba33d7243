"""A margin that grows over the first steps of training."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxcv.losses.arguments import as_float
from jaxcv.losses.margins.fixed import ArcFace
from jaxcv.losses.margins.margin import Margin, ScaledMargin, needed


class WarmupState(NamedTuple):
    """Batches seen so far, int32 [], and the state of the margin itself."""

    step: jax.Array
    inner: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Warmup(Margin):
    """Moves every logit in equal steps from scale * cosine to that of another margin.

    After t batches logits are (1 - r) s cos + r z, r = min(t / steps, 1), z those of `margin`: for
    CosFace a margin r m; at r = 1 the margin itself. A full margin on embeddings that mean nothing
    yet is a common cause of a loss that never falls.

    Attributes:
      margin: The margin to arrive at; it has a constant `scale`.
      steps: Batches until then, >= 1.

    Example:
      >>> from jaxcv.losses import CosFace
      >>> margin = Warmup(margin=CosFace(scale=1.0, margin=0.4), steps=2)
      >>> after_one = margin.update(margin.init())
      >>> round(float(margin.target_logit(jnp.array([1.0]), after_one)[0]), 3)
      0.8
    """

    margin: ScaledMargin = dataclasses.field(default_factory=ArcFace)
    steps: int = 1000

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}, but at least 1 is wanted.")
        if not isinstance(self.margin, ScaledMargin):
            raise ValueError(
                f"margin is {type(self.margin).__name__}, which has no constant scale to start from."
            )

    @property
    def reshapes_negatives(self) -> bool:  # type: ignore[override]
        """As the margin's."""
        return self.margin.reshapes_negatives

    @property
    def needs_norm(self) -> bool:  # type: ignore[override]
        """As the margin's."""
        return self.margin.needs_norm

    @property
    def statistics(self) -> tuple[str, ...]:  # type: ignore[override]
        """As the margin's; never empty, since batches are counted."""
        return self.margin.statistics or ("target_cosine",)

    def init(self) -> WarmupState:
        """No batch yet."""
        return WarmupState(jnp.zeros((), jnp.int32), self.margin.init())

    def target_logit(
        self, cosine: jax.Array, state: Any = (), *, norm: jax.Array | None = None
    ) -> jax.Array:
        """The mixed logit [N]."""
        state = needed(self, "state", state)
        full = self.margin.target_logit(cosine, state.inner, norm=norm)
        return self._mixed(self.margin.scale * as_float(cosine), full, state)

    def negative_logits(
        self, cosines: jax.Array, target_cosine: jax.Array, state: Any = ()
    ) -> jax.Array:
        """The mixed logits [N, T]."""
        state = needed(self, "state", state)
        full = self.margin.negative_logits(cosines, target_cosine, state.inner)
        if not self.reshapes_negatives:
            return full
        return self._mixed(self.margin.scale * as_float(cosines), full, state)

    def update(self, state: Any, **statistics: Any) -> WarmupState:
        """Counts the batch; the margin takes its statistics. Arguments as for `Margin.update`."""
        state = needed(self, "state", state)
        return WarmupState(state.step + 1, self.margin.update(state.inner, **statistics))

    def regularizer(self, norm: jax.Array) -> jax.Array:
        """The margin's own, [N]."""
        return self.margin.regularizer(norm)

    def _mixed(self, plain: jax.Array, full: jax.Array, state: WarmupState) -> jax.Array:
        fraction = jnp.minimum(state.step.astype(jnp.float32) / self.steps, 1)
        return (1 - fraction) * plain + fraction * full
