"""What a margin is: an object that turns cosines into logits, and the angle arithmetic it needs.

The softmax of face recognition works on cosines between an embedding and the class centres. A
margin changes the logit of the true class, and sometimes those of the others, so that the training
problem is harder than the test problem. `Margin` is the whole protocol. It sees the target's
cosine and any tile of the other cosines, never the full matrix, so that one object serves a dense
loss and a fused head whose classes live on several devices.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal, get_args

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_choice, check_positive
from jaxcv.losses.arguments import as_float
from jaxcv.losses.similarity import square_root

BeyondPi = Literal["continue", "linear", "easy", "clamp"]
"""What replaces cos(theta + m) where theta + m > pi; four different losses go by one name.

* "continue": nothing; the cosine rises again, so that a target at the far side is pushed further
  away (insightface's PyTorch code).
* "linear": cos(theta) - m sin(m); decreasing, with a jump (ArcFace's first code, CurricularFace,
  pytorch-metric-learning, MagFace without its "easy margin").
* "easy": cos(theta + m) only where cos(theta) > 0, else cos(theta) without margin (MagFace's
  default).
* "clamp": theta + m stops at pi: logit -1, gradient 0 (AdaFace).
"""

Gradient = Literal["exact", "straight_through"]
"""Which derivative of the target logit with respect to the target cosine is used.

* "exact": the derivative of the formula: for ArcFace scale * sin(theta + m) / sin(theta), 28 times
  the scale at 1 degree and m = 0.5.
* "straight_through": the scale, as if there were no margin (insightface, whose code computes the
  margin without gradient). The value is the same.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Margin:
    """The protocol of margins; a subclass overrides what it changes.

    Shapes: N rows (examples), T classes of a tile, the target's class not counted among them.
    Cosines and norms are floating; everything is computed in float32 or more. `state` is a pytree
    that `init` makes and `update` renews; `()` for margins without state.

    The order of a training step is: cosines, `update` from this batch, then the logits with the new
    state. All statistics are constants to differentiation.
    """

    reshapes_negatives: ClassVar[bool] = False
    """Whether `negative_logits` is more than scale * cosine."""

    needs_norm: ClassVar[bool] = False
    """Whether `target_logit` needs the lengths of the embeddings."""

    statistics: ClassVar[tuple[str, ...]] = ()
    """Which of the arguments of `update` are needed; empty without state."""

    def init(self) -> Any:
        """The state before the first step."""
        return ()

    def target_logit(
        self, cosine: jax.Array, state: Any = (), *, norm: jax.Array | None = None
    ) -> jax.Array:
        """Logit [N] of the true class from its cosine [N] and, if needed, the norm [N]."""
        raise NotImplementedError

    def negative_logits(
        self, cosines: jax.Array, target_cosine: jax.Array, state: Any = ()
    ) -> jax.Array:
        """Logits of other classes, [N, T] from their cosines [N, T] and the target's cosine [N]."""
        raise NotImplementedError

    def update(
        self,
        state: Any,
        *,
        target_cosine: jax.Array | None = None,
        norm: jax.Array | None = None,
        negative_log_sum_exp: jax.Array | None = None,
        mask: jax.Array | None = None,
        axis_name: str | None = None,
    ) -> Any:
        """The state after a batch.

        Args:
          state: The state before it.
          target_cosine: [N] cosines of the true classes.
          norm: [N] lengths of the embeddings.
          negative_log_sum_exp: [N] logsumexp of `negative_logits` over all classes but the true
            one, with the state before the update.
          mask: [N], False for rows that do not count.
          axis_name: The device axis over which the batch is spread; statistics are those of the
            whole batch then, equal on every device.
        """
        del target_cosine, norm, negative_log_sum_exp, mask, axis_name
        return state

    def regularizer(self, norm: jax.Array) -> jax.Array:
        """What the margin adds to each example's loss, [N] from the embeddings' norms [N]."""
        return jnp.zeros_like(norm)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScaledMargin(Margin):
    """A margin with a constant scale whose negatives are scale * cosine.

    Attributes:
      scale: The factor s > 0 from cosines to logits, the inverse of a temperature.
    """

    scale: float = 64.0

    def __post_init__(self) -> None:
        check_positive("scale", self.scale)
        for field, choices in (("beyond_pi", BeyondPi), ("gradient", Gradient)):
            if hasattr(self, field):
                check_choice(field, getattr(self, field), get_args(choices))

    def negative_logits(
        self, cosines: jax.Array, target_cosine: jax.Array, state: Any = ()
    ) -> jax.Array:
        """Scale * cosine."""
        del target_cosine, state
        return self.scale * as_float(cosines)


def sine(cosine: jax.Array) -> jax.Array:
    """sin(theta) of an angle in [0, pi] from its cosine, without arccos.

    The value is exact; the derivative, infinite at cosine +-1, is 0 there and beyond (rounding can
    bring a cosine to 1.0000001). At the float32 numbers next to +-1 it is 2896 at most.
    """
    return square_root((1 - cosine) * (1 + cosine))


def angle(cosine: jax.Array) -> jax.Array:
    """Theta in [0, pi] from its cosine; exact, with derivative 0 instead of infinity at +-1."""
    return jnp.arctan2(sine(cosine), cosine)


def cosine_of_sum(
    cosine: jax.Array, margin: float | jax.Array, beyond_pi: BeyondPi = "continue"
) -> jax.Array:
    """cos(theta + m) from cos(theta), by the addition formula.

    Args:
      cosine: cos(theta), any shape.
      margin: m in [-pi, pi], a number or an array of that shape.
      beyond_pi: The treatment of theta + m > pi, see `BeyondPi`. "clamp" also stops at 0 if m < 0.
    """
    cos_m, sin_m = jnp.cos(margin), jnp.sin(margin)
    shifted = cosine * cos_m - sine(cosine) * sin_m
    if beyond_pi == "easy":
        return jnp.where(cosine > 0, shifted, cosine)
    if beyond_pi == "linear":
        return jnp.where(cosine > -cos_m, shifted, cosine - margin * sin_m)
    if beyond_pi == "clamp":
        shifted = jnp.where((cosine < -cos_m) & (sin_m > 0), -1, shifted)
        return jnp.where((cosine > cos_m) & (sin_m < 0), 1, shifted)
    return shifted


def with_gradient(
    gradient: Gradient, margin_cosine: Callable[[jax.Array], jax.Array], cosine: jax.Array
) -> jax.Array:
    """`margin_cosine(cosine)`, differentiated exactly or as if it were the identity.

    Derivatives with respect to anything else in the formula, as the norm in MagFace, are kept.
    """
    if gradient == "exact":
        return margin_cosine(cosine)
    fixed = jax.lax.stop_gradient(cosine)
    return margin_cosine(fixed) + (cosine - fixed)


def needed(margin: Margin, name: str, value: Any) -> Any:
    """`value`, or ValueError saying what the margin lacks."""
    if value is None or (name == "state" and isinstance(value, tuple) and len(value) == 0):
        wanted = {
            "state": "the pytree of its `init()` or the last `update(...)`",
            "norm": "the lengths of the embeddings, shape [N]",
            "target_cosine": "the cosines of the true classes, shape [N]",
            "negative_log_sum_exp": "the logsumexp of the other classes' logits, shape [N]",
        }[name]
        raise ValueError(f"{name} is missing, but {type(margin).__name__} needs it: {wanted}.")
    return value
