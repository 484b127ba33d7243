"""Residual networks (He, Zhang, Ren & Sun 2016), in the form known as v1.5."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv.convolution.conv import Conv
from jaxcv.devices import AXIS
from jaxcv.models.backbone import check_strides
from jaxcv.models.inputs import ComputeDtype, prepare_images
from jaxcv.models.normalization import BatchNorm
from jaxcv.models.pooling import global_average_pool, max_pool

Depth = Literal[18, 34, 50, 101, 152]

_BLOCKS_PER_STAGE: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}

he_normal_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "truncated_normal")
"""Keeps the size of the gradient from layer to layer under ReLU (He et al. 2015, equation 14)."""


def _conv(width: int, size: int, stride: int, dtype: Any, name: str, dilation: int = 1) -> nn.Conv:
    """A convolution without bias, padded by `dilation * (size // 2)` on each side.

    "SAME" would pad a strided convolution on one side only, and shift it against the weights that
    other frameworks publish.
    """
    return Conv(
        width,
        (size, size),
        strides=(stride, stride),
        padding=dilation * (size // 2),
        kernel_dilation=(dilation, dilation),
        use_bias=False,
        dtype=dtype,
        kernel_init=he_normal_fan_out,
        name=name,
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, figure 5 left): [B,H,W,C] -> width.

    Attributes:
        dilation: of the convolution that carries the stride, and of the one after it.
    """

    width: int
    stride: int
    norm: Any
    last_scale_init: Any
    dtype: Any
    dilation: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None = None) -> jax.Array:
        """Features [B, H, W, C] -> [B, H / stride, W / stride, width]."""
        norm = partial(self.norm, dtype=self.dtype)
        first, second = self.dilation
        y = _conv(self.width, 3, self.stride, self.dtype, "conv_1", first)(x)
        y = nn.relu(norm(name="norm_1")(y, train=train, mask=mask))
        y = _conv(self.width, 3, 1, self.dtype, "conv_2", second)(y)
        y = norm(name="norm_2", scale_init=self.last_scale_init)(y, train=train, mask=mask)
        if x.shape != y.shape:
            x = _conv(self.width, 1, self.stride, self.dtype, "conv_shortcut")(x)
            x = norm(name="norm_shortcut")(x, train=train, mask=mask)
        return nn.relu(x + y)


