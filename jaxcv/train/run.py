"""What a run is made of, opened and checked before anything is written or trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcv.data import Batches, Source, materialize, resident_bytes
from jaxcv.train.checkpoint import Checkpoints
from jaxcv.train.config_file import read_config
from jaxcv.train.experiment import Experiment, Runtime
from jaxcv.train.feed import Feed, ResidentFeed, StreamFeed
from jaxcv.train.optimizer import LAMB, LARS, Muon
from jaxcv.train.parallel import DeviceMap, is_divided
from jaxcv.train.state import TrainState, create_state, state_layout
from jaxcv.train.step import AXIS, preprocess_batch

# Data sets up to this size are kept in device memory, unless the runtime says otherwise.
RESIDENT_LIMIT = 2 * 2**30


class SetupError(ValueError):
    """An experiment whose parts do not fit together or do not fit the machine."""


@dataclass(frozen=True)
class Run:
    """An experiment with its data opened, on its devices.

    Attributes:
        experiment: what is trained.
        runtime: how the machine is used.
        device_map: the devices.
        train_source, test_source: the records.
        image_shape: (H, W, C) as the model sees an image.
        total_steps: updates from start to end.
        layout: how the state lies on the devices, see `state_layout`.
    """

    experiment: Experiment
    runtime: Runtime
    device_map: DeviceMap
    train_source: Source
    test_source: Source
    image_shape: tuple[int, int, int]
    total_steps: int
    layout: TrainState

    @property
    def divided(self) -> Any:
        """Which parameters each device has rows of its own of: bools like them, None for nowhere."""
        divided = jax.tree.map(is_divided, self.layout.params)
        return divided if any(jax.tree.leaves(divided)) else None

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """The Optax transformation for the length of this run."""
        return self.experiment.optimizer.transformation(self.total_steps, self.divided)

    def create_state(self) -> TrainState:
        """The state at step 0, on the devices."""
        return create_state(
            self.experiment.model,
            self.optimizer,
            self.image_shape,
            seed=self.experiment.seed,
            ema=self.experiment.ema_decay is not None,
            task=self.experiment.task,
            shardings=self.device_map.shardings(self.layout),
        )

    def train_feed(self) -> Feed:
        """The training records: an endless, shuffled stream."""
        return self._feed(self.train_batches())

    def test_feed(self) -> Feed:
        """The test records: one pass in order, the last batch padded."""
        return self._feed(self.test_batches())

    def train_batches(self) -> Batches:
        """Which training records make up which step."""
        return self._batches(
            self.train_source,
            self.experiment.batch_size,
            shuffle=True,
            num_classes=self.experiment.task.class_count(),
            images_per_identity=self.experiment.images_per_identity,
        )

    def test_batches(self) -> Batches:
        """Which test records make up which step."""
        size = min(self.experiment.eval_batch_size, len(self.test_source))
        # The people of a test set need not be those of training: its own names count.
        classes = len(self.test_source.class_names) or self.experiment.task.class_count()
        return self._batches(self.test_source, size, shuffle=False, num_classes=classes)

    def _batches(self, source: Source, batch_size: int, **options: Any) -> Batches:
        return Batches(
            source,
            batch_size,
            seed=self.experiment.seed,
            multiple_of=self.device_map.count,
            ignore_label=self.experiment.task.ignore_label,
            on_bad_record=self.experiment.on_bad_record,
            max_bad_records=self.experiment.max_bad_records,
            num_threads=self.runtime.num_threads,
            **options,
        )

    def _feed(self, batches: Batches) -> Feed:
        resident = self.runtime.resident
        if resident is None and batches.rectangle is not None:
            resident = False  # Another rectangle of an image each time: nothing to keep.
        if resident is None:
            resident = resident_bytes(batches) <= RESIDENT_LIMIT
        if resident:
            return ResidentFeed(batches, materialize(batches), self.device_map)
        return StreamFeed(batches, self.device_map)


def open_run(experiment: Experiment, runtime: Runtime | None = None) -> Run:
    """Opens the data, chooses the devices, and checks that everything fits together.

    Raises:
        SetupError: where it does not, in one line that says what was found and what is wanted.
        ValueError: from the data set, the model or the optimiser, likewise.
    """
    runtime = runtime or Runtime()
    device_map = DeviceMap(choose_devices(runtime), runtime.strategy)
    check_sizes(experiment, runtime, device_map)
    train_source = experiment.data.open("train")
    test_source = experiment.data.open("test")
    check_classes(experiment, train_source)
    image_shape = check_images(experiment, train_source)
    check_model(experiment, image_shape)
    total_steps = experiment.total_steps(len(train_source))
    layout = state_layout(
        experiment.model,
        experiment.optimizer.transformation(total_steps),
        image_shape,
        ema=experiment.ema_decay is not None,
    )
    run = Run(
        experiment=experiment,
        runtime=runtime,
        device_map=device_map,
        train_source=train_source,
        test_source=test_source,
        image_shape=image_shape,
        total_steps=total_steps,
        layout=layout,
    )
    check_division(run)
    return run


def open_workdir(
    workdir: str | Path,
    runtime: Runtime | None = None,
    step: int | None = None,
    experiment: Experiment | None = None,
) -> tuple[Run, TrainState]:
    """Rebuilds a run from its work directory, with the state of a checkpoint.

    Args:
        workdir: written by `train`.
        runtime: how to use the machine now.
        step: which checkpoint; None takes the newest.
        experiment: what was trained; None reads it from config.json, which cannot hold arrays.

    Raises:
        ValueError: where there is no such checkpoint, it is damaged, or the data are gone.
    """
    workdir = Path(workdir)
    run = open_run(experiment or read_config(workdir / "config.json"), runtime)
    checkpoints = Checkpoints(workdir / "checkpoints", run.experiment.keep)
    steps = checkpoints.steps()
    if not steps:
        raise SetupError(f"{workdir} holds no checkpoint; train first")
    if step is not None and step not in steps:
        raise SetupError(f"{workdir} holds no checkpoint of step {step}; it has {steps}")
    return run, checkpoints.restore(run.create_state(), steps[-1] if step is None else step)


def choose_devices(runtime: Runtime) -> list[jax.Device]:
    """Gives the devices to use.

    Raises:
        SetupError: where the platform asked for, or that number of devices, is not there.
    """
    found = jax.devices()
    platform = found[0].platform
    if runtime.platform not in (None, platform):
        raise SetupError(
            f"--platform {runtime.platform} was asked for, but JAX finds only {platform} devices "
            f"({found[0].device_kind}); install jax[cuda12] or jax[tpu], or leave --platform out"
        )
    wanted = len(found) if runtime.devices is None else runtime.devices
    if not 1 <= wanted <= len(found):
        raise SetupError(f"--devices {wanted} was asked for, but there are {len(found)}")
    return found[:wanted]


def check_sizes(experiment: Experiment, runtime: Runtime, device_map: DeviceMap) -> None:
    """Raises SetupError for sizes that are not positive or do not divide."""
    sizes: dict[str, int | None] = {
        "batch_size": experiment.batch_size,
        "eval_batch_size": experiment.eval_batch_size,
        "accumulation": experiment.accumulation,
        "log_every": experiment.log_every,
        "eval_every": experiment.eval_every,
        "checkpoint_every": experiment.checkpoint_every,
        "max_skipped": experiment.max_skipped,
        "steps_per_dispatch": runtime.steps_per_dispatch,
    }
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise SetupError(f"{name} is {size}, but 1 or more is wanted")
    rows = device_map.padded(experiment.batch_size) // device_map.count
    if rows % experiment.accumulation:
        raise SetupError(
            f"accumulation is {experiment.accumulation}, which does not divide the {rows} rows that each "
            f"of {device_map.count} devices has of a batch of {experiment.batch_size}"
        )
    if experiment.mix is not None and rows % 2:
        raise SetupError(
            f"mixing blends rows in pairs, but each of {device_map.count} devices has {rows} rows of a "
            f"batch of {experiment.batch_size}; an even number is wanted"
        )
    if experiment.ema_decay is not None and not 0 <= experiment.ema_decay < 1:
        raise SetupError(f"ema_decay is {experiment.ema_decay}, but a number in [0, 1) is wanted")
    for name, module in modules("model", experiment.model):
        own = any(field.name == "axis_name" for field in dataclasses.fields(module))
        axis_name = module.axis_name if own else AXIS
        if device_map.count > 1 and axis_name != AXIS:
            raise SetupError(
                f"{name}.axis_name is {axis_name!r}, so that BatchNorm statistics would differ between "
                f"{device_map.count} devices; say --{name}.axis-name {AXIS}"
            )


def modules(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Gives a Linen module and those in its fields, each with its name on the command line."""
    yield name, module
    for field in dataclasses.fields(module):
        value = getattr(module, field.name, None)
        if isinstance(value, nn.Module) and field.name != "parent":
            yield from modules(f"{name}.{field.name}", value)


