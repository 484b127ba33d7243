"""Test-time augmentation: a model that looks at several views of an image and averages its outputs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv.models.inputs import ComputeDtype


class TestTimeAugmentation(nn.Module):
    """In training the model itself; in evaluation the weighted mean of its outputs over views.

    The views are the image and the image shifted by some pixels, with the border mirrored in, each
    of them also mirrored left to right. Mean of the outputs: for a classifier, of the logits. For
    models whose outputs do not move with the image, so not for segmentation or detection.

    Attributes:
        model: any model of one array of outputs, or a pytree of such.
        mirror: also look at the mirror image of each view.
        shifts: (down, right) in pixels, of the further views.
        shifted_fraction: weight of all shifted views together, in [0, 1]; the unshifted has the rest.

    Example:
        >>> from jaxcv.models import MLP
        >>> model = TestTimeAugmentation(MLP(num_classes=3), shifts=((-1, -1), (1, 1)))  # six views
        >>> images = jnp.ones((2, 8, 8, 1))
        >>> model.init_with_output(jax.random.key(0), images)[0].shape
        (2, 3)
    """

    model: nn.Module
    mirror: bool = True
    shifts: tuple[tuple[int, int], ...] = ()
    shifted_fraction: float = 0.5

    def __call__(
        self, images: jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> Any:
        """Outputs of the model for images [B, H, W, C]; `mask` [B] as the model has it.

        Raises:
            ValueError: for a fraction outside [0, 1], or a shift that is larger than the image.
        """
        if train:
            return self.model(images, train=True, mask=mask)  # type: ignore[operator]
        return self._mean_over_views(images, mask)

    def _mean_over_views(self, images: jax.Array, mask: jax.Array | None) -> Any:
        if not 0 <= self.shifted_fraction <= 1:
            raise ValueError(
                f"shifted_fraction is {self.shifted_fraction}, but a fraction in [0, 1] is wanted"
            )
        fraction = self.shifted_fraction if self.shifts else 0.0
        weighted = [(1.0 - fraction, images)]
        weighted += [
            (fraction / len(self.shifts), shifted(images, down, right))
            for down, right in self.shifts
        ]
        if self.mirror:
            weighted = [
                (weight / 2, view)
                for weight, one in weighted
                for view in (one, jnp.flip(one, axis=2))
            ]
        total: Any = None
        for weight, view in weighted:
            outputs = self.model(view, train=False, mask=mask)  # type: ignore[operator]
            part = jax.tree.map(lambda x, w=weight: w * x, outputs)
            total = part if total is None else jax.tree.map(jnp.add, total, part)
        return total

    @property
    def num_classes(self) -> int:
        """As many as the model has."""
        return self.model.num_classes  # type: ignore[attr-defined, no-any-return]

    @property
    def dtype(self) -> ComputeDtype:
        """The model's compute dtype."""
        return self.model.dtype  # type: ignore[attr-defined, no-any-return]

    @property
    def fit_examples(self) -> int:
        """Training images that the model is fitted to before the first step."""
        return getattr(self.model, "fit_examples", 0)

    @nn.nowrap
    def fit_to_data(self, variables: dict[str, Any], images: jax.Array) -> dict[str, Any]:
        """The variables with the model's own fitted to images [N, H, W, C]; see `train.fitting`."""
        inner = {name: collection["model"] for name, collection in variables.items()}
        fitted = self.model.fit_to_data(inner, images)  # type: ignore[attr-defined]
        return {name: {"model": collection} for name, collection in fitted.items()}


def shifted(images: jax.Array, down: int, right: int) -> jax.Array:
    """Images [B, H, W, C] moved by whole pixels; what comes in at the border is the mirrored image.

    Raises:
        ValueError: where the image has not that many pixels to mirror.
    """
    height, width = images.shape[1:3]
    if abs(down) >= height or abs(right) >= width:
        raise ValueError(
            f"a shift by ({down}, {right}) pixels mirrors more than images of {height}x{width} have"
        )
    rows, columns = abs(down), abs(right)
    padded = jnp.pad(images, ((0, 0), (rows, rows), (columns, columns), (0, 0)), mode="reflect")
    top, left = rows - down, columns - right
    return padded[:, top : top + height, left : left + width]
