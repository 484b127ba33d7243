"""RandAugment and TrivialAugment: operations drawn at random from one list, with one strength each.

The list and what it means is that of the papers. Rotation, shears and shifts - the geometric
operations - are one matrix and therefore one `warp`, whichever of them is drawn. Under `vmap` each
image of the batch has its own draw, all branches run, and the right one is kept: so the price of a
batch is one warp and each colour operation once, per layer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_choice, check_range
from jaxcv.image.color import adjust_brightness, adjust_contrast, adjust_saturation
from jaxcv.image.filtering import adjust_sharpness
from jaxcv.image.pixels import Size, check_level, check_single, from_unit, size_of, to_unit
from jaxcv.image.tone import autocontrast, equalize, posterize, solarize
from jaxcv.image.warping import Interpolation, affine_matrix, warp

OPERATIONS = (
    "identity",
    "autocontrast",
    "equalize",
    "posterize",
    "solarize",
    "brightness",
    "contrast",
    "saturation",
    "sharpness",
    "rotate",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)
"""All operations, drawn with equal probability. The first nine leave every pixel in its place."""

_GEOMETRIC = OPERATIONS.index("rotate")
MAX_MAGNITUDE = 30
"""Magnitudes run from 0, which is the identity for every operation that has a strength, to 30."""


@dataclass(frozen=True)
class Strengths:
    """What each operation does at the largest magnitude; it does m / 30 of that at magnitude m.

    Attributes:
      enhance: brightness, contrast, saturation and sharpness by the factor 1 +- enhance.
      posterize_bits: bits of 8 that are dropped, rounded.
      degrees: of rotation, both ways.
      shear: tangent of the angle, both ways, about the centre (the papers' code shears about the
        corner, which pushes the object out of the frame).
      shift: of translation in pixels, both ways; None for `shift_fraction`.
      shift_fraction: of translation as a part of the side.
    """

    enhance: float = 0.9
    posterize_bits: int = 4
    degrees: float = 30.0
    shear: float = 0.3
    shift: float | None = None
    shift_fraction: float = 150 / 331

    def __post_init__(self) -> None:
        check_range("enhance", self.enhance, 0.0, 1.0)
        check_range("posterize_bits", self.posterize_bits, 0, 8)


def apply_operation(
    image: jax.Array,
    index: jax.Array,
    level: jax.Array,
    strengths: Strengths,
    *,
    interpolation: Interpolation,
    fill: float,
) -> jax.Array:
    """Returns float32 `[H, W, C]` after the operation `OPERATIONS[index]`.

    Args:
      image: float32 in [0, 1], `[H, W, C]`, C = 1 or 3.
      index: of the operation, an integer scalar.
      level: in [-1, 1]; its sign is the direction of operations that have two.
      strengths: what level 1 means.
      interpolation: for the geometric operations.
      fill: grey level in [0, 1] where there is no image.
    """
    matrix = _operation_matrix(size_of(image), index, level, strengths)
    # On one image only the drawn side runs; under vmap both do, and warp runs once.
    image = jax.lax.cond(
        index >= _GEOMETRIC,
        lambda values: warp(values, matrix, interpolation=interpolation, fill=fill),
        lambda values: values,
        image,
    )
    branches = _color_branches(level, strengths)
    return jax.lax.switch(jnp.where(index < _GEOMETRIC, index, 0), branches, image)


def _operation_matrix(
    size: Size, index: jax.Array, level: jax.Array, strengths: Strengths
) -> jax.Array:
    """Returns the matrix `[3, 3]` of a geometric operation, the identity for the others."""

    def amount(name: str, largest: float) -> jax.Array:
        return jnp.where(index == OPERATIONS.index(name), level * largest, 0.0)

    shifts = [
        strengths.shift_fraction * side if strengths.shift is None else strengths.shift
        for side in (size[1], size[0])
    ]
    return affine_matrix(
        size,
        degrees=amount("rotate", strengths.degrees),
        shear=(amount("shear_x", strengths.shear), amount("shear_y", strengths.shear)),
        translation=(amount("translate_x", shifts[0]), amount("translate_y", shifts[1])),
    )


def _color_branches(
    level: jax.Array, strengths: Strengths
) -> list[Callable[[jax.Array], jax.Array]]:
    """Returns the operations that leave pixels in their place, in the order of `OPERATIONS`."""
    magnitude = jnp.abs(level)
    factor = 1.0 + level * strengths.enhance
    bits = 8 - jnp.round(magnitude * strengths.posterize_bits).astype(jnp.int32)
    threshold = (1.0 - magnitude) * 256 / 255  # above white at magnitude 0: nothing changes
    return [
        lambda image: image,
        autocontrast,
        equalize,
        lambda image: posterize(image, bits),
        lambda image: solarize(image, threshold),
        lambda image: adjust_brightness(image, factor),
        lambda image: adjust_contrast(image, factor),
        lambda image: adjust_saturation(image, factor),
        lambda image: adjust_sharpness(image, factor),
    ]


@dataclass(frozen=True)
class RandAugment:
    """Applies `num_layers` operations drawn at random, all with the same magnitude.

    E. D. Cubuk et al., RandAugment: practical automated data augmentation with a reduced search
    space, 2020. Directions are drawn too.

    Attributes:
      num_layers: operations per image, N in the paper.
      magnitude: from 0 to 30, M in the paper.
      strengths: what magnitude 30 means.
      interpolation: of the geometric operations.
      fill: grey level in [0, 1] where they leave no image.
    """

    num_layers: int = 2
    magnitude: float = 9.0
    strengths: Strengths = Strengths()
    interpolation: Interpolation = "bilinear"
    fill: float = 0.5

    def __post_init__(self) -> None:
        check_range("num_layers", self.num_layers, 0)
        check_range("magnitude", self.magnitude, 0.0, MAX_MAGNITUDE)
        check_choice("interpolation", self.interpolation, get_args(Interpolation))
        check_level(self.fill)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Returns the augmented image `[H, W, C]`, C = 1 or 3, uint8 rounded once, at the end."""
        image = check_single(image)
        level = jnp.asarray(self.magnitude / MAX_MAGNITUDE, jnp.float32)
        values, _ = jax.lax.scan(
            lambda values, layer_key: (_draw_and_apply(layer_key, values, level, self), None),
            to_unit(image),
            jax.random.split(key, self.num_layers),
        )
        return from_unit(values, image.dtype)


