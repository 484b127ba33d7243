"""Learning that several views of an image should be judged alike, beside the labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from jaxcv import losses
from jaxcv.arguments import check_non_negative
from jaxcv.tasks.classification.objectives import CrossEntropy
from jaxcv.tasks.classification.objectives.labels import class_scores
from jaxcv.tasks.objective import Losses, Objective, counted_like, loss_per_example
from jaxcv.train.task import Batch
from jaxcv.train.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class Consistency(Objective):
    """Another objective, and how far predictions for views of one image lie apart (arXiv:1912.02781).

        objective + weight * JensenShannon(p of each view)

    Each image of a batch is there `compared` times, each time augmented anew: so many times the work. The
    labels are learned from all views; AugMix takes the clean one alone. For classes of whole images.

    Attributes:
        objective: what is learned from the labels.
        compared: views M of each image, at least 2.
        weight: >= 0; AugMix takes 12.
    """

    objective: Objective = field(default_factory=CrossEntropy)
    compared: int = 3
    weight: float = 12.0

    def __post_init__(self) -> None:
        """Raises ValueError for fewer than two views, or a negative weight."""
        if self.compared < 2:
            raise ValueError(
                f"Consistency's compared is {self.compared}, but at least 2 views are expected"
            )
        check_non_negative("weight", self.weight)

    @property
    def views(self) -> int:
        """Those that are compared."""
        return self.compared

    def init(self, data: TrainingData | None) -> Any:
        """The state of the other objective."""
        return self.objective.init(data)

    def loss(
        self, outputs: jax.Array, batch: Batch, state: Any = (), key: jax.Array | None = None
    ) -> Losses:
        """See `Objective`; [B], with the weights of the other objective."""
        if outputs.ndim != 2 or outputs.shape[0] % self.compared:
            raise ValueError(
                f"the logits have shape {outputs.shape}, but [B, C] of {self.compared} neighbouring views "
                "of each image are expected"
            )
        values, weights, state = loss_per_example(self.objective, outputs, batch, state, key)
        logits = class_scores(outputs)
        views = logits.reshape(-1, self.compared, logits.shape[-1]).swapaxes(0, 1)
        apart = jnp.repeat(losses.jensen_shannon_consistency(views), self.compared)
        return values + self.weight * counted_like(apart, batch, weights), weights, state
