"""What is done to every image alike, in training and evaluation: resize, crop, normalise.

Frozen dataclasses called `(image) -> image` on `[..., H, W, C]`, so on one image or on a batch.
"""

from dataclasses import dataclass
from typing import get_args

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxcv.arguments import check_choice
from jaxcv.image.geometry import ResizeMethod, center_crop, resize
from jaxcv.image.pixels import Size, check_rank, check_size, size_of, to_float

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of red, green and blue over ImageNet, on the scale [0, 1], as used in the field."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of red, green and blue, likewise."""


@dataclass(frozen=True)
class Resize:
    """Scales to a size.

    Attributes:
      size: (height, width), or one number for the shorter side, which keeps the proportions.
      method: as in `resize`.
      antialias: as in `resize`.
    """

    size: int | Size = 256
    method: ResizeMethod = "bilinear"
    antialias: bool = True

    def __post_init__(self) -> None:
        check_size(self.size)
        check_choice("method", self.method, get_args(ResizeMethod))

    def __call__(self, image: ArrayLike) -> jax.Array:
        """Returns the image `[..., height, width, C]` in its dtype."""
        image = check_rank(image)
        size = self.size
        if isinstance(size, int):
            height, width = size_of(image)
            shorter = min(height, width)
            # In whole numbers, half rounded up, so that no float decides about a pixel.
            size = (
                (2 * height * size + shorter) // (2 * shorter),
                (2 * width * size + shorter) // (2 * shorter),
            )
        return resize(image, size, method=self.method, antialias=self.antialias)


@dataclass(frozen=True)
class CenterCrop:
    """Keeps the middle.

    Attributes:
      size: (height, width), or one number for a square.
    """

    size: int | Size = 224

    def __post_init__(self) -> None:
        check_size(self.size)

    def __call__(self, image: ArrayLike) -> jax.Array:
        """Returns the middle `[..., height, width, C]`; ValueError if the image is smaller."""
        return center_crop(image, self.size)


@dataclass(frozen=True)
class Normalize:
    """(image - mean) / std, with uint8 divided by 255 first. The result is no longer in [0, 1].

    Attributes:
      mean: per channel on the scale [0, 1], or one number for all channels.
      std: likewise, positive.
    """

    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean:
            raise ValueError(
                f"mean={self.mean} and std={self.std} need as many values, one per channel"
            )
        if not all(value > 0 for value in self.std):
            raise ValueError(f"std={self.std} must be positive")

    def __call__(self, image: ArrayLike) -> jax.Array:
        """Returns `[..., H, W, C]`, float32 for uint8, else in the image's own dtype.

        Raises:
          ValueError: the number of channels is not that of `mean`.
        """
        values = to_float(image)
        if len(self.mean) not in (1, values.shape[-1]):
            raise ValueError(
                f"Normalize has {len(self.mean)} means, but the image has shape {values.shape}, so "
                f"{values.shape[-1]} channels; give one mean and std per channel, or one for all"
            )
        mean, std = jnp.asarray(self.mean, jnp.float32), jnp.asarray(self.std, jnp.float32)
        return ((values.astype(jnp.float32) - mean) / std).astype(values.dtype)
