"""Partial FC: a softmax over the classes of the batch and a random part of the others.

    sample = sample_classes(key, labels, classifier.shape[0], rate=0.1, axis_name="devices")

    def loss(embeddings, rows):
        values = linear_softmax_cross_entropy(
            embeddings, rows, labels, sample=sample, margin=margin, axis_name="devices").loss
        ...
    gradients = jax.grad(loss, argnums=(0, 1))(embeddings, classifier[sample.rows])
    classifier, slots = lazy_row_update(optimizer, gradients[1], sample, slots, classifier)

An et al. 2022, arXiv:2203.15565. Shapes are static: a device takes max(round(rate c), min(N, c)) of
its c classes, so that every class of the batch always fits. At rate 1 this is the full softmax.
"""

import dataclasses
import functools
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxcv.arguments import check_range
from jaxcv.devices import first_row, gather
from jaxcv.losses.arguments import is_integer


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["rows"], meta_fields=["total_rows"]
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassSample:
    """The classes that take part in one step, on one device.

    Attributes:
      rows: int32 [S], rising: rows of the device's classifier.
      total_rows: How many rows it has.
    """

    rows: jax.Array
    total_rows: int


def sample_classes(
    key: jax.Array,
    labels: jax.Array,
    total_rows: int,
    *,
    rate: float,
    num_classes: int | None = None,
    axis_name: str | None = None,
) -> ClassSample:
    """Draws classes without replacement; those of the batch are always among them.

    Args:
      key: A PRNG key, equal on all devices; each draws its own classes from it.
      labels: [n] integers, this device's rows of the batch; those that name no class are passed
        over.
      total_rows: c, the rows of this device's classifier, padding counted.
      rate: Part of the classes, in (0, 1].
      num_classes: Of all devices, without padding, which is drawn last; None if there is none.
      axis_name: The device axis that batch and classes are spread over.

    Raises:
      ValueError: for a rate outside (0, 1], labels that are not integers, an axis not bound.

    Example:
      >>> sample_classes(jax.random.key(0), jnp.array([3, 3, 1]), 5, rate=1.0).rows
      Array([0, 1, 2, 3, 4], dtype=int32)
    """
    check_range("rate", rate, 0.0, 1.0, open_low=True)
    if not is_integer(labels):
        raise ValueError(
            f"labels have dtype {jnp.result_type(labels)}, but integers of shape [n] are wanted."
        )
    labels = gather(jnp.asarray(labels).astype(jnp.int32), axis_name)
    start = first_row(total_rows, axis_name)
    size = max(round(rate * total_rows), min(labels.shape[0], total_rows))
    if size == total_rows:
        return ClassSample(rows=jnp.arange(size, dtype=jnp.int32), total_rows=total_rows)
    if axis_name is not None:
        key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
    rank = jax.random.uniform(key, (total_rows,))
    row = labels - start
    # Elsewhere means beyond the end, which the scatter drops; a negative index would wrap.
    row = jnp.where((row >= 0) & (row < total_rows), row, total_rows)
    rank = rank.at[row].set(2.0, mode="drop")
    if num_classes is not None:
        rank = jnp.where(start + jnp.arange(total_rows) < num_classes, rank, -1.0)
    rows = jnp.sort(jax.lax.top_k(rank, size)[1]).astype(jnp.int32)
    return ClassSample(rows=rows, total_rows=total_rows)


class Optimizer(Protocol):
    """An Optax `GradientTransformation`, or anything with its `update`."""

    def update(self, updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        """Gradients, slots and parameters to steps and new slots."""
        ...


def dense_row_update(
    optimizer: Any, gradient: jax.Array, sample: ClassSample, slots: Any, classifier: jax.Array
) -> tuple[jax.Array, Any]:
    """A step with gradient 0 for the classes not drawn: momentum and decay move every row.

    As insightface trains with Partial FC, and what differentiating through
    `classifier[sample.rows]` gives.

    Args:
      optimizer: An Optax transformation that treats rows alike, such as SGD or AdamW.
      gradient: [S, D], of the rows drawn.
      sample: The rows drawn.
      slots: `optimizer.init(classifier)` or what the last step returned.
      classifier: [c, D].

    Returns:
      The new classifier and slots.
    """
    whole = jnp.zeros(classifier.shape, gradient.dtype).at[sample.rows].set(gradient)
    step, slots = optimizer.update(whole, slots, classifier)
    return classifier + step.astype(classifier.dtype), slots


def lazy_row_update(
    optimizer: Any, gradient: jax.Array, sample: ClassSample, slots: Any, classifier: jax.Array
) -> tuple[jax.Array, Any]:
    """A step of the drawn rows alone: the others keep value and momentum, and do not decay.

    It reads and writes S rows instead of c, and no [c, D] gradient exists. Arguments and result as
    in `dense_row_update`, which it equals when all rows are drawn. Slots of the classifier's shape
    are taken row by row; others, such as a step count, pass through whole.
    """

    def drawn(leaf: Any) -> Any:
        return leaf[sample.rows] if _by_row(leaf, classifier) else leaf

    def put(leaf: Any, new: Any) -> Any:
        return leaf.at[sample.rows].set(new) if _by_row(leaf, classifier) else new

    rows = classifier[sample.rows]
    step, new = optimizer.update(gradient, jax.tree.map(drawn, slots), rows)
    classifier_rows = rows + step.astype(classifier.dtype)
    return classifier.at[sample.rows].set(classifier_rows), jax.tree.map(put, slots, new)


def _by_row(leaf: Any, classifier: jax.Array) -> bool:
    return jnp.shape(leaf) == classifier.shape
