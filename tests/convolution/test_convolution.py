"""Our convolution beside `jax.lax.conv_general_dilated`, forwards, backwards and through transforms."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import PartitionSpec as P

from jaxcv.convolution import blocks, cpu, winograd
from jaxcv.convolution.canonical import CHANNELS_LAST
from jaxcv.convolution.conv import Conv, Geometry, convolution
from jaxcv.models import ResNet

# A rounding unit of the dtype in which the result is stored, times what sums add to it.
TOLERANCE = {"float32": 5e-6, "bfloat16": 2e-2, "float16": 3e-3, "float64": 1e-13}

sides = st.integers(0, 2)
cases = st.fixed_dictionaries(
    {
        "batch": st.integers(1, 3),
        "size": st.tuples(st.integers(3, 9), st.integers(3, 9)),
        "kernel": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "channels": st.sampled_from([1, 2, 3, 8]),
        "width": st.sampled_from([1, 2, 4, 6]),
        "groups": st.sampled_from([1, 1, 1, 2]),
        "strides": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "dilation": st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 2)]),
        "padding": st.one_of(
            st.sampled_from(["SAME", "VALID"]),
            st.tuples(st.tuples(sides, sides), st.tuples(sides, sides)),
        ),
        "dtype": st.sampled_from(["float32", "float32", "bfloat16", "float16"]),
    }
)


def draw(*shape, dtype="float32", seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def results(convolve, x, kernel, strides, padding, **options):
    """Output, and what a cotangent drawn for it gives for both arguments."""
    dtype = x.dtype

    @jax.jit
    def derive(x, kernel):
        def function(x, kernel):
            return convolve(x, kernel, strides, padding, dimension_numbers=CHANNELS_LAST, **options)

        y, back = jax.vjp(function, x, kernel)
        return y, *back(draw(*y.shape, dtype=dtype, seed=2).astype(y.dtype))

    return derive(x, kernel)


def stock_in_float32(x, kernel, strides, padding, **options):
    """What XLA's own convolution gives in float32 for the same numbers, rounded once at the end."""

    def convolve(x, kernel, *arguments, **options):
        wide = (array.astype(jnp.float32) for array in (x, kernel))
        return lax.conv_general_dilated(*wide, *arguments, **options)

    found = results(convolve, x, kernel, strides, padding, **options)
    return jax.tree.map(lambda array: array.astype(x.dtype), found)


def assert_near(ours, theirs, tolerance):
    """Equal up to a fraction of the largest value: each sum rounds on the scale of its terms."""
    for our, their in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert our.shape == their.shape
        assert our.dtype == their.dtype
        scale = max(float(jnp.max(jnp.abs(their.astype(jnp.float32)), initial=0.0)), 1.0)
        difference = jnp.abs(our.astype(jnp.float32) - their.astype(jnp.float32))
        assert float(jnp.max(difference, initial=0.0)) <= tolerance * scale


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(cases)
def test_is_the_stock_convolution_with_both_gradients(case):
    groups = case["groups"]
    x = draw(case["batch"], *case["size"], groups * case["channels"], dtype=case["dtype"])
    kernel = draw(
        *case["kernel"], case["channels"], groups * case["width"], dtype=case["dtype"], seed=1
    )
    options = {"rhs_dilation": case["dilation"], "feature_group_count": groups}
    arguments = (x, kernel, case["strides"], case["padding"])
    ours = results(convolution, *arguments, **options)
    # Groups are the stock convolution's; in bfloat16 it rounds on the way, ours only at the end.
    reference = (
        stock_in_float32 if groups == 1 else functools.partial(results, lax.conv_general_dilated)
    )
    assert_near(ours, reference(*arguments, **options), TOLERANCE[case["dtype"]])


