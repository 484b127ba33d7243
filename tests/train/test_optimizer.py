"""Optimisers and schedules: known values, and that each learns."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcv.train import (
    LAMB,
    LARS,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Constant,
    Cosine,
    Lion,
    Muon,
    OneCycle,
    Optimizer,
    Polynomial,
    RMSProp,
    Step,
)
from jaxcv.train.optimizer import Algorithm


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        (Constant(), {0: 2.0, 50: 2.0, 99: 2.0}),
        (Constant(warmup_steps=4), {0: 0.5, 1: 1.0, 2: 1.5, 3: 2.0, 4: 2.0}),
        (Step(at=(0.5, 0.75), factor=0.1), {49: 2.0, 50: 0.2, 74: 0.2, 75: 0.02}),
        (Step(at=(0.5,), factor=0.1, warmup_steps=10), {9: 2.0, 49: 2.0, 50: 0.2}),
        (Cosine(), {0: 2.0, 50: 1.0, 25: 1 + 0.5**0.5, 100: 0.0}),
        (Cosine(warmup_steps=20, end=0.1), {19: 2.0, 20: 2.0, 60: 1.1, 100: 0.2}),
        (Polynomial(), {0: 2.0, 25: 1.5, 100: 0.0}),
        (Polynomial(power=2.0, end=0.5), {50: 1.25, 100: 1.0}),
        (OneCycle(rise=0.3, start=0.04), {0: 0.08, 30: 2.0, 100: 0.08 * 1e-4}),
        (OneCycle(rise=0.5, warmup_steps=20), {0: 0.004, 20: 0.08, 60: 2.0}),
    ],
)
def test_schedule_passes_through_known_points(schedule, wanted):
    rate = Optimizer(learning_rate=2.0, schedule=schedule).rate(100)
    for step, value in wanted.items():
        assert float(rate(step)) == pytest.approx(value, rel=1e-5, abs=1e-7), step


def two_updates(optimizer, params, gradient):
    transformation = optimizer.transformation(100)
    state = transformation.init(params)
    for _ in range(2):
        updates, state = transformation.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("momentum", [0, 0.0])
def test_nesterov_needs_a_momentum(momentum):
    with pytest.raises(ValueError, match="nesterov=True .* but momentum is 0; set it"):
        SGD(momentum=momentum, nesterov=True)


ONE, HALF = {"w": jnp.full((1, 1), 1.0)}, {"w": jnp.full((1, 1), 0.5)}


@pytest.mark.parametrize(
    ("algorithm", "wanted"),
    [
        (SGD(), 1 - 0.1 * (0.5 + 0.5)),
        (SGD(momentum=0.9), 1 - 0.1 * (0.5 + 0.95)),
        (SGD(momentum=0.9, nesterov=True), 1 - 0.1 * (0.95 + 0.5 + 0.9 * 0.95)),
        # The decay joins the gradient: 0.5 + 0.2 w.
        (SGD(weight_decay=0.2), 0.93 - 0.1 * (0.5 + 0.2 * 0.93)),
        # A constant gradient makes Adam step by the learning rate.
        (Adam(), 0.8),
        (AdamW(weight_decay=0.5), (1 - 0.1 - 0.05) * (1 - 0.05) - 0.1),
        (RMSProp(decay=0.0), 0.8),
        (Adagrad(initial_accumulator=0.0), 1 - 0.1 - 0.1 / 2**0.5),
        (Lion(weight_decay=0.0), 0.8),
    ],
)
def test_two_updates_of_one_weight_by_hand(algorithm, wanted):
    params = two_updates(Optimizer(learning_rate=0.1, algorithm=algorithm), ONE, HALF)
    assert float(params["w"][0, 0]) == pytest.approx(wanted, abs=2e-6)


def test_weight_decay_spares_biases_and_scales_unless_told():
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    gradient = jax.tree.map(jnp.zeros_like, params)
    for algorithm in (
        SGD(weight_decay=0.1),
        AdamW(weight_decay=0.1),
        Lion(),
        LAMB(weight_decay=0.1),
    ):
        spared = two_updates(Optimizer(learning_rate=0.1, algorithm=algorithm), params, gradient)
        assert float(spared["bias"].min()) == 1.0
        assert float(spared["kernel"].max()) < 1.0
        reached = two_updates(
            Optimizer(learning_rate=0.1, algorithm=algorithm, decay_all=True), params, gradient
        )
        assert float(reached["bias"].max()) < 1.0


def test_clipping_is_by_the_global_norm():
    params = {"a": jnp.zeros((1, 1)), "b": jnp.zeros((1, 1))}
    gradient = {"a": jnp.full((1, 1), 3.0), "b": jnp.full((1, 1), 4.0)}
    clipped = Optimizer(learning_rate=1.0, algorithm=SGD(), clip_norm=1.0).transformation(10)
    updates, _ = clipped.update(gradient, clipped.init(params), params)
    assert float(updates["a"][0, 0]) == pytest.approx(-0.6)
    assert float(updates["b"][0, 0]) == pytest.approx(-0.8)


def test_muon_makes_the_update_of_a_filter_orthogonal():
    params = {"kernel": jnp.ones((3, 3, 2, 4)), "bias": jnp.zeros(4)}
    gradient = {
        "kernel": jax.random.normal(jax.random.key(0), (3, 3, 2, 4)),
        "bias": jnp.ones(4),
    }
    muon = Optimizer(learning_rate=1.0, algorithm=Muon()).transformation(10)
    updates, _ = muon.update(gradient, muon.init(params), params)
    singular = np.linalg.svd(np.asarray(updates["kernel"]).reshape(18, 4), compute_uv=False)
    # Five Newton-Schulz steps bring all singular values near one another, a scale aside.
    assert singular.max() / singular.min() < 2
    plain = np.linalg.svd(np.asarray(gradient["kernel"]).reshape(18, 4), compute_uv=False)
    assert plain.max() / plain.min() > singular.max() / singular.min()
    # Vectors get Adam with Nesterov's momentum, at a tenth of the rate.
    nadam = optax.nadam(0.1)
    wanted, _ = nadam.update(gradient, nadam.init(params), params)
    np.testing.assert_allclose(updates["bias"], wanted["bias"], rtol=1e-5)


ALGORITHMS = [
    (SGD(), 0.3),
    (SGD(momentum=0.9), 0.1),
    (SGD(momentum=0.9, nesterov=True), 0.1),
    (Adam(), 0.02),
    (AdamW(), 0.02),
    (RMSProp(momentum=0.5), 0.005),
    (Adagrad(), 0.1),
    (LAMB(), 0.05),
    (LARS(trust_coefficient=0.1), 0.5),
    (Lion(), 0.01),
    (Muon(), 0.05),
]


@pytest.mark.parametrize(("algorithm", "rate"), ALGORITHMS, ids=lambda x: type(x).__name__)
def test_every_algorithm_fits_a_small_network(algorithm, rate):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(1)(nn.tanh(nn.Dense(8)(x)))[:, 0]

    x = jax.random.normal(jax.random.key(1), (64, 3))
    y = jnp.sin(x[:, 0]) + 0.5 * x[:, 1]
    net = Net()
    params = net.init(jax.random.key(0), x)
    transformation = Optimizer(learning_rate=rate, algorithm=algorithm).transformation(60)

    @jax.jit
    def fit(params):
        def loss(p):
            return jnp.mean((net.apply(p, x) - y) ** 2)

        def body(carry, _):
            params, state = carry
            value, gradient = jax.value_and_grad(loss)(params)
            updates, state = transformation.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), value

        (params, _), values = jax.lax.scan(body, (params, transformation.init(params)), None, 60)
        return values

    values = fit(params)
    assert float(values[-1]) < 0.5 * float(values[0])


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (Optimizer(learning_rate=0.0), "learning_rate is 0.0"),
        (Optimizer(learning_rate=float("nan")), "learning_rate is nan"),
        (Optimizer(learning_rate=0.1, clip_norm=0.0), "clip_norm is 0.0"),
        (Optimizer(learning_rate=0.1, schedule=Cosine(warmup_steps=-1)), "warmup_steps is -1"),
        (Optimizer(learning_rate=0.1, schedule=Step(at=(50,))), "fractions in"),
    ],
)
def test_impossible_settings_are_named(optimizer, message):
    with pytest.raises(ValueError, match=message):
        optimizer.transformation(100)


@pytest.mark.parametrize(("decay_all", "bias"), [(True, 0.99), (False, 1.0)])
def test_lars_decays_what_it_is_told_to(decay_all, bias):
    """One step without a gradient. The trust ratio of w is 0.001 |w| / |0.1 w|; biases have none."""
    params = {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}
    algorithm = LARS(weight_decay=0.1, trust_coefficient=0.001)
    optimizer = Optimizer(learning_rate=0.1, algorithm=algorithm, decay_all=decay_all)
    transformation = optimizer.transformation(10)
    updates, _ = transformation.update(
        jax.tree.map(jnp.zeros_like, params), transformation.init(params), params
    )
    moved = optax.apply_updates(params, updates)
    np.testing.assert_allclose(moved["w"], 1 - 0.1 * 0.01 * 0.1, rtol=1e-6)
    np.testing.assert_allclose(moved["b"], bias, rtol=1e-6)


@pytest.mark.parametrize("decay_all", [True, False])
@pytest.mark.parametrize("algorithm", [SGD, Adam, AdamW, RMSProp, Adagrad, LAMB, LARS, Lion, Muon])
def test_decay_reaches_biases_where_it_is_told_to(algorithm, decay_all):
    """Steps without a gradient: what moves was decayed. The scale is a vector of one, and a number."""
    params = {
        "kernel": jnp.ones((2, 3)),
        "filter": jnp.ones((3, 3, 2, 2)),
        "bias": jnp.ones(2),
        "scale": {"vector": jnp.ones(1), "number": jnp.ones(())},
    }
    optimizer = Optimizer(
        learning_rate=0.1, algorithm=algorithm(weight_decay=0.1), decay_all=decay_all
    )
    transformation = optimizer.transformation(10)
    nothing = jax.tree.map(jnp.zeros_like, params)
    updates, _ = jax.jit(transformation.update)(nothing, transformation.init(params), params)
    moved = jax.tree.map(lambda update: bool(jnp.all(update < 0)), updates)
    assert moved == {
        "kernel": True,
        "filter": True,
        "bias": decay_all,
        "scale": {"vector": decay_all, "number": decay_all},
    }


def test_algorithms_say_whether_they_need_whole_matrices():
    whole = {LAMB, LARS, Muon}
    for algorithm in (SGD, Adam, AdamW, RMSProp, Adagrad, LAMB, LARS, Lion, Muon):
        assert isinstance(algorithm(), Algorithm)
        assert algorithm().needs_whole_matrices == (algorithm in whole)
