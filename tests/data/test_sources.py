"""Sources in memory: arrays, .npz, digits, synthetic; splits and views."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestCentroid

from jaxcv.data import (
    NPZ,
    Arrays,
    Batches,
    Digits,
    Source,
    SourceView,
    Synthetic,
    materialize,
    record_labels,
)
from jaxcv.data.source import stratified_split

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 5, 4), dtype=np.uint8)
LABELS = np.arange(20) % 4


# ---- Splits ------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.floats(0, 0.99))
def test_split_is_a_partition_with_every_class_in_training(labels, fraction):
    names = [f"file {i}" for i in range(len(labels))]
    train, test = stratified_split(labels, names, fraction)
    assert sorted([*train, *test]) == list(range(len(labels)))
    assert set(np.asarray(labels)[train]) == set(labels)
    counts = np.bincount(labels)
    taken = np.bincount(np.asarray(labels, int)[test], minlength=len(counts))
    assert np.all(taken <= np.ceil(counts * fraction + 1e-9))
    assert len(test) <= np.ceil(len(labels) * fraction)


def test_split_takes_the_stated_number_from_every_class():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    names = [str(i) for i in range(100)]
    _, test = stratified_split(labels, names, 0.2)
    assert np.bincount(labels[test]).tolist() == [10, 6, 4]
    _, other = stratified_split(labels, names, 0.2, seed=1)
    assert set(test) != set(other)


def test_split_goes_by_names_not_positions():
    labels, names = np.zeros(40, int), [f"{i}.png" for i in range(40)]
    _, test = stratified_split(labels, names, 0.25)
    order = np.random.default_rng(0).permutation(40)
    _, shuffled = stratified_split(labels, [names[i] for i in order], 0.25)
    assert {names[i] for i in test} == {names[order[i]] for i in shuffled}
    # Four more files, of which one must be for testing, move at most a few of the others.
    _, more = stratified_split(np.zeros(44, int), [*names, *"abcd"], 0.25)
    kept = {names[i] for i in test} & {names[i] for i in more if i < 40}
    assert len(kept) >= len(test) - 4


def test_split_fraction_is_checked():
    with pytest.raises(ValueError, match="test_fraction"):
        stratified_split([0, 1], ["a", "b"], 1.0)


# ---- Digits ------------------------------------------------------------------------------------


def test_digits_are_scikit_learns_in_a_fixed_stratified_split():
    train, test = Digits().open("train"), Digits().open("test")
    assert (len(train), len(test)) == (1437, 360)
    assert train.class_names == tuple("0123456789")
    stored = load_digits()
    seen = set()
    for part in (train, test):
        for i in range(0, len(part), 7):
            record, name = part[i], part.record_name(i)
            original = int(name.removeprefix("digits[").removesuffix("]"))
            seen.add(original)
            levels = record["image"][..., 0].astype(int)
            np.testing.assert_array_equal(np.round(levels * 16 / 255), stored.images[original])
            assert record["label"] == stored.target[original]
    assert len(seen) == len(range(0, 1437, 7)) + len(range(0, 360, 7))
    fractions = np.bincount(materialize(test)["label"]) / np.bincount(stored.target)
    assert np.abs(fractions - 0.2).max() < 0.005


def test_digits_split_does_not_change_between_releases():
    # The first positions of the test set; a change here changes every figure quoted for digits.
    test = Digits().open("test")
    names = [test.record_name(i) for i in range(6)]
    assert names == [f"digits[{i}]" for i in (7, 15, 18, 20, 25, 36)]


def test_digits_can_be_resized_and_coloured():
    record = Digits(size=32, channels=3).open("test")[0]
    assert record["image"].shape == (32, 32, 3)
    assert record["image"].dtype == np.uint8
    assert record["image"].max() > 150


# ---- Arrays and .npz ---------------------------------------------------------------------------


def test_arrays():
    data = Arrays(images=IMAGES, labels=LABELS)
    train, test = data.open("train"), data.open("test")
    assert isinstance(train, Source)
    assert (len(train), len(test)) == (16, 4)
    assert train.class_names == ("0", "1", "2", "3")
    assert sorted(int(test[i]["label"]) for i in range(4)) == [0, 1, 2, 3]
    record = train[0]
    assert record["image"].shape == (5, 4, 1)
    assert record["label"].dtype == np.int32


def test_arrays_with_their_own_test_set():
    data = Arrays(
        images=IMAGES,
        labels=LABELS,
        test_images=IMAGES[:3],
        test_labels=LABELS[:3],
        class_names=("a", "b", "c", "d"),
        size=8,
        channels=3,
    )
    assert len(data.open("train")) == 20
    test = data.open("test")
    assert test.class_names == ("a", "b", "c", "d")
    assert test[2]["image"].shape == (8, 8, 3)
    assert test.record_name(2) == "arrays test[2]"


def test_float_labels_are_regression():
    for dtype, kept in ((np.float64, np.float64), (np.float32,) * 2, (np.float16, np.float32)):
        labels = np.linspace(0, 1, 20).astype(dtype)
        source = Arrays(images=IMAGES, labels=labels).open("train")
        assert source.class_names == ()
        assert source[0]["label"].dtype == kept  # float64 keeps what batches take an offset from
        assert {float(source[i]["label"]) for i in range(16)} <= set(labels.astype(float))
        assert Batches(source, 4, shuffle=False)[0]["label"].dtype == np.float32
        assert len(source) == 16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": IMAGES / 255.0}, "must be uint8 in 0..255; found float64"),
        ({"images": IMAGES[0]}, r"found shape \(5, 4\)"),
        ({"images": np.zeros((20, 4, 5, 2), np.uint8)}, "1 or 3"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "there are no images"),
        ({"labels": LABELS[:7]}, r"20 images need labels of shape \(20,\); found shape \(7,\)"),
        ({"labels": np.array(list("abcdefghijklmnopqrst"))}, "integers or floats"),
        ({"test_images": IMAGES}, "both test_images and test_labels"),
        ({"labels": LABELS.astype(np.int64) + 2**32 + 1}, "label 4294967297 does not fit 32 bits"),
        ({"labels": LABELS.astype(np.int64) - 2**40}, r"arrays\[0\]: label -\d+ does not fit 32"),
        ({"labels": LABELS.astype(np.uint64) + 2**63}, "label 9223372036854775808 does not fit"),
        ({"labels": LABELS.astype(np.uint32) + 2**31}, "label 2147483648 does not fit 32 bits"),
        ({"labels": LABELS - 1}, r"arrays\[0\]: label -1 is no class, since classes are numbered"),
        ({"labels": np.where(LABELS > 1, 1, -1)}, "of -1 and 1 make 0 and 1"),
        ({"labels": np.full(20, -1)}, "label -1 is no class"),
        (
            {"labels": np.where(np.arange(20) == 7, 2**31 - 2, 0)},
            r"arrays\[7\]: label 2147483646 would make 2147483647 classes of 20 records.*up to 1000000",
        ),
        ({"labels": LABELS * 1e300 + 1e300}, r"arrays\[0\]: label 1e\+300 is too large for 32"),
    ],
)
def test_wrong_arrays(change, message):
    with pytest.raises(ValueError, match=message):
        Arrays(**{"images": IMAGES, "labels": LABELS, **change}).open("train")


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64])
def test_labels_of_any_integers_are_the_same_classes(dtype):
    source = Arrays(images=IMAGES, labels=LABELS.astype(dtype)).open("train")
    assert source.class_names == ("0", "1", "2", "3")
    labels = [source[i]["label"] for i in range(len(source))]
    assert {label.dtype for label in labels} == {np.dtype(np.int32)}
    expected = Arrays(images=IMAGES, labels=LABELS).open("train")
    assert labels == [expected[i]["label"] for i in range(len(expected))]


class Wide:
    """A source of one's own, whose labels are what they are given as."""

    class_names = ()

    def __init__(self, labels):
        self.given = np.asarray(labels)

    def __len__(self):
        return len(self.given)

    def __getitem__(self, index):
        return {"image": IMAGES[0][..., None], "label": self.given[index]}

    def record_name(self, index):
        return f"mine {index}"


