"""The options of `jaxcv evaluate` for a run that embeds faces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """An evaluation on a list of pairs of faces instead of the test records.

    Attributes:
        pairs: Evaluate on this list of pairs of faces: InsightFace's .bin, or a pairs.txt like LFW's.
        root: The folder of people that a pairs.txt is about.
        flip: Of --pairs: add the embedding of the mirror image; None: both with and without.
        pixel_order: Of a .bin that holds colour images as pixels: their order, which the file does
            not tell.
        ema: Of --pairs: embed with the averaged weights.
    """

    pairs: Path | None = None
    root: Path | None = None
    flip: bool | None = None
    pixel_order: Literal["rgb", "bgr"] | None = None
    ema: bool = False
