"""Geometry by a matrix: rotation, shear, scale and shift of images, label maps, boxes and points.

A point is (x, y): x to the right, y down, in pixels, (0, 0) being the outer corner of the first
pixel and (1/2, 1/2) its centre, so that an image covers [0, W] x [0, H]. A matrix `[3, 3]` takes a
point of the *input* to its place in the *output*, in homogeneous coordinates:

    (x', y', 1) ~ matrix @ (x, y, 1)

`warp` draws the output image for a matrix; a box or a key point goes through the same matrix as it
is. Matrices multiply: `compose(first, second)` does `first`, then `second`, for one interpolation.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxcv.arguments import check_choice, check_range
from jaxcv.image.pixels import Size, check_fill, check_rank, check_size, from_float32, size_of

Interpolation = Literal["nearest", "bilinear"]


def _matrix(rows: Sequence[Sequence[ArrayLike]]) -> jax.Array:
    # One stack of nine scalars, each of which may be traced.
    return jnp.stack([jnp.asarray(v, jnp.float32) for row in rows for v in row]).reshape(3, 3)


def translation_matrix(x: ArrayLike, y: ArrayLike) -> jax.Array:
    """Returns the matrix `[3, 3]` that moves by `x` pixels to the right and `y` down."""
    return _matrix([[1, 0, x], [0, 1, y], [0, 0, 1]])


def scaling_matrix(x: ArrayLike, y: ArrayLike) -> jax.Array:
    """Returns the matrix `[3, 3]` that stretches by `x` across and `y` down from (0, 0)."""
    return _matrix([[x, 0, 0], [0, y, 0], [0, 0, 1]])


def rotation_matrix(degrees: ArrayLike) -> jax.Array:
    """Returns the matrix `[3, 3]` that turns about (0, 0), counter-clockwise as seen."""
    radians = jnp.deg2rad(jnp.asarray(degrees, jnp.float32))
    cos, sin = jnp.cos(radians), jnp.sin(radians)
    return _matrix([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])  # y points down


def shear_matrix(x: ArrayLike, y: ArrayLike) -> jax.Array:
    """Returns the matrix `[3, 3]` of x' = x + a y, y' = y + b x, where a = `x` and b = `y`."""
    return _matrix([[1, x, 0], [y, 1, 0], [0, 0, 1]])


def flip_matrix(size: Size, *, horizontal: bool) -> jax.Array:
    """Returns the matrix `[3, 3]` that exchanges left and right (or top and bottom) of `size`."""
    if horizontal:
        return _matrix([[-1, 0, size[1]], [0, 1, 0], [0, 0, 1]])
    return _matrix([[1, 0, 0], [0, -1, size[0]], [0, 0, 1]])


def compose(*matrices: jax.Array) -> jax.Array:
    """Returns the matrix that applies `matrices` in the order given, the first one first."""
    # Full precision: a TPU's default product rounds to bfloat16, which is pixels in a large image.
    return reduce(
        lambda done, after: jnp.matmul(after, done, precision=jax.lax.Precision.HIGHEST),
        matrices,
        jnp.eye(3, dtype=jnp.float32),
    )


def about_center(matrix: jax.Array, size: Size) -> jax.Array:
    """Returns `matrix` applied about the centre of an image of `size` instead of its corner."""
    x, y = size[1] / 2, size[0] / 2
    return compose(translation_matrix(-x, -y), matrix, translation_matrix(x, y))


def affine_matrix(
    size: Size,
    *,
    degrees: ArrayLike = 0.0,
    translation: tuple[ArrayLike, ArrayLike] = (0.0, 0.0),
    scale: ArrayLike = 1.0,
    shear: tuple[ArrayLike, ArrayLike] = (0.0, 0.0),
) -> jax.Array:
    """Returns the matrix that scales, shears, rotates about the centre, and then moves.

    Args:
      size: (height, width) of the image.
      degrees: angle of the rotation, counter-clockwise as seen.
      translation: (right, down) in pixels.
      scale: > 1 enlarges what the image shows.
      shear: tangents of the (horizontal, vertical) shear angles, as in `shear_matrix`.

    Raises:
      ValueError: a plain `scale` that is not positive.
    """
    check_range("scale", scale, 1e-6)
    linear = compose(scaling_matrix(scale, scale), shear_matrix(*shear), rotation_matrix(degrees))
    return compose(about_center(linear, size), translation_matrix(*translation))


def inverse_matrix(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the inverse of a matrix `[3, 3]` and whether it has one.

    By the adjugate: exact for flips and whole-pixel shifts, and without LAPACK. The inverse of a
    singular matrix is returned as its adjugate, finite, to be masked by the second value.
    """
    a, b, c = matrix[:, 0], matrix[:, 1], matrix[:, 2]
    adjugate = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)])
    determinant = jnp.sum(a * adjugate[0])
    regular = determinant != 0
    return adjugate / jnp.where(regular, determinant, 1.0), regular