@pytest.mark.parametrize("value", [2**31, 2**32 + 1, -(2**31) - 1, 2**63 - 1])
def test_labels_of_a_source_of_ones_own_are_not_cut_to_32_bits(value):
    source = Wide([0, value])
    with pytest.raises(ValueError, match=rf"mine 1: label {value} does not fit 32 bits"):
        record_labels(source)
    with pytest.raises(ValueError, match=rf"mine 1: label {value} does not fit 32 bits"):
        Batches(source, 2, shuffle=False)[0]
    batches = Batches(source, 2, shuffle=False, num_classes=3)
    with pytest.raises(ValueError, match=rf"mine 1: label {value} is outside \[0, 3\)"):
        batches[0]


def test_a_negative_label_says_what_labels_are():
    batches = Batches(Wide([0, -1]), 2, shuffle=False, num_classes=3)
    with pytest.raises(
        ValueError, match=r"mine 1: label -1 is outside .*; classes are numbered from 0"
    ):
        batches[0]


def test_a_source_without_records_says_so():
    with pytest.raises(ValueError, match="the source holds no records"):
        Batches(Wide([]), 0, shuffle=False)


@pytest.mark.parametrize("fraction", [0.0, 0.2])
def test_arrays_without_a_test_set_say_what_to_set(fraction):
    """Of one record for each class none can be spared."""
    data = Arrays(images=IMAGES[:3], labels=np.arange(3), test_fraction=fraction)
    assert len(data.open("train")) == 3
    with pytest.raises(
        ValueError, match="arrays: of its 3 records, none is for 'test'.*test_fraction"
    ):
        data.open("test")


