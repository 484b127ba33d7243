"""What happens to a device's batch before the model sees it: augmented, mixed, preprocessed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxcv import image as image_ops
from jaxcv.devices import AXIS
from jaxcv.train.task import Task

Batch = dict[str, jax.Array]
Augmentation = Callable[[jax.Array, jax.Array], jax.Array]
Preprocessing = Callable[[jax.Array], jax.Array]

_RULES = image_ops.AnnotationRules()


def repeat_rows(batch: Batch, views: int) -> Batch:
    """Each row `views` times, one after the other: augmented, they are views of one image."""
    if views == 1:
        return batch
    return jax.tree.map(lambda x: jnp.repeat(x, views, axis=0), batch)


def augment_batch(
    key: jax.Array,
    batch: Batch,
    augment: Sequence[Augmentation],
    *,
    rules: image_ops.AnnotationRules = _RULES,
    visit_key: jax.Array | None = None,
) -> Batch:
    """Augments each image [H,W,C], with its label map, boxes or points, under a key of its own.

    The key folds in the row's place in the *global* batch, so that an image is augmented alike
    whichever device it lands on. What becomes of annotations that leave the image, the task's `rules`
    say. A transform that depends on the visit (`image.AlternatingTransform`) gets its record's key,
    from `visit_key`, and epoch.
    """
    if not augment:
        return batch
    keys = jax.vmap(lambda row: jax.random.fold_in(key, row))(global_rows(batch))

    def one(key: jax.Array, sample: Batch) -> Batch:
        transforms = augment
        if visit_key is not None and "epoch" in sample:
            transforms = image_ops.transforms_at_visit(
                augment, visit_key, sample["record"], sample["epoch"]
            )
        return rules.transform(transforms, key, sample)

    return jax.vmap(one)(keys, batch)


def global_rows(batch: Batch) -> jax.Array:
    """[B] place of each of this device's rows in the global batch."""
    rows = batch["image"].shape[0]
    return jax.lax.axis_index(AXIS) * rows + jnp.arange(rows)


def mix_batch(key: jax.Array, batch: Batch, mix: image_ops.Mixing | None, task: Task) -> Batch:
    """Joins neighbouring rows of the batch, images and what belongs to them; see `image.Mixing`."""
    if mix is None:
        return batch
    return mix.mix_batch(key, batch, rows=global_rows(batch), num_classes=task.class_count())


def preprocess_batch(batch: Batch, preprocess: Sequence[Preprocessing]) -> Batch:
    """Applies the deterministic transforms that training and evaluation share."""

    def one(image: jax.Array) -> jax.Array:
        for transform in preprocess:
            image = transform(image)
        return image_ops.to_float(image)

    return {**batch, "image": jax.vmap(one)(batch["image"])}
