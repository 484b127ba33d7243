"""People as data sets: who is where, by whose numbers, and that nobody is in two places."""

import dataclasses
import hashlib
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxcv.data import (
    TFDS,
    Arrays,
    BalancedIdentities,
    Batches,
    Digits,
    DisjointIdentities,
    Folder,
    FrequentIdentities,
    ImagesPerIdentity,
    People,
    Synthetic,
    materialize,
    record_labels,
    resident_bytes,
)

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Portraits:
    """Person p of the names has counts[p] images, in mixed order; pixel [0, 0] tells the record."""

    counts: tuple[int, ...]
    prefix: str = "person"

    def open(self, split):
        labels = np.repeat(np.arange(len(self.counts)), self.counts)
        labels = labels[np.random.default_rng(0).permutation(len(labels))]
        images = np.arange(len(labels), dtype=np.uint8)[:, None, None] * np.ones(
            (1, 2, 2), np.uint8
        )
        names = tuple(f"{self.prefix} {i}" for i in range(len(self.counts)))
        train = Arrays(images=images, labels=labels, class_names=names, test_fraction=0.0)
        return train.open(split)


def records(source):
    """{number of the record in the data below: name of its person}."""
    arrays = materialize(source)
    names = [source.class_names[label] for label in arrays["label"]]
    return dict(zip(arrays["image"][:, 0, 0, 0].tolist(), names))


# ---- Disjoint people ---------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=6, max_size=12), st.integers(0, 99))
def test_people_are_in_one_set_each(counts, seed):
    counts = (1, 2, 3, *counts)  # some people have no image at all
    data = DisjointIdentities(
        data=Portraits(counts), test_identities=1, validation_identities=1, seed=seed
    )
    whole = records(Portraits(counts).open("train"))
    parts = [records(data.open(split)) for split in SPLITS]
    people = [set(part.values()) for part in parts]
    assert not people[0] & people[1] | people[0] & people[2] | people[1] & people[2]
    assert parts[0] | parts[1] | parts[2] == whole
    assert sum(map(len, parts)) == len(whole)
    for split in SPLITS:
        source = data.open(split)
        arrays = materialize(source)
        assert set(arrays["label"].tolist()) == set(range(len(source.class_names)))
        np.testing.assert_array_equal(arrays["label"], record_labels(source))
        assert source.labels.dtype == arrays["label"].dtype == np.int32
        # Numbered in the order of the data's own labels.
        assert list(source.class_names) == sorted(
            source.class_names, key=lambda n: int(n.split()[1])
        )


def test_the_choice_is_that_of_sha_256():
    counts = (2,) * 12
    names = [f"person {i}" for i in range(12)]
    order = sorted(names, key=lambda name: hashlib.sha256(f"5:{name}".encode()).digest())
    data = DisjointIdentities(
        data=Portraits(counts), test_identities=3, validation_identities=0.25, seed=5
    )
    assert set(data.open("test").class_names) == set(order[:3])
    assert set(data.open("validation").class_names) == set(order[3:6])
    assert set(data.open("train").class_names) == set(order[6:])
    # The test people stay when there is no validation, and do not depend on the numbering.
    alone = dataclasses.replace(data, validation_identities=0)
    assert alone.open("test").class_names == data.open("test").class_names
    assert len(alone.open("train").class_names) == 9
    other = dataclasses.replace(data, seed=6)
    assert other.open("test").class_names != data.open("test").class_names
    # A thirteenth person takes the place of at most one.
    more = dataclasses.replace(data, data=Portraits((2,) * 13))
    assert len(set(data.open("test").class_names) - set(more.open("test").class_names)) <= 1


def test_batches_of_a_divided_set():
    data = DisjointIdentities(data=Digits(), test_identities=3)
    train, test = data.open("train"), data.open("test")
    assert train.class_names == ("0", "1", "2", "3", "5", "6", "8")
    batch = Batches(train, 28, shuffle=True, sampler=BalancedIdentities(images_per_identity=4))[3]
    assert np.bincount(batch["label"]).tolist() == [4] * 7
    whole = Digits().open("train")
    assert test.record_name(0).startswith("digits[")
    number = record_labels(whole)
    assert len(test) == int(np.isin(number, [4, 7, 9]).sum())
    assert resident_bytes(test) == len(test) * (64 + 4 + 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_identities": 0}, "test_identities must be above 0"),
        ({"test_identities": 8}, "8 test and 0 validation identities leave none of 8"),
        ({"test_identities": 5, "validation_identities": 3}, "leave none of 8"),
        ({"test_identities": 1.0, "validation_identities": 0.99}, "leave none of 8"),
        ({"test_identities": -1}, "whole number of people or a fraction between 0 and 1, not -1"),
        ({"test_identities": 2.5}, "whole number of people or a fraction"),
    ],
)
def test_shares_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        DisjointIdentities(data=Portraits((2,) * 8), **options).open("train")


def test_what_is_no_person():
    with pytest.raises(ValueError, match="validation_identities is 0"):
        DisjointIdentities(data=Digits(), test_identities=3).open("validation")
    numbers = Arrays(images=np.zeros((8, 2, 2), np.uint8), labels=np.linspace(0, 1, 8))
    for data in (
        DisjointIdentities(data=numbers, test_identities=1),
        ImagesPerIdentity(data=numbers, train_images=1),
        FrequentIdentities(data=numbers),
    ):
        with pytest.raises(ValueError, match=r"label 0\.\d+ is a number, no identity|label 0\.0"):
            data.open("train")


# ---- Closed set --------------------------------------------------------------------------------


