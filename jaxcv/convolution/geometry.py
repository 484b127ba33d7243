"""What a convolution's lowering depends on beside its two arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Pair = tuple[int, ...]
"""One number for rows and one for columns."""


@dataclass(frozen=True)
class Geometry:
    """A 2-D convolution of [B, H, W, C] by a kernel [h, w, C, D].

    Attributes:
        size: (H, W) of the input.
        kernel: (h, w).
        strides: of the output.
        padding: ((top, bottom), (left, right)) of the input; below 0 crops it.
        dilation: of the kernel.
        precision: as `jax.lax.conv_general_dilated` takes it.
    """

    size: Pair
    kernel: Pair
    strides: Pair
    padding: tuple[tuple[int, int], ...]
    dilation: Pair
    precision: Any = None

    @property
    def reach(self) -> Pair:
        """(rows, columns) of the input that one output sees, gaps of the dilation included."""
        (h, w), (i, j) = self.kernel, self.dilation
        return (h - 1) * i + 1, (w - 1) * j + 1

    @property
    def output(self) -> Pair:
        """(H, W) of the output."""
        sides = zip(self.size, self.padding, self.reach, self.strides, strict=True)
        return tuple((n + sum(pad) - reach) // stride + 1 for n, pad, reach, stride in sides)

    @property
    def dense(self) -> bool:
        """Whether every output has its neighbours' stride and no gaps: stride 1, dilation 1."""
        return self.strides == (1, 1) and self.dilation == (1, 1)

    @property
    def mirrored(self) -> Geometry:
        """Of the dense convolution that takes an output's gradient to the input's."""
        assert self.dense
        (top, bottom), (left, right) = self.padding
        h, w = self.kernel[0] - 1, self.kernel[1] - 1
        return Geometry(
            self.output,
            self.kernel,
            (1, 1),
            ((h - top, h - bottom), (w - left, w - right)),
            (1, 1),
            self.precision,
        )
