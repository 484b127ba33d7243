"""What every model checks about its images before it computes."""

from typing import Literal

import jax
import jax.numpy as jnp

ComputeDtype = Literal["float32", "bfloat16", "float16"]
"""Dtype in which a model computes; its parameters and its outputs are float32 in any case."""


def prepare_images(images: jax.Array, *, model: str, minimum: int, dtype: str) -> jax.Array:
    """Check a batch of images and cast it to the compute dtype.

    Args:
        images: [B, H, W, C] float.
        model: Name of the model, for the message.
        minimum: Smallest height and width that the model can take.
        dtype: Compute dtype.

    Returns:
        The images in the compute dtype.

    Raises:
        ValueError: If `images` has not four axes, is not of a float dtype, or is too small.
    """
    if images.ndim != 4:
        raise ValueError(
            f"{model} wants images [B, H, W, C], found shape {tuple(images.shape)}; add the batch "
            "or the channel axis."
        )
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(
            f"{model} wants float images, found {images.dtype}; scale them to [0, 1] or normalize "
            "them first."
        )
    height, width = images.shape[1:3]
    if min(height, width) < minimum:
        raise ValueError(
            f"{model} wants images of at least {minimum}x{minimum} pixels, found {height}x{width}; "
            "enlarge the images or choose a model with less downsampling."
        )
    return images.astype(jnp.dtype(dtype))
