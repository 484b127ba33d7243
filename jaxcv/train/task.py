"""The contract between the training step and a task."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np

from jaxcv.image import IGNORE_LABEL, AnnotationRules

if TYPE_CHECKING:
    from jaxcv.train.training_data import TrainingData

Batch = dict[str, jax.Array]


@dataclass(frozen=True, kw_only=True)
class Headline:
    """One of the numbers that matter in a task's evaluation, and how it is shown everywhere.

    Attributes:
        name: key in the task's summary, and in metrics.jsonl.
        title: what people read, such as "Mean IoU".
        fraction: a number in [0, 1], shown in percent.
        unit: after the number, such as "degrees".
        better: which way is improvement; None where neither is.
    """

    name: str
    title: str
    fraction: bool = False
    unit: str = ""
    better: Literal["higher", "lower"] | None = "higher"


class Task(abc.ABC):
    """What a model's outputs mean: a frozen dataclass that implements the abstract methods.

    A new task is one new folder, or one file, and nothing is registered. The other methods have a
    default that suits most tasks. All but `init_state`, `summary`, `aggregate` and `presentation`,
    which run on the host, are called inside the mapped axis `jaxcv.devices.AXIS`.
    """

    # Label excluded from the loss and the metrics, such as that of unlabelled pixels; None for none.
    ignore_label: int | None = None
    # What a record has besides its image.
    annotations: tuple[str, ...] = ("label",)
    # Lower bound on the loss denominator. With 0, a batch in which nothing counts moves nothing; with
    # more, the values of such a batch are divided by it.
    least_weight: float = 0.0

    @property
    def headlines(self) -> tuple[Headline, ...]:
        """The numbers of an evaluation that matter, most important first."""
        return (Headline(name="loss", title="Loss", better="lower"),)

    @property
    def annotation_rules(self) -> AnnotationRules:
        """What becomes of the annotations of a training image that is augmented.

        Raises:
            ValueError: for a setting out of range.
        """
        ignored = IGNORE_LABEL if self.ignore_label is None else self.ignore_label
        return AnnotationRules(ignore_label=ignored)

    @abc.abstractmethod
    def class_count(self) -> int | None:
        """The number of classes of the training labels; None where labels are not classes."""

    @abc.abstractmethod
    def check_outputs(self, outputs: Any, images: jax.ShapeDtypeStruct) -> None:
        """Raises ValueError, saying what to change, where a model's outputs do not fit the task.

        Args:
            outputs: what the model returns in evaluation, as `jax.ShapeDtypeStruct`s.
            images: [B,H,W,C], its input.
        """

    @property
    def views(self) -> int:
        """How many times each image of a training batch is there, each time augmented anew.

        The copies of an image are neighbouring rows of one device, with one `record`. A task with an
        `objective` has as many as that compares.
        """
        return getattr(getattr(self, "objective", None), "views", 1)

    def init_state(self, data: TrainingData | None = None) -> Any:
        """What the objective carries from step to step, such as a margin's statistics: a pytree.

        Args:
            data: the training records, which a run always hands over; None suits objectives that start
                from none.

        Raises:
            ValueError: for None where the objective starts from the training records.
        """
        return ()

    @abc.abstractmethod
    def loss(
        self, outputs: Any, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, Any]:
        """The loss of each example of a training batch, and the objective's next state.

        The objective is sum(values) / max(sum(weights), `least_weight`) over the global batch, and 0
        where that denominator is 0: nothing counts.

        Args:
            outputs: of the model, in training.
            batch: this device's rows.
            state: from `init_state`, or of the step before.
            key: PRNG key of this step and device, for objectives that sample.

        Returns:
            `(values [B], weights [B], state)`, float32, both 0 where `batch["mask"]` is False. The
            state must be equal on all devices.
        """

    @abc.abstractmethod
    def metrics(self, outputs: Any, batch: Batch) -> Any:
        """A pytree of sums and counts, which adds up over batches and devices."""

    def loss_and_metrics(
        self, outputs: Any, batch: Batch, state: Any, key: jax.Array
    ) -> tuple[jax.Array, jax.Array, Any, Any]:
        """What a training step asks for: `(values, weights, metrics, state)`.

        A task overrides this where loss and metrics come from one computation.
        """
        values, weights, state = self.loss(outputs, batch, state, key)
        return values, weights, self.metrics(outputs, batch), state

    @abc.abstractmethod
    def summary(self, metrics: Any) -> dict[str, Any]:
        """Turns summed metrics, on the host, into named numbers."""

    @abc.abstractmethod
    def predict(self, outputs: Any) -> dict[str, jax.Array]:
        """Arrays with leading axis B: what `jaxcv predict` writes for each example."""

    # What is taken off each label, in float64 on the host, before it becomes float32 on the devices.
    label_offset: float = 0.0

    def restored(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """On the host, what `predict` returned (and labels of a batch) in the units of the data."""
        return arrays

    def per_example(self, outputs: Any, batch: Batch) -> dict[str, jax.Array]:
        """Arrays with leading axis B that an evaluation needs of every example, not summed.

        Embeddings, say, or detections; {} where sums are enough.
        """
        return {}

    def aggregate(self, per_example: dict[str, np.ndarray]) -> dict[str, Any]:
        """Turns the `per_example` arrays of all N test records, [N, ...] in order, into named numbers."""
        return {}

    def presentation(self) -> Any:
        """How the task is shown, a `jaxcv.report.Presentation`; None for the plain one.

        It is imported here, in the body, so that training loads nothing of what draws.
        """
        return None


def check_logits(outputs: Any, images: jax.ShapeDtypeStruct, count: int) -> None:
    """Raises ValueError unless the outputs are logits [B, count]."""
    shape = getattr(outputs, "shape", None)
    if shape is None:
        raise ValueError(
            f"the model gives {type(outputs).__name__}, but the task wants logits [B, {count}]"
        )
    if shape != (images.shape[0], count):
        raise ValueError(
            f"the model gives outputs of shape [B, {', '.join(map(str, shape[1:]))}], but the task wants "
            f"[B, {count}]; say --model.num-classes {count}"
        )