# Shapes that take each lowering, and edges of it: odd sizes, uneven padding, few tiles.
LOWERED = {
    "winograd": ((2, 8, 8, 128), (3, 3, 128, 128), (1, 1), "SAME"),
    "winograd_odd": ((2, 7, 5, 96), (3, 3, 96, 160), (1, 1), "SAME"),
    "winograd_in_parts": ((5, 32, 32, 96), (3, 3, 96, 96), (1, 1), "SAME"),
    "winograd_valid": ((1, 6, 9, 128), (3, 3, 128, 96), (1, 1), "VALID"),
    "winograd_uneven": ((1, 5, 6, 128), (3, 3, 128, 128), (1, 1), ((0, 2), (1, 0))),
    "blocks": ((3, 32, 32, 3), (5, 5, 3, 6), (1, 1), "VALID"),
    "blocks_strided": ((2, 28, 24, 1), (3, 3, 1, 16), (2, 2), "SAME"),
    "blocks_uneven": ((2, 9, 12, 3), (3, 3, 3, 64), (1, 1), ((1, 0), (2, 0))),
    "pointwise": ((2, 5, 6, 7), (1, 1, 7, 9), (1, 1), "VALID"),
    "pointwise_strided": ((2, 8, 7, 6), (1, 1, 6, 5), (2, 3), "VALID"),
    "strided": ((2, 9, 8, 64), (3, 3, 64, 32), (2, 2), ((1, 1), (1, 1))),
    "strided_unevenly": ((2, 10, 7, 3), (5, 3, 3, 4), (2, 3), ((0, 2), (2, 1))),
    "stem": ((1, 32, 32, 3), (7, 7, 3, 16), (2, 2), ((3, 3), (3, 3))),
    "negative_padding": ((2, 9, 8, 5), (3, 3, 5, 4), (1, 1), ((-1, 2), (0, -2))),
}


HALF = ("winograd_odd", "blocks", "pointwise_strided", "strided")


@pytest.mark.parametrize(
    ("case", "dtype"),
    [(case, "float32") for case in LOWERED] + [(case, "bfloat16") for case in HALF],
)
def test_every_lowering_is_the_stock_convolution(case, dtype):
    x_shape, kernel_shape, strides, padding = LOWERED[case]
    x = draw(*x_shape, dtype=dtype)
    kernel = draw(*kernel_shape, seed=1) / np.sqrt(np.prod(kernel_shape[:3]))
    compare = functools.partial(
        results, x=x, kernel=kernel.astype(dtype), strides=strides, padding=padding
    )
    assert_near(compare(convolution), compare(lax.conv_general_dilated), TOLERANCE[dtype])


def test_shapes_take_the_lowering_that_is_meant_for_them():
    def lowering(x_shape, kernel_shape, strides, padding):
        padding = lax.padtype_to_pads(x_shape[1:3], kernel_shape[:2], strides, padding)
        geometry = Geometry(x_shape[1:3], kernel_shape[:2], strides, tuple(padding), (1, 1))
        x, kernel = jnp.zeros(x_shape), jnp.zeros(kernel_shape)
        text = str(jax.make_jaxpr(lambda x, k: cpu.forward(x, k, geometry))(x, kernel))
        channels = [eqn for eqn in text.split() if eqn.startswith("dot_general")]
        return "dot" if channels else "convolution"

    assert lowering(*LOWERED["winograd"]) == "dot"
    assert lowering(*LOWERED["pointwise"]) == "dot"
    assert lowering((2, 8, 8, 32), (3, 3, 32, 32), (1, 1), "SAME") == "convolution"
    lenet = Geometry((32, 32), (5, 5), (1, 1), ((0, 0), (0, 0)), (1, 1))
    assert blocks.best_factor(lenet, 3, 6) == 4
    assert blocks.inflation(lenet, 4) == 8 / 5
    assert blocks.best_factor(lenet, 64, 64) == 1


