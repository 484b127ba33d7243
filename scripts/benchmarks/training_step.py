"""Whole training steps: jaxcv's own beside PyTorch, Flax's example idiom and Keras on JAX.

    python -m scripts.benchmarks training_step --cases lenet

All compute one step of SGD with momentum on the same images from the same parameters; their first losses
must agree. Ours is what `jaxcv train` runs (`make_train_step` under `DeviceMap`, with its metrics); "ours,
many" is that with the data on the device and `MANY` steps in one dispatch, per step. Peers: PyTorch eager,
channels last; a jitted Optax step over plain `flax.linen` as in Flax's examples; `train_on_batch` of
Keras. The peer that is not installed is left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scripts.benchmarks.contenders import OURS, Row, compare, show, wanted
from scripts.benchmarks.networks import CLASSES, IMAGE, Network

MANY = 8
RATE, MOMENTUM = 0.01, 0.9
Step = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """A network and the images of a batch."""

    network: Network
    batch: int

    def __str__(self) -> str:
        return f"{self.network}, batch {self.batch}"


CASES = (
    Case(Network("lenet"), 4),
    Case(Network("lenet"), 128),
    Case(Network("speed", (16, 64, 64)), 64),
    Case(Network("speed", (64, 256, 256)), 64),
    Case(Network("resnet18", (16,)), 64),
    Case(Network("resnet18", (64,)), 64),
)


def run(options: argparse.Namespace) -> list[Row]:
    rows = []
    for case in CASES:
        if wanted(str(case), options):
            rows.append(measure(case, options))
            show(rows[-1])
    return rows


def measure(case: Case, options: argparse.Namespace) -> Row:
    values = initial_parameters(case)
    images, labels = draw(case)
    steps: dict[str, Step] = {}
    losses: dict[str, float] = {}
    for name, make in MAKERS.items():
        if name in options.without:
            continue
        try:
            steps[name] = make(case, values, images, labels, options)
        except ImportError:
            print(f"{name} is not installed")
            continue
        losses[name] = float(steps[name]())
    losses.pop(MANY_NAME, None)  # of other images
    for loss in losses.values():
        assert abs(loss - losses[OURS]) < 1e-3 * abs(losses[OURS]), (str(case), losses)
    row = compare("training step", str(case), steps, options)
    seconds, ratios = dict(row.seconds), dict(row.ratios)
    if MANY_NAME in seconds:
        seconds[MANY_NAME] /= MANY
        if MANY_NAME in ratios:
            middle, low, high = ratios[MANY_NAME]
            ratios[MANY_NAME] = (MANY * middle, MANY * low, MANY * high)
    notes: dict[str, Any] = {
        f"images/s, {name}": round(case.batch / value, 1) for name, value in seconds.items()
    }
    notes["first loss"] = losses
    notes["parameters"] = sum(value.size for value in values)
    return Row(benchmark=row.benchmark, case=row.case, seconds=seconds, ratios=ratios, notes=notes)


def draw(case: Case) -> tuple[Any, Any]:
    import numpy as np

    rng = np.random.default_rng(0)
    images = rng.normal(size=(case.batch, *IMAGE)).astype(np.float32)
    return images, rng.integers(0, CLASSES, case.batch).astype(np.int32)


def initial_parameters(case: Case) -> list[Any]:
    """In the order of the layers, of jaxcv's model."""
    import jax
    import jax.numpy as jnp

    from scripts.benchmarks import networks

    model = networks.ours(case.network)
    variables = model.init(jax.random.key(0), jnp.zeros((1, *IMAGE)))  # jit would sort the layers
    return networks.listed(variables["params"])


def our_step(case: Case, values: Any, images: Any, labels: Any, options: Any) -> Step:
    import jax
    import numpy as np

    function, state, device_map = _ours(case, values)
    batch = {"image": images, "label": labels, "mask": np.ones(case.batch, bool)}
    batch = device_map.split(batch)
    mapped = device_map.map(function, (None, 0), donate=(0,))

    def step() -> Any:
        nonlocal state
        state, metrics = mapped(state, batch)
        return jax.block_until_ready(metrics.loss_sum / metrics.denominator)

    return step


