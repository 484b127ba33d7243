"""Which strategy maps the step, and that either one ends in the same bytes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.data import Synthetic
from jaxcv.image import RandomTranslation
from jaxcv.models import SmallCNN
from jaxcv.tasks import Classification
from jaxcv.train import (
    AXIS,
    DeviceMap,
    Experiment,
    Optimizer,
    Runtime,
    open_run,
    open_workdir,
    train,
)

EXPERIMENT = Experiment(
    data=Synthetic(num_examples=40, num_test_examples=11, image_size=8, channels=3, num_classes=3),
    model=SmallCNN(num_classes=3, widths=(4, 8), axis_name=AXIS),
    task=Classification(num_classes=3),
    optimizer=Optimizer(learning_rate=0.01),
    batch_size=10,
    steps=3,
    augment=(RandomTranslation(fraction=(0.2, 0.2)),),
    ema_decay=0.9,
    eval_batch_size=10,
    log_every=1,
)


@pytest.mark.parametrize(("processes", "expected"), [(1, "pmap"), (2, "shard_map")])
def test_default_is_pmap_in_one_process_and_shard_map_over_several(
    monkeypatch, processes, expected
):
    monkeypatch.setattr(jax, "process_count", lambda: processes)
    assert DeviceMap().strategy == expected
    assert DeviceMap(strategy="pmap").strategy == "pmap"
    assert DeviceMap(strategy="shard_map").strategy == "shard_map"


def test_a_run_takes_the_default_unless_told():
    assert open_run(EXPERIMENT).device_map.strategy == "pmap"
    runtime = Runtime(strategy="shard_map")
    assert open_run(EXPERIMENT, runtime).device_map.strategy == "shard_map"


@pytest.mark.parametrize("devices", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_both_strategies_end_in_the_same_bytes(tmp_path, devices):
    states = []
    for strategy in ("pmap", "shard_map"):
        runtime = Runtime(devices=devices, strategy=strategy)
        results = train(EXPERIMENT, tmp_path / strategy, runtime)
        assert results["test"]["count"] == 11
        _, state = open_workdir(tmp_path / strategy, runtime)
        states.append(jax.device_get(state.replace(key=jax.random.key_data(state.key))))
    assert int(states[0].step) == 3
    jax.tree.map(np.testing.assert_array_equal, *states)


@pytest.mark.parametrize("strategy", ["pmap", "shard_map"])
def test_results_lie_on_the_devices_where_the_next_step_takes_them(strategy):
    settings = dict(jax.config.values)
    device_map = DeviceMap(strategy=strategy)
    mapped = device_map.map(
        lambda whole, rows: (whole + jax.lax.psum(rows.sum(), AXIS), 2 * rows),
        (None, 0),
        out=(None, 0),
    )
    whole, rows = device_map.replicate(np.ones(3)), device_map.split(np.arange(16.0))
    with jax.transfer_guard("disallow"):
        new_whole, new_rows = mapped(whole, rows)
    assert new_whole.sharding.is_equivalent_to(whole.sharding, 1)
    assert new_rows.sharding.is_equivalent_to(rows.sharding, 1)
    np.testing.assert_array_equal(new_whole, np.full(3, 121.0))
    np.testing.assert_array_equal(new_rows, 2 * jnp.arange(16.0))
    assert (
        dict(jax.config.values) == settings
    )  # a map is made without a trace in JAX's own settings
