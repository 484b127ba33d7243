"""What a run is made of, opened and checked before anything is written or trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import optax

from jaxcv.convolution import onednn
from jaxcv.convolution.compiler import compiler_options
from jaxcv.data import (
    Batches,
    ImageReader,
    Source,
    Split,
    first_record,
    materialize,
    resident_bytes,
)
from jaxcv.train.checkpoint import Checkpoints, Which
from jaxcv.train.checks import (
    SetupError,
    augmented_image,
    check_annotations,
    check_classes,
    check_images,
    check_model,
    check_sizes,
    evaluated_shape,
)
from jaxcv.train.config_file import read_config
from jaxcv.train.data_card import DataCard, Splits, describe
from jaxcv.train.experiment import Experiment, Runtime
from jaxcv.train.feed import Feed, ResidentFeed, StreamFeed
from jaxcv.train.parallel import DeviceMap, is_sharded
from jaxcv.train.run_card import read_run_card
from jaxcv.train.settling import earlier_task, settled
from jaxcv.train.setup_warnings import say_setup_warnings
from jaxcv.train.state import TrainState, create_state, state_layout
from jaxcv.train.training_data import TrainingData

# Data sets up to this size are kept in device memory, unless the runtime says otherwise.
RESIDENT_LIMIT = 2 * 2**30


@dataclass(frozen=True)
class Run:
    """An experiment on its devices, with what is known of its data.

    Attributes:
        experiment: what is trained.
        runtime: how the machine is used.
        device_map: the devices.
        data: what the run keeps of its data.
        splits: the records, opened when they are asked for.
        image_shape: (H, W, C) as the model sees an image.
        total_steps: updates from start to end.
        layout: how the state lies on the devices, see `state_layout`.
    """

    experiment: Experiment
    runtime: Runtime
    device_map: DeviceMap
    data: DataCard
    splits: Mapping[Split, Source]
    image_shape: tuple[int, int, int]
    total_steps: int
    layout: TrainState

    @property
    def train_source(self) -> Source:
        """The training records."""
        return self.splits["train"]

    @property
    def test_source(self) -> Source:
        """The test records."""
        return self.splits["test"]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes by label, as they were called when the run started."""
        return self.data.class_names

    @property
    def image_reader(self) -> ImageReader:
        """What reads an image file to the size and channels of the records, as the data set read its own.

        Raises:
            SetupError: the data set, one of your own, hands none over.
        """
        reader = self.data.image_reader
        if reader is None:
            raise SetupError(
                f"{type(self.experiment.data).__name__} has no image_reader, so that nothing tells how to "
                "read an image file as its records; give it one: jaxcv.data.ImageReader"
            )
        return reader

    @property
    def sized_image_reader(self) -> ImageReader:
        """`image_reader`, to the size of the records where the data set itself has none."""
        return self.image_reader.with_size(self.data.image_shape[:2])

    @property
    def sharded(self) -> Any:
        """Which parameters each device has rows of its own of: bools like them, None for nowhere."""
        sharded = jax.tree.map(is_sharded, self.layout.params)
        return sharded if any(jax.tree.leaves(sharded)) else None

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """The Optax transformation for the length of this run."""
        return self.experiment.optimizer.transformation(self.total_steps, self.sharded)

    def create_state(self, *, to_restore: bool = False) -> TrainState:
        """The state at step 0, on the devices.

        Args:
            to_restore: a checkpoint is to replace it, so that no record is read for it.
        """
        task = self.experiment.task
        return create_state(
            self.experiment.model,
            self.optimizer,
            self.image_shape,
            seed=self.experiment.seed,
            ema=self.experiment.ema_decay is not None,
            task=task,
            data=TrainingData(
                num_examples=self.data.train.count,
                num_classes=task.class_count(),
                source=None if to_restore else self.train_source,
            ),
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
            sampler=self.experiment.sampler,
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
            label_offset=self.experiment.task.label_offset,
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


def open_run(
    experiment: Experiment, runtime: Runtime | None = None, workdir: str | Path | None = None
) -> Run:
    """Opens the data, chooses the devices, and checks that everything fits together.

    Args:
        experiment: what is trained.
        runtime: how to use the machine.
        workdir: of the run, if it has one: what was settled when it started stays, see `settling`.

    Raises:
        SetupError: where it does not, in one line that says what was found and what is wanted; with
            `runtime.strict`, also where something is doubtful.
        OneDNNError: where the runtime asks for oneDNN and it cannot be had.
        ValueError: from the data set, the model or the optimiser, likewise.
    """
    runtime = runtime or Runtime()
    device_map = open_devices(runtime)
    check_sizes(experiment, runtime, device_map)
    splits = Splits(experiment.data)
    train_source, test_source = splits["train"], splits["test"]
    bad_allowed = experiment.max_bad_records if experiment.on_bad_record == "skip" else 0
    record, name = first_record(train_source, bad_allowed)
    check_annotations(experiment, record, name)
    check_classes(experiment, train_source)
    card = describe(train_source, test_source, record)
    check_images(experiment, card.image, card.crop_size)
    say_setup_warnings(experiment, runtime, device_map, card, train_source)
    return _run(experiment, runtime, device_map, card, splits, workdir)


def open_workdir(
    workdir: str | Path,
    runtime: Runtime | None = None,
    step: Which = "last",
    experiment: Experiment | None = None,
) -> tuple[Run, TrainState]:
    """Rebuilds a run from its work directory, with the state of a checkpoint.

    The data are not opened before their records are asked for; where they have changed since the run
    started, a warning says how.

    Args:
        workdir: written by `train`.
        runtime: how to use the machine now.
        step: which checkpoint: its step, "last", or "best" by the experiment's `keep.best`.
        experiment: what was trained; None reads it from config.json, which cannot hold arrays.

    Raises:
        ValueError: where there is no such checkpoint, it is damaged, or it is another run's.
    """
    workdir, runtime = Path(workdir), runtime or Runtime()
    experiment = experiment or read_config(workdir / "config.json")
    card = read_run_card(workdir)
    if card is None:  # An earlier version kept nothing of the data.
        run = open_run(experiment, runtime, workdir)
    else:
        splits = Splits(experiment.data, card.data, runtime.data_changed == "accept")
        run = _run(experiment, runtime, open_devices(runtime), card.data, splits, workdir)
    checkpoints = Checkpoints(
        workdir / "checkpoints", run.experiment.keep, run_digest=None if card is None else card.run
    )
    return run, checkpoints.restore(run.create_state(to_restore=True), checkpoints.choose(step))


def _run(
    experiment: Experiment,
    runtime: Runtime,
    device_map: DeviceMap,
    card: DataCard,
    splits: Splits,
    workdir: str | Path | None,
) -> Run:
    """A run over data of which the card tells; its task is settled, see `settling`."""
    seen = augmented_image(experiment, card.image, card.crop_size)
    data = TrainingData(
        num_examples=card.train.count,
        num_classes=experiment.task.class_count(),
        source=splits.opened("train"),
        image_shape=seen.shape[1:],
    )
    earlier = None if workdir is None else earlier_task(workdir)
    experiment = replace(experiment, task=settled(experiment.task, data, earlier))
    image_shape = evaluated_shape(experiment, card.image)
    shapes = check_model(experiment, image_shape)
    total_steps = experiment.total_steps(card.train.count)
    layout = state_layout(
        shapes,
        experiment.optimizer.transformation(total_steps),
        ema=experiment.ema_decay is not None,
    )
    run = Run(
        experiment=experiment,
        runtime=runtime,
        device_map=device_map,
        data=card,
        splits=splits,
        image_shape=image_shape,
        total_steps=total_steps,
        layout=layout,
    )
    check_sharding(run, nn.unbox(shapes["params"]))
    return run


def open_devices(runtime: Runtime) -> DeviceMap:
    """The devices that a runtime asks for, with what its compiler needs loaded.

    Raises:
        SetupError: where they are not there.
        OneDNNError: where it asks for oneDNN and that cannot be had.
    """
    devices = choose_devices(runtime)
    if runtime.onednn and devices[0].platform == "cpu":
        onednn.load()
    return DeviceMap(devices, runtime.strategy, compiler_options(devices))


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


def check_sharding(run: Run, params: Any) -> None:
    """Raises SetupError where parameters, of these shapes, cannot be sharded as the run's layout says."""
    if run.sharded is None:
        return
    count = run.device_map.count
    whole = [a for a in run.experiment.optimizer.algorithms if a.needs_whole_matrices]
    if count > 1 and whole:
        raise SetupError(
            f"{type(whole[0]).__name__} needs whole matrices, but the classifier's rows are "
            f"sharded over {count} devices; use SGD or AdamW, or --devices 1"
        )
    if run.device_map.strategy == "pmap" and jax.process_count() > 1:
        raise SetupError(
            "pmap over several processes cannot divide the classifier's rows; use --strategy shard_map"
        )
    leaves = jax.tree_util.tree_leaves_with_path(params)
    for (path, leaf), own in zip(leaves, jax.tree.leaves(run.sharded), strict=True):
        if own and leaf.shape[0] % count:
            raise SetupError(
                f"{jax.tree_util.keystr(path)} has {leaf.shape[0]} rows, which {count} devices cannot "
                f"share evenly; let the model pad them to a multiple of {count}"
            )
