"""Whether an experiment's parts fit together and fit the machine: asked before anything is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcv.data import Record, Sampler, Source
from jaxcv.devices import AXIS
from jaxcv.image import Mixing
from jaxcv.train.batch import preprocess_batch
from jaxcv.train.experiment import Experiment, Runtime
from jaxcv.train.parallel import DeviceMap
from jaxcv.train.state import Variables, variable_shapes


class SetupError(ValueError):
    """An experiment whose parts do not fit together or do not fit the machine."""


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
    mix, sampler = experiment.mix, experiment.sampler
    if mix is not None and not isinstance(mix, Mixing):
        raise SetupError(f"mix is {mix!r}, which is no jaxcv.image.Mixing")
    if sampler is not None and not isinstance(sampler, Sampler):
        raise SetupError(f"sampler is {sampler!r}, which is no jaxcv.data.Sampler")
    if mix is not None and rows % mix.group_size:
        raise SetupError(
            f"{type(mix).__name__} joins {mix.group_size} neighbouring rows, but each of "
            f"{device_map.count} devices has {rows} rows of a batch of {experiment.batch_size}; a "
            f"multiple of {mix.group_size} is wanted"
        )
    if mix is not None and experiment.task.views > 1:
        raise SetupError(
            f"{type(mix).__name__} joins neighbouring rows, but the task's objective compares "
            f"{experiment.task.views} views of each image, which are neighbours; leave mix out"
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


def check_annotations(experiment: Experiment, record: Record, name: str) -> None:
    """Raises SetupError where a record lacks what the task learns from, or what is mixed."""
    missing = [each for each in experiment.task.annotations if each not in record]
    if missing:
        raise SetupError(
            f"{type(experiment.task).__name__} learns from {', '.join(experiment.task.annotations)}, but "
            f"{name} has {', '.join(record)}; take a data set of the task's kind"
        )
    try:
        _ = experiment.task.annotation_rules
        if experiment.mix is not None:
            experiment.mix.check_record(record, name)
    except ValueError as error:
        raise SetupError(str(error)) from None


def check_classes(experiment: Experiment, source: Source) -> None:
    """Raises SetupError where the task's class count is not the data's."""
    wanted, found = experiment.task.class_count(), len(source.class_names)
    if wanted is not None and found and found != wanted:
        names = [*source.class_names[:3], *(["..."] if found > 3 else [])]
        raise SetupError(
            f"the data have {found} classes ({', '.join(names)}), but the task "
            f"has {wanted}; say --task.num-classes {found} --model.num-classes {found}"
        )


def augmented_image(
    experiment: Experiment, image: jax.ShapeDtypeStruct, crop_size: tuple[int, int] | None
) -> jax.ShapeDtypeStruct:
    """The shape [1, H, W, C] and dtype of a training image after augmentation, before preprocessing.

    Args:
        experiment: which augmentation.
        image: [H, W, C], of a record.
        crop_size: (H, W) of what training shows of it; None for all.
    """
    seen = image.shape if crop_size is None else (*crop_size, image.shape[-1])

    def augmented(images: jax.Array) -> jax.Array:
        for transform in experiment.augment:
            images = jax.vmap(lambda x, t=transform: t(jax.random.key(0), x))(images)
        return images

    return jax.eval_shape(augmented, jax.ShapeDtypeStruct((1, *seen), image.dtype))


def evaluated_shape(experiment: Experiment, image: jax.ShapeDtypeStruct) -> tuple[int, int, int]:
    """(H, W, C) of an image [H, W, C] as the model sees it, after preprocessing."""
    images = jax.ShapeDtypeStruct((1, *image.shape), image.dtype)
    return _preprocessed(experiment, images).shape[1:]


def check_images(
    experiment: Experiment, image: jax.ShapeDtypeStruct, crop_size: tuple[int, int] | None
) -> None:
    """Raises SetupError where augmented images have another shape than those of evaluation."""
    shape = evaluated_shape(experiment, image)
    augmented = _preprocessed(experiment, augmented_image(experiment, image, crop_size)).shape[1:]
    if shape != augmented:
        raise SetupError(
            f"augmentation gives images of {list(augmented)}, but evaluation has {list(shape)}; "
            "add the same size to preprocess"
        )


def _preprocessed(experiment: Experiment, images: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    return jax.eval_shape(
        lambda x: preprocess_batch({"image": x}, experiment.preprocess)["image"], images
    )


def check_model(experiment: Experiment, image_shape: tuple[int, int, int]) -> Variables:
    """Gives the shapes of the model's variables, see `variable_shapes`.

    Raises:
        SetupError: from model or task, where the model's outputs do not fit the task.
    """
    images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)

    def outputs(variables: Variables, images: jax.Array) -> Any:
        return experiment.model.apply(variables, images, train=False)

    try:
        shapes = variable_shapes(experiment.model, image_shape)
        found = jax.eval_shape(outputs, nn.unbox(shapes), images)
        experiment.task.check_outputs(found, images)
    except ValueError as error:
        raise SetupError(str(error)) from error
    return shapes
