"""Random crops of one image: at their own scale, at a random one, or scaled to a fixed size.

Geometric transforms with `matrix` and `output_size`, as `random_geometry` explains. `fill` is a
grey level in [0, 1], whatever the dtype.
"""

import math
from dataclasses import dataclass
from typing import get_args

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_choice, check_interval, check_range
from jaxcv.image.geometry import PaddingMode, ResizeMethod, crop, pad, scale_and_translate
from jaxcv.image.pixels import (
    Size,
    check_fill,
    check_level,
    check_single,
    check_size,
    pixel_value,
    size_of,
)
from jaxcv.image.warping import compose, scaling_matrix, translation_matrix, warp


@dataclass(frozen=True)
class RandomCrop:
    """A crop at a random place, of the image padded on all sides.

    `RandomCrop(padding=4)` shifts by up to 4 pixels and keeps the size: the usual augmentation of
    CIFAR (Lee et al., Deeply-supervised nets, 2015).

    Attributes:
      size: (height, width) of the result; None for the image's own.
      padding: pixels added on each side before the crop.
      padding_mode: "constant" (with `fill`), "edge" or "reflect", as in `pad`.
      fill: grey level in [0, 1].
    """

    size: Size | None = None
    padding: int = 0
    padding_mode: PaddingMode = "constant"
    fill: float = 0.0

    def __post_init__(self) -> None:
        if self.size is not None:
            check_size(self.size)
        check_range("padding", self.padding, 0)
        check_choice("padding_mode", self.padding_mode, get_args(PaddingMode))
        check_level(self.fill)

    def output_size(self, size: Size) -> Size:
        """Returns the size of the crop."""
        return size if self.size is None else check_size(self.size)

    def _corner(self, key: jax.Array, size: Size) -> jax.Array:
        """Returns (top, left) of the crop in the padded image, int32 `[2]`."""
        height, width = self.output_size(size)
        room = (size[0] + 2 * self.padding - height, size[1] + 2 * self.padding - width)
        if min(room) < 0:
            raise ValueError(
                f"RandomCrop of {height} x {width} pixels (height x width) does not fit into an "
                f"image of {size[0]} x {size[1]} padded by {self.padding}; pad or resize it first"
            )
        return jax.random.randint(key, (2,), 0, jnp.asarray(room) + 1)

    def matrix(self, key: jax.Array, size: Size) -> jax.Array:
        """Returns the shift `[3, 3]` of the crop for an image of `size`."""
        top, left = self._corner(key, size)
        return translation_matrix(self.padding - left, self.padding - top)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Returns the crop `[height, width, C]`.

        Raises:
          ValueError: the crop is larger than the padded image.
        """
        image = check_single(image)
        size = size_of(image)
        top, left = self._corner(key, size)
        fill = pixel_value(self.fill, image.dtype)
        padded = pad(image, self.padding, mode=self.padding_mode, fill=fill)
        return crop(padded, top, left, self.output_size(size))


def sample_rectangle(
    key: jax.Array, size: Size, area: tuple[float, float], ratio: tuple[float, float]
) -> tuple[jax.Array, jax.Array]:
    """Draws a rectangle inside an image, uniform in area, log-uniform in width / height.

    Ten candidates are drawn and the first that fits is placed uniformly (Szegedy et al., Going
    deeper with convolutions, 2015, section 6; the rejection as in torchvision).

    Args:
      key: PRNG key.
      size: (height, width) of the image.
      area: (smallest, largest) part of the image's area.
      ratio: (smallest, largest) width / height.

    Returns:
      float32 `[4]`: left, top, width, height in pixels, and whether one fitted; if none did, the
      rectangle is the largest central one with a ratio in range.
    """
    height, width = size
    area_key, ratio_key, place_key = jax.random.split(key, 3)
    areas = height * width * jax.random.uniform(area_key, (10,), jnp.float32, *area)
    ratios = jnp.exp(
        jax.random.uniform(ratio_key, (10,), jnp.float32, math.log(ratio[0]), math.log(ratio[1]))
    )
    widths, heights = jnp.sqrt(areas * ratios), jnp.sqrt(areas / ratios)
    fits = (widths <= width) & (heights <= height)
    found, first = jnp.any(fits), jnp.argmax(fits)
    nearest = min(max(width / height, ratio[0]), ratio[1])
    w = jnp.where(found, widths[first], min(width, height * nearest))
    h = jnp.where(found, heights[first], min(height, width / nearest))
    place = jnp.where(found, jax.random.uniform(place_key, (2,), jnp.float32), 0.5)
    return jnp.stack([place[0] * (width - w), place[1] * (height - h), w, h]), found


@dataclass(frozen=True)
class RandomResizedCrop:
    """A random rectangle of the image, scaled to a fixed size: the usual augmentation of ImageNet.

    Sides and place are not rounded to whole pixels. When shrinking with `antialias`, the filter
    at the edge of the crop sees the pixels just outside of it, where there are any.

    Attributes:
      size: (height, width) of the result.
      scale: (smallest, largest) area of the rectangle as a part of the image's.
      ratio: (smallest, largest) width / height of the rectangle.
      method: as in `resize`.
      antialias: as in `resize`.
    """

    size: Size = (224, 224)
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    method: ResizeMethod = "bilinear"
    antialias: bool = True

    def __post_init__(self) -> None:
        check_size(self.size)
        check_interval("scale", self.scale, 1e-6, 1.0)
        check_interval("ratio", self.ratio, 1e-3, 1e3)
        check_choice("method", self.method, get_args(ResizeMethod))

    def output_size(self, size: Size) -> Size:
        """Returns the size of the result, whatever the image's."""
        return check_size(self.size)

    def _scale_and_shift(self, key: jax.Array, size: Size) -> tuple[jax.Array, jax.Array]:
        """Returns the scale and then the shift, each (across, down), float32 `[2]`."""
        (left, top, width, height), _ = sample_rectangle(key, size, self.scale, self.ratio)
        out_height, out_width = self.output_size(size)
        scale = jnp.stack([out_width / width, out_height / height])
        return scale, -jnp.stack([left, top]) * scale

    def matrix(self, key: jax.Array, size: Size) -> jax.Array:
        """Returns the scaling and shift `[3, 3]` of the crop for an image of `size`."""
        scale, shift = self._scale_and_shift(key, size)
        return compose(scaling_matrix(*scale), translation_matrix(*shift))

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Returns the resized crop `[height, width, C]`."""
        image = check_single(image)
        size = size_of(image)
        if self.method == "nearest":
            matrix = self.matrix(key, size)
            return warp(image, matrix, self.output_size(size), interpolation="nearest")
        scale, shift = self._scale_and_shift(key, size)
        return scale_and_translate(
            image,
            self.output_size(size),
            scale[::-1],
            shift[::-1],
            method=self.method,
            antialias=self.antialias,
        )


@dataclass(frozen=True)
class RandomScaleCrop:
    """The image at a random scale, seen through a window of fixed size: for dense prediction.

    Where the scaled image is larger than the window, the window lies anywhere in it; where it is
    smaller, it lies anywhere in the window and the rest is `fill` (in a label map that follows by
    `transform_sample`, the ignore label). The magnification is drawn uniformly, as by L.-C. Chen et
    al., Rethinking atrous convolution for semantic image segmentation, 2017, section 4.1, whose
    range is the default, and, with (0.1, 2), by G. Ghiasi et al., Simple copy-paste, CVPR 2021, who
    call it large-scale jittering. The shift is whole pixels, so that scale 1 interpolates nothing.

    Attributes:
      size: (height, width) of the window.
      scale: (smallest, largest) magnification of the image.
      method: as in `resize`.
      antialias: as in `resize`.
      fill: grey level in [0, 1] where there is no image.

    Example:
      >>> crop = RandomScaleCrop(size=(4, 6), scale=(0.5, 1.0), fill=0.5)
      >>> crop(jax.random.key(0), jnp.ones((8, 8, 3))).shape
      (4, 6, 3)
    """

    size: Size = (512, 512)
    scale: tuple[float, float] = (0.5, 2.0)
    method: ResizeMethod = "bilinear"
    antialias: bool = True
    fill: float = 0.0

    def __post_init__(self) -> None:
        check_size(self.size)
        check_interval("scale", self.scale, 1e-6)
        check_choice("method", self.method, get_args(ResizeMethod))
        check_level(self.fill)

    def output_size(self, size: Size) -> Size:
        """Returns the size of the window, whatever the image's."""
        return check_size(self.size)

    def _scale_and_shift(self, key: jax.Array, size: Size) -> tuple[jax.Array, jax.Array]:
        """Returns the magnification, and the shift (down, right) in output pixels, `[2]`."""
        scale_key, place_key = jax.random.split(key)
        scale = jax.random.uniform(scale_key, (), jnp.float32, *self.scale)
        room = jnp.asarray(self.output_size(size)) - scale * jnp.asarray(size)
        return scale, jnp.round(jax.random.uniform(place_key, (2,), jnp.float32) * room)

    def matrix(self, key: jax.Array, size: Size) -> jax.Array:
        """Returns the scaling and shift `[3, 3]` for an image of `size`."""
        scale, (down, right) = self._scale_and_shift(key, size)
        return compose(scaling_matrix(scale, scale), translation_matrix(right, down))

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Returns what the window shows, `[height, width, C]`."""
        image = check_single(image)
        size, window = size_of(image), self.output_size(size_of(image))
        fill = pixel_value(self.fill, image.dtype)
        if self.method == "nearest":
            matrix = self.matrix(key, size)
            return warp(image, matrix, window, interpolation="nearest", fill=fill)
        scale, shift = self._scale_and_shift(key, size)
        values = scale_and_translate(
            image,
            window,
            jnp.stack([scale, scale]),
            shift,
            method=self.method,
            antialias=self.antialias,
        )
        # Which rows and columns show the image: the rule of `warp`.
        points = [(jnp.arange(window[axis]) + 0.5 - shift[axis]) / scale for axis in (0, 1)]
        rows, columns = ((p >= 0) & (p < size[axis]) for axis, p in enumerate(points))
        inside = rows[:, None, None] & columns[None, :, None]
        return jnp.where(inside, values, check_fill(fill, image.dtype))
