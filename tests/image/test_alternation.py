"""Alternating flips: each image in turn as it is and mirrored, labels with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.image import (
    AlternatingHorizontalFlip,
    AlternatingTransform,
    RandomCrop,
    RandomHorizontalFlip,
    transform_sample,
    transforms_at_visit,
)

IMAGE = jnp.arange(6.0).reshape(2, 3, 1) / 8


def is_flipped(record, visit, key=0, step=0, flip=AlternatingHorizontalFlip()):  # noqa: B008
    (bound,) = transforms_at_visit([flip], jax.random.key(key), record, visit)
    return bool((bound(jax.random.key(step), IMAGE) != IMAGE).any())


def test_each_record_alternates_and_its_visits_keys_do_not_matter():
    for record in range(6):
        first = is_flipped(record, 0)
        assert [is_flipped(record, v, step=v) for v in range(5)] == [first, not first] * 2 + [first]


def test_first_flips_are_by_chance_and_of_the_run():
    @jax.jit
    def flips(key, records):
        def one(record):
            (bound,) = transforms_at_visit([AlternatingHorizontalFlip()], key, record, 0)
            return bound(key, IMAGE)[0, 0, 0] != IMAGE[0, 0, 0]

        return jax.vmap(one)(records)

    first, other = (np.asarray(flips(jax.random.key(k), jnp.arange(2000))) for k in (0, 1))
    assert abs(first.sum() - 1000) < 5 * np.sqrt(2000 / 4)
    # Two runs agree on as many as two throws of a coin do.
    assert abs((first == other).sum() - 1000) < 5 * np.sqrt(2000 / 4)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_probability_is_of_the_first_visit(probability):
    flip = AlternatingHorizontalFlip(probability=probability)
    assert [is_flipped(3, v, flip=flip) for v in (0, 1)] == [probability == 1, probability == 0]


def test_annotations_follow():
    transforms = [RandomCrop(padding=0), AlternatingHorizontalFlip(probability=1.0)]
    sample = {
        "image": IMAGE,
        "label": jnp.arange(6).reshape(2, 3),
        "boxes": jnp.asarray([[0.0, 0.0, 1.0, 2.0]]),
        "classes": jnp.asarray([4]),
    }
    bound = transforms_at_visit(transforms, jax.random.key(0), 5, 2)
    moved = transform_sample(bound, jax.random.key(1), sample)
    np.testing.assert_array_equal(moved["image"], IMAGE[:, ::-1])
    np.testing.assert_array_equal(moved["label"], sample["label"][:, ::-1])
    np.testing.assert_allclose(moved["boxes"], [[2.0, 0.0, 3.0, 2.0]])


def test_without_visits_it_is_a_random_flip():
    for number in range(4):
        key = jax.random.key(number)
        np.testing.assert_array_equal(
            AlternatingHorizontalFlip()(key, IMAGE), RandomHorizontalFlip()(key, IMAGE)
        )
    assert isinstance(AlternatingHorizontalFlip(), AlternatingTransform)
    assert not isinstance(RandomHorizontalFlip(), AlternatingTransform)
