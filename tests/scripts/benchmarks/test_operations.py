"""The operations that benchmarks count, against formulas and published figures."""

import pytest

from jaxcv.models import MLP, ResNet, SpeedNet
from scripts.benchmarks.operations import forward_operations


def test_dense_layers_by_hand():
    assert forward_operations(MLP(hidden=(128,)), (28, 28, 1)) == 2 * (784 * 128 + 128 * 10)


def test_speed_network_by_hand():
    # 32 -> 31 by the patches, then halved by each block: 31, 15, 7, 3.
    convolutions = [
        (31, 4 * 3, 24), (31, 9 * 24, 64), (15, 9 * 64, 64), (15, 9 * 64, 256),
        (7, 9 * 256, 256), (7, 9 * 256, 256), (3, 9 * 256, 256),
    ]  # fmt: skip
    wanted = 2 * sum(size**2 * inputs * outputs for size, inputs, outputs in convolutions)
    assert forward_operations(SpeedNet(), (32, 32, 3)) == wanted + 2 * 256 * 10
    # 200 steps of 2,000 images, and six views of 10,000: what the recipe is known to take.
    total = forward_operations(SpeedNet(), (32, 32, 3)) * (3 * 400_000 + 60_000)
    assert total == pytest.approx(298e12, rel=2e-3)


def test_resnet_50_has_the_published_count():
    # 4.09 thousand million multiply-adds, as torchvision's table of models has it.
    assert forward_operations(ResNet(), (224, 224, 3)) / 2 == pytest.approx(4.09e9, rel=1e-3)
