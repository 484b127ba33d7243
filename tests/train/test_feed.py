"""Resident and streamed data, one or several steps a dispatch: the same batches, the same result."""

import chex
import jax
import pytest

from jaxcv.data import Batches, Synthetic, materialize
from jaxcv.models import MLP
from jaxcv.tasks import Classification
from jaxcv.train import DeviceMap, Optimizer, create_state, make_train_step
from jaxcv.train.feed import ResidentFeed, StreamFeed

pytestmark = pytest.mark.usefixtures("quick_compilation")

DATA = Synthetic(num_examples=50, num_test_examples=10, image_size=8, channels=1, num_classes=4)


def train(kind, strategy="shard_map", devices=2, per_dispatch=1, steps=6):
    batches = Batches(DATA.open("train"), 15, shuffle=True, seed=3, multiple_of=devices)
    device_map = DeviceMap(jax.devices()[:devices], strategy)
    model, optimizer = MLP(num_classes=4), Optimizer(learning_rate=0.1).transformation(steps)
    step_function = make_train_step(model, Classification(num_classes=4), optimizer)
    if kind == "resident":
        feed = ResidentFeed(batches, materialize(batches), device_map)
    else:
        feed = StreamFeed(batches, device_map)
    state = device_map.replicate(create_state(model, optimizer, (8, 8, 1), seed=0))
    if per_dispatch == 1:
        call = feed.bind(step_function, donate=True)
    else:
        call = feed.bind_many(step_function, per_dispatch)
    losses = []
    for step in range(0, steps, per_dispatch):
        state, metrics = call(state, step)
        losses.extend(jax.device_get(metrics.loss_sum).reshape(-1).tolist())
    return jax.device_get(state), losses


@pytest.fixture(scope="module")
def resident():
    return train("resident")


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "streamed"},
        {"kind": "resident", "per_dispatch": 3},
        pytest.param({"kind": "streamed", "strategy": "pmap"}, marks=pytest.mark.slow),
        pytest.param({"kind": "resident", "strategy": "pmap"}, marks=pytest.mark.slow),
        pytest.param(
            {"kind": "resident", "per_dispatch": 3, "strategy": "pmap"}, marks=pytest.mark.slow
        ),
    ],
    ids=str,
)
def test_all_ways_of_feeding_give_the_same_weights(resident, options):
    state, losses = train(**options)
    wanted, wanted_losses = resident
    assert losses == pytest.approx(wanted_losses, rel=1e-5)
    chex.assert_trees_all_close(state.params, wanted.params, rtol=1e-5, atol=1e-6)
    assert int(state.step) == 6


def test_stream_can_be_asked_for_any_step():
    batches = Batches(DATA.open("train"), 10, shuffle=True, seed=0)
    call = StreamFeed(batches, DeviceMap(jax.devices()[:2])).bind(
        lambda carry, batch: jax.lax.psum((batch["image"].astype("int32") * carry).sum(), "devices")
    )
    wanted = [int(batches[step]["image"].astype("int64").sum()) for step in (4, 5, 2)]
    assert [int(call(1, step)) for step in (4, 5, 2)] == wanted


def test_several_steps_a_dispatch_need_resident_data():
    batches = Batches(DATA.open("train"), 10, shuffle=True)
    with pytest.raises(ValueError, match="steps_per_dispatch is 4"):
        StreamFeed(batches, DeviceMap()).bind_many(lambda carry, batch: (carry, 0), 4)
