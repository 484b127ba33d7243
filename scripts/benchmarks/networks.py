"""The networks of `training_step`, for each framework in its own idiom, layer by layer in one order.

`lenet`, `resnet18` (CIFAR stem) and `speed` (the layout of the CIFAR-10 speed records: a 2x2 convolution,
three blocks of two 3x3 convolutions with pooling, BatchNorm and GELU, and a linear classifier). Parameters
are listed in the order of the layers, so that all start from the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcv.convolution.conv import Conv
from jaxcv.models import BatchNorm, LeNet, ResNet
from jaxcv.models.pooling import max_pool_2x2

CLASSES = 10
IMAGE = (32, 32, 3)


@dataclass(frozen=True)
class Network:
    """Which one, and the widths of its stages (of `lenet` they are fixed)."""

    name: str
    widths: tuple[int, ...] = ()

    def __str__(self) -> str:
        return "-".join([self.name, *map(str, self.widths)])


class SpeedNetwork(nn.Module):
    """The speed network of jaxcv's parts, or of whatever parts it is given."""

    widths: Sequence[int]
    conv: Callable[..., Any] = Conv
    pool: Callable[[jax.Array], jax.Array] = max_pool_2x2
    norm: Callable[..., Any] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False, **mask: Any) -> jax.Array:
        """Logits of images."""
        x = nn.gelu(self.conv(24, (2, 2), padding="VALID")(x))
        for width in self.widths:
            x = self.pool(self.conv(width, (3, 3), use_bias=False)(x))
            x = nn.gelu(_normalized(self.norm, x, train, mask))
            x = self.conv(width, (3, 3), use_bias=False)(x)
            x = nn.gelu(_normalized(self.norm, x, train, mask))
        return nn.Dense(CLASSES, use_bias=False)(jnp.max(x, axis=(1, 2)))


def _normalized(norm: Any, x: jax.Array, train: bool, mask: dict[str, Any]) -> jax.Array:
    if norm is BatchNorm:
        return norm()(x, train=train, **mask)
    return norm(use_running_average=not train, momentum=0.9)(x)


def ours(network: Network) -> nn.Module:
    """The model as jaxcv has it."""
    if network.name == "lenet":
        return LeNet(num_classes=CLASSES)
    if network.name == "resnet18":
        width = network.widths[0]
        return ResNet(
            num_classes=CLASSES, depth=18, width=width, stem="cifar", zero_init_last=False
        )
    return SpeedNetwork(network.widths)


# Flax, as its examples are written.

_pool = partial(nn.max_pool, window_shape=(2, 2), strides=(2, 2))


class FlaxLeNet(nn.Module):
    """As `jaxcv.models.LeNet`."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Logits of images."""
        for width in (6, 16):
            x = _pool(nn.relu(nn.Conv(width, (5, 5), padding="VALID")(x)))
        x = x.reshape(x.shape[0], -1)
        for width in (120, 84):
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(CLASSES)(x)


class FlaxResNet18(nn.Module):
    """As `jaxcv.models.ResNet`."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Logits of images."""
        conv = partial(nn.Conv, use_bias=False)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
        x = nn.relu(norm()(conv(self.width, (3, 3), padding=1)(x)))
        for width, stride in _blocks(self.width):
            y = nn.relu(norm()(conv(width, (3, 3), (stride, stride), padding=1)(x)))
            y = norm()(conv(width, (3, 3), padding=1)(y))
            if x.shape != y.shape:
                x = norm()(conv(width, (1, 1), (stride, stride), padding=0)(x))
            x = nn.relu(x + y)
        return nn.Dense(CLASSES)(x.mean((1, 2)))


def flax(network: Network) -> nn.Module:
    """The same by plain `flax.linen`."""
    if network.name == "lenet":
        return FlaxLeNet()
    if network.name == "resnet18":
        return FlaxResNet18(network.widths[0])
    return SpeedNetwork(network.widths, nn.Conv, _pool, nn.BatchNorm)


def _blocks(width: int) -> Iterator[tuple[int, int]]:
    """(width, stride) of each of the eight blocks of a ResNet-18."""
    for stage in range(4):
        yield width * 2**stage, 1 if stage == 0 else 2
        yield width * 2**stage, 1


# Parameters in the order of the layers.


def listed(params: Any) -> list[np.ndarray]:
    """The leaves of Flax parameters in the order in which they were made."""
    if isinstance(params, dict):
        return [leaf for part in params.values() for leaf in listed(part)]
    return [np.asarray(params)]


def filled(params: Any, values: Iterator[np.ndarray]) -> Any:
    """The same tree, leaves replaced in that order."""
    if isinstance(params, dict):
        return {name: filled(part, values) for name, part in params.items()}
    value = next(values)
    assert value.shape == params.shape, (value.shape, params.shape)
    return jnp.asarray(value)


# PyTorch.


