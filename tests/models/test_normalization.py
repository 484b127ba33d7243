"""BatchNorm: beside Flax and PyTorch, under masks, and spread over devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxcv.devices import AXIS as DEVICES
from jaxcv.devices import bound_axis
from jaxcv.models.normalization import BatchNorm, masked_moments

AXIS = "shards"
ROWS, CHANNELS = 16, 3
# Valid rows: unequally many in each of 2, 4 or 8 shards, none in the last ones.
MASK = np.array([1, 0, 0, 1, 1, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0], bool)


def draw(seed=0, shape=(ROWS, 4, 5, CHANNELS)):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape) * rng.uniform(0.5, 3.0, shape[-1]) + rng.normal(size=shape[-1])
    return jnp.asarray(x, jnp.float32)


def variables_of(seed=1, channels=CHANNELS):
    rng = np.random.default_rng(seed)
    return {
        "params": {
            "scale": jnp.asarray(rng.uniform(0.5, 2, channels), jnp.float32),
            "bias": jnp.asarray(rng.normal(size=channels), jnp.float32),
        },
        "batch_stats": {
            "mean": jnp.asarray(rng.normal(size=channels), jnp.float32),
            "var": jnp.asarray(rng.uniform(0.5, 2, channels), jnp.float32),
        },
    }


def assert_close(actual, wanted, rtol=2e-5, atol=2e-5):
    jax.tree.map(
        lambda a, w: np.testing.assert_allclose(a, w, rtol=rtol, atol=atol), actual, wanted
    )


def test_without_a_mask_it_is_flax_batch_norm():
    x, target, variables = draw(), draw(2), variables_of()

    def ours(params, x):
        full = {**variables, "params": params}
        y, updated = BatchNorm().apply(full, x, train=True, mutable="batch_stats")
        return jnp.sum(y * target), (y, updated)

    def theirs(params, x):
        full = {**variables, "params": params}
        layer = nn.BatchNorm(use_running_average=False, momentum=0.9, use_fast_variance=False)
        y, updated = layer.apply(full, x, mutable="batch_stats")
        return jnp.sum(y * target), (y, updated)

    differentiated = [
        jax.jit(jax.value_and_grad(f, argnums=(0, 1), has_aux=True)) for f in (ours, theirs)
    ]
    actual, wanted = [f(variables["params"], x) for f in differentiated]
    assert_close(actual, wanted, atol=1e-4)

    evaluated = BatchNorm().apply(variables, x, train=False)
    assert_close(evaluated, nn.BatchNorm(use_running_average=True).apply(variables, x))


def test_initial_variables_are_those_of_flax():
    ours = BatchNorm().init(jax.random.key(0), draw(), train=True)
    theirs = nn.BatchNorm(use_running_average=False).init(jax.random.key(0), draw())
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    assert_close(ours, theirs, rtol=0, atol=0)


def test_training_output_and_input_gradient_are_pytorchs():
    torch = pytest.importorskip("torch")
    x, target, variables = draw(), draw(2), variables_of()
    layer = torch.nn.BatchNorm2d(CHANNELS, momentum=0.1, eps=1e-5)
    layer.weight.data = torch.tensor(np.asarray(variables["params"]["scale"]))
    layer.bias.data = torch.tensor(np.asarray(variables["params"]["bias"]))
    x_torch = torch.tensor(np.asarray(x).transpose(0, 3, 1, 2).copy(), requires_grad=True)
    y_torch = layer(x_torch)
    (y_torch * torch.tensor(np.asarray(target).transpose(0, 3, 1, 2).copy())).sum().backward()

    def total(x):
        y, _ = BatchNorm().apply(variables, x, train=True, mutable="batch_stats")
        return jnp.sum(y * target), y

    gradient, y = jax.jit(jax.grad(total, has_aux=True))(x)
    assert_close(np.asarray(y).transpose(0, 3, 1, 2), y_torch.detach().numpy())
    assert_close(np.asarray(gradient).transpose(0, 3, 1, 2), x_torch.grad.numpy(), atol=1e-4)


def test_a_masked_row_counts_as_little_as_a_removed_one():
    x, variables = draw(), variables_of()
    # What padding holds must not matter, not even where it is not a number.
    dirty = jnp.where(MASK[:, None, None, None], x, jnp.nan)
    apply = jax.jit(
        functools.partial(BatchNorm().apply, variables, train=True, mutable="batch_stats")
    )
    y_masked, masked = apply(dirty, mask=jnp.asarray(MASK))
    y_removed, removed = apply(x[MASK])
    assert_close(masked, removed)
    assert_close(y_masked[MASK], y_removed)
    _, unmasked = apply(x)
    assert np.abs(unmasked["batch_stats"]["mean"] - masked["batch_stats"]["mean"]).max() > 1e-3


def test_a_batch_without_a_valid_row_changes_nothing():
    x, variables = draw(), variables_of()

    def total(params, x):
        y, updated = BatchNorm().apply(
            {**variables, "params": params},
            x,
            train=True,
            mask=jnp.zeros(ROWS, bool),
            mutable="batch_stats",
        )
        return jnp.sum(y), (y, updated)

    gradients, (y, updated) = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(
        variables["params"], x
    )
    assert_close(updated["batch_stats"], variables["batch_stats"], atol=1e-7)
    assert_close(y, BatchNorm().apply(variables, x, train=False))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_one_row_of_one_value_is_finite():
    x = jnp.full((1, 2), 3.0)
    variables = variables_of(channels=2)

    def total(x):
        y, _ = BatchNorm().apply(variables, x, train=True, mutable="batch_stats")
        return jnp.sum(y), y

    gradient, y = jax.jit(jax.grad(total, has_aux=True))(x)
    assert_close(y[0], variables["params"]["bias"])
    assert_close(gradient, jnp.zeros((1, 2)))


def test_variance_keeps_its_digits_far_from_zero():
    x = draw() + 3000.0
    _, variance, _ = jax.jit(masked_moments)(x)
    exact = np.asarray(x, np.float64).var((0, 1, 2))
    np.testing.assert_allclose(variance, exact, rtol=1e-4)
    one_pass = np.square(x).mean((0, 1, 2)) - np.square(x.mean((0, 1, 2)))
    assert np.abs(one_pass / exact - 1).max() > 1e-2


def mapped(function, devices, strategy):
    """Map `function(params, x, mask)` over the rows of x and mask: outputs summed or gathered."""
    if strategy == "shard_map":
        mesh = Mesh(np.array(jax.devices()[:devices]), (AXIS,))
        specs = {"in_specs": (P(), P(AXIS), P(AXIS)), "out_specs": (P(), P(AXIS), P(AXIS), P())}
        return jax.jit(jax.shard_map(function, mesh=mesh, check_vma=False, **specs))
    call = jax.pmap(
        function,
        axis_name=AXIS,
        in_axes=(None, 0, 0),
        out_axes=(None, 0, 0, None),
        devices=jax.devices()[:devices],
    )

    def split(x):
        return x.reshape(devices, -1, *x.shape[1:])

    def joined(x):
        return np.asarray(x).reshape(-1, *x.shape[2:])

    def run(params, x, mask):
        gradient, y, input_gradient, stats = call(params, split(x), split(mask))
        return gradient, joined(y), joined(input_gradient), stats

    return run


@pytest.mark.parametrize("strategy", ["shard_map", "pmap"])
def test_devices_with_uneven_masks_agree_with_one(strategy):
    x, target, variables = draw(), draw(2), variables_of()
    mask = jnp.asarray(MASK)
    packed = jnp.concatenate([x, target], -1)

    def device_step(axis_name, params, packed, mask):
        x, target = jnp.split(packed, 2, -1)

        def local_sum(params, x):
            y, updated = BatchNorm(axis_name=axis_name).apply(
                {**variables, "params": params}, x, train=True, mask=mask, mutable="batch_stats"
            )
            values = jnp.sin(y) * target * mask[:, None, None, None]
            return jnp.sum(values), (y, updated)

        (gradient, input_gradient), (y, updated) = jax.grad(
            local_sum, argnums=(0, 1), has_aux=True
        )(params, x)
        if axis_name is not None:
            gradient = jax.lax.psum(gradient, axis_name)
        return gradient, y, input_gradient, updated

    alone = jax.jit(functools.partial(device_step, None))(variables["params"], packed, mask)
    for devices in (1, 2, 4, 8):
        step = mapped(functools.partial(device_step, AXIS), devices, strategy)
        assert_close(step(variables["params"], packed, mask), alone, atol=5e-5)


def test_low_precision_inputs_are_summed_in_float32():
    x = jnp.full((4096, 1), 1.0, jnp.bfloat16).at[0].set(3.0)
    variables = variables_of(channels=1)
    norm = BatchNorm(dtype=jnp.bfloat16, momentum=0.0)
    y, updated = jax.jit(functools.partial(norm.apply, train=True, mutable="batch_stats"))(
        variables, x
    )
    # bfloat16 stops counting ones at 256.
    np.testing.assert_allclose(updated["batch_stats"]["mean"], 1 + 2 / 4096, rtol=1e-6)
    assert updated["batch_stats"]["mean"].dtype == jnp.float32
    assert y.dtype == jnp.bfloat16


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"mask \[B\].*\(16, 4\)"):
        masked_moments(draw(), jnp.ones((16, 4), bool))


@pytest.mark.parametrize("masked", [False, True])
def test_variance_has_the_derivatives_of_its_formula_of_both_orders(masked):
    x, target = draw(shape=(4, 2, CHANNELS)), draw(3, (CHANNELS,))
    mask = jnp.array([True, False, True, True]) if masked else None
    rows = np.array([0, 2, 3]) if masked else np.arange(4)

    def ours(x):
        return jnp.sum(masked_moments(x, mask)[1] ** 2 * target)

    def formula(x):
        return jnp.sum(jnp.var(x[rows], axis=(0, 1)) ** 2 * target)

    direction = draw(4, x.shape)
    assert_close(jax.jit(jax.grad(ours))(x), jax.jit(jax.grad(formula))(x), atol=1e-5)
    second = [
        jax.jit(lambda v, f=f: jax.jvp(jax.grad(f), (x,), (v,))[1])(direction)
        for f in (ours, formula)
    ]
    assert_close(*second, rtol=1e-4, atol=1e-4)


def test_without_scale_there_is_no_such_parameter_and_it_is_one():
    x, variables = draw(), variables_of()
    bare = {**variables, "params": {"bias": variables["params"]["bias"]}}
    ones = {**variables, "params": {**bare["params"], "scale": jnp.ones(CHANNELS)}}
    found, updated = BatchNorm(use_scale=False).apply(bare, x, train=True, mutable="batch_stats")
    wanted, _ = BatchNorm().apply(ones, x, train=True, mutable="batch_stats")
    np.testing.assert_array_equal(found, wanted)
    assert set(BatchNorm(use_scale=False).init(jax.random.key(0), x, train=False)["params"]) == {
        "bias"
    }
    assert jax.tree.structure(updated["batch_stats"]) == jax.tree.structure(bare["batch_stats"])


def test_by_default_statistics_are_those_of_all_devices_where_there_are_any():
    x, variables = draw(), variables_of()

    def normalized(norm, x):
        return norm.apply(variables, x, train=True, mutable="batch_stats")

    def on_devices(norm, name):
        spread = jax.vmap(functools.partial(normalized, norm), axis_name=name)
        y, updated = spread(x.reshape(4, -1, *x.shape[1:]))
        return y.reshape(x.shape), updated["batch_stats"]["mean"]

    whole, updated = normalized(BatchNorm(axis_name=None), x)
    alone, own = normalized(BatchNorm(), x)  # no axis is mapped here
    np.testing.assert_array_equal(alone, whole)
    np.testing.assert_array_equal(own["batch_stats"]["mean"], updated["batch_stats"]["mean"])
    found, means = on_devices(BatchNorm(), DEVICES)
    np.testing.assert_allclose(found, whole, atol=2e-5)
    np.testing.assert_allclose(means, np.tile(updated["batch_stats"]["mean"], (4, 1)), rtol=1e-5)
    # Each device by itself, because it is told so or because the axis is another.
    apart, _ = on_devices(BatchNorm(axis_name=None), DEVICES)
    np.testing.assert_array_equal(on_devices(BatchNorm(), "others")[0], apart)
    assert np.abs(np.asarray(apart - whole)).max() > 0.1
    with pytest.raises(NameError, match="nowhere"):
        normalized(BatchNorm(axis_name="nowhere"), x)
    assert bound_axis(None) is None
    assert bound_axis("nowhere") == "nowhere"


def test_asking_for_the_axis_adds_nothing_to_the_program():
    def asked(x):
        return jax.lax.psum(x, bound_axis(DEVICES))

    def told(x):
        return jax.lax.psum(x, DEVICES)

    programs = [jax.make_jaxpr(jax.vmap(f, axis_name=DEVICES))(jnp.ones(4)) for f in (asked, told)]
    assert str(programs[0]) == str(programs[1])
