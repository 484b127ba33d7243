"""Convolutions that are fast on a CPU too.

`convolution` takes the place of `jax.lax.conv_general_dilated`, to which it is equal but for rounding,
and `Conv` that of `flax.linen.Conv`, with the same parameters. On a CPU, 2-D channels-last
convolutions without groups are lowered by shape:

* 1x1, but forwards with a stride: products of matrices (`pointwise`);
* 3x3 of many channels, and their gradients: Winograd's algorithm (`winograd`);
* few channels: neighbouring columns taken as channels (`blocks`);
* input gradients of strided convolutions: a dense convolution for each phase of the stride (`subpixel`);
* every other, and every other gradient: the one form that XLA has a fast routine for (`canonical`),
  which it finds by itself only outside of loops.

Where a program asks for it (`onednn.load`, `jaxcv train --onednn`), oneDNN has those that it is faster at.

bfloat16 and float16 are computed in float32 there and rounded once. Everything else, and everything on
a GPU or TPU, is the stock lowering. Derivatives of every order, in both modes, and `vmap` work.
"""

from __future__ import annotations