def torch_model(network: Network, values: Sequence[np.ndarray]) -> Any:
    """A channels-last `torch.nn.Module` with those parameters."""
    import torch
    from torch import nn as tnn

    class Flatten(tnn.Module):
        def forward(self, x: Any) -> Any:  # in the order of channels-last pixels
            return x.permute(0, 2, 3, 1).flatten(1)

    class Block(tnn.Module):
        def __init__(self, before: int, width: int, stride: int) -> None:
            super().__init__()
            self.body = tnn.Sequential(
                tnn.Conv2d(before, width, 3, stride, 1, bias=False),
                tnn.BatchNorm2d(width),
                tnn.ReLU(inplace=True),
                tnn.Conv2d(width, width, 3, 1, 1, bias=False),
                tnn.BatchNorm2d(width),
            )
            self.shortcut = tnn.Sequential()
            if stride != 1 or before != width:
                conv = tnn.Conv2d(before, width, 1, stride, bias=False)
                self.shortcut = tnn.Sequential(conv, tnn.BatchNorm2d(width))

        def forward(self, x: Any) -> Any:
            return torch.relu(self.body(x) + self.shortcut(x))

    layers: list[Any] = []
    before = 3
    if network.name == "lenet":
        for width in (6, 16):
            layers += [tnn.Conv2d(before, width, 5), tnn.ReLU(inplace=True), tnn.MaxPool2d(2)]
            before = width
        layers += [Flatten(), tnn.Linear(400, 120), tnn.ReLU(), tnn.Linear(120, 84), tnn.ReLU()]
        layers += [tnn.Linear(84, CLASSES)]
    elif network.name == "resnet18":
        before = network.widths[0]
        layers += [tnn.Conv2d(3, before, 3, 1, 1, bias=False), tnn.BatchNorm2d(before)]
        layers += [tnn.ReLU(inplace=True)]
        for width, stride in _blocks(before):
            layers.append(Block(before, width, stride))
            before = width
        layers += [tnn.AdaptiveAvgPool2d(1), tnn.Flatten(), tnn.Linear(before, CLASSES)]
    else:
        gelu = partial(tnn.GELU, approximate="tanh")
        layers, before = [tnn.Conv2d(3, 24, 2), gelu()], 24
        for width in network.widths:
            layers += [tnn.Conv2d(before, width, 3, padding=1, bias=False), tnn.MaxPool2d(2)]
            layers += [tnn.BatchNorm2d(width), gelu()]
            layers += [tnn.Conv2d(width, width, 3, padding=1, bias=False)]
            layers += [tnn.BatchNorm2d(width), gelu()]
            before = width
        layers += [tnn.AdaptiveMaxPool2d(1), tnn.Flatten(), tnn.Linear(before, CLASSES, bias=False)]
    model = tnn.Sequential(*layers)
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), values, strict=True):
            axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[value.ndim]
            parameter.copy_(torch.tensor(value.transpose(axes)))
    return model.to(memory_format=torch.channels_last)


# Keras.


def keras_model(network: Network, values: Sequence[np.ndarray]) -> Any:
    """A functional `keras.Model` with those parameters."""
    import keras
    from keras import layers as kl

    made = []  # a model lists its layers by their depth, not in the order of the network

    def layer(new: Any, x: Any) -> Any:
        made.append(new)
        return new(x)

    def norm(x: Any) -> Any:
        return layer(kl.BatchNormalization(momentum=0.9, epsilon=1e-5), x)

    def conv(x: Any, width: int, size: int, stride: int = 1, **options: Any) -> Any:
        if stride > 1 and size > 1:
            x = kl.ZeroPadding2D(size // 2)(x)
        padding = "same" if stride == 1 else "valid"
        options = {"padding": padding, "use_bias": False, **options}
        return layer(kl.Conv2D(width, size, stride, **options), x)

    gelu = partial(keras.activations.gelu, approximate=True)
    x = images = keras.Input(IMAGE)
    if network.name == "lenet":
        for width in (6, 16):
            x = conv(x, width, 5, padding="valid", use_bias=True, activation="relu")
            x = kl.MaxPooling2D(2)(x)
        x = kl.Flatten()(x)
        for width in (120, 84):
            x = layer(kl.Dense(width, activation="relu"), x)
        x = layer(kl.Dense(CLASSES), x)
    elif network.name == "resnet18":
        x = kl.ReLU()(norm(conv(x, network.widths[0], 3)))
        for width, stride in _blocks(network.widths[0]):
            y = kl.ReLU()(norm(conv(x, width, 3, stride)))
            y = norm(conv(y, width, 3))
            if x.shape != y.shape:
                x = norm(conv(x, width, 1, stride))
            x = kl.ReLU()(kl.Add()([x, y]))
        x = layer(kl.Dense(CLASSES), kl.GlobalAveragePooling2D()(x))
    else:
        x = conv(x, 24, 2, padding="valid", use_bias=True, activation=gelu)
        for width in network.widths:
            x = kl.Activation(gelu)(norm(kl.MaxPooling2D(2)(conv(x, width, 3))))
            x = kl.Activation(gelu)(norm(conv(x, width, 3)))
        x = layer(kl.Dense(CLASSES, use_bias=False), kl.GlobalMaxPooling2D()(x))
    model = keras.Model(images, x)
    variables = [variable for layer in made for variable in layer.trainable_variables]
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return model
