"""From coarse features to fine ones and to logits for every pixel.

Everything here enlarges by a whole factor and is then cut to the size wanted. Backbones round sizes
up, so that pixel `factor * i + j` of the fine grid lies in pixel i of the coarse one whatever H and W.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.nn.initializers import Initializer

from jaxcv.arguments import check_choice
from jaxcv.convolution.conv import Conv

Upsampling = Literal["bilinear", "subpixel", "nearest"]
"""How features are enlarged.

* "bilinear": between pixel centres, as `jax.image.resize`.
* "subpixel": a convolution makes factor^2 times the channels, which become pixels (Shi et al. 2016,
  arXiv:1609.05158), and which all start alike (Aitken et al. 2017, arXiv:1707.02937), so that no
  checkerboard is there to unlearn, as there is with a transposed convolution.
* "nearest": every pixel is repeated; the cheapest.
"""


def upsample_bilinear(x: jax.Array, factor: int) -> jax.Array:
    """Enlarges [B, H, W, C] to [B, factor * H, factor * W, C], bilinearly between pixel centres.

    Equal to `jax.image.resize(..., "bilinear")`, which multiplies by a dense matrix; this adds
    shifted copies, and states the transposed operation for the gradient: on a CPU some quarter of the
    time forwards, and with the gradient from half of it to as much. No forward-mode derivative.

    Example:
        >>> upsample_bilinear(jnp.array([0.0, 4.0]).reshape(1, 1, 2, 1), 2)[0, 0, :, 0]
        Array([0., 1., 3., 4.], dtype=float32)
    """
    if factor == 1:
        return x
    return _enlarged(_enlarged(x, factor, 1), factor, 2)


def upsample_nearest(x: jax.Array, factor: int) -> jax.Array:
    """Repeats every pixel of [B, H, W, C] factor x factor times."""
    B, H, W, C = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (B, H, factor, W, factor, C))
    return x.reshape(B, factor * H, factor * W, C)


def pixel_shuffle(x: jax.Array, factor: int) -> jax.Array:
    """Turns channels into pixels: [B, H, W, factor^2 C] -> [B, factor * H, factor * W, C].

    Channel `(i * factor + j) * C + c` goes to channel c of the pixel in row i, column j.

    Example:
        >>> pixel_shuffle(jnp.arange(4.0).reshape(1, 1, 1, 4), 2)[0, :, :, 0].tolist()
        [[0.0, 1.0], [2.0, 3.0]]
    """
    B, H, W, channels = x.shape
    C = channels // factor**2
    x = x.reshape(B, H, W, factor, factor, C).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(B, factor * H, factor * W, C)


def cut_to(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """The top left [B, size[0], size[1], C] of `x`."""
    return x[:, : size[0], : size[1]]


class Upsample(nn.Module):
    """Projects features by a 1x1 convolution and enlarges them: [B,H,W,C] -> [B,fH,fW,width].

    The projection comes first, where there are fewest positions; with bilinear and nearest
    upsampling the order makes no difference to the result.

    Attributes:
        width: channels of the output.
        factor: f.
        method: see `Upsampling`.
        dtype: compute dtype.
        use_bias: whether the projection has a bias.
        kernel_init: initializer of the projection.
    """

    width: int
    factor: int
    method: Upsampling = "bilinear"
    dtype: Any = jnp.float32
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.he_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Features [B, H, W, C] -> [B, factor * H, factor * W, width]."""
        check_choice("upsampling", self.method, get_args(Upsampling))
        copies = self.factor**2 if self.method == "subpixel" else 1
        x = Conv(
            copies * self.width,
            (1, 1),
            dtype=self.dtype,
            use_bias=self.use_bias,
            kernel_init=partial(_repeated, self.kernel_init, copies),
            name="projection",
        )(x)
        if self.method == "subpixel":
            return pixel_shuffle(x, self.factor)
        enlarge = upsample_bilinear if self.method == "bilinear" else upsample_nearest
        return enlarge(x, self.factor)


