"""What makes training fast, by what can be counted: transfers, copies, compilations, imports, sizes."""

import collections
import dataclasses
import logging
import re
import subprocess
import sys

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcv.data import Batches, Synthetic, materialize
from jaxcv.image import RandomTranslation
from jaxcv.models import MLP
from jaxcv.tasks import Classification
from jaxcv.train import (
    AXIS,
    DeviceMap,
    Experiment,
    Optimizer,
    Runtime,
    create_state,
    make_train_step,
    open_run,
    train,
)
from jaxcv.train.feed import ResidentFeed, has_primitive
from jaxcv.train.loop import steps_per_dispatch
from jaxcv.train.window import Packing

CLASSES = 7
DATA = Synthetic(
    num_examples=60, num_test_examples=25, image_size=8, channels=1, num_classes=CLASSES
)
EXPERIMENT = Experiment(
    data=DATA,
    model=MLP(num_classes=CLASSES, hidden=(8,)),
    task=Classification(num_classes=CLASSES),
    optimizer=Optimizer(learning_rate=0.01),
    batch_size=16,
    steps=12,
    augment=(RandomTranslation(fraction=(0.2, 0.2)),),
    ema_decay=0.9,
    eval_batch_size=10,
    eval_every=4,
    log_every=2,
)
STRATEGIES = pytest.mark.parametrize("strategy", ["shard_map", "pmap"])


class ConvNet(nn.Module):
    """A stock convolution, whose gradients XLA's CPU compiler has no fast routine for in a loop."""

    @nn.compact
    def __call__(self, images, *, train=False, mask=None):
        return nn.Dense(CLASSES)(nn.relu(nn.Conv(4, (3, 3))(images)).mean((1, 2)))


def resident(devices, strategy="shard_map", model=None):
    """A resident feed of 15 rows a step, a train step, and a state."""
    device_map = DeviceMap(jax.devices()[:devices], strategy)
    batches = Batches(DATA.open("train"), 15, shuffle=True, seed=3, multiple_of=devices)
    model, optimizer = model or EXPERIMENT.model, optax.sgd(0.1, momentum=0.9)
    step = make_train_step(model, EXPERIMENT.task, optimizer)
    state = device_map.replicate(create_state(model, optimizer, (8, 8, 1), seed=0))
    return ResidentFeed(batches, materialize(batches), device_map), step, state


@STRATEGIES
@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("count", [1, 3])
def test_a_step_on_resident_data_takes_nothing_from_the_host_and_reuses_the_state(
    strategy, devices, count
):
    feed, step, state = resident(devices, strategy)
    call = feed.bind(step, donate=True) if count == 1 else feed.bind_many(step, count)
    state, _ = call(state, 0)
    with jax.transfer_guard("disallow"):
        for number in range(count, 4 * count, count):
            before, (state, _) = state, call(state, number)
            assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before.params))
        with pytest.raises(Exception, match="Disallowed host-to-device"):
            jnp.add(np.ones(3), jnp.ones(3))  # the guard is at work here as well
    assert int(state.step) == 4 * count


@STRATEGIES
def test_the_compiled_step_writes_the_new_state_over_the_old(strategy):
    feed, step, state = resident(4, strategy)
    batch = DeviceMap(jax.devices()[:4], strategy).split(feed.batches[0])
    mapped = DeviceMap(jax.devices()[:4], strategy).map(step, (None, 0), donate=(0,))
    (aliases,) = re.findall(
        r"input_output_alias=\{ (.*?) \},? ", mapped.lower(state, batch).compile().as_text()
    )
    written = len(jax.tree.leaves((state.params, state.opt_state)))
    assert aliases.count("alias)") >= written


def equations(jaxpr):
    """Every equation of a jaxpr and of those inside of it."""
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    for equation in getattr(jaxpr, "eqns", ()):
        yield equation
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            yield from equations(inner)


def one_hot_shapes(function, *arguments):
    """Shapes of the matrices of floats that are made from comparisons of integers."""
    found, compared = [], set()
    for equation in equations(jax.make_jaxpr(function)(*arguments)):
        name, out = equation.primitive.name, equation.outvars[0]
        if name == "eq" and equation.invars[0].aval.dtype.kind == "i":
            compared.add(out)
        is_float = name == "convert_element_type" and out.aval.dtype.kind == "f"
        if is_float and equation.invars[0] in compared:
            found.append(out.aval.shape)
    return found


def test_a_classifier_makes_no_one_hot_labels():
    feed, step, state = resident(1)
    mapped = DeviceMap(jax.devices()[:1]).map(step, (None, 0))
    rows = feed.batches.rows
    assert (rows, CLASSES) not in one_hot_shapes(mapped, state, feed.batches[0])
    labels = jnp.zeros(rows, jnp.int32)
    assert one_hot_shapes(lambda x: jax.nn.one_hot(x, CLASSES), labels) == [(rows, CLASSES)]