def warp(
    image: ArrayLike,
    matrix: jax.Array,
    size: int | Size | None = None,
    *,
    interpolation: Interpolation = "bilinear",
    fill: float = 0.0,
) -> jax.Array:
    """Returns the image that `matrix` makes of `image`, seen through a window of `size`.

    For the centre of every output pixel the inverse of `matrix` tells the point of the input that
    it shows. A point outside [0, W) x [0, H] is `fill`, whatever the interpolation, so that a label
    map is unlabelled exactly where the image is empty; nearer to the border than half a pixel, the
    outermost pixel counts. That is Pillow's rule too.

    Args:
      image: `[..., H, W, C]` of any dtype.
      matrix: `[3, 3]`, input points to output points; it may have a perspective part, with its
        third coordinate positive for what is to be seen. Where it is singular, all is `fill`.
      size: (height, width) of the result; None for the image's own.
      interpolation: "bilinear", or "nearest" for label maps.
      fill: value outside, in the image's own units (0 to 255 for uint8; the ignore label for
        masks).

    Returns:
      `[..., height, width, C]` in the dtype of `image`.

    Raises:
      ValueError: wrong rank or matrix shape, unknown interpolation, a fill that the dtype cannot
        hold.

    Example:
      >>> image = jnp.arange(4.0).reshape(1, 4, 1)
      >>> warp(image, translation_matrix(1, 0), fill=9)[0, :, 0].tolist()
      [9.0, 0.0, 1.0, 2.0]
    """
    image = check_rank(image)
    check_choice("interpolation", interpolation, get_args(Interpolation))
    outside = check_fill(fill, image.dtype)
    if jnp.shape(matrix) != (3, 3):
        raise ValueError(f"a warp needs a matrix of shape (3, 3), but got {jnp.shape(matrix)}")
    height, width, channels = image.shape[-3:]
    size = (height, width) if size is None else check_size(size)
    x, y, inside = _source_points(jnp.asarray(matrix, jnp.float32), size, (height, width))
    pixels = image.reshape(*image.shape[:-3], height * width, channels)
    if interpolation == "nearest":
        # The clip catches a coordinate just below H or W that float32 rounds up.
        row = jnp.clip(y.astype(jnp.int32), 0, height - 1)
        column = jnp.clip(x.astype(jnp.int32), 0, width - 1)
        values = _take(pixels, row * width + column)
    else:
        values = _bilinear(pixels, x - 0.5, y - 0.5, (height, width))
        values = from_float32(values, image.dtype)
    return jnp.where(inside[..., None], values, outside)


def _source_points(
    matrix: jax.Array, size: Size, source: Size
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns x, y `[height, width]` in the input, and whether they lie inside it."""
    inverse, regular = inverse_matrix(matrix)
    column = jnp.arange(size[1], dtype=jnp.float32)[None, :] + 0.5
    row = jnp.arange(size[0], dtype=jnp.float32)[:, None] + 0.5
    # Written out: as a matrix product this would be rounded to bfloat16 on a TPU.
    x, y, w = (inverse[i, 0] * column + inverse[i, 1] * row + inverse[i, 2] for i in range(3))
    in_front = regular & (w > 1e-6)  # behind the viewer otherwise
    w = jnp.where(in_front, w, 1.0)
    x, y = x / w, y / w
    inside = in_front & (x >= 0) & (x < source[1]) & (y >= 0) & (y < source[0])
    return jnp.where(inside, x, 0.0), jnp.where(inside, y, 0.0), inside


def _take(pixels: jax.Array, index: jax.Array) -> jax.Array:
    """Returns pixels `[..., N, C]` at `index` `[height, width]`, known to be in [0, N)."""
    return jnp.take(pixels, index, axis=-2, mode="clip")


def _bilinear(pixels: jax.Array, x: jax.Array, y: jax.Array, size: Size) -> jax.Array:
    """Returns float32 `[..., height, width, C]`; x and y count from the first pixel's centre."""
    left, top = jnp.floor(x), jnp.floor(y)
    # Weights first: the positions are clipped to the image afterwards.
    right_part, lower_part = (x - left)[..., None], (y - top)[..., None]

    def row(offset: int) -> jax.Array:
        start = jnp.clip(top.astype(jnp.int32) + offset, 0, size[0] - 1) * size[1]
        column = left.astype(jnp.int32)
        first, second = (
            _take(pixels, start + jnp.clip(column + i, 0, size[1] - 1)).astype(jnp.float32)
            for i in (0, 1)
        )
        return first * (1 - right_part) + second * right_part

    return row(0) * (1 - lower_part) + row(1) * lower_part


def rotate(
    image: ArrayLike,
    degrees: ArrayLike,
    *,
    interpolation: Interpolation = "bilinear",
    fill: float = 0.0,
) -> jax.Array:
    """Returns the image turned about its centre, counter-clockwise, in a frame of the same size.

    Args:
      image: `[..., H, W, C]`.
      degrees: the angle.
      interpolation: as for `warp`.
      fill: as for `warp`.
    """
    image = check_rank(image)
    matrix = affine_matrix(size_of(image), degrees=degrees)
    return warp(image, matrix, interpolation=interpolation, fill=fill)


def translate(
    image: ArrayLike,
    x: ArrayLike,
    y: ArrayLike,
    *,
    interpolation: Interpolation = "bilinear",
    fill: float = 0.0,
) -> jax.Array:
    """Returns the image moved by `x` pixels to the right and `y` down, whole or not."""
    return warp(image, translation_matrix(x, y), interpolation=interpolation, fill=fill)


def affine(
    image: ArrayLike,
    *,
    degrees: ArrayLike = 0.0,
    translation: tuple[ArrayLike, ArrayLike] = (0.0, 0.0),
    scale: ArrayLike = 1.0,
    shear: tuple[ArrayLike, ArrayLike] = (0.0, 0.0),
    interpolation: Interpolation = "bilinear",
    fill: float = 0.0,
) -> jax.Array:
    """Returns the image scaled, sheared, rotated about its centre and moved, in this order.

    Arguments as for `affine_matrix` and `warp`.
    """
    image = check_rank(image)
    matrix = affine_matrix(
        size_of(image), degrees=degrees, translation=translation, scale=scale, shear=shear
    )
    return warp(image, matrix, interpolation=interpolation, fill=fill)
