"""Muon and parameter groups: against Optax, against NumPy in float64, and by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcv.models import MLP
from jaxcv.tasks import Classification
from jaxcv.train import (
    SGD,
    Experiment,
    Muon,
    Optimizer,
    ParameterGroup,
    Polynomial,
    read_config,
    write_config,
)
from jaxcv.train.muon import batches_of_shapes, orthogonalized

SHAPES = ((6, 4), (4, 6), (3, 40), (6, 4), (1, 5), (30, 8))


def draw(shapes=SHAPES, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def newton_schulz(matrix, steps):
    """Jordan's iteration, one matrix at a time, in float64."""
    x = np.asarray(matrix, np.float64)
    x = x / np.linalg.norm(x)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(steps):
        a = x @ x.T
        x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
    return x.T if tall else x


def test_padded_batches_give_what_single_matrices_give():
    matrices = draw()
    assert any(len(batch) > 1 for batch in batches_of_shapes(SHAPES))
    found = jax.jit(lambda x: orthogonalized(x, steps=3))(matrices)
    for matrix, one in zip(matrices, found, strict=True):
        assert one.shape == matrix.shape
        np.testing.assert_allclose(one, newton_schulz(matrix, 3), rtol=1e-3, atol=1e-4)


def test_orthogonalisation_is_optaxs():
    matrices = draw()
    theirs = optax.contrib.scale_by_muon(
        ns_steps=5,
        beta=0.0,
        nesterov=False,
        weight_dimension_numbers=[optax.contrib.MuonDimensionNumbers()] * len(matrices),
    )
    wanted, _ = jax.jit(theirs.update)(matrices, theirs.init(matrices))
    found = jax.jit(orthogonalized)(matrices)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), found, wanted)


def test_optaxs_muon_begins_alike_and_corrects_its_average_for_the_start():
    params, rate, beta = {"kernel": draw([(6, 4)])[0]}, 0.5, 0.6
    theirs = optax.contrib.muon(rate, beta=beta, ns_steps=3)
    ours = Muon(momentum=beta, newton_schulz_steps=3).transformation(lambda _: rate, None)
    gradients = [{"kernel": draw([(6, 4)], seed=s)[0]} for s in (1, 2)]
    found, wanted = [], []
    for algorithm, updates in ((ours, found), (theirs, wanted)):
        state, update = algorithm.init(params), jax.jit(algorithm.update)
        for gradient in gradients:
            new, state = update(gradient, state, params)
            updates.append(np.asarray(new["kernel"]))
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-3, atol=1e-4)
    # Theirs: beta m / (1 - beta^3) + (1 - beta) g / (1 - beta^2), with m the average; ours the same
    # without the two divisions, a factor aside, which orthogonalisation takes out.
    first, second = (np.asarray(g["kernel"], np.float64) for g in gradients)
    average = (1 - beta) * (beta * first + second)
    corrected = beta * average / (1 - beta**3) + (1 - beta) * second / (1 - beta**2)
    plain = beta * average + (1 - beta) * second
    for update, direction in ((wanted[1], corrected), (found[1], plain)):
        scale = -rate * max(1.0, 4 / 6) ** 0.5
        np.testing.assert_allclose(
            update, scale * newton_schulz(direction, 3), rtol=1e-3, atol=1e-4
        )
    assert np.abs(found[1] - wanted[1]).max() > 1e-2 * np.abs(wanted[1]).max()


def test_bfloat16_stays_near_and_a_zero_matrix_stays_zero():
    matrices = [*draw(), jnp.zeros((4, 4))]
    found = jax.jit(lambda x: orthogonalized(x, dtype=jnp.bfloat16))(matrices)
    assert {one.dtype for one in found} == {jnp.dtype("float32")}
    for matrix, one in zip(matrices[:-1], found, strict=False):
        singular = np.linalg.svd(np.asarray(one), compute_uv=False)
        assert singular.max() < 1.4, matrix.shape
        assert singular.min() > 0.3, matrix.shape
    assert not np.asarray(found[-1]).any()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 3000)), min_size=1, max_size=12))
def test_batches_hold_every_matrix_once_and_at_most_double(shapes):
    batches = batches_of_shapes(shapes)
    assert sorted(i for batch in batches for i in batch) == list(range(len(shapes)))
    for batch in batches:
        rows, columns = (max(shapes[i][axis] for i in batch) for axis in (0, 1))
        assert len(batch) * rows * columns <= 2 * sum(math.prod(shapes[i]) for i in batch)


