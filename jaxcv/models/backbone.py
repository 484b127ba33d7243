"""What a network must offer to carry a decoder for segmentation or detection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import jax


class Backbone(Protocol):
    """A Linen module that gives features at several strides: `ResNetBackbone`, `ConvBackbone`.

    Attributes:
        strides: what `features_at` can be asked for, from fine to coarse, each twice the one before.
        output_stride: the coarsest stride that features really have, where later stages are dilated
            instead of strided; None for none. A stage is keyed by its nominal stride.
        dtype: compute dtype; a decoder takes it over, as it does
        momentum: of BatchNorm's running statistics, and
        axis_name: the mapped axis over which its statistics are summed.
    """

    dtype: Any
    momentum: float
    axis_name: str | None

    @property
    def strides(self) -> tuple[int, ...]:
        """See the class."""
        ...

    @property
    def output_stride(self) -> int | None:
        """See the class."""
        ...

    def features_at(
        self,
        images: jax.Array,
        strides: Sequence[int],
        *,
        train: bool = False,
        mask: jax.Array | None = None,
    ) -> dict[int, jax.Array]:
        """Gives `{stride: [B, ceil(H / stride), ceil(W / stride), channels]}` of [B, H, W, C]."""
        ...


def check_strides(backbone: Backbone, strides: Sequence[int]) -> None:
    """Raises ValueError unless the backbone has all the strides, and at least one is asked for."""
    unknown = sorted(set(strides) - set(backbone.strides))
    if unknown or not strides:
        raise ValueError(
            f"features at strides {tuple(strides)} are asked for, but {type(backbone).__name__} has "
            f"{backbone.strides}."
        )


def true_stride(backbone: Backbone, stride: int) -> int:
    """The stride at which the features of stage `stride` lie: less than it where it is dilated."""
    limit = backbone.output_stride
    return stride if limit is None else min(stride, limit)