@pytest.mark.parametrize("runtime", [Runtime(devices=2), Runtime(devices=1, resident=False)])
def test_a_run_compiles_one_program_to_train_and_one_to_evaluate(tmp_path, runtime, caplog):
    with caplog.at_level(logging.WARNING), jax.log_compiles():
        train(EXPERIMENT, tmp_path, runtime)
    compiled = collections.Counter(
        re.findall(r"Finished XLA compilation of jit\((\w+)\)", caplog.text)
    )
    if runtime.resident is None:
        assert compiled["on_rows"] == 2
    else:
        assert (compiled["packed_step"], compiled["eval_step"]) == (1, 1)
    assert compiled["init"] == 1


def test_stock_convolutions_are_not_looped_over_on_a_cpu():
    def gradient(kernel, images):
        return jax.grad(lambda k: ConvNet().apply(k, images).sum())(kernel)

    images = jnp.ones((2, 8, 8, 1))
    kernel = ConvNet().init(jax.random.key(0), images)
    looped = jax.make_jaxpr(
        lambda k: jax.lax.scan(lambda k, _: (gradient(k, images), 0), k, None, length=2)
    )(kernel)
    assert has_primitive(looped, "conv_general_dilated")
    assert not has_primitive(looped, "sort")
    one_feed, step, one_state = resident(2, model=ConvNet())
    many_feed, _, many_state = resident(2, model=ConvNet())
    many_state, many = many_feed.bind_many(step, 3)(many_state, 0)
    one = one_feed.bind(step, donate=True)
    losses = []
    for number in range(3):
        one_state, metrics = one(one_state, number)
        losses.append(metrics.loss_sum)
    chex.assert_trees_all_equal(one_state.params, many_state.params)
    np.testing.assert_array_equal(many.loss_sum, losses)


@pytest.mark.parametrize(
    ("change", "runtime", "wanted"),
    [
        ({}, Runtime(), 2),  # divides log_every, eval_every and the 12 steps
        ({"steps": 13}, Runtime(), 1),  # a step would be left over, and need a program of its own
        ({"steps": 20_001, "eval_every": 50, "log_every": 20}, Runtime(), 10),
        ({}, Runtime(steps_per_dispatch=5), 5),
        ({}, Runtime(resident=False), 1),
        ({"model": MLP(num_classes=CLASSES, hidden=(2**17, 2**11))}, Runtime(), 1),  # long steps
    ],
)
def test_steps_of_a_dispatch(change, runtime, wanted):
    experiment = dataclasses.replace(EXPERIMENT, **change)
    runtime = dataclasses.replace(runtime, devices=1)
    run = open_run(experiment, runtime)
    state = jax.eval_shape(run.create_state)
    every = experiment.eval_every
    found = steps_per_dispatch(run, run.train_feed(), state, (experiment.log_every, every, every))
    assert found == wanted


def test_any_step_may_follow_any_other():
    feed, _, _ = resident(2)

    def images(carry, batch):
        return jax.lax.psum((batch["image"].astype("int32") * carry).sum(), AXIS)

    call = feed.bind(images)
    steps = [0, 1, 5, 4, 255, 256, 257, 2, 3, 1000]
    wanted = [int(feed.batches[step]["image"].astype("int64").sum()) for step in steps]
    assert [int(call(1, step)) for step in steps] == wanted


def test_packing_gives_back_what_it_took():
    tree = {"a": np.float32(1.5), "b": (np.arange(6).reshape(2, 3), np.ones(2, np.float32)), "c": 4}
    pack = Packing()
    vectors = jax.jit(pack)(tree)
    assert set(vectors) == {"float32", "int32"}
    chex.assert_trees_all_equal(
        pack.unpacked(jax.device_get(vectors)), jax.tree.map(np.asarray, tree)
    )
    several = jax.device_get(jax.vmap(pack)(jax.tree.map(lambda x: np.stack([x, 2 * x]), tree)))
    chex.assert_trees_all_equal(
        pack.unpacked(several), jax.tree.map(lambda x: np.stack([x, 2 * x]), tree)
    )


UNTIL_THE_FIRST_STEP = """
import sys
from jaxcv.cli.main import main
from jaxcv.train.logging import ProgressLine

def step(self, step, metrics):
    heavy = ("tensorflow", "torch", "sklearn", "matplotlib", "orbax", "grain", "tensorboardX",
             "tensorflow_datasets", "pandas", "cv2")
    print([name for name in heavy if name in sys.modules], flush=True)
    raise KeyboardInterrupt

ProgressLine.step = step
main(["train", "digits_lenet", "--workdir", sys.argv[1], "--devices", "1"])
"""


def test_training_starts_without_packages_that_it_does_not_need_yet(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", UNTIL_THE_FIRST_STEP, str(tmp_path)], capture_output=True, text=True
    )
    assert result.stdout.splitlines() == ["[]"], result.stderr
