"""The head of a dense detector: one set of weights for all levels of a pyramid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn.initializers import Initializer

from jaxcv.convolution.conv import Conv
from jaxcv.models.conv_block import ConvNormReLU, Norm


class DetectionHead(nn.Module):
    """Two towers of 3x3 convolutions, one for classes and one for boxes (Lin et al. 2017).

    arXiv:1708.02002, figure 3, with the normalization of FCOS (Tian et al. 2019, arXiv:1904.01355).
    The bias of the class logits makes every class have probability `prior` at first, so that the
    many anchors without an object do not drown the others (section 4.1); with `background`, a softmax
    over the classes and "no object" gives all classes together that probability.

    Attributes:
        num_classes: number of classes C.
        background: whether there is one more logit, the last, for no object.
        anchors: A, anchors at a position.
        width: channels of the towers.
        convolutions: in each tower.
        norm: see `Norm`; statistics of a batch are those of each level by itself, so "group" or "none".
        centerness: whether the box tower also gives a centre-ness logit.
        level_scales: whether each level has a learned factor for its regression, so that one set of
            weights fits objects of all sizes (FCOS, section 3.2).
        prior: probability, in (0, 1).
        dtype: compute dtype; outputs are float32.
    """

    num_classes: int
    background: bool = False
    anchors: int = 1
    width: int = 256
    convolutions: int = 4
    norm: Norm = "group"
    centerness: bool = False
    level_scales: bool = False
    prior: float = 0.01
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, pyramid: dict[int, jax.Array]
    ) -> tuple[jax.Array, jax.Array, jax.Array | None]:
        """From features `{stride: [B, h, w, C]}` to `(logits, regression, centerness)`.

        Returns:
            [B, N, classes], [B, N, 4] and [B, N] or None, float32, anchors in the order of
            `grid_anchors`.

        Raises:
            ValueError: for a norm over the batch.
        """
        if self.norm == "batch":
            raise ValueError(
                'norm is "batch", but the levels that share a head differ in their statistics; "group" '
                'or "none" is wanted.'
            )
        outputs = self.num_classes + self.background
        class_tower = self._tower("class_tower")
        box_tower = self._tower("box_tower")
        to_logits = self._output(self.anchors * outputs, "logits", self._prior_bias())
        to_boxes = self._output(self.anchors * 4, "regression")
        to_centerness = self._output(self.anchors, "centerness") if self.centerness else None
        logits, regression, centerness = [], [], []
        for stride in sorted(pyramid):
            features = pyramid[stride].astype(self.dtype)
            logits.append(_flat(to_logits(_through(class_tower, features)), outputs))
            x = _through(box_tower, features)
            boxes = to_boxes(x)
            if self.level_scales:
                boxes = boxes * self.param(f"scale_{stride}", nn.initializers.ones, ())
            regression.append(_flat(boxes, 4))
            if to_centerness is not None:
                centerness.append(_flat(to_centerness(x), 1)[..., 0])
        return (
            jnp.concatenate(logits, axis=1),
            jnp.concatenate(regression, axis=1),
            jnp.concatenate(centerness, axis=1) if centerness else None,
        )

    def _tower(self, name: str) -> list[ConvNormReLU]:
        return [
            ConvNormReLU(self.width, norm=self.norm, dtype=self.dtype, name=f"{name}_{i + 1}")
            for i in range(self.convolutions)
        ]

    def _output(
        self, channels: int, name: str, bias_init: Initializer = nn.initializers.zeros
    ) -> nn.Conv:
        return Conv(
            channels,
            (3, 3),
            padding=1,
            dtype=self.dtype,
            kernel_init=nn.initializers.normal(0.01),
            bias_init=bias_init,
            name=name,
        )

    def _prior_bias(self) -> Initializer:
        odds = math.log((1 - self.prior) / self.prior)
        if not self.background:
            return nn.initializers.constant(-odds)

        def init(
            key: jax.Array, shape: Sequence[int], dtype: Any = None, out_sharding: Any = None
        ) -> jax.Array:
            background = odds + math.log(self.num_classes)
            one = jnp.zeros(self.num_classes + 1, dtype).at[-1].set(background)
            return jnp.tile(one, self.anchors).reshape(shape)

        return init


def _through(tower: list[ConvNormReLU], x: jax.Array) -> jax.Array:
    for layer in tower:
        x = layer(x, train=False)  # neither norm knows training from evaluation
    return x


def _flat(x: jax.Array, channels: int) -> jax.Array:
    """[B, h, w, A * channels] -> [B, h * w * A, channels] float32."""
    return x.reshape(x.shape[0], -1, channels).astype(jnp.float32)
