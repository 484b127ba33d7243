"""Transforms in a row, and transforms by chance.

A transform is anything callable as `transform(key, image) -> image` on one image `[H, W, C]`, such
as the frozen dataclasses of this package. A list of them is an augmentation:

    augment = functools.partial(apply_sequence, (RandomCrop(padding=4), RandomHorizontalFlip()))
    images = jax.vmap(augment)(jax.random.split(key, len(images)), images)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_probability
from jaxcv.image.pixels import check_single

Transform = Callable[[jax.Array, jax.Array], jax.Array]


def apply_sequence(transforms: Sequence[Transform], key: jax.Array, image: jax.Array) -> jax.Array:
    """Returns the image after all `transforms`, the i-th one with the key `fold_in(key, i)`.

    The index in the key makes two equal transforms independent of each other, and the draws of one
    do not change when a later one is added.

    Args:
      transforms: called in order; an empty sequence is the identity.
      key: PRNG key of this image.
      image: `[H, W, C]`.
    """
    for i, transform in enumerate(transforms):
        image = transform(jax.random.fold_in(key, i), image)
    return image


@dataclass(frozen=True)
class RandomApply:
    """Applies `transform` with a probability, else returns the image as it is.

    Attributes:
      transform: must keep the image's shape and dtype.
      probability: 0 is never, 1 always.
    """

    transform: Transform
    probability: float = 0.5

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Returns the image `[H, W, C]`, transformed or not.

        Raises:
          ValueError: the transform changes the shape or the dtype.
        """
        image = check_single(image)
        chance_key, transform_key = jax.random.split(key)
        changed = self.transform(transform_key, image)
        if changed.shape != image.shape or changed.dtype != image.dtype:
            raise ValueError(
                f"RandomApply needs a transform that keeps shape and dtype, but {self.transform} "
                f"made {changed.shape} {changed.dtype} of {image.shape} {image.dtype}"
            )
        return jnp.where(jax.random.bernoulli(chance_key, self.probability), changed, image)
