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
Mixing = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
Preprocessing = Callable[[jax.Array], jax.Array]


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
    ignore_label: int | None = None,
    min_visibility: float = 0.1,
    visit_key: jax.Array | None = None,
) -> Batch:
    """Augments each image [H,W,C], with its label map, boxes or points, under a key of its own.

    The key folds in the row's place in the *global* batch, so that an image is augmented alike
    whichever device it lands on. A label map gets `ignore_label` where the image is empty; a box of
    which less than `min_visibility` is left in the image is gone. A transform that depends on the
    visit (`image.AlternatingTransform`) gets its record's key, from `visit_key`, and epoch.
    """
    if not augment:
        return batch
    keys = jax.vmap(lambda row: jax.random.fold_in(key, row))(global_rows(batch))
    ignored = image_ops.IGNORE_LABEL if ignore_label is None else ignore_label

    def one(key: jax.Array, sample: Batch) -> Batch:
        transforms = augment
        if visit_key is not None and "epoch" in sample:
            transforms = image_ops.transforms_at_visit(
                augment, visit_key, sample["record"], sample["epoch"]
            )
        return image_ops.transform_sample(
            transforms, key, sample, ignore_label=ignored, min_visibility=min_visibility
        )

    return jax.vmap(one)(keys, batch)


def global_rows(batch: Batch) -> jax.Array:
    """[B] place of each of this device's rows in the global batch."""
    rows = batch["image"].shape[0]
    return jax.lax.axis_index(AXIS) * rows + jnp.arange(rows)


def mix_batch(
    key: jax.Array, batch: Batch, mix: Mixing | image_ops.Mosaic | None, task: Task
) -> Batch:
    """Joins neighbouring rows: four images with their boxes, or two with their labels.

    Mixup and CutMix turn labels [B] into label distributions [B,C].
    """
    if mix is None:
        return batch
    if isinstance(mix, image_ops.Mosaic):
        images, boxes, classes, ignored = mix(
            key,
            batch["image"],
            batch["boxes"],
            batch["classes"],
            batch["ignored"],
            batch["mask"],
            global_rows(batch),
        )
        mixed = {"image": images, "boxes": boxes, "classes": classes, "ignored": ignored}
        return {**batch, **mixed}
    count = task.class_count()
    assert count is not None, "only labels that are classes can be mixed"
    labels = jax.nn.one_hot(batch["label"], count)
    images, labels = mix(key, image_ops.to_float(batch["image"]), labels, batch["mask"])
    return {**batch, "image": images, "label": labels}


def preprocess_batch(batch: Batch, preprocess: Sequence[Preprocessing]) -> Batch:
    """Applies the deterministic transforms that training and evaluation share."""

    def one(image: jax.Array) -> jax.Array:
        for transform in preprocess:
            image = transform(image)
        return image_ops.to_float(image)

    return {**batch, "image": jax.vmap(one)(batch["image"])}