def test_the_speed_networks_matrices_are_one_batch():
    shapes = [(64, 216), (64, 576), (256, 576), *[(256, 2304)] * 3]
    assert [sorted(batch) for batch in batches_of_shapes(shapes)] == [list(range(6))]


def test_updates_with_normalised_weights_by_numpy():
    muon = Muon(momentum=0.6, newton_schulz_steps=3, normalize_weights=True)
    optimizer = Optimizer(learning_rate=0.24, algorithm=muon, schedule=Polynomial())
    transformation = optimizer.transformation(10)
    params = {"kernel": draw([(3, 3, 2, 5)])[0]}
    gradients = [draw([(3, 3, 2, 5)], seed=s)[0] for s in (1, 2, 3)]
    state, update = transformation.init(params), jax.jit(transformation.update)
    weights = np.asarray(params["kernel"], np.float64)
    momentum = np.zeros_like(weights)
    for step, gradient in enumerate(gradients):
        updates, state = update({"kernel": gradient}, state, params)
        params = optax.apply_updates(params, updates)

        momentum = 0.6 * momentum + np.asarray(gradient)
        direction = np.asarray(gradient) + 0.6 * momentum
        weights = weights * 5**0.5 / np.linalg.norm(weights)
        turned = newton_schulz(direction.reshape(18, 5), 3).reshape(weights.shape)
        weights = weights - 0.24 * (1 - step / 10) * turned
        np.testing.assert_allclose(params["kernel"], weights, rtol=1e-3, atol=1e-4)


PARAMS = {
    "first": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
    "last": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
}
GROUPS = (
    ParameterGroup(
        names=("last", "bias"), learning_rate=1.0, algorithm=SGD(), schedule=Polynomial(until=0.2)
    ),
    ParameterGroup(names=("bias",), learning_rate=0.5, algorithm=SGD(weight_decay=0.5)),
)


@pytest.mark.parametrize("decay_all", [True, False])
def test_each_parameter_is_in_the_first_group_that_fits(decay_all):
    optimizer = Optimizer(
        learning_rate=0.1, algorithm=SGD(), groups=GROUPS, decay_all=decay_all
    ).transformation(10)
    gradient = jax.tree.map(jnp.ones_like, PARAMS)
    state, params = optimizer.init(PARAMS), PARAMS
    seen = []
    for _ in range(3):
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        seen.append(jax.tree.map(lambda x: float(x.reshape(-1)[0]), params))
    kernels = [pytest.approx(1 - 0.1 * n) for n in (1, 2, 3)]
    assert [s["first"]["kernel"] for s in seen] == [s["last"]["kernel"] for s in seen] == kernels
    # At the rates 1, 1/2 and then 0, for the schedule ends at a fifth of the run.
    assert [s["last"]["bias"] for s in seen] == pytest.approx([0.0, -0.5, -0.5])
    decay, wanted, bias = 0.5 if decay_all else 0.0, [], 1.0
    for _ in range(3):
        bias -= 0.5 * (1 + decay * bias)
        wanted.append(bias)
    assert [s["first"]["bias"] for s in seen] == pytest.approx(wanted)


def test_a_group_of_nothing_and_impossible_rates_are_named():
    nobody = ParameterGroup(names=("head",), learning_rate=1.0, algorithm=SGD())
    optimizer = Optimizer(learning_rate=0.1, groups=(nobody,)).transformation(10)
    with pytest.raises(ValueError, match=r"groups\[0\].*'head'.*first/bias, first/kernel"):
        optimizer.init(PARAMS)
    still = ParameterGroup(names=("bias",), learning_rate=0.0, algorithm=SGD())
    with pytest.raises(ValueError, match="learning_rate of the parameters .* is 0.0"):
        Optimizer(learning_rate=0.1, groups=(still,)).transformation(10)
    with pytest.raises(ValueError, match="schedule.until is 0.0"):
        Optimizer(learning_rate=0.1, schedule=Polynomial(until=0.0)).transformation(10)


def test_groups_are_written_to_the_configuration_and_read(tmp_path):
    from jaxcv.data import Digits

    experiment = Experiment(
        data=Digits(),
        model=MLP(),
        task=Classification(num_classes=10),
        optimizer=Optimizer(learning_rate=0.1, algorithm=Muon(), groups=GROUPS),
        steps=1,
    )
    write_config(tmp_path / "config.json", experiment)
    assert read_config(tmp_path / "config.json") == experiment
