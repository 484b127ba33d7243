"""The options of `jaxcv predict` for a run that detects."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Which detections are kept.

    Attributes:
        min_score: Lowest score of a detection that is drawn and written.
    """

    min_score: float = 0.3