class BottleneckBlock(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut (He et al. 2016, figure 5 right).

    The 3x3 convolution carries the stride ("v1.5"); in the paper the first 1x1 does, and throws
    three quarters of its input away.

    Attributes:
        dilation: of the 3x3 convolution; the second number is what a `BasicBlock` needs.
    """

    width: int
    stride: int
    norm: Any
    last_scale_init: Any
    dtype: Any
    dilation: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None = None) -> jax.Array:
        """Features [B, H, W, C] -> [B, H / stride, W / stride, 4 * width]."""
        norm = partial(self.norm, dtype=self.dtype)
        y = _conv(self.width, 1, 1, self.dtype, "conv_1")(x)
        y = nn.relu(norm(name="norm_1")(y, train=train, mask=mask))
        y = _conv(self.width, 3, self.stride, self.dtype, "conv_2", self.dilation[0])(y)
        y = nn.relu(norm(name="norm_2")(y, train=train, mask=mask))
        y = _conv(4 * self.width, 1, 1, self.dtype, "conv_3")(y)
        y = norm(name="norm_3", scale_init=self.last_scale_init)(y, train=train, mask=mask)
        if x.shape != y.shape:
            x = _conv(4 * self.width, 1, self.stride, self.dtype, "conv_shortcut")(x)
            x = norm(name="norm_shortcut")(x, train=train, mask=mask)
        return nn.relu(x + y)


class ResNetBackbone(nn.Module):
    """A ResNet without its classifier: a pyramid of features.

    Attributes:
        output_stride: No stage has features coarser than this: those that would have are dilated
            instead of strided, and so see as much of the image (Chen et al. 2017,
            arXiv:1706.05587, section 3.1). 16 or 8 for segmentation; None dilates nothing. The
            weights are the same in number and in meaning: features at stride 32, taken at every
            second position where they are dilated to 16.
        others: See `ResNet`.
    """

    depth: Depth = 50
    width: int = 64
    stem: Literal["imagenet", "cifar"] = "imagenet"
    zero_init_last: bool = True
    momentum: float = 0.9
    dtype: ComputeDtype = "float32"
    axis_name: str | None = AXIS
    output_stride: int | None = None

    @property
    def strides(self) -> tuple[int, ...]:
        """The strides that `features_at` knows: of the ImageNet stem, and of the four stages."""
        return (2, *self._stage_strides) if self.stem == "imagenet" else self._stage_strides

    @property
    def _stage_strides(self) -> tuple[int, ...]:
        return (4, 8, 16, 32) if self.stem == "imagenet" else (1, 2, 4, 8)

    def __call__(
        self, images: jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> dict[int, jax.Array]:
        """Features of images [B, H, W, C] after each stage.

        Returns:
            `{stride: [B, H / stride, W / stride, channels]}` in the compute dtype, for the strides
            4, 8, 16, 32 (1, 2, 4, 8 with the CIFAR stem); an H or W that is no multiple rounds up.
            With an `output_stride`, later stages keep their name in the dict and have its size.
        """
        return self.features_at(images, self._stage_strides, train=train, mask=mask)

    @nn.compact
    def features_at(
        self,
        images: jax.Array,
        strides: Sequence[int],
        *,
        train: bool = False,
        mask: jax.Array | None = None,
    ) -> dict[int, jax.Array]:
        """Features of images [B, H, W, C] at some of `strides`; stages after the last are not built.

        Returns:
            As `__call__`, with the strides asked for, from fine to coarse.

        Raises:
            ValueError: For a stride or an output stride that the network does not have, or images
                too small for it.
        """
        self._check(strides)
        x = prepare_images(
            images,
            model=f'ResNet-{self.depth}(stem="{self.stem}")',
            minimum=self._stage_strides[-1],
            dtype=self.dtype,
        )
        pyramid = {}
        x = self._stem(x, train=train, mask=mask)
        if self.stem == "imagenet":
            pyramid[2] = x
            if max(strides) > 2:
                x = max_pool(x, 3, stride=2, padding=1)
        dilation = 1
        for stage, stride in enumerate(self._stage_strides):
            if stride > max(strides):
                break
            dilated = self.output_stride is not None and stride > self.output_stride
            before, dilation = dilation, 2 * dilation if dilated else dilation
            x = self._stage(
                x,
                stage,
                stride=1 if dilated or stage == 0 else 2,
                # What the first block reads still lies as densely as before.
                dilations=(before, dilation),
                train=train,
                mask=mask,
            )
            pyramid[stride] = x
        return {stride: pyramid[stride] for stride in sorted(set(strides))}

    def _check(self, strides: Sequence[int]) -> None:
        if self.depth not in _BLOCKS_PER_STAGE:
            raise ValueError(
                f"ResNet has depth {sorted(_BLOCKS_PER_STAGE)}, found depth={self.depth}."
            )
        if self.output_stride is not None and self.output_stride not in self._stage_strides:
            raise ValueError(
                f"output_stride is {self.output_stride}, but the stages of this ResNet have "
                f"strides {self._stage_strides}; choose one of them, or None."
            )
        check_strides(self, strides)

    @property
    def _norm(self) -> Any:
        return partial(BatchNorm, momentum=self.momentum, axis_name=self.axis_name)

    def _stem(self, x: jax.Array, *, train: bool, mask: jax.Array | None) -> jax.Array:
        size, stride = (7, 2) if self.stem == "imagenet" else (3, 1)
        x = _conv(self.width, size, stride, x.dtype, "conv_stem")(x)
        norm = self._norm(dtype=x.dtype, name="norm_stem")
        return nn.relu(norm(x, train=train, mask=mask))

    def _stage(
        self,
        x: jax.Array,
        stage: int,
        *,
        stride: int,
        dilations: tuple[int, int],
        train: bool,
        mask: jax.Array | None,
    ) -> jax.Array:
        block = BasicBlock if self.depth < 50 else BottleneckBlock
        zeros_or_ones = nn.initializers.zeros if self.zero_init_last else nn.initializers.ones
        before, after = dilations
        for i in range(_BLOCKS_PER_STAGE[self.depth][stage]):
            x = block(
                width=self.width * 2**stage,
                stride=stride if i == 0 else 1,
                dilation=(before if i == 0 else after, after),
                norm=self._norm,
                last_scale_init=zeros_or_ones,
                dtype=x.dtype,
                name=f"stage_{stage + 1}_block_{i + 1}",
            )(x, train=train, mask=mask)
        return x


class ResNet(nn.Module):
    """ResNet-18, -34, -50, -101 or -152 (He et al. 2016, table 1), v1.5.

    Parameters for 3 channels and 1000 classes with the ImageNet stem: 11,689,512 (18), 21,797,672
    (34), 25,557,032 (50), 44,549,160 (101), 60,192,808 (152). Takes any image size from 32 on (from
    8 on with the CIFAR stem).

    Attributes:
        num_classes: Number of outputs.
        depth: Layers with weights: 18 and 34 have basic blocks, the others bottlenecks.
        width: Channels of the first stage; each stage doubles it.
        stem: "imagenet" is a 7x7 convolution of stride 2 and a 3x3 max-pool of stride 2; "cifar",
            for small images, is one 3x3 convolution of stride 1.
        zero_init_last: Whether the last scale of each block starts at 0, so that each block starts
            as the identity (Goyal et al. 2017, section 5.1).
        momentum: Momentum of the running statistics of BatchNorm.
        dtype: Compute dtype.
        axis_name: Mapped axis over which BatchNorm's statistics are summed.

    Example:
        >>> model = ResNet(num_classes=10, depth=18, stem="cifar")
        >>> images = jnp.zeros((2, 32, 32, 3))
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), images)
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        11173962
    """

    num_classes: int = 1000
    depth: Depth = 50
    width: int = 64
    stem: Literal["imagenet", "cifar"] = "imagenet"
    zero_init_last: bool = True
    momentum: float = 0.9
    dtype: ComputeDtype = "float32"
    axis_name: str | None = AXIS

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> jax.Array:
        """Logits [B, num_classes] float32 of images [B, H, W, C].

        Args:
            images: [B, H, W, C] float.
            train: Whether BatchNorm uses, and learns from, this batch.
            mask: [B] bool; False keeps a row out of BatchNorm's statistics.

        Returns:
            [B, num_classes] float32.

        Raises:
            ValueError: If the images are too small for the stem and four stages.
        """
        pyramid = ResNetBackbone(
            depth=self.depth,
            width=self.width,
            stem=self.stem,
            zero_init_last=self.zero_init_last,
            momentum=self.momentum,
            dtype=self.dtype,
            axis_name=self.axis_name,
            name="backbone",
        )(images, train=train, mask=mask)
        x = global_average_pool(pyramid[max(pyramid)])
        # The classifier is a thousandth of the work: float32 costs nothing and rounds no logit.
        return nn.Dense(
            self.num_classes,
            dtype=jnp.float32,
            kernel_init=nn.initializers.normal(0.01),
            name="classifier",
        )(x)