def test_npz(tmp_path):
    path = tmp_path / "tiny.npz"
    np.savez(path, x_train=IMAGES, y_train=LABELS[:, None], x_test=IMAGES[:6], y_test=LABELS[:6])
    assert len(NPZ(path=str(path)).open("train")) == 20
    test = NPZ(path=str(path)).open("test")
    assert len(test) == 6
    np.testing.assert_array_equal(test[4]["image"][..., 0], IMAGES[4])
    assert test.record_name(4) == "tiny.npz test[4]"
    split = NPZ(path=str(path), test_images="none", test_fraction=0.25).open("test")
    assert len(split) == 5


def test_wrong_npz(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        NPZ(path=str(tmp_path / "no.npz")).open("train")
    path = tmp_path / "a.npz"
    np.savez(path, images=IMAGES)
    with pytest.raises(ValueError, match="no array 'x_train' in it; it holds images"):
        NPZ(path=str(path)).open("train")
    np.savez(path, x_train=np.array([object()]), y_train=LABELS)
    with pytest.raises(ValueError, match=r"cannot be read as .npz: .*allow_pickle"):
        NPZ(path=str(path)).open("train")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"cannot be read as .npz"):
        NPZ(path=str(path)).open("train")
    np.save(tmp_path / "b.npy", IMAGES)
    with pytest.raises(ValueError, match=r"cannot be read as .npz: it holds one array"):
        NPZ(path=str(tmp_path / "b.npy")).open("train")


# ---- Synthetic and views -----------------------------------------------------------------------


def test_synthetic_is_pure_and_splits_differ():
    data = Synthetic(num_examples=40, num_test_examples=20, image_size=(8, 12), num_classes=4)
    train, again, test = data.open("train"), data.open("train"), data.open("test")
    assert (len(train), len(test)) == (40, 20)
    np.testing.assert_array_equal(train[17]["image"], again[17]["image"])
    assert (train[17]["image"] != test[17]["image"]).any()
    other = dataclasses.replace(data, seed=1).open("train")
    assert (train[17]["image"] != other[17]["image"]).any()
    assert train[0]["image"].shape == (8, 12, 3)
    assert np.bincount(materialize(train)["label"]).tolist() == [10, 10, 10, 10]
    with pytest.raises(IndexError):
        train[40]
    with pytest.raises(ValueError, match="at least one"):
        Synthetic(num_classes=0).open("train")


def test_synthetic_can_be_learnt_but_not_from_raw_pixels():
    data = Synthetic(num_examples=300, num_test_examples=100, image_size=16, channels=1)
    train, test = materialize(data.open("train")), materialize(data.open("test"))

    def score(features):
        model = NearestCentroid().fit(features(train["image"]), train["label"])
        return model.score(features(test["image"]), test["label"])

    def spectrum(images):  # blind to the phase, as a convolution with pooling can be
        return np.log1p(np.abs(np.fft.rfft2(images[..., 0] / 255.0))).reshape(len(images), -1)

    assert score(spectrum) > 0.9
    assert score(lambda images: images.reshape(len(images), -1) / 255.0) < 0.5


def test_view():
    source = Arrays(images=IMAGES, labels=LABELS, test_images=IMAGES, test_labels=LABELS).open(
        "train"
    )
    view = SourceView(source, [5, 3])
    assert len(view) == 2
    assert view.class_names == source.class_names
    assert view.record_name(1) == "arrays[3]"
    np.testing.assert_array_equal(view[0]["image"][..., 0], IMAGES[5])
    records = view.__getitems__([1, 0])
    assert [int(r["label"]) for r in records] == [LABELS[3], LABELS[5]]


def test_importing_is_light():
    code = (
        "import sys, jaxcv.data; "
        "print([m for m in ('tensorflow', 'tensorflow_datasets', 'grain', 'jax', 'sklearn', "
        "'matplotlib') if m in sys.modules])"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert output.strip() == "[]"


def test_digits_are_those_that_scikit_learn_loads():
    from sklearn.datasets import load_digits

    from jaxcv.data.arrays import _stored_digits

    levels, classes = _stored_digits()
    wanted = load_digits()
    np.testing.assert_array_equal(levels, wanted.images)
    np.testing.assert_array_equal(classes, wanted.target)