@pytest.mark.parametrize("part", ["forward", "input_gradient", "filter_gradient"])
def test_winograd_loses_few_digits(part):
    # Beside float64: at most four times the error of the sum as written, and near float32's unit.
    rng = np.random.default_rng(0)
    geometry = Geometry((8, 8), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    shapes = {"x": (4, 8, 8, 256), "kernel": (3, 3, 256, 256), "gradient": (4, 8, 8, 256)}
    names = {
        "forward": ("x", "kernel"),
        "input_gradient": ("gradient", "kernel"),
        "filter_gradient": ("x", "gradient"),
    }[part]
    first, second = (rng.normal(size=shapes[name]) for name in names)
    with jax.enable_x64(True):
        exact = getattr(cpu.canonical, part)(jnp.asarray(first), jnp.asarray(second), geometry)
        exact = np.asarray(exact)
    assert exact.dtype == np.float64

    def error(module):
        arrays = jnp.asarray(first, jnp.float32), jnp.asarray(second, jnp.float32)
        return np.sqrt(np.mean((np.asarray(getattr(module, part)(*arrays, geometry)) - exact) ** 2))

    scale = np.sqrt(np.mean(exact**2))
    assert error(winograd) < 1e-6 * scale
    assert error(winograd) < 4 * error(cpu.canonical)


ARGUMENTS = (draw(2, 6, 7, 3), draw(3, 3, 3, 4, seed=1))


def loss(convolve, x, kernel):
    y = convolve(x, kernel, (2, 1), "SAME", dimension_numbers=CHANNELS_LAST)
    return jnp.sum(jnp.sin(y))


TRANSFORMS = {
    "hessian_vector": lambda f: lambda x, k: jax.jvp(jax.grad(f, (0, 1)), (x, k), (x, k))[1],
    "reverse_over_reverse": lambda f: jax.grad(
        lambda x, k: sum(jnp.sum(g**2) for g in jax.grad(f, (0, 1))(x, k)), (0, 1)
    ),
    "third_order": lambda f: (
        lambda x, k: jax.jvp(
            jax.grad(lambda x, k: jnp.sum(jax.grad(f, 1)(x, k) ** 2), (0, 1)), (x, k), (x, k)
        )[1]
    ),
    "images_mapped": lambda f: jax.vmap(
        lambda x, k: jax.value_and_grad(f, (0, 1))(x[None], k), (0, None)
    ),
    "kernels_mapped": lambda f: (
        lambda x, k: jax.vmap(jax.grad(f, (0, 1)), (None, 0))(x, jnp.stack([k, 2 * k, -k]))
    ),
    "both_mapped": lambda f: (
        lambda x, k: jax.vmap(jax.grad(f, (0, 1)), (3, 2))(
            jnp.stack([x, x / 2], 3), jnp.stack([k, 2 * k], 2)
        )
    ),
    "scan": lambda f: (
        lambda x, k: lax.scan(
            lambda k, x: (k - 0.1 * jax.grad(f, 1)(x[None], k), f(x[None], k)), k, x
        )
    ),
    "checkpoint": lambda f: jax.grad(jax.checkpoint(f), (0, 1)),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms(transform):
    ours, theirs = (
        jax.jit(TRANSFORMS[transform](functools.partial(loss, convolve)))
        for convolve in (convolution, lax.conv_general_dilated)
    )
    assert_near(ours(*ARGUMENTS), theirs(*ARGUMENTS), 1e-5)


def test_without_jit():
    x, kernel = ARGUMENTS
    options = {"dimension_numbers": CHANNELS_LAST}
    y, back = jax.vjp(lambda x, k: convolution(x, k, (2, 1), "SAME", **options), x, kernel)
    wanted, wanted_back = jax.vjp(
        lambda x, k: lax.conv_general_dilated(x, k, (2, 1), "SAME", **options), x, kernel
    )
    assert_near((y, back(y)), (wanted, wanted_back(y)), 1e-5)


@pytest.mark.parametrize("strategy", ["pmap", "shard_map", "checked_shard_map", "jit"])
def test_on_eight_devices(strategy):
    x, kernel = draw(16, 8, 8, 3), ARGUMENTS[1]
    wanted = jax.grad(functools.partial(loss, lax.conv_general_dilated), 1)(x, kernel)
    by_kernel = jax.grad(functools.partial(loss, convolution), 1)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    shard = functools.partial(jax.shard_map, mesh=mesh, in_specs=(P("data"), P()), out_specs=P())
    if strategy == "pmap":
        ours = jax.pmap(by_kernel, in_axes=(0, None))(x.reshape(8, 2, 8, 8, 3), kernel).sum(0)
    elif strategy == "shard_map":
        summed = shard(lambda x, k: lax.psum(by_kernel(x, k), "data"), check_vma=False)
        ours = jax.jit(summed)(x, kernel)
    elif strategy == "checked_shard_map":  # sums the gradient of what all devices share by itself
        ours = jax.jit(shard(by_kernel))(x, kernel)
    else:
        sharding = jax.sharding.NamedSharding(mesh, P("data"))
        ours = jax.jit(by_kernel)(jax.device_put(x, sharding), kernel)
    assert_near(ours, wanted, 1e-5)


def test_stock_for_what_it_does_not_know():
    """Other layouts, ranks and dtypes go to `lax` as they came."""
    image, kernel = draw(2, 3, 6, 7), draw(4, 3, 3, 3, seed=1)  # NCHW and OIHW, the default
    np.testing.assert_array_equal(
        convolution(image, kernel, (1, 1), "SAME"),
        lax.conv_general_dilated(image, kernel, (1, 1), "SAME"),
    )
    line, taps = draw(2, 9, 3), draw(3, 3, 4, seed=1)
    numbers = ("NWC", "WIO", "NWC")
    np.testing.assert_array_equal(
        convolution(line, taps, (1,), "SAME", dimension_numbers=numbers),
        lax.conv_general_dilated(line, taps, (1,), "SAME", dimension_numbers=numbers),
    )
    with jax.enable_x64(True):
        x, kernel = (jnp.asarray(np.asarray(a), jnp.float64) for a in ARGUMENTS)
        assert_near(
            results(convolution, x, kernel, (1, 1), "SAME"),
            results(lax.conv_general_dilated, x, kernel, (1, 1), "SAME"),
            TOLERANCE["float64"],
        )


def test_mistakes_are_told_as_by_lax():
    x, kernel = draw(1, 5, 5, 3), draw(3, 3, 4, 2)
    with pytest.raises((TypeError, ValueError), match="feature"):
        convolution(x, kernel, (1, 1), "SAME", dimension_numbers=CHANNELS_LAST)


def test_other_platforms_get_the_stock_lowering():
    """The platform is the one compiled for: here a program is lowered for a GPU that is not there."""
    x, kernel = draw(2, 8, 8, 128), draw(3, 3, 128, 128, seed=1)

    def text(convolve, platform):
        step = jax.jit(jax.grad(functools.partial(loss_plain, convolve), (0, 1)))
        traced = step.trace(x, kernel)
        return traced.lower(lowering_platforms=(platform,)).as_text()

    def loss_plain(convolve, x, kernel):
        y = convolve(x, kernel, (1, 1), "SAME", dimension_numbers=CHANNELS_LAST)
        return jnp.sum(jnp.sin(y))

    def operations(text):
        kinds = ("stablehlo.convolution", "stablehlo.dot_general", "stablehlo.reverse")
        return [text.count(kind + (" " if kind.endswith("e") else "")) for kind in kinds]

    for platform in ("cuda", "tpu"):
        assert operations(text(convolution, platform)) == operations(
            text(lax.conv_general_dilated, platform)
        )
        assert text(convolution, platform).count("stablehlo.convolution") == 3
    assert text(convolution, "cpu").count("stablehlo.convolution") == 0


def test_gradients_are_channels_last_for_xla():
    """Any other form of a convolution is many times slower inside of a loop."""
    x, kernel = draw(2, 9, 8, 5), draw(3, 3, 5, 4, seed=1)
    step = jax.jit(jax.grad(functools.partial(loss, convolution), (0, 1)))
    lines = step.lower(x, kernel).as_text().splitlines()
    convolutions = [line for line in lines if "stablehlo.convolution" in line]
    assert len(convolutions) >= 3  # one, and a gradient for each argument, in parts or whole
    assert all("dim_numbers = [b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]" in c for c in convolutions)


def test_traced_once_per_shape():
    traced = chex.assert_max_traces(lambda x, kernel: loss(convolution, x, kernel), n=2)
    step = jax.jit(jax.grad(traced))
    for rows in (2, 2, 4, 4):
        step(draw(rows, 6, 7, 3), ARGUMENTS[1])


def test_module_is_flax_conv():
    x = draw(2, 9, 9, 3)
    options = {"strides": (2, 2), "padding": 1, "use_bias": True}
    ours, theirs = Conv(8, (3, 3), **options), nn.Conv(8, (3, 3), **options)
    variables = theirs.init(jax.random.key(0), x)
    chex.assert_trees_all_equal(ours.init(jax.random.key(0), x), variables)
    assert_near(ours.apply(variables, x), theirs.apply(variables, x), 5e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_models_convolve_by_it(dtype):
    model = ResNet(num_classes=3, depth=18, width=8, stem="cifar", dtype=dtype)
    images = jnp.zeros((2, 16, 16, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    text = str(jax.make_jaxpr(model.apply)(variables, images))
    assert "conv_general_dilated" not in text
    assert text.count("jaxcv_convolution[") == 20
