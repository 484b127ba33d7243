"""What every model owes the training step: shapes, dtypes, parameter counts, clear refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.models import MLP, FaceCNN, LeNet, ResNet, SmallCNN, SpeedNet, WideResNet
from tests.models.drawn_variables import draw_variables

BATCH = 2
# model, image shape, parameters counted by hand or published (see the models' docstrings)
MODELS = [
    (MLP(), (28, 28, 1), 784 * 128 + 128 + 128 * 10 + 10),
    (LeNet(), (32, 32, 3), 62_006),
    (LeNet(), (28, 28, 1), 156 + 2_416 + 256 * 120 + 120 + 10_164 + 850),
    (LeNet(padding="SAME"), (8, 8, 1), 156 + 2_416 + 64 * 120 + 120 + 10_164 + 850),
    (FaceCNN(), (64, 64, 3), 896 + 18_496 + 73_856 + 8192 * 512 + 512 + 513),
    (FaceCNN(num_classes=40), (64, 64, 3), 896 + 18_496 + 73_856 + 8192 * 512 + 512 + 513 * 40),
    (SmallCNN(), (28, 28, 1), 61_690),
    (ResNet(depth=18), (224, 224, 3), 11_689_512),
    (ResNet(depth=34), (224, 224, 3), 21_797_672),
    (ResNet(depth=50), (224, 224, 3), 25_557_032),
    (ResNet(depth=101), (224, 224, 3), 44_549_160),
    (ResNet(depth=152), (224, 224, 3), 60_192_808),
    (ResNet(depth=18, num_classes=10, stem="cifar"), (32, 32, 3), 11_173_962),
    (WideResNet(), (32, 32, 3), 36_479_194),
    (SpeedNet(), (32, 32, 3), 1_971_352),
]
FEW = [
    (MLP(dropout=0.5), (28, 28, 1)),
    (LeNet(dropout=0.5), (28, 28, 1)),
    (FaceCNN(widths=(4, 8), hidden=16), (16, 16, 3)),
    (SmallCNN(widths=(4, 4, 8), dropout=0.5), (28, 28, 1)),
    (ResNet(depth=18, width=4, stem="cifar", num_classes=10), (16, 16, 3)),
    (ResNet(depth=50, width=4), (64, 64, 3)),
    (WideResNet(depth=10, width=1, dropout=0.5), (16, 16, 3)),
    (SpeedNet(widths=(4, 4, 8)), (16, 16, 3)),
]


def name_of(value):
    return type(value).__name__ if hasattr(value, "apply") else str(value)


def shapes(model, image, *, train=False):
    """Shapes and dtypes of the outputs and of the variables, without computing anything."""
    images = jax.ShapeDtypeStruct((BATCH, *image), jnp.float32)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    return jax.eval_shape(lambda x: model.init_with_output(keys, x, train=train), images)


@pytest.mark.parametrize(("model", "image", "count"), MODELS, ids=name_of)
def test_parameters_are_as_many_as_counted(model, image, count):
    outputs, variables = shapes(model, image)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count
    assert outputs.shape == (BATCH, model.num_classes)


def test_docstrings_state_the_counts():
    of_default_size = (MLP(), FaceCNN(), SmallCNN(), WideResNet(), SpeedNet())
    for model, _, count in MODELS:
        is_resnet = isinstance(model, ResNet) and model.stem == "imagenet"
        if model in of_default_size or is_resnet:
            assert f"{count:,}" in type(model).__doc__, (model, count)
    assert "62,006" in LeNet.__doc__


@pytest.mark.parametrize(("model", "image"), FEW, ids=name_of)
def test_parameters_and_outputs_are_float32_in_any_compute_dtype(model, image):
    outputs, variables = shapes(model.clone(dtype="float16"), image, train=True)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert outputs.dtype == jnp.float32


@pytest.mark.parametrize(("model", "image"), FEW, ids=name_of)
def test_a_compute_dtype_reaches_the_convolutions(model, image):
    images = jax.ShapeDtypeStruct((BATCH, *image), jnp.float32)
    half = model.clone(dtype="bfloat16")
    variables = jax.eval_shape(half.init, jax.random.key(0), images)
    _, inner = jax.eval_shape(
        lambda v, x: half.apply(v, x, capture_intermediates=True), variables, images
    )
    layers = jax.tree_util.tree_flatten_with_path(inner["intermediates"])[0]
    found = {leaf.dtype for path, leaf in layers if any("conv" in str(k) for k in path)}
    assert found <= {jnp.dtype("bfloat16")}


@pytest.mark.parametrize(
    ("model", "image", "size"),
    [
        (LeNet(), (15, 32, 3), "16x16"),
        (LeNet(padding="SAME"), (3, 8, 1), "4x4"),
        (FaceCNN(), (64, 7, 3), "8x8"),
        (SmallCNN(), (7, 7, 1), "8x8"),
        (ResNet(depth=18), (31, 31, 3), "32x32"),
        (ResNet(depth=18, stem="cifar"), (7, 8, 3), "8x8"),
        (WideResNet(), (3, 3, 3), "4x4"),
        (SpeedNet(), (8, 8, 3), "9x9"),
    ],
    ids=name_of,
)
def test_too_small_an_image_is_refused_and_the_smallest_taken(model, image, size):
    with pytest.raises(ValueError, match=rf"{size} pixels, found {image[0]}x{image[1]}"):
        shapes(model, image)
    smallest = int(size.split("x")[0])
    outputs, _ = shapes(model, (smallest, smallest, image[-1]))
    assert outputs.shape == (BATCH, model.num_classes)


def test_images_of_the_wrong_kind_are_refused():
    with pytest.raises(ValueError, match=r"found shape \(28, 28, 1\)"):
        MLP().init(jax.random.key(0), jnp.zeros((28, 28, 1)))
    with pytest.raises(ValueError, match="found uint8"):
        MLP().init(jax.random.key(0), jnp.zeros((1, 28, 28, 1), jnp.uint8))
    with pytest.raises(ValueError, match=r"6n \+ 4.*found 27"):
        shapes(WideResNet(depth=27), (32, 32, 3))
    with pytest.raises(ValueError, match="found depth=20"):
        shapes(ResNet(depth=20), (32, 32, 3))


@pytest.mark.parametrize(
    ("model", "image"),
    [(MLP(hidden=(16,), dropout=0.5), (8, 8, 1)), (SmallCNN(widths=(4, 8)), (8, 8, 1))],
    ids=name_of,
)
def test_training_drops_units_and_masks_rows_and_evaluation_does_neither(model, image):
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(4, *image)), jnp.float32)
    images = images.at[3].mul(100.0)
    model = model.clone(dropout=0.5)
    variables = draw_variables(model, images)
    mask, every = jnp.array([True, True, True, False]), jnp.ones(4, bool)

    @functools.partial(jax.jit, static_argnames="train")
    def run(key, mask, train=True):
        outputs, _ = model.apply(
            variables, images, train=train, mask=mask, rngs={"dropout": key}, mutable="batch_stats"
        )
        return outputs[:3]

    first, second = jax.random.key(1), jax.random.key(2)
    assert np.array_equal(run(first, mask), run(first, mask))
    assert not np.allclose(run(first, mask), run(second, mask))
    assert np.array_equal(run(first, mask, train=False), run(second, every, train=False))
    has_norm = "batch_stats" in variables
    assert np.allclose(run(first, mask), run(first, every)) is not has_norm
