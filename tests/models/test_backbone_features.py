"""Backbones: dilation beside striding, the strides asked for, and the plain one's shapes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.models import ResNetBackbone
from jaxcv.models.conv_backbone import ConvBackbone, patches
from tests.models.drawn_variables import draw_variables

QUICK = {"xla_backend_optimization_level": 0}
IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(1, 67, 96, 3)), jnp.float32)


def pyramid_shapes(backbone, size, strides=None):
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)

    def run(x):
        method = None if strides is None else backbone.features_at
        options = {} if strides is None else {"strides": strides}
        return backbone.init_with_output(jax.random.key(0), x, method=method, **options)

    features, variables = jax.eval_shape(run, images)
    return {stride: x.shape for stride, x in features.items()}, variables["params"]


@pytest.mark.parametrize(
    ("depth", "stem"), [(18, "imagenet"), pytest.param(50, "cifar", marks=pytest.mark.slow)]
)
def test_a_dilated_stage_is_the_strided_one_evaluated_more_densely(depth, stem):
    """Sizes are odd somewhere, so that borders and rounding are tested too."""
    images = IMAGES if stem == "imagenet" else IMAGES[:, :19, :24]
    strided = ResNetBackbone(depth=depth, width=2, stem=stem)
    first = strided.strides[1] if stem == "imagenet" else 1
    # Compilation takes the time: one limit is enough for the deep network.
    limits = (2 * first, 4 * first) if depth == 18 else (2 * first,)
    variables = draw_variables(strided, images)

    @functools.partial(jax.jit, compiler_options=QUICK)
    def features(variables, images):
        every = (None, *limits)
        return [strided.clone(output_stride=limit).apply(variables, images) for limit in every]

    coarse, *results = features(variables, images)
    for limit, dense in zip(limits, results):
        assert list(dense) == list(coarse)
        for stride, wanted in coarse.items():
            step = max(stride // limit, 1)
            assert dense[stride].shape[1] == -(-images.shape[1] // min(stride, limit))
            scale = float(jnp.abs(wanted).max())
            np.testing.assert_allclose(
                dense[stride][:, ::step, ::step], wanted, atol=1e-5 * scale, rtol=1e-5
            )


def test_stages_after_the_last_one_asked_for_are_not_built():
    backbone = ResNetBackbone(depth=18, width=2)
    shapes, params = pyramid_shapes(backbone, (64, 64), strides=(8, 2))
    assert list(shapes) == [2, 8]
    assert shapes[2] == (2, 32, 32, 2)
    assert {name.split("_block")[0] for name in params if "block" in name} == {"stage_1", "stage_2"}
    _, params = pyramid_shapes(ConvBackbone(widths=(2, 4, 8)), (8, 8), strides=(2,))
    assert not [name for name in params if name.startswith("stage_3")]


def test_strides_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match=r"\(4, 64\) are asked for, but ResNetBackbone has \(2, 4"):
        pyramid_shapes(ResNetBackbone(depth=18), (64, 64), strides=(4, 64))
    with pytest.raises(ValueError, match=r"output_stride is 2, .* \(4, 8, 16, 32\)"):
        pyramid_shapes(ResNetBackbone(depth=18, output_stride=2), (64, 64))
    with pytest.raises(ValueError, match="at least 8x8 pixels, found 7x20"):
        pyramid_shapes(ConvBackbone(), (7, 20))


def test_the_plain_backbone_rounds_sizes_up_and_has_the_counted_parameters():
    backbone = ConvBackbone(widths=(4, 6, 8), patch=2, norm="none")
    shapes, params = pyramid_shapes(backbone, (30, 41))
    assert shapes == {2: (2, 15, 21, 4), 4: (2, 8, 11, 6), 8: (2, 4, 6, 8)}
    pairs = [(12, 4), (4, 4), (4, 6), (6, 6), (6, 8), (8, 8)]
    assert sum(x.size for x in jax.tree.leaves(params)) == sum(9 * i * o + o for i, o in pairs)
    with_batch_norm = pyramid_shapes(backbone.clone(norm="batch"), (30, 41))[1]
    with_group_norm = pyramid_shapes(backbone.clone(norm="group"), (30, 41))[1]
    for params in (with_batch_norm, with_group_norm):
        wanted = sum(9 * i * o + 2 * o for i, o in pairs)
        assert sum(x.size for x in jax.tree.leaves(params)) == wanted
    with pytest.raises(ValueError, match="norm is 'layer'"):
        pyramid_shapes(backbone.clone(norm="layer"), (30, 41))


def test_patches_keep_their_pixels_together():
    image = jnp.arange(12.0).reshape(1, 3, 4, 1)
    found = patches(image, 2)
    assert found[0, 0, 1].tolist() == [2, 3, 6, 7]
    assert found[0, 1, 0].tolist() == [8, 9, 8, 9]  # The last row, repeated.
