"""Random colour, noise and blur of one image.

Each transform is a frozen dataclass called `(key, image) -> image` on one image `[H, W, C]`, uint8
or floating point (the rule is in `pixels`). None of them moves a pixel.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_interval, check_probability, check_range
from jaxcv.image.color import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    grayscale,
)
from jaxcv.image.filtering import gaussian_blur, gaussian_noise
from jaxcv.image.pixels import check_single, from_unit, to_unit


@dataclass(frozen=True)
class ColorJitter:
    """Random brightness, contrast, saturation and hue, in this order.

    A factor is uniform in [max(0, 1 - x), 1 + x]; the hue turns by a part of the circle uniform in
    [-x, x]. The order is fixed: a random order makes every image of a batch pay for each operation
    four times, since under `vmap` all branches run. Nothing is rounded in between.

    Attributes:
      brightness: x for `adjust_brightness`; 0 leaves it out.
      contrast: x for `adjust_contrast`.
      saturation: x for `adjust_saturation`.
      hue: x for `adjust_hue`, at most 1/2.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.0

    def __post_init__(self) -> None:
        check_range("brightness", self.brightness, 0.0)
        check_range("contrast", self.contrast, 0.0)
        check_range("saturation", self.saturation, 0.0)
        check_range("hue", self.hue, 0.0, 0.5)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Returns the jittered image `[H, W, C]`, C = 1 or 3."""
        image = check_single(image)
        values = to_unit(image)
        # All four draws are made, so that leaving one out does not change the others.
        draws = jax.random.uniform(key, (4,), jnp.float32)
        for adjust, amount, draw in (
            (adjust_brightness, self.brightness, draws[0]),
            (adjust_contrast, self.contrast, draws[1]),
            (adjust_saturation, self.saturation, draws[2]),
        ):
            low, high = max(0.0, 1.0 - amount), 1.0 + amount
            if amount > 0:
                values = adjust(values, low + (high - low) * draw)
        if self.hue > 0:
            values = adjust_hue(values, self.hue * (2.0 * draws[3] - 1.0))
        return from_unit(values, image.dtype)


@dataclass(frozen=True)
class RandomGrayscale:
    """Takes the colour away by chance; the number of channels stays.

    Attributes:
      probability: of a grey image.
    """

    probability: float = 0.1

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Returns the image `[H, W, C]`, C = 1 or 3, grey or as it was."""
        image = check_single(image)
        chosen = jax.random.bernoulli(key, self.probability)
        return jnp.where(chosen, grayscale(image), image)


@dataclass(frozen=True)
class GaussianNoise:
    """Adds independent normal noise to every value.

    Attributes:
      sigma: standard deviation on the scale [0, 1], for every dtype.
    """

    sigma: float = 0.05

    def __post_init__(self) -> None:
        check_range("sigma", self.sigma, 0.0)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Returns the noisy image `[H, W, C]`."""
        return gaussian_noise(key, check_single(image), self.sigma)


@dataclass(frozen=True)
class GaussianBlur:
    """Blurs by chance, with a standard deviation uniform in a range.

    The defaults are SimCLR's (Chen et al., 2020) for images of 224 pixels; smaller images want
    less.

    Attributes:
      sigma: (smallest, largest) standard deviation in pixels.
      probability: of a blur.
    """

    sigma: tuple[float, float] = (0.1, 2.0)
    probability: float = 0.5

    def __post_init__(self) -> None:
        check_interval("sigma", self.sigma, 0.0)
        check_probability("probability", self.probability)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Returns the image `[H, W, C]`, blurred or not."""
        image = check_single(image)
        chance_key, sigma_key = jax.random.split(key)
        sigma = jax.random.uniform(sigma_key, (), jnp.float32, *self.sigma)
        blurred = gaussian_blur(image, sigma, radius=math.ceil(3 * self.sigma[1]))
        return jnp.where(jax.random.bernoulli(chance_key, self.probability), blurred, image)
