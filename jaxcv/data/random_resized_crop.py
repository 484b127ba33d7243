"""A random resized crop of each training image, cut while the image is decoded."""

import dataclasses
import math
from functools import partial

import numpy as np

from jaxcv.data.fit import Placement, View

_CANDIDATES = 10
_DRAWS = 2 * _CANDIDATES + 2  # an area and a ratio for each candidate, and a place


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodeRandomResizedCrop:
    """A random rectangle of the whole image, uniform in area and log-uniform in width / height.

    The law of `jaxcv.image.RandomResizedCrop` (Szegedy et al., Going deeper with convolutions, 2015,
    section 6): of ten candidates the first that fits, placed uniformly, and where none fits the
    largest central one. That one cuts on the device what the host has fitted to one size; this one
    cuts the image at its full resolution, while it is decoded.

    Attributes:
      size: (height, width) of the result.
      scale: (smallest, largest) area of the rectangle as a part of the image's.
      ratio: (smallest, largest) width / height of the rectangle.

    Example:
      >>> cut = DecodeRandomResizedCrop(size=(160, 160))
      >>> cut.views(seed=0, step=7, count=4)[3]((375, 500)).size
      (160, 160)
    """

    size: tuple[int, int] = (224, 224)
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise ValueError(f"size must be at least 1 pixel, not {self.size}")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale must be two ascending parts in (0, 1], not {self.scale}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio must be two ascending positive numbers, not {self.ratio}")

    def views(self, seed: int, step: int, count: int) -> list[View]:
        """What is shown in each row of a batch: a pure function of the arguments and the row.

        The draws are 64-bit numbers of a Philox generator keyed by (seed, step), whose raw stream
        NumPy promises never to change.
        """
        # The spawn key keeps these draws apart from those of the order of the records.
        key = np.random.SeedSequence([seed, step], spawn_key=(1,))
        raw = np.random.Philox(key).random_raw(count * _DRAWS)
        draws = (raw >> np.uint64(11)) * 2.0**-53  # the upper 53 bits: uniform in [0, 1)
        return [partial(self.placement, row) for row in draws.reshape(count, _DRAWS).tolist()]

    def placement(self, draws: list[float], size: tuple[int, int]) -> Placement:
        """The rectangle of an image of `size` (height, width) that 22 draws from [0, 1) choose."""
        height, width = size
        smallest, largest = self.scale
        narrowest, widest = map(math.log, self.ratio)
        for area_draw, ratio_draw in zip(draws[:_CANDIDATES], draws[_CANDIDATES:-2]):
            area = height * width * (smallest + (largest - smallest) * area_draw)
            ratio = math.exp(narrowest + (widest - narrowest) * ratio_draw)
            across, down = math.sqrt(area * ratio), math.sqrt(area / ratio)
            if across <= width and down <= height:
                place_down, place_across = draws[-2:]
                break
        else:
            nearest = min(max(width / height, self.ratio[0]), self.ratio[1])
            across, down = min(width, height * nearest), min(height, width / nearest)
            place_down = place_across = 0.5
        left, top = place_across * (width - across), place_down * (height - down)
        # Rounding must not carry an edge past the image's.
        return Placement((left, top, min(left + across, width), min(top + down, height)), self.size)
