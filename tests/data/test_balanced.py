"""P x K sampling: pure, distinct, complete; and the same from resident data as streamed."""

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcv.data import (
    Arrays,
    BalancedIdentities,
    BalancedOrder,
    Batches,
    Digits,
    Sampler,
    gather,
    materialize,
    record_labels,
)
from jaxcv.data.order import DistinctDraws


def faces(counts, **options):
    """A source whose record's first pixel is its number; person p has counts[p] records."""
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    return Arrays(images=images, labels=labels, test_fraction=0.0, **options).open("train")


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 24), st.data())
def test_draws_are_distinct_and_epochs_complete(length, data):
    size = data.draw(st.integers(1, length))
    seed, stream = data.draw(st.integers(0, 9)), data.draw(st.integers(0, 3))
    draws = DistinctDraws(length, size, seed, stream)
    drawn = [draws[number] for number in range(3 * length // size + 2)]
    assert all(len(set(draw.tolist())) == size for draw in drawn)
    stream_of_things = np.concatenate(drawn)
    for epoch in range(len(stream_of_things) // length):
        part = stream_of_things[epoch * length : (epoch + 1) * length]
        assert sorted(part.tolist()) == list(range(length))
    # Of the number alone: another object, asked in another order.
    fresh = DistinctDraws(length, size, seed, stream)
    for number in np.random.default_rng(seed).permutation(len(drawn))[:6]:
        np.testing.assert_array_equal(fresh[int(number)], drawn[number])


def test_draws_far_out_are_quick_and_random():
    draws = DistinctDraws(1000, 999, seed=0)
    assert len(set(draws[10**12].tolist())) == 999
    firsts = [DistinctDraws(4, 2, seed=s)[5][0] for s in range(4000)]
    # Each of 4 things 1,000 times, give or take 5 sigma.
    assert np.abs(np.bincount(firsts) - 1000).max() < 5 * np.sqrt(1000 * 3 / 4)
    with pytest.raises(ValueError, match="cannot draw 3 different things out of 2"):
        DistinctDraws(2, 3, seed=0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(2, 9), min_size=3, max_size=9), st.integers(1, 3), st.integers(0, 5))
def test_batches_hold_p_people_with_k_images_each(counts, people, seed):
    images = min(counts)
    source = faces(counts)
    batches = Batches(
        source,
        people * images,
        shuffle=True,
        sampler=BalancedIdentities(images_per_identity=images),
        seed=seed,
    )
    labels = record_labels(source)
    visits, shown = collections.Counter(), collections.Counter()
    steps = 4 * len(counts)
    for step in range(steps):
        rows, mask = batches.indices(step)
        assert mask.all()
        assert rows.dtype == np.int32
        assert len(set(rows.tolist())) == people * images
        groups = labels[rows].reshape(people, images)
        assert (groups == groups[:, :1]).all()
        assert len(set(groups[:, 0].tolist())) == people
        visits.update(groups[:, 0].tolist())
        shown.update(rows.tolist())
        if (step + 1) * people % len(counts) == 0:  # the end of an epoch of identities
            assert set(visits.values()) == {(step + 1) * people // len(counts)}
    # 4 P epochs of identities: image i of a person with n is shown 4 P K / n times, rounded.
    for record, label in enumerate(labels):
        exact = steps * people / len(counts) * images / counts[label]
        assert np.floor(exact) <= shown[record] <= np.ceil(exact)


def test_a_function_of_seed_and_step_alone():
    source = faces((5, 6, 7, 8, 9))
    options = {"shuffle": True, "sampler": BalancedIdentities(images_per_identity=3)}
    wanted = [Batches(source, 9, seed=4, **options).indices(s)[0] for s in range(20)]
    other = Batches(source, 9, seed=4, **options)
    for step in (19, 3, 3, 0, 12):
        np.testing.assert_array_equal(other.indices(step)[0], wanted[step])
    changed = Batches(source, 9, seed=5, **options)
    assert any((changed.indices(s)[0] != wanted[s]).any() for s in range(3))
    assert Batches(source, 9, **options)[10**9]["label"].shape == (9,)
    # Recorded once: another order would silently change every run that is resumed.
    recorded = BalancedOrder([0, 0, 0, 1, 1, 2, 2, 2], 4, 2, seed=7)
    assert [recorded.indices(s).tolist() for s in range(3)] == RECORDED


RECORDED = [[7, 6, 4, 3], [0, 1, 4, 3], [5, 7, 2, 1]]


def test_resident_streamed_and_shared_by_hosts_are_equal():
    source = faces((5, 6, 7, 8, 9))
    batches = Batches(
        source,
        6,
        shuffle=True,
        sampler=BalancedIdentities(images_per_identity=2),
        seed=3,
        multiple_of=4,
    )
    arrays = materialize(batches)
    streamed = batches.stream(2, 6)
    for step in range(2, 6):
        batch = next(streamed)
        resident = gather(arrays, *batches.indices(step))
        halves = [batches.local(step, i, 2) for i in range(2)]
        for key, values in batches[step].items():
            np.testing.assert_array_equal(batch[key], values)
            np.testing.assert_array_equal(resident[key], values)
            np.testing.assert_array_equal(np.concatenate([h[key] for h in halves]), values)
        assert batch["mask"].tolist() == [True] * 6 + [False] * 2
    assert batches.steps_per_epoch == 6  # 35 images, 6 a batch


@pytest.mark.parametrize(
    ("counts", "batch_size", "images", "message"),
    [
        ((4, 1, 4, 2), 6, 3, r"identity '1' \(label 1\) has 1 image, fewer than .*=3 and 1 more"),
        ((4, 1), 4, 2, r"has 1 image, .*FrequentIdentities\(data=..., minimum_images=2\)"),
        ((4, 4), 5, 2, "batch_size 5 is not a multiple of images_per_identity=2"),
        ((4, 4), 4, 0, "not a multiple of images_per_identity=0"),
        (
            (4, 4),
            6,
            2,
            "needs 3 different identities, but there are 2; lower batch_size to at most 4",
        ),
    ],
)
def test_sizes_that_do_not_fit(counts, batch_size, images, message):
    with pytest.raises(ValueError, match=message):
        Batches(
            faces(counts),
            batch_size,
            shuffle=True,
            sampler=BalancedIdentities(images_per_identity=images),
        )


def test_for_training_on_classes_only():
    with pytest.raises(ValueError, match="shuffle must be True"):
        Batches(
            Digits().open("train"),
            4,
            shuffle=False,
            sampler=BalancedIdentities(images_per_identity=2),
        )
    numbers = Arrays(images=np.zeros((8, 2, 2), np.uint8), labels=np.linspace(0, 1, 8))
    with pytest.raises(ValueError, match="needs a class for each record"):
        Batches(
            numbers.open("train"),
            4,
            shuffle=True,
            sampler=BalancedIdentities(images_per_identity=2),
        )


def test_labels_are_read_where_the_source_does_not_know_them():
    class Unknowing:
        class_names = ()

        def __init__(self, shape=()):
            self.shape = shape

        def __len__(self):
            return 6

        def __getitem__(self, index):
            return {
                "image": np.zeros((2, 2, 1), np.uint8),
                "label": np.full(self.shape, index % 3, np.int32),
            }

        def record_name(self, index):
            return f"record {index}"

    batch = Batches(
        Unknowing(), 6, shuffle=True, sampler=BalancedIdentities(images_per_identity=2)
    )[0]
    assert sorted(batch["label"].tolist()) == [0, 0, 1, 1, 2, 2]
    with pytest.raises(ValueError, match=r"record 0: its label is no scalar: \(2, 2\)"):
        Batches(
            Unknowing((2, 2)), 6, shuffle=True, sampler=BalancedIdentities(images_per_identity=2)
        )


def test_a_sampler_of_ones_own_chooses_the_records():
    """Batches ask a sampler for no more than its contract."""

    class Backwards:
        def order(self, source, batch_size, seed):
            class Order:
                def indices(self, step):
                    return np.arange(batch_size)[::-1] + step + seed

            return Order()

    assert isinstance(Backwards(), Sampler)
    assert isinstance(BalancedIdentities(), Sampler)
    batches = Batches(faces((5, 6)), 3, shuffle=True, seed=1, sampler=Backwards(), multiple_of=2)
    assert batches.sampled
    rows, mask = batches.indices(4)
    assert rows.tolist() == [7, 6, 5, 0]
    assert mask.tolist() == [True, True, True, False]
    assert batches[4]["image"][:3, 0, 0, 0].tolist() == [7, 6, 5]
    np.testing.assert_array_equal(batches.index_table(3, 2)[0][1], rows)
