"""Detectors: anchors by hand, parameters counted by hand, sizes of every kind, what a fresh one says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.models import FCOS, ConvBackbone, FeaturePyramid, ResNetBackbone, RetinaNet
from jaxcv.models.detection import DetectionHead, grid_anchors
from jaxcv.models.feature_pyramid import split_strides
from tests.models.drawn_variables import draw_variables

pytestmark = pytest.mark.usefixtures("quick_compilation")

LIGHT = ConvBackbone(widths=(4, 6, 8), convolutions=1)
SMALL = {"strides": (2, 4, 8), "width": 8, "convolutions": 1}
MODELS = [FCOS(3, LIGHT, **SMALL), RetinaNet(3, LIGHT, **SMALL, norm="none", background=True)]


def name_of(model):
    return type(model).__name__


def outputs_of(model, size, dtype=jnp.float32):
    images = jax.ShapeDtypeStruct((2, *size, 3), dtype)
    return jax.eval_shape(model.init_with_output, jax.random.key(0), images)


def test_anchors_by_hand():
    anchors = grid_anchors({4: (2, 1), 2: (1, 2)}, [(1.0, 1.0), (2.0, 1.0)])
    assert anchors.counts == (4, 4)
    assert anchors.strides.tolist() == [2.0] * 4 + [4.0] * 4
    assert anchors.boxes.tolist() == [
        [0, 0, 2, 2], [-1, 0, 3, 2], [2, 0, 4, 2], [1, 0, 5, 2],
        [0, 0, 4, 4], [-2, 0, 6, 4], [0, 4, 4, 8], [-2, 4, 6, 8],
    ]  # fmt: skip
    assert anchors.centers.tolist()[2:5] == [[3, 1], [3, 1], [2, 2]]


def test_retinanet_has_the_papers_anchors():
    """Section 4: areas 32^2 to 512^2 on strides 8 to 128, times 2^(0, 1/3, 2/3), three ratios."""
    model = RetinaNet(80, ResNetBackbone(depth=50))
    outputs, _ = outputs_of(model, (256, 320))
    # 9 at each of 32*40 + 16*20 + 8*10 + 4*5 + 2*3 positions: sizes round up.
    assert outputs.logits.shape == (2, 9 * (1280 + 320 + 80 + 20 + 6), 80)
    images = jnp.zeros((1, 16, 16, 3))
    light = RetinaNet(3, LIGHT, strides=(2, 4), width=4, convolutions=0)
    boxes = np.asarray(light.apply(draw_variables(light, images), images).anchors.boxes)[:9]
    sizes = boxes[:, 2:] - boxes[:, :2]
    areas = [8 * 8 * 4 ** (i / 3) for i in range(3) for _ in range(3)]
    np.testing.assert_allclose(sizes.prod(-1), areas, rtol=1e-5)
    np.testing.assert_allclose(sizes[:, 1] / sizes[:, 0], [0.5, 1, 2] * 3, rtol=1e-5)


@pytest.mark.parametrize("model", MODELS, ids=name_of)
@pytest.mark.parametrize("size", [(16, 24), (17, 9), (30, 41)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_any_size_has_an_output_for_every_anchor(model, size, dtype):
    model = model.clone(backbone=LIGHT.clone(dtype=dtype))
    outputs, _ = outputs_of(model, size)
    positions = sum(-(-size[0] // s) * -(-size[1] // s) for s in model.strides)
    count = positions * (1 if isinstance(model, FCOS) else 9)
    assert outputs.anchors.boxes.shape == (count, 4)
    assert outputs.logits.shape == (2, count, 3 + model.background)
    assert outputs.regression.shape == (2, count, 4)
    assert outputs.image_size == size
    if isinstance(model, FCOS):
        assert outputs.centerness.shape == (2, count)
    else:
        assert outputs.centerness is None
    assert {leaf.dtype for leaf in jax.tree.leaves(outputs)} == {jnp.dtype("float32")}


def test_parameters_are_as_many_as_counted():
    def plain(inputs, outputs, size=3):
        return size * size * inputs * outputs + outputs

    grouped = 9 * 8 * 8 + 2 * 8  # no bias; scale and bias of the norm
    backbone = (9 * 3 * 4 + 8) + (9 * 4 * 6 + 12) + (9 * 6 * 8 + 16)
    light = LIGHT.clone(patch=2)
    backbone += 9 * 9 * 4  # 12 channels instead of 3 go in
    pyramid = sum(plain(c, 8, 1) for c in (4, 6, 8)) + 3 * plain(8, 8)
    fcos = FCOS(3, light, strides=(2, 4, 8, 16), width=8, convolutions=1)
    head = 2 * grouped + plain(8, 3) + plain(8, 4) + plain(8, 1) + 4
    _, variables = outputs_of(fcos, (32, 32))
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == backbone + pyramid + plain(8, 8) + head
    retinanet = RetinaNet(3, light, **SMALL, norm="none", background=True)
    _, variables = outputs_of(retinanet, (32, 32))
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == backbone + pyramid + 2 * plain(8, 8) + plain(8, 9 * 4) + plain(8, 9 * 4)


@pytest.mark.parametrize("background", [False, True])
def test_a_fresh_head_gives_each_class_its_prior(background):
    head = DetectionHead(4, background=background, anchors=2, width=6, convolutions=1, prior=0.03)
    pyramid = {8: jnp.zeros((1, 2, 3, 6)), 16: jnp.zeros((1, 1, 2, 6))}
    logits, regression, centerness = head.init_with_output(jax.random.key(0), pyramid)[0]
    assert centerness is None
    assert regression.shape == (1, 2 * (6 + 2), 4)
    assert np.all(regression == 0)
    if background:
        # All classes together.
        np.testing.assert_allclose(jax.nn.softmax(logits)[..., :4].sum(-1), 0.03, rtol=1e-5)
    else:
        np.testing.assert_allclose(jax.nn.sigmoid(logits), 0.03, rtol=1e-5)


def test_levels_share_the_head_but_not_the_scale():
    model = FCOS(3, LIGHT, **SMALL)
    params = outputs_of(model, (16, 16))[1]["params"]["head"]
    assert sorted(params) == [
        "box_tower_1", "centerness", "class_tower_1", "logits", "regression",
        "scale_2", "scale_4", "scale_8",
    ]  # fmt: skip


@pytest.mark.parametrize("model", MODELS, ids=name_of)
def test_every_parameter_has_a_gradient_and_padding_none(model):
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(3, 16, 16, 3)), jnp.float32)
    mask = jnp.array([True, True, False])
    variables = draw_variables(model, images)

    def value(params, images):
        outputs, _ = model.apply(
            {**variables, "params": params}, images, train=True, mask=mask, mutable="batch_stats"
        )
        parts = [outputs.logits, outputs.regression]
        parts += [] if outputs.centerness is None else [outputs.centerness]
        return sum(jnp.sum(jnp.sin(part[:2])) for part in parts)

    gradient = jax.jit(jax.grad(value))
    found = gradient(variables["params"], images)
    still = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(found)
        if not np.any(leaf)
    ]
    assert still == []
    again = gradient(variables["params"], images.at[2].mul(100.0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), found, again)


def test_coarser_levels_of_a_pyramid_come_from_the_one_before():
    features = {4: jnp.ones((1, 5, 6, 3)), 8: jnp.ones((1, 3, 3, 2))}
    neck = FeaturePyramid(width=4, coarser=2)
    variables = draw_variables(neck, features)
    pyramid = neck.apply(variables, features)
    assert {stride: x.shape for stride, x in pyramid.items()} == {
        4: (1, 5, 6, 4), 8: (1, 3, 3, 4), 16: (1, 2, 2, 4), 32: (1, 1, 1, 4),
    }  # fmt: skip
    louder = neck.apply(variables, {**features, 4: 2 * features[4]})
    np.testing.assert_array_equal(pyramid[32], louder[32])
    louder = neck.apply(variables, {**features, 8: 2 * features[8]})
    assert not np.allclose(pyramid[32], louder[32])


def test_what_does_not_fit_is_refused():
    assert split_strides((8, 16, 32), (4, 8, 16)) == ([8, 16], 1)
    with pytest.raises(ValueError, match=r"strides are \(3, 6\), but they must start with one of"):
        outputs_of(FCOS(3, LIGHT, strides=(3, 6)), (16, 16))
    with pytest.raises(ValueError, match=r"strides are \(2, 8\), but"):
        outputs_of(FCOS(3, LIGHT, strides=(2, 8)), (16, 16))
    with pytest.raises(ValueError, match='norm is "batch", but the levels'):
        outputs_of(FCOS(3, LIGHT, **{**SMALL, "norm": "batch"}), (16, 16))
    dilated = ResNetBackbone(depth=18, width=4, output_stride=16)
    with pytest.raises(ValueError, match="output_stride is 16, but features at stride 32"):
        outputs_of(FCOS(3, dilated, width=8), (64, 64))
