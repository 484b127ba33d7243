"""A batch is augmented by the task's rules and mixed by the mixing's own, whatever they are."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv.devices import AXIS
from jaxcv.image import AnnotationRules, RandomHorizontalFlip
from jaxcv.tasks import Classification, Detection, Regression, Segmentation
from jaxcv.train.batch import augment_batch, mix_batch

RNG = np.random.default_rng(3)
IMAGES = RNG.uniform(0, 1, (4, 6, 8, 3)).astype(np.float32)


def on_two_devices(function, batch):
    """The whole batch after `function` ran on halves of it."""
    halves = {name: array.reshape(2, 2, *array.shape[1:]) for name, array in batch.items()}
    out = jax.vmap(function, axis_name=AXIS)(halves)
    return {name: np.asarray(array).reshape(4, *array.shape[2:]) for name, array in out.items()}


def flipped(task, batch):
    """The batch after a flip of every image."""
    return on_two_devices(
        lambda rows: augment_batch(
            jax.random.key(0), rows, (RandomHorizontalFlip(1.0),), rules=task.annotation_rules
        ),
        {"image": IMAGES, "mask": np.ones(4, bool), **batch},
    )


def test_a_task_says_which_points_swap_in_a_mirror():
    @dataclasses.dataclass(frozen=True)
    class Eyes(Regression):
        @property
        def annotation_rules(self):
            return AnnotationRules(mirror_order=(1, 0, 2))

    points = RNG.uniform(1, 5, (4, 3, 2)).astype(np.float32)
    found = flipped(Eyes(), {"points": points})
    wanted = (points * [-1, 1] + [8, 0])[:, [1, 0, 2]]
    np.testing.assert_allclose(found["points"], wanted, rtol=1e-6)
    assert found["visible"].all()
    plain = flipped(Regression(), {"points": points})
    np.testing.assert_allclose(plain["points"], wanted[:, [1, 0, 2]], rtol=1e-6)


def test_target_pictures_follow_and_tell_where_they_are_valid():
    found = flipped(Regression(), {"label": IMAGES[..., :1]})
    np.testing.assert_array_equal(found["label"], IMAGES[:, :, ::-1, :1])
    assert found["valid"].shape == (4, 6, 8)
    assert found["valid"].all()


def test_tasks_say_what_an_empty_pixel_and_a_box_that_leaves_become():
    assert Segmentation(num_classes=3, ignore_label=7).annotation_rules.ignore_label == 7
    assert Classification(num_classes=3).annotation_rules == AnnotationRules()
    assert Detection(num_classes=3, min_visibility=0.4).annotation_rules.min_visibility == 0.4


def test_a_mixing_of_ones_own_sees_the_places_of_the_rows():
    @dataclasses.dataclass(frozen=True)
    class Swapped:
        group_size = 2

        def check_record(self, record, name):
            pass

        def mix_batch(self, key, batch, *, rows, num_classes=None):
            images = batch["image"][jnp.asarray([1, 0])]
            return {**batch, "image": images, "rows": rows, "classes": rows * 0 + num_classes}

    batch = {"image": IMAGES, "label": np.arange(4), "mask": np.ones(4, bool)}
    key, task = jax.random.key(0), Classification(num_classes=9)
    found = on_two_devices(lambda rows: mix_batch(key, rows, Swapped(), task), batch)
    np.testing.assert_array_equal(found["image"], IMAGES[[1, 0, 3, 2]])
    assert found["rows"].tolist() == [0, 1, 2, 3]
    assert found["classes"].tolist() == [9] * 4
    kept = on_two_devices(lambda rows: mix_batch(key, rows, None, task), batch)
    np.testing.assert_array_equal(kept["image"], IMAGES)