def our_many_steps(case: Case, values: Any, images: Any, labels: Any, options: Any) -> Step:
    import jax

    from jaxcv.data import Batches, Synthetic, materialize
    from jaxcv.train.feed import ResidentFeed

    function, state, device_map = _ours(case, values)
    data = Synthetic(
        num_examples=MANY * case.batch,
        num_test_examples=1,
        image_size=IMAGE[0],
        channels=IMAGE[2],
        num_classes=CLASSES,
    )
    batches = Batches(data.open("train"), case.batch, shuffle=True, seed=0)
    call = ResidentFeed(batches, materialize(batches), device_map).bind_many(function, MANY)
    at = 0

    def steps() -> Any:
        nonlocal state, at
        state, metrics = call(state, at)
        at += MANY
        return jax.block_until_ready(metrics.loss_sum[-1] / metrics.denominator[-1])

    return steps


def _ours(case: Case, values: Any) -> tuple[Any, Any, Any]:
    """Training step, initial state and devices."""
    import dataclasses

    import jax
    import jax.numpy as jnp
    import optax

    from jaxcv.convolution.compiler import compiler_options
    from jaxcv.tasks import Classification
    from jaxcv.train import DeviceMap, create_state, make_train_step
    from scripts.benchmarks import networks

    model, task = networks.ours(case.network), Classification(num_classes=CLASSES)
    optimizer = optax.sgd(RATE, MOMENTUM)
    devices = jax.devices()[:1]
    device_map = DeviceMap(devices, compiler_options=compiler_options(devices))  # as a run does
    state = create_state(model, optimizer, IMAGE, seed=0, task=task)
    ordered = model.init(jax.random.key(0), jnp.zeros((1, *IMAGE)))["params"]
    state = dataclasses.replace(state, params=networks.filled(ordered, iter(values)))
    return make_train_step(model, task, optimizer), device_map.replicate(state), device_map


def flax_step(case: Case, values: Any, images: Any, labels: Any, options: Any) -> Step:
    """A jitted step on a `TrainState`, as in Flax's examples."""
    import jax
    import jax.numpy as jnp
    import optax
    from flax.training.train_state import TrainState

    from scripts.benchmarks import networks

    class State(TrainState):
        batch_stats: Any

    model = networks.flax(case.network)
    variables = model.init(jax.random.key(0), jnp.zeros((1, *IMAGE)))
    state = State.create(
        apply_fn=model.apply,
        params=networks.filled(variables["params"], iter(values)),
        batch_stats=variables.get("batch_stats", {}),
        tx=optax.sgd(RATE, MOMENTUM),
    )

    @jax.jit
    def train_step(state: State, images: Any, labels: Any) -> tuple[State, Any]:
        def loss(params: Any) -> tuple[Any, Any]:
            logits, updated = state.apply_fn(
                {"params": params, "batch_stats": state.batch_stats},
                images,
                train=True,
                mutable=["batch_stats"],
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), (logits, updated)

        (value, (logits, updated)), gradients = jax.value_and_grad(loss, has_aux=True)(state.params)
        state = state.apply_gradients(grads=gradients)
        state = state.replace(batch_stats=updated.get("batch_stats", {}))
        return state, {"loss": value, "accuracy": (logits.argmax(-1) == labels).mean()}

    images, labels = jnp.asarray(images), jnp.asarray(labels)

    def step() -> Any:
        nonlocal state
        state, metrics = train_step(state, images, labels)
        return jax.block_until_ready(metrics["loss"])

    return step


def torch_step(case: Case, values: Any, images: Any, labels: Any, options: Any) -> Step:
    import torch

    from scripts.benchmarks import networks

    torch.set_num_threads(options.threads)
    model = networks.torch_model(case.network, values).train()
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=MOMENTUM)
    images = torch.tensor(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    labels = torch.tensor(labels).long()

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def keras_step(case: Case, values: Any, images: Any, labels: Any, options: Any) -> Step:
    import keras

    from scripts.benchmarks import networks

    if keras.backend.backend() != "jax":
        raise ImportError
    model = networks.keras_model(case.network, values)
    model.compile(
        optimizer=keras.optimizers.SGD(RATE, momentum=MOMENTUM),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )

    def step() -> Any:
        model.reset_metrics()
        return model.train_on_batch(images, labels)[0]

    return step


MANY_NAME = "ours, many"
MAKERS: dict[str, Callable[..., Step]] = {
    OURS: our_step,
    MANY_NAME: our_many_steps,
    "flax": flax_step,
    "torch": torch_step,
    "keras": keras_step,
}
