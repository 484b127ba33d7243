"""Random flips, rotations, affine maps and shifts of one image; `random_crop` has the crops.

Each transform is a frozen dataclass called `(key, image) -> image` on one image `[H, W, C]` of any
dtype that `geometry` takes. Each also tells *where it puts things* as a pure function of the key
and the size:

    matrix(key, size) -> [3, 3]      input points (x, y, 1) to output points, see `warping`
    output_size(size) -> size        of the result, (height, width)

so that a label map, boxes or key points follow the image by `warp` or by multiplication with the
same matrix. Calling the transform gives `warp(image, matrix(key, size), output_size(size))`, in a
faster way where there is one: a slice for crops and shifts, a reversal for flips, two matrix
products for `RandomResizedCrop`.

`fill` is a grey level in [0, 1], whatever the dtype.
"""

from dataclasses import dataclass
from typing import Protocol, get_args

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_choice, check_interval, check_probability, check_range
from jaxcv.image.geometry import crop, flip_horizontal, flip_vertical, pad
from jaxcv.image.pixels import Size, check_level, check_single, pixel_value, size_of
from jaxcv.image.warping import (
    Interpolation,
    affine_matrix,
    flip_matrix,
    translation_matrix,
    warp,
)


class GeometricTransform(Protocol):
    """What all transforms of this module have in common."""

    def matrix(self, key: jax.Array, size: Size) -> jax.Array:
        """Returns the `[3, 3]` matrix from points of an image of `size` to points of the result."""

    def output_size(self, size: Size) -> Size:
        """Returns the (height, width) of the result for an image of `size`."""

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Returns the transformed image `[height, width, C]`."""


@dataclass(frozen=True)
class _RandomFlip:
    """What the two flips share."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)

    def output_size(self, size: Size) -> Size:
        """Returns `size`."""
        return size

    def _flips(self, key: jax.Array) -> jax.Array:
        return jax.random.bernoulli(key, self.probability)


@dataclass(frozen=True)
class RandomHorizontalFlip(_RandomFlip):
    """Exchanges left and right by chance.

    Attributes:
      probability: of a flip.
    """

    def matrix(self, key: jax.Array, size: Size) -> jax.Array:
        """Returns the flip or the identity, `[3, 3]`."""
        return jnp.where(self._flips(key), flip_matrix(size, horizontal=True), jnp.eye(3))

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Returns the image `[H, W, C]`, flipped or not."""
        image = check_single(image)
        return jnp.where(self._flips(key), flip_horizontal(image), image)


@dataclass(frozen=True)
class RandomVerticalFlip(_RandomFlip):
    """Exchanges top and bottom by chance.

    Attributes:
      probability: of a flip.
    """

    def matrix(self, key: jax.Array, size: Size) -> jax.Array:
        """Returns the flip or the identity, `[3, 3]`."""
        return jnp.where(self._flips(key), flip_matrix(size, horizontal=False), jnp.eye(3))

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Returns the image `[H, W, C]`, flipped or not."""
        image = check_single(image)
        return jnp.where(self._flips(key), flip_vertical(image), image)


