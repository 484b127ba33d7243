"""What a task minimises: small frozen objects over the pure functions of `jaxcv.losses`."""

from __future__ import annotations

import abc
import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxcv.devices import AXIS
from jaxcv.losses.arguments import is_integer
from jaxcv.train.task import Batch
from jaxcv.train.training_data import TrainingData

# The integer label of what counts for nothing: padding, unlabelled pixels.
IGNORED = -1

# (values [B, ...], weights [B, ...], state)
Losses = tuple[jax.Array, jax.Array, Any]


@dataclass(frozen=True, kw_only=True)
class Objective(abc.ABC):
    """What is minimised in training: a frozen dataclass whose fields are numbers, strings and tuples.

    One without state only has to implement `loss`.
    """

    @property
    def parts(self) -> tuple[Objective, ...]:
        """The objectives that it is made of: those among its fields."""
        values = (getattr(self, field.name) for field in dataclasses.fields(self))
        return tuple(value for value in values if isinstance(value, Objective))

    @property
    def views(self) -> int:
        """How many times each image of a batch is there, each time augmented anew, see `Task.views`.

        Raises:
            ValueError: where two of its parts compare different numbers of views.
        """
        numbers = {part.views for part in self.parts} - {1}
        if len(numbers) > 1:
            raise ValueError(
                f"the parts of {type(self).__name__} compare {sorted(numbers)} views of each image, but "
                "a batch has each image one number of times"
            )
        return max(numbers, default=1)

    @property
    def sees_images(self) -> bool:
        """Whether it, or a part, looks at `batch["unprocessed_image"]`, see `loss`."""
        return any(part.sees_images for part in self.parts)

    def init(self, data: TrainingData | None) -> Any:
        """The state before the first step, a pytree of arrays; () where there is none.

        Args:
            data: the training records.

        Raises:
            ValueError: where it starts from the training records and there are none.
        """
        return ()

    @abc.abstractmethod
    def loss(
        self, outputs: Any, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """Losses of this device's rows, called inside the mapped axis `jaxcv.devices.AXIS`.

        The objective is sum(values) / sum(weights) over the global batch.

        Args:
            outputs: what the task hands over of the model's outputs, such as logits [B, ..., C].
            batch: as the task hands it over: `mask` [B], False for padding; the labels, where integer
                labels of what counts for nothing are `IGNORED`; `record` and `epoch` [B], which
                training record a row is, on which pass over them; `image`, as the model sees it;
                `unprocessed_image`, the same augmented but not preprocessed.
            state: from `init`, or of the step before.
            key: PRNG key of this step and device.

        Returns:
            `(values, weights, state)`: float32 [B], or [B, ...] with one entry per label of an example,
            such as a pixel; both 0 for what counts for nothing. The state must be equal on all devices:
            it is updated by the rows of all of them, and no gradient flows through it.
        """


@dataclass(frozen=True, init=False)
class Sum(Objective):
    """A weighted sum of objectives: `Sum((CrossEntropy(), 1.0), (Dice(), 0.5))`.

    The first one says what is counted: each other's mean over an example counts as often as the first
    one counts in that example, such as its pixels, or those of them that are hard.

    Attributes:
        terms: pairs of an objective and its weight.
    """

    terms: tuple[tuple[Objective, float], ...]

    def __init__(
        self, *parts: tuple[Objective, float], terms: tuple[tuple[Objective, float], ...] = ()
    ) -> None:
        """Takes the pairs one by one, or all of them as `terms`.

        Raises:
            ValueError: for no pair, or both.
        """
        if bool(parts) == bool(terms):
            raise ValueError(
                f"found {len(parts)} pairs and {len(terms)} terms, but one or the other is expected, as "
                "in Sum((CrossEntropy(), 1.0), (Dice(), 0.5))"
            )
        object.__setattr__(self, "terms", tuple((part, weight) for part, weight in parts or terms))

    @property
    def parts(self) -> tuple[Objective, ...]:
        """Those that are summed."""
        return tuple(part for part, _ in self.terms)

    def init(self, data: TrainingData | None) -> tuple[Any, ...]:
        """The states of all."""
        return tuple(part.init(data) for part, _ in self.terms)

    def loss(
        self, outputs: Any, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """The weighted sum, [B], with the weights of the first."""
        total, weights, states = jnp.zeros(()), jnp.zeros(()), []
        for index, (part, factor) in enumerate(self.terms):
            part_key = None if key is None else jax.random.fold_in(key, index)
            part_state = state[index] if state else ()
            values, part_weights, part_state = loss_per_example(
                part, outputs, batch, part_state, part_key
            )
            if index == 0:
                total, weights = factor * values, part_weights
            else:
                fraction = weights / jnp.where(part_weights > 0, part_weights, 1.0)
                total = total + factor * values * fraction
            states.append(part_state)
        return total, weights, tuple(states)


def known_data(data: TrainingData | None, objective: Objective) -> TrainingData:
    """The training data, for an objective whose state cannot be made without them.

    Raises:
        ValueError: where there are none.
    """
    if data is None:
        raise ValueError(
            f"the state of {type(objective).__name__} depends on the training records, but there are "
            "none; hand `data`, a jaxcv.train.TrainingData, to init_state or create_state"
        )
    return data


def sum_per_example(array: jax.Array) -> jax.Array:
    """Sums [B, ...] over all but the first axis: [B]."""
    return array if array.ndim == 1 else jnp.sum(array.reshape(array.shape[0], -1), axis=1)


def loss_per_example(
    objective: Objective, outputs: Any, batch: Batch, state: Any, key: jax.Array | None
) -> Losses:
    """An objective's losses as `Task.loss` returns them: `(values [B], weights [B], state)`."""
    values, weights, state = objective.loss(outputs, batch, state, key)
    return sum_per_example(values), sum_per_example(weights), state


def with_ignored(batch: Batch, ignore_label: int | None = None) -> Batch:
    """The batch with `IGNORED` for the integer labels of padding, and for those of `ignore_label`.

    Labels are [B, ...] integers; floating ones, such as numbers or distributions, stay as they are.
    """
    labels = batch["label"]
    if not is_integer(labels):
        return batch
    labels = labels.astype(jnp.int32)
    known = batch["mask"].reshape(-1, *[1] * (labels.ndim - 1))
    if ignore_label is not None:
        known = known & (labels != ignore_label)
    return {**batch, "label": jnp.where(known, labels, IGNORED)}


def valid_labels(batch: Batch, shape: tuple[int, ...]) -> jax.Array:
    """Which of the labels, of this shape [B, ...], count: False for padding and for `IGNORED`."""
    mask = batch["mask"]
    valid = jnp.broadcast_to(mask.reshape(-1, *[1] * (len(shape) - 1)), shape)
    return valid & (batch["label"] != IGNORED) if is_integer(batch["label"]) else valid


def counted(values: jax.Array, batch: Batch, state: Any = ()) -> Losses:
    """What `Objective.loss` returns for a loss of each label: 0, with weight 0, for what is ignored.

    Args:
        values: [B, ...] one for each label.
        batch: as it was handed to the objective.
        state: the next one.
    """
    valid = valid_labels(batch, values.shape)
    return jnp.where(valid, values, 0.0), valid.astype(jnp.float32), state


def counted_like(values: jax.Array, batch: Batch, weights: jax.Array) -> jax.Array:
    """A loss of each label, whose mean over an example counts as often as another objective does there.

    Args:
        values: [B, ...] one for each label.
        batch: as it was handed to the objective.
        weights: [B] of the other objective.

    Returns:
        [B] float32, to be added to the other's values.
    """
    values, places = (sum_per_example(x) for x in counted(values, batch)[:2])
    return values * weights / jnp.where(places > 0, places, 1.0)


def check_objective(
    objective: Objective, outputs: Any, labels: jax.ShapeDtypeStruct, num_classes: int | None
) -> None:
    """Computes an objective's shapes, so that settings that do not fit are found before training.

    Args:
        objective: in question.
        outputs: what the task will hand it, as `jax.ShapeDtypeStruct`s.
        labels: [B, ...].
        num_classes: of the labels; None where they are not classes.

    Raises:
        ValueError: from the loss, for settings or shapes that do not fit.
    """
    if objective.sees_images:  # There are none here; its parts are checked where they see none.
        for part in objective.parts:
            check_objective(part, outputs, labels, num_classes)
        return
    rows = labels.shape[0]
    number = jax.ShapeDtypeStruct((rows,), jnp.int32)
    batch = {
        "label": labels,
        "mask": jax.ShapeDtypeStruct((rows,), jnp.bool_),
        "record": number,
        "epoch": number,
    }

    def one_device(outputs: Any, batch: Batch) -> Losses:
        if objective.views > 1:
            repeated = jax.tree.map(lambda x: jnp.repeat(x, objective.views, 0), (outputs, batch))
            outputs, batch = repeated
        data = TrainingData(num_examples=rows, num_classes=num_classes)
        return objective.loss(outputs, batch, objective.init(data), jax.random.key(0))

    devices = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), (outputs, batch))
    jax.eval_shape(jax.vmap(one_device, axis_name=AXIS), *devices)