def check_classes(experiment: Experiment, source: Source) -> None:
    """Raises SetupError where the task's class count is not the data's, or labels cannot be mixed."""
    if experiment.mix is not None and np.ndim(source[0]["label"]) > 0:
        raise SetupError(
            "mixing blends labels that are one class per image, but these are label maps"
        )
    wanted, found = experiment.task.class_count(), len(source.class_names)
    if wanted is not None and found and found != wanted:
        names = [*source.class_names[:3], *(["..."] if found > 3 else [])]
        raise SetupError(
            f"the data have {found} classes ({', '.join(names)}), but the task "
            f"has {wanted}; say --task.num-classes {found} --model.num-classes {found}"
        )


def check_images(experiment: Experiment, source: Source) -> tuple[int, int, int]:
    """Gives the shape of an image as the model sees it.

    Raises:
        SetupError: where augmented images have another shape than those of evaluation.
    """
    record = source[0]["image"]
    image = jax.ShapeDtypeStruct((1, *record.shape), record.dtype)
    cut = getattr(source, "random_rectangle", None)
    seen = record.shape if cut is None else (*cut.size, record.shape[-1])
    training_image = jax.ShapeDtypeStruct((1, *seen), record.dtype)

    def evaluated(images: jax.Array) -> jax.Array:
        return preprocess_batch({"image": images}, experiment.preprocess)["image"]

    def trained(images: jax.Array) -> jax.Array:
        for transform in experiment.augment:
            images = jax.vmap(lambda x, t=transform: t(jax.random.key(0), x))(images)
        return evaluated(images)

    shape = jax.eval_shape(evaluated, image).shape
    augmented = jax.eval_shape(trained, training_image).shape
    if shape != augmented:
        raise SetupError(
            f"augmentation gives images of {list(augmented[1:])}, but evaluation has {list(shape[1:])}; "
            "add the same size to preprocess"
        )
    return shape[1:]


