"""ResNet blocks beside PyTorch's, identity at the start, and the pyramid of features."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcv.models import BatchNorm, ResNetBackbone
from jaxcv.models.resnet import BasicBlock, BottleneckBlock
from tests.models.drawn_variables import draw_variables

WIDTH, SIZE = 4, 9


def to_torch(torch, variables, convolutions, norms):
    """Copies convolutions and norms of a block to PyTorch layers of the same name."""
    for name, layer in convolutions.items():
        kernel = np.asarray(variables["params"][name]["kernel"]).transpose(3, 2, 0, 1)
        layer.weight.data = torch.tensor(kernel.copy())
    for name, layer in norms.items():
        for ours, theirs in (("scale", "weight"), ("bias", "bias")):
            value = np.asarray(variables["params"][name][ours])
            getattr(layer, theirs).data = torch.tensor(value.copy())


@pytest.mark.parametrize(("block", "channels"), [(BasicBlock, 3), (BottleneckBlock, 3)])
def test_a_strided_block_is_pytorchs(block, channels):
    torch = pytest.importorskip("torch")
    conv, norm = partial(torch.nn.Conv2d, bias=False), torch.nn.BatchNorm2d
    if block is BasicBlock:
        out = WIDTH
        path = [conv(channels, WIDTH, 3, 2, 1), conv(WIDTH, WIDTH, 3, 1, 1)]
    else:
        out = 4 * WIDTH
        path = [conv(channels, WIDTH, 1), conv(WIDTH, WIDTH, 3, 2, 1), conv(WIDTH, out, 1)]
    norms = [norm(layer.out_channels) for layer in path]
    shortcut, shortcut_norm = conv(channels, out, 1, 2), norm(out)

    ours = block(
        width=WIDTH,
        stride=2,
        norm=BatchNorm,
        last_scale_init=nn.initializers.normal(1.0),
        dtype=jnp.float32,
    )
    x = np.random.default_rng(0).normal(size=(2, SIZE, SIZE, channels)).astype(np.float32)
    variables = draw_variables(ours, x, train=False)
    names = range(1, len(path) + 1)
    to_torch(
        torch,
        variables,
        {f"conv_{i}": path[i - 1] for i in names} | {"conv_shortcut": shortcut},
        {f"norm_{i}": norms[i - 1] for i in names} | {"norm_shortcut": shortcut_norm},
    )
    x_torch = torch.tensor(x.transpose(0, 3, 1, 2).copy())
    y_torch = x_torch
    for i, (layer, layer_norm) in enumerate(zip(path, norms)):
        y_torch = layer_norm(layer(y_torch))
        y_torch = torch.relu(y_torch) if i < len(path) - 1 else y_torch
    y_torch = torch.relu(y_torch + shortcut_norm(shortcut(x_torch)))

    apply = jax.jit(partial(ours.apply, train=True, mutable="batch_stats"))
    y, _ = apply(variables, x)
    wanted = y_torch.detach().numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("block", [BasicBlock, BottleneckBlock])
def test_a_block_whose_last_scale_is_0_is_the_identity(block):
    channels = WIDTH if block is BasicBlock else 4 * WIDTH
    layer = block(
        width=WIDTH,
        stride=1,
        norm=BatchNorm,
        last_scale_init=nn.initializers.zeros,
        dtype=jnp.float32,
    )
    rng = np.random.default_rng(0)
    x = jnp.asarray(np.abs(rng.normal(size=(2, 4, 4, channels))), jnp.float32)
    variables = draw_variables(layer, x, train=False)
    last = "norm_2" if block is BasicBlock else "norm_3"
    for name in ("scale", "bias"):
        variables["params"][last][name] = jnp.zeros_like(variables["params"][last][name])
    variables["batch_stats"][last]["mean"] = jnp.zeros(channels)
    y = jax.jit(partial(layer.apply, train=False))(variables, x)
    assert "conv_shortcut" not in variables["params"]
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("zero_init_last", [True, False])
def test_zero_init_touches_the_last_scale_of_each_block_alone(zero_init_last):
    model = ResNetBackbone(depth=50, width=2, zero_init_last=zero_init_last)

    @jax.jit
    def scales(key):
        """The scales alone: the compiler then leaves everything else out."""
        params = model.init(key, jnp.zeros((1, 32, 32, 3)))["params"]
        blocks = [value for name, value in params.items() if name.startswith("stage")]
        return [(block["norm_2"]["scale"], block["norm_3"]["scale"]) for block in blocks]

    blocks = scales(jax.random.key(0))
    assert len(blocks) == 16
    for inner, last in blocks:
        assert (inner == 1).all()
        assert (last == (0 if zero_init_last else 1)).all()


@pytest.mark.parametrize(
    ("stem", "strides"), [("imagenet", (4, 8, 16, 32)), ("cifar", (1, 2, 4, 8))]
)
def test_the_pyramid_has_the_stated_strides(stem, strides):
    images = jax.ShapeDtypeStruct((2, 96, 64, 3), jnp.float32)
    backbone = ResNetBackbone(depth=50, stem=stem)
    (pyramid, _) = jax.eval_shape(lambda x: backbone.init_with_output(jax.random.key(0), x), images)
    wanted = {s: (2, 96 // s, 64 // s, 256 * 2**i) for i, s in enumerate(strides)}
    assert {stride: x.shape for stride, x in pyramid.items()} == wanted