@dataclass(frozen=True)
class TrivialAugment:
    """Applies one operation drawn at random, with a magnitude drawn at random: nothing to tune.

    S. G. Mueller and F. Hutter, TrivialAugment: tuning-free yet state-of-the-art data augmentation,
    ICCV 2021, with their wide ranges and magnitudes 0, 1, ..., 30.

    Attributes:
      strengths: what magnitude 30 means.
      interpolation: of the geometric operations.
      fill: grey level in [0, 1] where they leave no image.
    """

    strengths: Strengths = Strengths(
        enhance=0.99, posterize_bits=6, degrees=135.0, shear=0.99, shift=32.0
    )
    interpolation: Interpolation = "bilinear"
    fill: float = 0.5

    def __post_init__(self) -> None:
        check_choice("interpolation", self.interpolation, get_args(Interpolation))
        check_level(self.fill)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Returns the augmented image `[H, W, C]`, C = 1 or 3."""
        image = check_single(image)
        magnitude_key, operation_key = jax.random.split(key)
        magnitude = jax.random.randint(magnitude_key, (), 0, MAX_MAGNITUDE + 1)
        values = _draw_and_apply(operation_key, to_unit(image), magnitude / MAX_MAGNITUDE, self)
        return from_unit(values, image.dtype)


def _draw_and_apply(
    key: jax.Array, values: jax.Array, level: jax.Array, policy: RandAugment | TrivialAugment
) -> jax.Array:
    """Returns float32 `[H, W, C]` after one operation, its direction drawn with it."""
    operation_key, sign_key = jax.random.split(key)
    index = jax.random.randint(operation_key, (), 0, len(OPERATIONS))
    return apply_operation(
        values,
        index,
        level * jax.random.rademacher(sign_key, (), jnp.float32),
        policy.strengths,
        interpolation=policy.interpolation,
        fill=policy.fill,
    )
