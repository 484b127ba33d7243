"""An axis of a chart: from data to pixels, and where the ticks go."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

_PERCENTAGES = (
    *(0.0001, 0.001, 0.01, 0.1, 1.0, 5.0, 10.0, 20.0, 40.0),
    *(60.0, 80.0, 90.0, 95.0, 99.0, 99.9, 99.99),
)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Maps data in [low, high] to pixels in [start, end], linearly, by logarithm or by probit.

    Attributes:
        low, high: Range of the data, low < high; both positive where `log`, in (0, 100) where
            `probit`.
        start, end: Pixels of low and high; start > end for an axis that points up.
        log: Whether equal distances stand for equal ratios.
        probit: Whether values are percentages of a normal distribution, and equal distances stand
            for equal numbers of standard deviations.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    probit: bool = False

    @classmethod
    def around(
        cls, values: Iterable[float], *, start: float, end: float, log: bool = False
    ) -> Axis:
        """An axis that holds all finite values with some air around them."""
        finite = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
        if not finite:
            return cls(low=0.0, high=1.0, start=start, end=end)
        low, high = min(finite), max(finite)
        if log:
            margin = max((high / low) ** 0.05, 1.1)
            return cls(low=low / margin, high=high * margin, start=start, end=end, log=True)
        margin = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
        # No air below zero for what is never negative.
        floor = 0.0 if low >= 0 else -math.inf
        return cls(low=max(low - margin, floor), high=high + margin, start=start, end=end)

    def __call__(self, value: float) -> float:
        """Pixel of a value."""
        low, high, value = (self._scaled(v) for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def _scaled(self, value: float) -> float:
        if self.log:
            return math.log(value)
        return NormalDist().inv_cdf(value / 100) if self.probit else value

    def ticks(self, count: int = 5, *, whole: bool = False) -> list[float]:
        """Round numbers within the range, about `count` of them; only whole ones if `whole`."""
        if self.log or self.probit:
            usual = [p for p in _PERCENTAGES if self.low <= p <= self.high]
            ticks = usual if self.probit else _log_ticks(self.low, self.high, count)
            if len(ticks) >= 2:
                return ticks
        step = _nice_step((self.high - self.low) / count)
        step = max(step, 1.0) if whole else step
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        # Rounding takes 0.30000000000000004 back to 0.3.
        ticks = [float(f"{i * step:.12g}") for i in range(first, last + 1)]
        return [t for t in ticks if t.is_integer()] if whole else ticks


def _nice_step(rough: float) -> float:
    """The least of 1, 2, 2.5, 5 times a power of ten that is at least `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next((m * power for m in (1, 2, 2.5, 5) if m * power >= rough * 0.999), 10 * power)


def _log_ticks(low: float, high: float, count: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{m * 10.0**d:.12g}") for d in decades for m in factors]
        ticks = [t for t in ticks if low <= t <= high]
        if len(ticks) <= count + 2:
            return ticks
    return ticks[:: -(-len(ticks) // count)]


def tick_labels(ticks: list[float]) -> list[str]:
    """Short names of ticks: 0.25, 1,500, 20k, 3M, 1e-05."""
    largest = max((abs(t) for t in ticks), default=0.0)
    for limit, unit in ((1e7, "M"), (1e4, "k")):
        if largest >= limit:
            scale = {"M": 1e6, "k": 1e3}[unit]
            return [f"{t / scale:g}{unit}" if t else "0" for t in ticks]
    return [f"{t:,g}" if abs(t) >= 1e3 else f"{t:.4g}" for t in ticks]
