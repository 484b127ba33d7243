"""Learning-rate schedules: how the peak rate is scaled over the run. Each may warm up linearly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax


@runtime_checkable
class Schedule(Protocol):
    """A frozen dataclass that makes an Optax schedule for a run."""

    def rate(self, peak: float, total_steps: int) -> optax.Schedule:
        """Gives step -> learning rate, with `peak` as its highest value."""
        ...


def _with_warmup(decay: optax.Schedule, peak: float, warmup_steps: int) -> optax.Schedule:
    """Linear from peak / warmup_steps at step 0 to peak, then `decay` counted from there."""
    if warmup_steps < 0:
        raise ValueError(f"warmup_steps is {warmup_steps}, but 0 or more is wanted")
    if warmup_steps == 0:
        return decay
    warmup = optax.linear_schedule(peak / warmup_steps, peak, max(warmup_steps - 1, 1))
    return optax.join_schedules([warmup, decay], [warmup_steps])


@dataclass(frozen=True, kw_only=True)
class Constant:
    """The peak rate throughout.

    Attributes:
        warmup_steps: steps of linear warm-up before it.
    """

    warmup_steps: int = 0

    def rate(self, peak: float, total_steps: int) -> optax.Schedule:
        """Gives step -> learning rate."""
        return _with_warmup(optax.constant_schedule(peak), peak, self.warmup_steps)


@dataclass(frozen=True, kw_only=True)
class Step:
    """Multiplied by `factor` at each of the given fractions of the run.

    Fractions that fall on one step, in a short run or within the warm-up, multiply there together.

    Attributes:
        at: fractions of the run in (0, 1), in any order; one that stands there twice multiplies twice.
        factor: multiplier at each, 0 or more.
        warmup_steps: steps of linear warm-up before it.
    """

    at: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1
    warmup_steps: int = 0

    def rate(self, peak: float, total_steps: int) -> optax.Schedule:
        """Gives step -> learning rate."""
        if not all(0 < fraction < 1 for fraction in self.at):
            raise ValueError(f"schedule.at is {self.at}, but fractions in (0, 1) are wanted")
        if not 0 <= self.factor < math.inf:
            raise ValueError(
                f"schedule.factor is {self.factor}, but a number of 0 or more is wanted"
            )
        scales: dict[int, float] = {}
        for fraction in self.at:
            boundary = max(round(fraction * total_steps) - self.warmup_steps, 0)
            scales[boundary] = scales.get(boundary, 1.0) * self.factor
        decay = optax.piecewise_constant_schedule(peak, scales)
        return _with_warmup(decay, peak, self.warmup_steps)


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Half a cosine from the peak to `end` times the peak (Loshchilov & Hutter 2017, eq. 5).

    Attributes:
        end: last rate as a fraction of the peak.
        warmup_steps: steps of linear warm-up before it.
    """

    end: float = 0.0
    warmup_steps: int = 0

    def rate(self, peak: float, total_steps: int) -> optax.Schedule:
        """Gives step -> learning rate."""
        decay = optax.cosine_decay_schedule(
            peak, max(total_steps - self.warmup_steps, 1), alpha=self.end
        )
        return _with_warmup(decay, peak, self.warmup_steps)


@dataclass(frozen=True, kw_only=True)
class Polynomial:
    """From the peak to `end` times the peak as (1 - t)^power; power 1 is linear.

    Attributes:
        power: exponent.
        end: last rate as a fraction of the peak.
        warmup_steps: steps of linear warm-up before it.
        until: the fraction of the run, in (0, 1], at which the last rate is reached; it stays there.
    """

    power: float = 1.0
    end: float = 0.0
    warmup_steps: int = 0
    until: float = 1.0

    def rate(self, peak: float, total_steps: int) -> optax.Schedule:
        """Gives step -> learning rate."""
        if not 0 < self.until <= 1:
            raise ValueError(f"schedule.until is {self.until}, but a fraction in (0, 1] is wanted")
        last = math.ceil(self.until * total_steps - 1e-9)  # 0.07 * 100 is 7.000000000000001
        decay = optax.polynomial_schedule(
            peak, self.end * peak, self.power, max(last - self.warmup_steps, 1)
        )
        return _with_warmup(decay, peak, self.warmup_steps)


@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """Cosine up to the peak and down to almost nothing (Smith & Topin 2018).

    In a run too short to rise in, or with `rise` 0, it begins at the peak.

    Attributes:
        rise: fraction of the run spent rising, in [0, 1].
        start: first rate as a fraction of the peak, in [0, 1].
        end: last rate as a fraction of the first, in [0, 1].
        warmup_steps: steps of linear warm-up before it, to the first rate of the cycle.
    """

    rise: float = 0.3
    start: float = 0.04
    end: float = 1e-4
    warmup_steps: int = 0

    def rate(self, peak: float, total_steps: int) -> optax.Schedule:
        """Gives step -> learning rate."""
        for name in ("rise", "start", "end"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"schedule.{name} is {value}, but a fraction in [0, 1] is wanted")
        total = max(total_steps - self.warmup_steps, 1)
        top = math.floor(self.rise * total + 1e-9)  # 0.29 * 100 is 28.999999999999996
        first, last = self.start * peak, self.start * self.end * peak

        def cycle(step: Any) -> jax.Array:
            step = jnp.asarray(step)
            rising = _half_cosine(first, peak, step, top)
            return jnp.where(step < top, rising, _half_cosine(peak, last, step - top, total - top))

        return _with_warmup(cycle, first, self.warmup_steps)


def _half_cosine(begin: float, end: float, step: jax.Array, steps: int) -> jax.Array:
    """From `begin` at step 0 to `end` at `steps`, where it stays; a piece of no steps stays at `begin`."""
    progress = jnp.clip(step / max(steps, 1), 0.0, 1.0) if steps else 0.0
    return end + (begin - end) * 0.5 * (1 + jnp.cos(jnp.pi * progress))