def check_model(experiment: Experiment, image_shape: tuple[int, int, int]) -> None:
    """Raises ValueError, from model or task, where the model's outputs do not fit the task."""
    images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)

    def outputs(images: jax.Array) -> Any:
        model = experiment.model
        variables = nn.unbox(model.init(jax.random.key(0), images, train=False))
        return model.apply(variables, images, train=False)

    try:
        experiment.task.check_outputs(jax.eval_shape(outputs, images), images)
    except ValueError as error:
        raise SetupError(str(error)) from error


def check_division(run: Run) -> None:
    """Raises SetupError where parameters divided over the devices cannot be, or not by this run."""
    if run.divided is None:
        return
    count = run.device_map.count
    algorithm = run.experiment.optimizer.algorithm
    if count > 1 and isinstance(algorithm, LAMB | LARS | Muon):
        raise SetupError(
            f"{type(algorithm).__name__} needs norms of whole matrices, but the classifier's rows are "
            f"divided over {count} devices; use SGD or AdamW, or --devices 1"
        )
    if run.device_map.strategy == "pmap" and jax.process_count() > 1:
        raise SetupError(
            "pmap over several processes cannot divide the classifier's rows; use --strategy shard_map"
        )
    state = jax.eval_shape(
        lambda: create_state(run.experiment.model, run.optimizer, run.image_shape, seed=0)
    )
    leaves = jax.tree_util.tree_leaves_with_path(state.params)
    for (path, leaf), own in zip(leaves, jax.tree.leaves(run.divided), strict=True):
        if own and leaf.shape[0] % count:
            raise SetupError(
                f"{jax.tree_util.keystr(path)} has {leaf.shape[0]} rows, which {count} devices cannot "
                f"share evenly; let the model pad them to a multiple of {count}"
            )