def test_images_of_everyone():
    data = ImagesPerIdentity(data=Portraits((6, 9, 7)), train_images=4, seed=1)
    train, test = data.open("train"), data.open("test")
    assert train.class_names == test.class_names == ("person 0", "person 1", "person 2")
    assert np.bincount(record_labels(train)).tolist() == [4, 4, 4]
    assert np.bincount(record_labels(test)).tolist() == [2, 5, 3]
    first, second = records(train), records(test)
    assert first | second == records(Portraits((6, 9, 7)).open("train"))
    assert not first.keys() & second.keys()
    assert records(dataclasses.replace(data, seed=2).open("train")) != first
    with pytest.raises(ValueError, match="'person 1' has 4 images, which leaves none .*images=5"):
        ImagesPerIdentity(data=Portraits((6, 4)), train_images=4).open("train")
    with pytest.raises(ValueError, match="no split 'validation'; it has 'train' and 'test'"):
        data.open("validation")
    with pytest.raises(ValueError, match="at least 1, not 0"):
        dataclasses.replace(data, train_images=0).open("train")


def test_rare_people_are_left_out():
    data = FrequentIdentities(data=Portraits((6, 1, 3, 2)), minimum_images=3)
    source = data.open("train")
    assert source.class_names == ("person 0", "person 2")
    assert np.bincount(record_labels(source)).tolist() == [6, 3]
    closed = ImagesPerIdentity(data=data, train_images=2)
    assert set(records(closed.open("test")).values()) == {"person 0", "person 2"}
    with pytest.raises(ValueError, match="none of 4 identities has 7 images; the largest has 6"):
        dataclasses.replace(data, minimum_images=7).open("train")
    # Who stays is counted in train, for test too.
    digits = FrequentIdentities(data=Digits(), minimum_images=146)
    assert digits.open("test").class_names == digits.open("train").class_names == ("3", "5")


# ---- Folders, splits, labels -------------------------------------------------------------------


@pytest.fixture
def people(tmp_path):
    for name, count in (("train", 3), ("Ada", 2), ("Bo", 4)):  # one is called like a folder's split
        (tmp_path / name).mkdir()
        for i in range(count):
            Image.new("RGB", (3, 3), (i, 0, 0)).save(tmp_path / name / f"{i}.png")
    (tmp_path / "train" / "more").mkdir()
    return tmp_path


def test_a_folder_of_people(people):
    source = People(root=str(people)).open("train")
    assert source.class_names == ("Ada", "Bo", "train")
    assert record_labels(source).tolist() == [0] * 2 + [1] * 4 + [2] * 3
    assert source.record_name(8) == os.fspath(people / "train" / "2.png")
    with pytest.raises(ValueError, match="which DisjointIdentities or .* has no split 'test'"):
        People(root=str(people)).open("test")
    closed = ImagesPerIdentity(data=People(root=str(people), channels=1, size=2), train_images=1)
    assert closed.open("test")[0]["image"].shape == (2, 2, 1)


def test_the_same_choice_wherever_the_folder_is(people, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "people"
    people.rename(elsewhere)
    people.mkdir()
    for wrapper in (
        lambda data: DisjointIdentities(data=data, test_identities=1),
        lambda data: ImagesPerIdentity(data=data, train_images=1),
    ):
        source = wrapper(People(root=str(elsewhere))).open("test")
        found = [os.path.relpath(source.record_name(i), elsewhere) for i in range(len(source))]
        elsewhere.rename(people / "moved")
        source = wrapper(People(root=str(people / "moved"))).open("test")
        again = [
            os.path.relpath(source.record_name(i), people / "moved") for i in range(len(source))
        ]
        (people / "moved").rename(elsewhere)
        assert found == again


def test_a_split_that_a_data_set_lacks(people):
    for data in (Digits(), Synthetic(), Folder(root=str(people)), Portraits((1, 1))):
        with pytest.raises(
            ValueError, match="has no split 'validation'; it has 'train' and 'test'"
        ):
            data.open("validation")


def test_labels_of_every_source_are_those_of_the_records(people):
    sources = [
        Digits().open("test"),
        Synthetic(num_examples=13).open("train"),
        People(root=str(people)).open("train"),
        Portraits((2, 3)).open("train"),
        ImagesPerIdentity(data=Portraits((2, 3)), train_images=1).open("test"),
    ]
    for source in sources:
        labels = record_labels(source)
        np.testing.assert_array_equal(labels, [source[i]["label"] for i in range(len(source))])
        assert labels.dtype == np.int32


# ---- Real faces --------------------------------------------------------------------------------


def test_orl_faces(real_data):
    faces = TFDS(name="orl_faces", data_dir=real_data("orl_faces"))
    data = DisjointIdentities(data=faces, test_identities=10)
    train, test = data.open("train"), data.open("test")
    assert (len(train), len(test)) == (300, 100)
    assert len(train.class_names) == 30
    assert not set(train.class_names) & set(test.class_names)
    assert np.bincount(record_labels(test)).tolist() == [10] * 10
    batches = Batches(
        train, 64, shuffle=True, sampler=BalancedIdentities(images_per_identity=4), seed=1
    )
    label = batches[100]["label"]
    assert np.unique(label, return_counts=True)[1].tolist() == [4] * 16
    closed = ImagesPerIdentity(data=faces, train_images=5)
    assert np.bincount(materialize(closed.open("train"))["label"]).tolist() == [5] * 40
    assert np.bincount(materialize(closed.open("test"))["label"]).tolist() == [5] * 40
