"""Losses on pairs, triplets and proxies, against loops in float64 and over eight devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from tests.losses.pair_cases import (
    EMBEDDINGS,
    LABELS,
    LOSSES,
    MASK,
    QUICK,
    B,
    C,
    D,
    compiled,
    evaluate,
    partners_of,
    quick_jit,
    results,
)


@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_equal_the_loops_on_the_valid_rows(name):
    values, gradient = results()[name]
    x, y = EMBEDDINGS[MASK].astype(np.float64), LABELS[MASK]
    loss = LOSSES[name][1]
    expected = loss(x, y, x)
    assert values.shape == (B,)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values[MASK].mean(), expected, rtol=2e-5)
    assert np.all(values[~MASK] == 0)
    assert np.all(gradient[~MASK] == 0)
    rng = np.random.default_rng(2)
    for _ in range(4):  # Central differences in random directions, float64.
        direction = rng.normal(size=x.shape)
        step = 1e-5
        slope = (loss(x + step * direction, y, x) - loss(x - step * direction, y, x)) / (2 * step)
        scale = np.abs(gradient[MASK] * direction).sum()
        assert abs((gradient[MASK] * direction).sum() - slope) < 2e-4 * scale + 1e-6


def check_devices(mapped):
    """The same values and gradients from eight devices with two rows each."""
    for name, (values, gradient) in results().items():
        np.testing.assert_allclose(mapped[name][0].reshape(B), values, rtol=1e-5, atol=1e-6)
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(
            mapped[name][1].reshape(B, D), gradient, rtol=1e-4, atol=1e-5 * scale, err_msg=name
        )


def test_pmap_gives_the_single_device_values_and_gradients():
    split = [a.reshape(8, B // 8, *a.shape[1:]) for a in (EMBEDDINGS, LABELS, MASK)]
    mapped = jax.pmap(functools.partial(evaluate, axis_name="devices"), axis_name="devices")
    check_devices(jax.device_get(mapped.lower(*split).compile(QUICK)(*split)))


@pytest.mark.slow
def test_shard_map_gives_the_single_device_values_and_gradients():
    rows = PartitionSpec("devices")
    mapped = quick_jit(
        jax.shard_map(
            functools.partial(evaluate, axis_name="devices"),
            mesh=Mesh(np.array(jax.devices()), ("devices",)),
            in_specs=(rows, rows, rows),
            out_specs=rows,
            check_vma=False,
        )
    )
    check_devices(jax.device_get(mapped(EMBEDDINGS, LABELS, MASK)))


def test_finite_at_zero_equal_and_long_rows_and_with_nothing_to_compare():
    zero = np.zeros_like(EMBEDDINGS)
    equal = np.tile(EMBEDDINGS[:1], (B, 1))
    alone, one_class = np.arange(B, dtype=np.int32) % C, np.zeros(B, np.int32)
    for x, y, mask in [
        (zero, LABELS, MASK),
        (equal, LABELS, MASK),
        (-equal * (LABELS[:, None] % 2 * 2.0 - 1).astype(np.float32), LABELS, MASK),
        (EMBEDDINGS * 1e4, LABELS, MASK),
        (EMBEDDINGS * 1e-15, LABELS, MASK),
        (EMBEDDINGS, LABELS, np.zeros(B, bool)),
        (EMBEDDINGS, alone, np.arange(B) < C),
        (EMBEDDINGS, one_class, MASK),
        (np.where(MASK[:, None], EMBEDDINGS, np.nan), LABELS, MASK),
    ]:
        for name, (values, gradient) in compiled(x, y, mask).items():
            assert np.isfinite(values).all(), name
            assert np.isfinite(gradient).all(), name
            if not mask.any():
                assert not np.any(values), name
                assert not np.any(gradient), name


@pytest.mark.slow
def test_half_precision_is_computed_in_float32():
    half = EMBEDDINGS.astype(jnp.bfloat16)
    exact = compiled(half.astype(np.float32), LABELS, MASK)
    for name, (values, gradient) in compiled(half, LABELS, MASK).items():
        assert values.dtype == jnp.float32, name
        assert gradient.dtype == jnp.bfloat16, name
        np.testing.assert_allclose(values, exact[name][0], rtol=1e-5, atol=1e-6, err_msg=name)
        scale = np.abs(exact[name][1]).max()
        np.testing.assert_allclose(
            gradient.astype(np.float32), exact[name][1], rtol=1e-2, atol=1e-2 * scale, err_msg=name
        )


def test_order_of_rows_and_names_of_labels_do_not_matter():
    order = np.random.default_rng(3).permutation(B)
    permuted = compiled(EMBEDDINGS[order], LABELS[order], MASK[order])
    renamed = compiled(EMBEDDINGS, np.array([3, 0, 4, 2, 1], np.int32)[LABELS], MASK)
    for name, (values, gradient) in results().items():
        np.testing.assert_allclose(permuted[name][0], values[order], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(permuted[name][1], gradient[order], rtol=1e-3, atol=1e-4)
        if "proxy" not in name and name != "center":  # Those know the classes.
            np.testing.assert_allclose(renamed[name][0], values, rtol=1e-5, err_msg=name)


@pytest.mark.slow
def test_vmap_and_forward_mode():
    batches = jnp.stack([EMBEDDINGS, 2 * EMBEDDINGS + 1])
    tangent = jnp.asarray(partners_of(EMBEDDINGS))

    def both(loss, x):
        run = lambda x: jnp.sum(loss(x, LABELS, mask=MASK))  # noqa: E731
        return jax.jvp(run, (x,), (tangent,)), jnp.vdot(jax.grad(run)(x), tangent)

    names = ["lifted", "circle", "triplet_all", "proxy_anchor"]
    run = lambda x: {n: both(LOSSES[n][0], x) for n in names}  # noqa: E731
    for name, ((values, forward), backward) in quick_jit(jax.vmap(run))(batches).items():
        np.testing.assert_allclose(forward, backward, rtol=1e-4, err_msg=name)
        np.testing.assert_allclose(values[0], results()[name][0].sum(), rtol=1e-5, err_msg=name)
