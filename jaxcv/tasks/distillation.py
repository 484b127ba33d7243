"""Learning from another run's predictions, beside the labels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcv import losses
from jaxcv.arguments import check_positive, check_range
from jaxcv.tasks.classification.objectives import CrossEntropy
from jaxcv.tasks.classification.objectives.labels import class_scores
from jaxcv.tasks.objective import Losses, Objective, counted_like, known_data, loss_per_example
from jaxcv.train.batch import preprocess_batch
from jaxcv.train.state import Variables, variable_shapes
from jaxcv.train.task import Batch
from jaxcv.train.trained import TrainedModel
from jaxcv.train.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A teacher but for its weights, as it was when the student's run started.

    Attributes:
        model: its Linen module.
        preprocess: its deterministic transforms of an augmented image.
        image_shape: (H, W, C) of an image after them.
    """

    model: Any
    preprocess: tuple[Any, ...]
    image_shape: tuple[int, int, int]

    def variable_shapes(self) -> Variables:
        """Of its variables, as `jax.ShapeDtypeStruct`s."""
        return nn.unbox(variable_shapes(self.model, self.image_shape))

    def logits(self, variables: Variables, images: jax.Array) -> jax.Array:
        """[B, ..., C] of augmented images [B, H, W, C]; constants to differentiation."""
        images = preprocess_batch({"image": images}, self.preprocess)["image"]
        return jax.lax.stop_gradient(_main(self.model.apply(variables, images, train=False)))


@dataclass(frozen=True, kw_only=True)
class Distillation(Objective):
    """Another objective, and the predictions of a trained run (Hinton et al. 2015, arXiv:1503.02531).

        (1 - weight) * objective + weight * T^2 KL(teacher_T || student_T)

    for each label: of an image, or of a pixel. The teacher sees the student's image, augmented alike
    and then preprocessed as the teacher's run says, in evaluation mode. Its weights are the moving average
    where its run has one. They lie in the state, and with it in the student's checkpoints: once a run
    has started, the teacher's directory is needed no more.

    Attributes:
        teacher: work directory of the teacher's run.
        objective: what is learned from the labels.
        temperature: T > 0, by which both logits are divided.
        weight: of the teacher, in [0, 1].
        network: the teacher's model and preprocessing; None reads them from its directory when the run
            starts, and config.json keeps them.

    Example:
        >>> from jaxcv.tasks import Classification
        >>> task = Classification(num_classes=10, objective=Distillation(teacher="runs/large"))
    """

    teacher: str
    objective: Objective = field(default_factory=CrossEntropy)
    temperature: float = 4.0
    weight: float = 0.9
    network: Any = None

    def __post_init__(self) -> None:
        """Raises ValueError for a temperature or a weight that cannot be."""
        check_positive("temperature", self.temperature)
        check_range("weight", self.weight, 0.0, 1.0)

    @property
    def sees_images(self) -> bool:
        """The teacher does."""
        return True

    def settled(self, data: TrainingData, earlier: Distillation | None) -> Distillation:
        """With the `network`: as the run had it when it started, else from the teacher's directory.

        Raises:
            ValueError: where there is no such run, or it does not fit the data.
        """
        if self.network is not None:
            return self
        if earlier is not None and earlier.network and earlier.teacher == self.teacher:
            return replace(self, network=earlier.network)
        trained = self._trained()
        experiment = trained.experiment
        classes = experiment.task.class_count()
        if classes is None or classes != data.num_classes:
            raise ValueError(
                f"the teacher in {self.teacher} tells {classes or 'no'} classes apart, but the data have "
                f"{data.num_classes}; take a teacher that was trained on the same classes"
            )
        assert data.image_shape is not None, "known when a run is opened"
        images = jax.ShapeDtypeStruct((1, *data.image_shape), jnp.float32)
        try:
            processed = jax.eval_shape(
                lambda x: preprocess_batch({"image": x}, experiment.preprocess)["image"], images
            )
            network = Teacher(
                model=experiment.model,
                preprocess=experiment.preprocess,
                image_shape=processed.shape[1:],
            )
            fitting = _shapes(network.variable_shapes()) == _shapes(trained.shapes)
        except (TypeError, ValueError) as error:
            raise ValueError(self._other_size(data, str(error))) from error
        if not fitting:
            raise ValueError(self._other_size(data, "its weights have other shapes"))
        outputs = jax.eval_shape(
            lambda variables, x: _main(network.model.apply(variables, x, train=False)),
            trained.shapes,
            jax.ShapeDtypeStruct((1, *network.image_shape), jnp.float32),
        )
        if getattr(outputs, "shape", (0,))[-1] not in (classes, 1):
            raise ValueError(
                f"the teacher in {self.teacher} gives no logits of {classes} classes, of an image or of a "
                f"pixel: {type(experiment.task).__name__} cannot be distilled"
            )
        return replace(self, network=network)

    def _other_size(self, data: TrainingData, reason: str) -> str:
        return (
            f"the teacher in {self.teacher} cannot see images of {list(data.image_shape or ())} (H, W, C "
            f"after augmentation): {reason}; train on images of the teacher's size, or take a teacher "
            "whose preprocessing brings all images to one"
        )

    def _trained(self) -> TrainedModel:
        try:
            return TrainedModel.open(self.teacher)
        except ValueError as error:
            raise ValueError(f"the teacher cannot be read: {error}") from error

    def init(self, data: TrainingData | None) -> tuple[Variables, Any]:
        """The teacher's variables, and the state of the other objective."""
        own = self.objective.init(data)
        if known_data(data, self).source is None:
            shapes = self._known_network().variable_shapes()
            return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes), own
        return self._trained().variables(), own

    def _known_network(self) -> Teacher:
        if self.network is None:
            raise ValueError(
                "Distillation does not know its teacher's model yet; `train` and `open_run` read it, and "
                "`jaxcv.train.settled(task, data)` does for a program of your own"
            )
        return self.network

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`; [B], with the weights of the other objective."""
        variables, own = state
        values, weights, own = loss_per_example(self.objective, outputs, batch, own, key)
        teacher = self._known_network().logits(variables, batch["unprocessed_image"])
        if teacher.shape != outputs.shape:
            raise ValueError(
                f"the teacher gives logits of shape {teacher.shape}, but the student of {outputs.shape}; "
                "both must do the same task"
            )
        imitation = losses.distillation_loss(
            class_scores(outputs), class_scores(teacher), temperature=self.temperature
        )
        imitation = counted_like(imitation, batch, weights)
        total = (1.0 - self.weight) * values + self.weight * imitation
        return total, weights, (variables, own)


def _main(outputs: Any) -> jax.Array:
    """The logits of the main head, where there are several."""
    return outputs["logits"] if isinstance(outputs, dict) else outputs


def _shapes(variables: Variables) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    return {jax.tree_util.keystr(path): tuple(leaf.shape) for path, leaf in leaves}