class LogitHead(nn.Module):
    """Logits of every pixel from features at a stride: [B,h,w,C] -> [B,H,W,num_classes] float32.

    Attributes:
        num_classes: channels of the output.
        stride: of the features.
        method: see `Upsampling`.
        dropout: probability with which a feature channel of an image is dropped in training (rng
            `dropout`).
    """

    num_classes: int
    stride: int
    method: Upsampling = "bilinear"
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, size: Sequence[int], *, train: bool) -> jax.Array:
        """Logits at `size` = (H, W)."""
        x = nn.Dropout(self.dropout, broadcast_dims=(1, 2), deterministic=not train)(x)
        # In float32 whatever the features are in: a rounded logit is a rounded probability.
        x = Upsample(
            self.num_classes,
            self.stride,
            method=self.method,
            kernel_init=nn.initializers.lecun_normal(),
            name="upsample",
        )(x.astype(jnp.float32))
        return cut_to(x, size)


def _repeated(
    init: Initializer, copies: int, key: jax.Array, shape: tuple[int, ...], dtype: Any
) -> jax.Array:
    """A kernel [..., copies * width] made of equal parts."""
    kernel = init(key, (*shape[:-1], shape[-1] // copies), dtype)
    return jnp.tile(kernel, (1,) * (len(shape) - 1) + (copies,))


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _enlarged(x: jax.Array, factor: int, axis: int) -> jax.Array:
    """Bilinear enlargement of one axis; positions beyond the ends have the value at the end."""
    n = x.shape[axis]
    first, last = _piece(x, axis, 0, 1), _piece(x, axis, n - 1, n)
    before = jnp.concatenate([first, _piece(x, axis, 0, n - 1)], axis)
    after = jnp.concatenate([_piece(x, axis, 1, n), last], axis)
    phases = []
    for own, left, right in _phase_weights(factor).tolist():
        y = own * x
        y = y + left * before if left else y
        phases.append(y + right * after if right else y)
    y = jnp.stack(phases, axis + 1)
    return y.reshape(*x.shape[:axis], factor * n, *x.shape[axis + 1 :])


def _enlarged_forward(x: jax.Array, factor: int, axis: int) -> tuple[jax.Array, None]:
    return _enlarged(x, factor, axis), None


def _enlarged_backward(
    factor: int, axis: int, residuals: None, gradient: jax.Array
) -> tuple[jax.Array]:
    """The transposed map: what a phase took from a neighbour goes back to it."""
    n = gradient.shape[axis] // factor
    own = left = right = jnp.zeros((), gradient.dtype)
    for phase, (own_weight, left_weight, right_weight) in enumerate(
        _phase_weights(factor).tolist()
    ):
        start, stop = phase, phase + factor * (n - 1) + 1
        part = jax.lax.slice_in_dim(gradient, start, stop, factor, axis)
        own = own + own_weight * part
        left = left + left_weight * part if left_weight else left
        right = right + right_weight * part if right_weight else right
    # What came from beyond the ends belongs to the ends.
    first, last = _piece(left, axis, 0, 1), _piece(right, axis, n - 1, n)
    rest = jnp.zeros_like(_piece(left, axis, 1, n))
    own = own + jnp.concatenate([first, rest], axis) + jnp.concatenate([rest, last], axis)
    zero = jnp.zeros_like(first)
    leftwards = jnp.concatenate([_piece(left, axis, 1, n), zero], axis)
    rightwards = jnp.concatenate([zero, _piece(right, axis, 0, n - 1)], axis)
    return (own + leftwards + rightwards,)


_enlarged.defvjp(_enlarged_forward, _enlarged_backward)


def _piece(x: jax.Array, axis: int, start: int, stop: int) -> jax.Array:
    return jax.lax.slice_in_dim(x, start, stop, axis=axis)


def _phase_weights(factor: int) -> np.ndarray:
    """[factor, 3]: how much of itself and of the pixels before and after each fine pixel takes."""
    offset = (np.arange(factor) + 0.5) / factor - 0.5
    return np.stack([1 - np.abs(offset), np.maximum(-offset, 0), np.maximum(offset, 0)], axis=1)
