"""IResNet and MobileFaceNet: counts by formula, blocks beside PyTorch's, what a step needs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.models import BatchNorm, IResNet, MobileFaceNet, PReLU
from jaxcv.models.iresnet import IResNetBlock
from tests.models.drawn_variables import draw_variables

# Whole networks, each run once on a few pixels.
pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = [
    (IResNet(depth=18, width=4, embedding_size=8), (32, 32, 3)),
    (MobileFaceNet(width=0.125, embedding_size=8), (32, 32, 3)),
]


def name_of(value):
    return type(value).__name__ if hasattr(value, "apply") else None


def variable_shapes(model, image=(112, 112, 3), **options):
    images = jax.ShapeDtypeStruct((2, *image), jnp.float32)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    return jax.eval_shape(lambda x: model.init_with_output(keys, x, **options), images)


def count_iresnet(blocks, embedding):
    """Weights of conv 9 c w, of BatchNorm 2 c, of PReLU c."""
    count, channels = 9 * 3 * 64 + 2 * 64 + 64, 64
    for stage, number in enumerate(blocks):
        width = 64 * 2**stage
        for i in range(number):
            count += 2 * channels + 9 * channels * width + 2 * width + width
            count += 9 * width * width + 2 * width
            count += channels * width + 2 * width if i == 0 else 0
            channels = width
    return count + 2 * 512 + 7 * 7 * 512 * embedding + embedding + 2 * embedding


def count_mobile_face_net(embedding):
    """Rows of table 1: input channels, expansion, channels, repeats."""
    count = 9 * 3 * 64 + 3 * 64 + 9 * 64 + 3 * 64
    channels = 64
    for expansion, width, number in (
        (2, 64, 5),
        (4, 128, 1),
        (2, 128, 6),
        (4, 128, 1),
        (2, 128, 2),
    ):
        for _ in range(number):
            inner = expansion * channels
            count += (
                channels * inner + 3 * inner + 9 * inner + 3 * inner + inner * width + 2 * width
            )
            channels = width
    return count + 128 * 512 + 3 * 512 + 49 * 512 + 2 * 512 + 512 * embedding + 2 * embedding


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (IResNet(depth=18), count_iresnet((2, 2, 2, 2), 512)),
        (IResNet(depth=34), count_iresnet((3, 4, 6, 3), 512)),
        (IResNet(depth=50), count_iresnet((3, 4, 14, 3), 512)),
        (IResNet(depth=100), count_iresnet((3, 13, 30, 3), 512)),
        (MobileFaceNet(embedding_size=128), count_mobile_face_net(128)),
        (MobileFaceNet(), count_mobile_face_net(512)),
    ],
)
def test_parameters_are_as_many_as_counted(model, count):
    outputs, variables = variable_shapes(model)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count
    assert outputs.shape == (2, model.embedding_size)
    assert f"{count:,}" in type(model).__doc__


@pytest.mark.parametrize(("model", "image"), SMALL, ids=name_of)
def test_outputs_and_parameters_are_float32_and_convolutions_in_the_compute_dtype(model, image):
    half = model.clone(dtype="bfloat16")
    outputs, variables = variable_shapes(half, image, train=True)
    assert outputs.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    images = jax.ShapeDtypeStruct((2, *image), jnp.float32)
    _, inner = jax.eval_shape(
        lambda v, x: half.apply(v, x, capture_intermediates=True), variables, images
    )
    layers = jax.tree_util.tree_flatten_with_path(inner["intermediates"])[0]
    found = {leaf.dtype for path, leaf in layers if any("'conv" in str(k) for k in path)}
    assert found == {jnp.dtype("bfloat16")}


def test_wrong_images_and_depths_are_refused():
    for model in (IResNet(depth=18), MobileFaceNet()):
        with pytest.raises(ValueError, match="16x16 pixels, found 15x112"):
            variable_shapes(model, (15, 112, 3))
        variable_shapes(model, (16, 16, 1))
    with pytest.raises(ValueError, match=r"\[18, 34, 50, 100\], found depth=101"):
        variable_shapes(IResNet(depth=101))


def test_a_strided_block_is_pytorchs():
    torch = pytest.importorskip("torch")
    channels, width, size = 3, 4, 9
    ours = IResNetBlock(width=width, stride=2, norm=BatchNorm, dtype=jnp.float32)
    x = np.random.default_rng(0).normal(size=(2, size, size, channels)).astype(np.float32)
    variables = draw_variables(ours, x, train=False)
    slope = np.array([0.1, 0.5, -0.3, 1.5], np.float32)
    variables["params"]["prelu"]["slope"] = jnp.asarray(slope)

    conv = functools.partial(torch.nn.Conv2d, bias=False)
    layers = {
        "norm_1": torch.nn.BatchNorm2d(channels),
        "conv_1": conv(channels, width, 3, 1, 1),
        "norm_2": torch.nn.BatchNorm2d(width),
        "prelu": torch.nn.PReLU(width),
        "conv_2": conv(width, width, 3, 2, 1),
        "norm_3": torch.nn.BatchNorm2d(width),
        "conv_shortcut": conv(channels, width, 1, 2),
        "norm_shortcut": torch.nn.BatchNorm2d(width),
    }
    for name, layer in layers.items():
        params = {k: np.array(v) for k, v in variables["params"][name].items()}
        if "kernel" in params:
            params["kernel"] = params["kernel"].transpose(3, 2, 0, 1).copy()
        weight = next(params[k] for k in ("kernel", "scale", "slope") if k in params)
        layer.weight.data = torch.tensor(weight)
        if "bias" in params:
            layer.bias.data = torch.tensor(params["bias"])
    y_torch = x_torch = torch.tensor(x.transpose(0, 3, 1, 2).copy())
    for name in ("norm_1", "conv_1", "norm_2", "prelu", "conv_2", "norm_3"):
        y_torch = layers[name](y_torch)
    y_torch = y_torch + layers["norm_shortcut"](layers["conv_shortcut"](x_torch))

    y, _ = jax.jit(functools.partial(ours.apply, train=True, mutable="batch_stats"))(variables, x)
    wanted = y_torch.detach().numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=2e-5)


def test_prelu_has_a_slope_for_each_channel():
    x = jnp.array([[-2.0, -2.0], [0.0, 3.0]])
    variables = PReLU().init(jax.random.key(0), x)
    np.testing.assert_array_equal(variables["params"]["slope"], [0.25, 0.25])
    variables = {"params": {"slope": jnp.array([0.5, -1.0])}}
    np.testing.assert_array_equal(PReLU().apply(variables, x), [[-1, 2], [0, 3]])


@pytest.mark.slow
@pytest.mark.parametrize(("model", "image"), SMALL, ids=name_of)
def test_training_masks_rows_freezes_the_last_scale_and_moves_everything_else(model, image):
    images = jnp.asarray(np.random.default_rng(0).normal(size=(4, *image)), jnp.float32)
    images = images.at[3].set(jnp.nan)
    variables = draw_variables(model, images)
    mask = jnp.array([True, True, True, False])

    @jax.jit
    def run(params, mask):
        def loss(params):
            y, updated = model.apply(
                {**variables, "params": params},
                jnp.where(jnp.isnan(images), 1e3, images),
                train=True,
                mask=mask,
                mutable="batch_stats",
            )
            return jnp.sum(jnp.sin(y[:3])), (y, updated)

        return jax.grad(loss, has_aux=True)(params)

    gradient, (y, updated) = run(variables["params"], mask)
    everything = run(variables["params"], jnp.ones(4, bool))[1][0]
    assert not np.allclose(y[:3], everything[:3])
    norms = gradient.pop("embedding_norm")["norm"]
    np.testing.assert_array_equal(norms["scale"], 0)
    assert np.abs(norms["bias"]).max() > 0
    for path, leaf in jax.tree_util.tree_flatten_with_path(gradient)[0]:
        assert np.isfinite(leaf).all(), path
    # The bias before BatchNorm alone has no effect.
    still = [p for p, g in jax.tree_util.tree_flatten_with_path(gradient)[0] if not g.any()]
    assert not still, still
    before, after = variables["batch_stats"], updated["batch_stats"]
    assert jax.tree.structure(before) == jax.tree.structure(after)
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), before, after)
    assert all(jax.tree.leaves(moved))
    # BatchNorm comes last: over the valid rows each coordinate has its bias as mean.
    bias = variables["params"]["embedding_norm"]["norm"]["bias"]
    np.testing.assert_allclose(y[:3].mean(0), bias, atol=1e-4)


def test_dropout_drops_in_training_alone():
    model, image = SMALL[0]
    images = jnp.ones((2, *image)).at[0].mul(0.5)
    variables = draw_variables(model, images)

    @functools.partial(jax.jit, static_argnums=(1, 2))
    def run(key, dropout, train):
        y, _ = model.clone(dropout=dropout).apply(
            variables, images, train=train, rngs={"dropout": key}, mutable="batch_stats"
        )
        return y

    keys = jax.random.key(1), jax.random.key(2)
    assert not np.allclose(run(keys[0], 0.5, True), run(keys[1], 0.5, True))
    np.testing.assert_array_equal(run(keys[0], 0.5, False), run(keys[1], 0.0, False))
