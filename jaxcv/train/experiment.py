"""An experiment: the things themselves, held by one frozen dataclass; and how a run uses the machine."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import flax.linen as nn

from jaxcv.data import BalancedIdentities, Dataset
from jaxcv.train.optimizer import Optimizer
from jaxcv.train.task import Task


@dataclass(frozen=True, kw_only=True)
class Keep:
    """Which checkpoints stay on disk.

    Attributes:
        last: the newest N, at least 1.
        every: also each whose step is a multiple of this.
        best: also the best by this metric of an evaluation, such as "test/accuracy"; None for none.
        mode: whether the larger or the smaller value is better. NaN is never best.
    """

    last: int = 2
    every: int | None = None
    best: str | None = None
    mode: Literal["max", "min"] = "max"


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Stops when a metric has not improved for some evaluations in a row.

    Attributes:
        metric: name as in metrics.jsonl, split first, such as "test/loss".
        mode: whether the larger or the smaller value is better.
        patience: evaluations without improvement that end the run; None never ends it.
        min_change: the least change that counts as improvement, >= 0.
    """

    metric: str = "test/loss"
    mode: Literal["max", "min"] = "min"
    patience: int | None = None
    min_change: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything that decides the result of a run. Two equal experiments train equal models.

    Attributes:
        data: where the records come from.
        model: Linen module, called as `model(images, train=..., mask=...)`.
        task: gives meaning to the model's outputs.
        optimizer: how gradients become updates.
        batch_size: examples per update, over all devices together.
        sampler: a `data.Sampler`, which chooses the records of each batch, such as `BalancedIdentities` for
            losses on pairs; None: every record once an epoch, in random order.
        epochs: length of the run in passes over the training records; or
        steps: in updates. Exactly one of the two is given.
        augment: random transforms `(key, image) -> image`, training only.
        mix: an `image.Mixing`, which joins neighbouring rows: Mixup, CutMix or, for boxes, Mosaic;
            training only.
        preprocess: deterministic transforms `(image) -> image`, training and evaluation.
        l1: coefficient of the L1 penalty on all parameters.
        l2: coefficient of the L2 penalty on all parameters.
        ema_decay: decay per step of the moving average of the weights, evaluated beside them.
        accumulation: micro-batches per update and device.
        seed: of initial weights, order of records, augmentation and dropout.
        eval_batch_size: examples per evaluation step.
        eval_every: steps between evaluations; None: once an epoch.
        checkpoint_every: steps between checkpoints; None: after each evaluation.
        log_every: steps between rows of training metrics.
        keep: which checkpoints stay.
        early_stopping: when to stop before the end.
        max_skipped: non-finite updates in a row that end the run.
        on_bad_record: an unreadable record raises, or is skipped (masked) and counted;
        max_bad_records: up to this many.
    """

    data: Dataset
    model: nn.Module
    task: Task
    optimizer: Optimizer
    batch_size: int = 128
    # Any, as `mix` below: the command line edits the fields of what is there, but not of a protocol's.
    sampler: Any = None
    epochs: float | None = None
    steps: int | None = None
    augment: tuple[Any, ...] = ()
    mix: Any = None
    preprocess: tuple[Any, ...] = ()
    l1: float = 0.0
    l2: float = 0.0
    ema_decay: float | None = None
    accumulation: int = 1
    seed: int = 0
    eval_batch_size: int = 500
    eval_every: int | None = None
    checkpoint_every: int | None = None
    log_every: int = 50
    keep: Keep = field(default_factory=Keep)
    early_stopping: EarlyStopping = field(default_factory=EarlyStopping)
    max_skipped: int = 10
    on_bad_record: Literal["raise", "skip"] = "raise"
    max_bad_records: int = 100

    @classmethod
    def upgrade(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields as they are called now, of an experiment that an earlier version wrote."""
        fields = dict(fields)
        images = fields.pop("images_per_identity", None)
        if images is not None:
            fields["sampler"] = BalancedIdentities(images_per_identity=images)
        task: Any = fields.get("task")
        visibility = fields.pop("min_visibility", None)
        if visibility is not None and hasattr(task, "min_visibility"):
            fields["task"] = replace(task, min_visibility=visibility)
        return fields

    def total_steps(self, num_examples: int) -> int:
        """Gives the number of updates for a training set of `num_examples`.

        Raises:
            ValueError: where not exactly one of `epochs` and `steps` is given, or it is not positive.
        """
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(
                f"epochs is {self.epochs} and steps is {self.steps}; give exactly one of them "
                "(on the command line, --epochs None --steps 1000)"
            )
        steps = self.steps
        if steps is None:
            assert self.epochs is not None
            steps = math.ceil(self.epochs * num_examples / self.batch_size)
        if steps < 1:
            raise ValueError(f"the run has {steps} steps, but at least 1 is wanted")
        return steps


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """How a run uses the machine; it changes the speed, not what is computed.

    Attributes:
        platform: refuse to run on anything else; None takes what JAX finds.
        devices: number of devices to use; None takes all.
        strategy: how the step is mapped over devices, with equal results; None takes pmap in a single
            process and shard_map over several.
        steps_per_dispatch: updates per call to the devices, where the data are resident; None chooses.
        resident: keep the data set in device memory; None does so when it is small enough.
        num_threads: decoding threads, where the data are streamed.
        onednn: on a CPU, convolve by oneDNN where that is faster; needs `pip install 'jaxcv[onednn]'` and,
            the first time, a C++ compiler.
        data_changed: a run whose records or classes are not those that it started with is refused, or
            goes on over them: the one setting here that may change what is computed.
        strict: what a run warns of when it starts, such as a class without records, is an error.
    """

    platform: Literal["cpu", "gpu", "tpu"] | None = None
    devices: int | None = None
    strategy: Literal["pmap", "shard_map"] | None = None
    steps_per_dispatch: int | None = None
    resident: bool | None = None
    num_threads: int = 8
    onednn: bool = False
    data_changed: Literal["refuse", "accept"] = "refuse"
    strict: bool = False
