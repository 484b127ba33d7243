"""Moving pixels along the axes: flip, crop, pad, resize.

Every function takes `[..., H, W, C]` of any dtype and returns that dtype; leading axes are images
of their own. Sizes are (height, width) in pixels. `warping` has the operations that need a matrix.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxcv.arguments import check_choice, check_range
from jaxcv.image.pixels import Size, check_fill, check_rank, check_size, from_float32, is_static

PaddingMode = Literal["constant", "edge", "reflect"]
ResizeMethod = Literal["nearest", "bilinear", "bicubic", "lanczos"]

_JAX_METHOD = {"bilinear": "linear", "bicubic": "cubic", "lanczos": "lanczos3"}


def flip_horizontal(image: ArrayLike) -> jax.Array:
    """Returns the image with left and right exchanged: out[y, x] = image[y, W - 1 - x]."""
    return jnp.flip(check_rank(image), axis=-2)


def flip_vertical(image: ArrayLike) -> jax.Array:
    """Returns the image with top and bottom exchanged: out[y, x] = image[H - 1 - y, x]."""
    return jnp.flip(check_rank(image), axis=-3)


def crop(image: ArrayLike, top: ArrayLike, left: ArrayLike, size: int | Size) -> jax.Array:
    """Returns the rectangle of `size` whose first row and column are `top` and `left`.

    Args:
      image: `[..., H, W, C]`.
      top: row of the first pixel; a Python number or a traced integer.
      left: column of the first pixel, likewise.
      size: (height, width) of the result, or one number for a square.

    Returns:
      `[..., height, width, C]`. A traced position that would reach beyond the image is moved
      inside, as `lax.dynamic_slice` does.

    Raises:
      ValueError: the rectangle is larger than the image or, for a plain `top` and `left`, leaves
        it.
    """
    image = check_rank(image)
    height, width = check_size(size)
    room = image.shape[-3] - height, image.shape[-2] - width
    if min(room) < 0:
        raise ValueError(
            f"cannot crop {height} x {width} pixels (height x width) from an image of "
            f"{image.shape[-3]} x {image.shape[-2]}; pad or resize it first"
        )
    for name, value, last in (("top", top, room[0]), ("left", left, room[1])):
        if is_static(value) and not 0 <= value <= last:
            raise ValueError(
                f"{name}={value} puts the crop of {height} x {width} outside the image of "
                f"{image.shape[-3]} x {image.shape[-2]}; it must be in [0, {last}]"
            )
    if jax.default_backend() == "tpu" and not (is_static(top) and is_static(left)):
        return _selected(_selected(image, top, height, -3), left, width, -2)
    start = [0] * (image.ndim - 3) + [top, left, 0]
    return lax.dynamic_slice(image, start, (*image.shape[:-3], height, width, image.shape[-1]))


def _selected(image: jax.Array, start: ArrayLike, length: int, axis: int) -> jax.Array:
    """Returns what `lax.dynamic_slice_in_dim` does, by one choice for each bit of `start`.

    For images with a `start` of their own a TPU runs a slice as a loop over them: 4 ms for 500 images of
    40x40, where its compiler expects this to take 0.2 (docs/tpu.md).
    """
    axis += image.ndim
    room = image.shape[axis] - length
    start = jnp.asarray(start)
    start = jnp.where(start < 0, start + image.shape[axis], start)  # counts from the end, as there
    start = jnp.clip(start, 0, room)
    bits = room.bit_length()
    pads = [(0, 0, 0)] * image.ndim
    pads[axis] = 0, 2**bits - 1 - room, 0  # never seen: it makes all choices alike
    image = lax.pad(image, jnp.zeros((), image.dtype), pads)
    for bit in reversed(range(bits)):
        step = 2**bit
        near, far = (
            lax.slice_in_dim(image, i, i + length + step - 1, axis=axis) for i in (0, step)
        )
        image = jnp.where((start >> bit) & 1, far, near)
    return image


def center_crop(image: ArrayLike, size: int | Size) -> jax.Array:
    """Returns the middle `size` of the image; an odd rest leaves the extra pixel below and right.

    Raises:
      ValueError: the image is smaller than `size`.
    """
    image = check_rank(image)
    height, width = check_size(size)
    top, left = (image.shape[-3] - height) // 2, (image.shape[-2] - width) // 2
    return crop(image, max(top, 0), max(left, 0), (height, width))


def pad(
    image: ArrayLike,
    padding: int | tuple[int, int],
    *,
    mode: PaddingMode = "constant",
    fill: float = 0.0,
) -> jax.Array:
    """Returns the image with `padding` pixels more on each side.

    Args:
      image: `[..., H, W, C]`.
      padding: pixels on every side, or (above and below, left and right).
      mode: "constant" writes `fill`, "edge" repeats the outermost pixel, "reflect" mirrors the
        image without repeating it (2 1 | 0 1 2 | 1 0).
      fill: the value for "constant", in the image's own units (0 to 255 for uint8).

    Raises:
      ValueError: negative padding, or more than a mirror of the image holds.
    """
    image = check_rank(image)
    check_choice("mode", mode, get_args(PaddingMode))
    rows, columns = (padding, padding) if isinstance(padding, int) else padding
    check_range("padding", min(rows, columns), 0)
    if mode == "reflect" and (rows >= image.shape[-3] or columns >= image.shape[-2]):
        raise ValueError(
            f"padding={padding} mirrors more than an image of {image.shape[-3]} x "
            f"{image.shape[-2]} holds; use less, or mode='edge'"
        )
    widths = [(0, 0)] * (image.ndim - 3) + [(rows, rows), (columns, columns), (0, 0)]
    if mode == "constant":
        return jnp.pad(image, widths, constant_values=check_fill(fill, image.dtype))
    return jnp.pad(image, widths, mode=mode)


def resize(
    image: ArrayLike,
    size: int | Size,
    *,
    method: ResizeMethod = "bilinear",
    antialias: bool = True,
) -> jax.Array:
    """Returns the image scaled to `size`, the corners of the two images lying on each other.

    Pixel centres are at half numbers: the centre of output column i is the point
    (i + 1/2) W / W' of the input. With `antialias` the filter widens by the scale when the image
    shrinks, which is what Pillow does, whose results it equals but for rounding.

    Args:
      image: `[..., H, W, C]`.
      size: (height, width) of the result, or one number for a square.
      method: "nearest" copies pixels (label maps); "bilinear"; "bicubic" (Keys 1981, a = -1/2);
        "lanczos" (three lobes). The last two overshoot at edges and are clipped to the range of the
        dtype, [0, 1] for floating point.
      antialias: widen the filter when shrinking.

    Raises:
      ValueError: a size that is not positive, or an unknown method.
    """
    image = check_rank(image)
    check_choice("method", method, get_args(ResizeMethod))
    shape = (*image.shape[:-3], *check_size(size), image.shape[-1])
    if shape == image.shape:
        return image
    if method == "nearest":
        rows, columns = (nearest_index(image.shape[axis], shape[axis]) for axis in (-3, -2))
        return image[..., rows[:, None], columns[None, :], :]
    values = image.astype(jnp.float32)
    values = jax.image.resize(values, shape, _JAX_METHOD[method], antialias=antialias)
    return clip_overshoot(values, method, image.dtype)


def nearest_index(length: int, new_length: int) -> np.ndarray:
    """Returns which of `length` pixels each of `new_length` pixels shows.

    floor((i + 1/2) length / new_length) in whole numbers: where the point falls on the border of
    two pixels, float32 picks either.
    """
    return (2 * np.arange(new_length) + 1) * length // (2 * new_length)


def scale_and_translate(
    image: jax.Array,
    size: Size,
    scale: jax.Array,
    translation: jax.Array,
    *,
    method: ResizeMethod,
    antialias: bool,
) -> jax.Array:
    """Returns the image scaled, then moved, seen through a window of `size`.

    As two matrix products, without a gather, so that it is fast on every kind of device.

    Args:
      image: `[H, W, C]`.
      size: (height, width) of the window.
      scale: (vertical, horizontal) output pixels per input pixel, `[2]`.
      translation: (down, right) in output pixels, `[2]`.
      method: any but "nearest".
      antialias: widen the filter when shrinking.
    """
    values = jax.image.scale_and_translate(
        image.astype(jnp.float32),
        (*size, image.shape[-1]),
        (0, 1),
        scale,
        translation,
        method=_JAX_METHOD[method],
        antialias=antialias,
    )
    return clip_overshoot(values, method, image.dtype)


def clip_overshoot(values: jax.Array, method: ResizeMethod, dtype: jnp.dtype) -> jax.Array:
    """Returns interpolated float32 `values` in `dtype`, clipped if `method` can leave the range."""
    if method in ("bicubic", "lanczos") and jnp.issubdtype(dtype, jnp.floating):
        values = jnp.clip(values, 0.0, 1.0)
    return from_float32(values, dtype)