@dataclass(frozen=True)
class RandomTranslation:
    """A shift by a random number of whole pixels, without interpolation.

    Attributes:
      fraction: largest shift (across, down) as a part of the width and height, both ways.
      fill: grey level in [0, 1] where the image has gone.
    """

    fraction: tuple[float, float] = (0.1, 0.1)
    fill: float = 0.0

    def __post_init__(self) -> None:
        check_parts("fraction", self.fraction, 1.0)
        check_level(self.fill)

    def output_size(self, size: Size) -> Size:
        """Returns `size`."""
        return size

    def _reach(self, size: Size) -> tuple[int, int]:
        """Returns the largest shift (across, down) in pixels."""
        return int(self.fraction[0] * size[1]), int(self.fraction[1] * size[0])

    def _shift(self, key: jax.Array, size: Size) -> jax.Array:
        """Returns the shift (across, down) in pixels, int32 `[2]`."""
        reach = jnp.asarray(self._reach(size))
        return jax.random.randint(key, (2,), -reach, reach + 1)

    def matrix(self, key: jax.Array, size: Size) -> jax.Array:
        """Returns the shift as a matrix `[3, 3]`."""
        return translation_matrix(*self._shift(key, size))

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Returns the shifted image `[H, W, C]`."""
        image = check_single(image)
        size = size_of(image)
        across, down = self._reach(size)
        x, y = self._shift(key, size)
        padded = pad(image, (down, across), fill=pixel_value(self.fill, image.dtype))
        return crop(padded, down - y, across - x, size)


@dataclass(frozen=True)
class RandomRotation:
    """A rotation about the centre by an angle uniform in [-degrees, degrees].

    Attributes:
      degrees: largest angle.
      interpolation: "bilinear" or "nearest".
      fill: grey level in [0, 1] where there is no image.
    """

    degrees: float = 15.0
    interpolation: Interpolation = "bilinear"
    fill: float = 0.0

    def __post_init__(self) -> None:
        check_range("degrees", self.degrees, 0.0)
        check_choice("interpolation", self.interpolation, get_args(Interpolation))
        check_level(self.fill)

    def output_size(self, size: Size) -> Size:
        """Returns `size`."""
        return size

    def matrix(self, key: jax.Array, size: Size) -> jax.Array:
        """Returns the rotation `[3, 3]`."""
        degrees = jax.random.uniform(key, (), jnp.float32, -self.degrees, self.degrees)
        return affine_matrix(size, degrees=degrees)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Returns the rotated image `[H, W, C]`."""
        return _warp(self, key, image)


@dataclass(frozen=True)
class RandomAffine:
    """Random scale, shear, rotation about the centre, and shift, in one interpolation.

    Attributes:
      degrees: largest angle of rotation; uniform both ways.
      translation: largest shift (across, down) as a part of the width and height; uniform both
        ways.
      scale: (smallest, largest) magnification; log-uniform, so that halving is as likely as
        doubling.
      shear: largest shear angles (across, down) in degrees, below 90; uniform both ways.
      interpolation: "bilinear" or "nearest".
      fill: grey level in [0, 1] where there is no image.
    """

    degrees: float = 10.0
    translation: tuple[float, float] = (0.1, 0.1)
    scale: tuple[float, float] = (0.9, 1.1)
    shear: tuple[float, float] = (0.0, 0.0)
    interpolation: Interpolation = "bilinear"
    fill: float = 0.0

    def __post_init__(self) -> None:
        check_range("degrees", self.degrees, 0.0)
        check_parts("translation", self.translation, 1.0)
        check_interval("scale", self.scale, 1e-6)
        check_parts("shear", self.shear, 89.0)
        check_choice("interpolation", self.interpolation, get_args(Interpolation))
        check_level(self.fill)

    def output_size(self, size: Size) -> Size:
        """Returns `size`."""
        return size

    def matrix(self, key: jax.Array, size: Size) -> jax.Array:
        """Returns the affine map `[3, 3]`, one draw of each of its parts."""
        parts = jax.random.uniform(key, (6,), jnp.float32, -1.0, 1.0)
        low, high = jnp.log(jnp.asarray(self.scale, jnp.float32))
        across, down = self.translation
        shear = jnp.tan(jnp.deg2rad(parts[4:] * jnp.asarray(self.shear, jnp.float32)))
        return affine_matrix(
            size,
            degrees=parts[0] * self.degrees,
            translation=(parts[1] * across * size[1], parts[2] * down * size[0]),
            scale=jnp.exp(low + (high - low) * (parts[3] + 1.0) / 2.0),
            shear=(shear[0], shear[1]),
        )

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Returns the transformed image `[H, W, C]`."""
        return _warp(self, key, image)


def check_parts(name: str, parts: tuple[float, float], largest: float) -> None:
    """Raises ValueError if `parts` is not (across, down), both in [0, largest]."""
    if len(parts) != 2:
        raise ValueError(f"{name}={parts} needs two numbers, (across, down)")
    for part in parts:
        check_range(name, part, 0.0, largest)


def _warp(transform: RandomRotation | RandomAffine, key: jax.Array, image: jax.Array) -> jax.Array:
    """Returns what the contract of this module says, without a short cut."""
    image = check_single(image)
    size = size_of(image)
    return warp(
        image,
        transform.matrix(key, size),
        transform.output_size(size),
        interpolation=transform.interpolation,
        fill=pixel_value(transform.fill, image.dtype),
    )
