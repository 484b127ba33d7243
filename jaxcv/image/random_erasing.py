"""Random rectangles taken out of one image: Cutout and Random Erasing."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxcv.arguments import check_interval, check_probability
from jaxcv.image.pixels import (
    Size,
    check_image,
    check_level,
    check_single,
    check_size,
    from_unit,
    pixel_value,
    size_of,
)
from jaxcv.image.random_crop import sample_rectangle


def rectangle_mask(
    size: Size, left: ArrayLike, top: ArrayLike, width: ArrayLike, height: ArrayLike
) -> jax.Array:
    """Returns bool `[H, W, 1]`: whether the centre of a pixel lies inside a rectangle.

    Args:
      size: (H, W).
      left: where the rectangle begins, in pixels; it may lie partly outside the image.
      top: likewise.
      width: of the rectangle, in pixels.
      height: likewise.
    """
    x = (jnp.arange(size[1], dtype=jnp.float32) + 0.5 - left)[None, :, None]
    y = (jnp.arange(size[0], dtype=jnp.float32) + 0.5 - top)[:, None, None]
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)


@dataclass(frozen=True)
class Cutout:
    """Blanks a square around a pixel drawn uniformly; what lies outside the image is cut off.

    T. DeVries and G. W. Taylor, Improved regularization of convolutional neural networks with
    Cutout, 2017; 16 is theirs for CIFAR-10.

    Attributes:
      size: (height, width) of the hole in pixels, or one number for a square.
      fill: grey level in [0, 1] of the hole.
    """

    size: int | Size = 16
    fill: float = 0.0

    def __post_init__(self) -> None:
        check_size(self.size)
        check_level(self.fill)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Returns the image `[H, W, C]` with a hole."""
        image = check_image(check_single(image))
        height, width = check_size(self.size)
        y, x = jax.random.randint(key, (2,), 0, jnp.asarray(size_of(image)))
        hole = rectangle_mask(size_of(image), x - width // 2, y - height // 2, width, height)
        fill = jnp.asarray(pixel_value(self.fill, image.dtype), image.dtype)
        return jnp.where(hole, fill, image)


@dataclass(frozen=True)
class RandomErasing:
    """Replaces a random rectangle by a grey level or by noise, by chance.

    Z. Zhong et al., Random Erasing data augmentation, AAAI 2020. In the rare case that none of ten
    rectangles fits, the image stays as it is.

    Attributes:
      probability: of a rectangle.
      area: (smallest, largest) area of the rectangle as a part of the image's.
      ratio: (smallest, largest) width / height.
      fill: grey level in [0, 1], or "noise": every value uniform in [0, 1].
    """

    probability: float = 0.5
    area: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)
    fill: float | Literal["noise"] = 0.0

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)
        check_interval("area", self.area, 0.0, 1.0)
        check_interval("ratio", self.ratio, 1e-3, 1e3)
        if isinstance(self.fill, str):
            if self.fill != "noise":
                raise ValueError(f"fill={self.fill!r}; give a level in [0, 1], or 'noise'")
        else:
            check_level(self.fill)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Returns the image `[H, W, C]`, erased or not."""
        image = check_image(check_single(image))
        size = size_of(image)
        chance_key, place_key, noise_key = jax.random.split(key, 3)
        rectangle, found = sample_rectangle(place_key, size, self.area, self.ratio)
        erased = jax.random.bernoulli(chance_key, self.probability) & found
        if self.fill == "noise":
            fill = from_unit(jax.random.uniform(noise_key, image.shape, jnp.float32), image.dtype)
        else:
            level = pixel_value(float(self.fill), image.dtype)
            fill = jnp.asarray(level, image.dtype)
        return jnp.where(rectangle_mask(size, *rectangle) & erased, fill, image)
