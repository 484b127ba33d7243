"""Segmentation networks: parameters counted by hand, sizes of every kind, gradients everywhere."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.models import FeaturePyramid, ResNetBackbone
from jaxcv.models.conv_backbone import ConvBackbone
from jaxcv.models.segmentation import FPN, DeepLabV3Plus, PSPNet, UNet
from tests.models.drawn_variables import draw_variables

QUICK = {"xla_backend_optimization_level": 0}
LIGHT = ConvBackbone(widths=(4, 6, 8), convolutions=1)
MODELS = [
    UNet(5, LIGHT, widths=(6, 4)),
    UNet(5, LIGHT.clone(patch=2), widths=(6, 4), upsampling="subpixel", auxiliary_stride=4),
    FPN(5, LIGHT, width=6, segmentation_width=4, levels=3, upsampling="nearest"),
    DeepLabV3Plus(5, LIGHT, width=6, rates=(1, 2), low_stride=2, low_width=3),
    PSPNet(5, LIGHT, width=6, bins=(1, 2), auxiliary_stride=2),
]


def name_of(model):
    if not hasattr(model, "backbone"):
        return str(model)
    return f"{type(model).__name__}-{type(model.backbone).__name__}-{model.auxiliary_stride}"


def shapes(model, size, *, train=False):
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    return jax.eval_shape(lambda x: model.init_with_output(keys, x, train=train), images)


def conv(inputs, outputs, size=3):
    """Parameters of a convolution without bias and BatchNorm."""
    return size * size * inputs * outputs + 2 * outputs


def plain(inputs, outputs, size=1):
    """Parameters of a convolution with bias."""
    return size * size * inputs * outputs + outputs


LIGHT_COUNT = conv(3, 4) + conv(4, 6) + conv(6, 8)
COUNTS = [
    LIGHT_COUNT
    + (plain(8, 6) + conv(12, 6) + conv(6, 6))
    + (plain(6, 4) + conv(8, 4) + conv(4, 4))
    + plain(4, 5),
    (conv(12, 4) + conv(4, 6) + conv(6, 8))
    + (plain(8, 24) + conv(12, 6) + conv(6, 6))
    + (plain(6, 16) + conv(8, 4) + conv(4, 4))
    + plain(4, 20)
    + (conv(6, 1) + plain(1, 5)),
    LIGHT_COUNT
    + sum(plain(c, 6) for c in (4, 6, 8))
    + 3 * plain(6, 6, 3)
    + (conv(6, 4) + conv(6, 4) + conv(6, 4) + conv(4, 4))
    + plain(4, 5),
    LIGHT_COUNT
    + (conv(8, 6, 1) + 2 * conv(8, 6) + conv(8, 6, 1) + conv(24, 6, 1))
    + (conv(6, 3, 1) + conv(9, 6) + conv(6, 6))
    + plain(6, 5),
    LIGHT_COUNT + (2 * conv(8, 4, 1) + conv(16, 6) + plain(6, 5)) + (conv(6, 1) + plain(1, 5)),
]


@pytest.mark.parametrize(("model", "count"), zip(MODELS, COUNTS), ids=name_of)
def test_parameters_are_as_many_as_counted(model, count):
    _, variables = shapes(model, (16, 16))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count


@pytest.mark.parametrize("model", MODELS, ids=name_of)
@pytest.mark.parametrize("size", [(16, 24), (17, 9), (30, 41)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_logits_are_float32_at_the_size_of_the_image(model, size, dtype):
    model = model.clone(backbone=model.backbone.clone(dtype=dtype))
    assert model.dtype == dtype
    for train in (False, True):
        outputs, variables = shapes(model, size, train=train)
        if model.auxiliary_stride is not None:
            assert sorted(outputs) == ["auxiliary", "logits"]
        for logits in jax.tree.leaves(outputs):
            assert (logits.shape, logits.dtype) == ((2, *size, 5), jnp.float32)
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    "model",
    [
        UNet(11, ResNetBackbone(depth=34, width=4), widths=(32, 16, 8, 4)),
        FPN(11, ResNetBackbone(depth=34, width=4)),
        DeepLabV3Plus(11, ResNetBackbone(depth=50, width=4, output_stride=16)),
        DeepLabV3Plus(11, ResNetBackbone(depth=50, width=4, output_stride=8), rates=(12, 24, 36)),
        PSPNet(11, ResNetBackbone(depth=50, width=4, output_stride=8), auxiliary_stride=16),
        UNet(11, ResNetBackbone(depth=18, width=4, output_stride=8), widths=(32, 16, 8, 4)),
        FPN(11, ResNetBackbone(depth=18, width=4, output_stride=16)),
    ],
    ids=name_of,
)
def test_every_decoder_takes_a_resnet_dilated_or_not(model):
    for size in ((96, 64), (67, 93)):
        for logits in jax.tree.leaves(shapes(model, size)[0]):
            assert logits.shape == (2, *size, 11)


@pytest.mark.parametrize(
    "model",
    [MODELS[1], *(pytest.param(model, marks=pytest.mark.slow) for model in MODELS[2:])],
    ids=name_of,
)
def test_every_parameter_gets_a_gradient_and_a_masked_row_gives_none(model):
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(3, 10, 13, 3)), jnp.float32)
    target = jnp.asarray(rng.normal(size=(3, 10, 13, 5)), jnp.float32)
    variables = draw_variables(model, images)
    mask = jnp.array([True, True, False])

    @partial(jax.jit, compiler_options=QUICK)
    def gradient(params, images):
        def objective(params):
            outputs, _ = model.apply(
                {**variables, "params": params},
                images,
                train=True,
                mask=mask,
                mutable="batch_stats",
            )
            return sum(jnp.sum((head * target)[:2]) for head in jax.tree.leaves(outputs))

        return jax.grad(objective)(params)

    found = gradient(variables["params"], images)
    still = [path for path, x in jax.tree_util.tree_leaves_with_path(found) if not np.any(x)]
    # ReLU may kill the one or two units of an auxiliary head or of an image mean by chance.
    assert len(still) <= 3, still
    again = gradient(variables["params"], images.at[2].mul(100.0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), found, again)


def test_a_pyramid_level_hears_of_the_coarser_ones():
    features = {4: jnp.ones((1, 5, 6, 3)), 8: jnp.ones((1, 3, 3, 2))}
    neck = FeaturePyramid(width=4)
    variables = draw_variables(neck, features)
    pyramid = neck.apply(variables, features)
    assert {stride: x.shape for stride, x in pyramid.items()} == {4: (1, 5, 6, 4), 8: (1, 3, 3, 4)}
    louder = neck.apply(variables, {**features, 8: 2 * features[8]})
    assert not np.allclose(pyramid[4], louder[4])
    louder = neck.apply(variables, {**features, 4: 2 * features[4]})
    np.testing.assert_array_equal(pyramid[8], louder[8])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="one width for each step .* 2 in all, found widths"):
        shapes(UNet(5, LIGHT), (16, 16))
    with pytest.raises(ValueError, match=r"levels is 4, but the backbone has strides \(1, 2, 4\)"):
        shapes(FPN(5, LIGHT), (16, 16))
    with pytest.raises(ValueError, match=r"strides \(8, 4\) are asked for"):
        shapes(DeepLabV3Plus(5, LIGHT, low_stride=8), (16, 16))
