"""`batches[step]`: pure, complete, padded, shared by hosts, equal however it is read."""

import itertools
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcv.data import (
    Arrays,
    BalancedIdentities,
    Batches,
    DecodeError,
    Digits,
    SourceView,
    Synthetic,
    TooManyBadRecordsError,
    gather,
    materialize,
    permutation,
    resident_bytes,
)


class Numbered:
    """Record i holds the number i; those in `bad` cannot be decoded."""

    class_names = ()

    def __init__(self, length, bad=(), labels=None, class_names=()):
        self.length, self.bad, self.labels = length, set(bad), labels
        self.class_names = class_names
        self.reads = []

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.reads.append(index)
        if index in self.bad:
            raise DecodeError(self.record_name(index), "is broken")
        image = np.full((2, 3, 1), index % 251 + 1, np.uint8)
        label = index if self.labels is None else self.labels[index]
        return {"image": image, "label": np.int32(label)}

    def record_name(self, index):
        return f"number {index}"


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], second[key], err_msg=key)
        assert np.asarray(first[key]).dtype == np.asarray(second[key]).dtype


# ---- Order -------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**40), st.integers(0, 10**6), st.integers(1, 300))
def test_permutation_is_one(seed, epoch, length):
    order = permutation(seed, epoch, length)
    assert sorted(order.tolist()) == list(range(length))
    np.testing.assert_array_equal(order, permutation(seed, epoch, length))


def test_permutation_is_uniform():
    # 6,000 permutations of 3 records: each of the 6 orders 1,000 times, give or take 5 sigma.
    orders = [tuple(permutation(seed, 0, 3).tolist()) for seed in range(6000)]
    counts = [orders.count(order) for order in itertools.permutations(range(3))]
    assert np.abs(np.array(counts) - 1000).max() < 5 * np.sqrt(1000 * 5 / 6)


def test_permutation_does_not_change_between_releases():
    # Recorded once: another order would silently change every run that is resumed.
    assert permutation(0, 0, 10).tolist() == [0, 8, 9, 3, 7, 5, 1, 2, 6, 4]
    assert permutation(1, 2, 10).tolist() == [7, 1, 3, 0, 4, 8, 9, 2, 6, 5]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 9))
def test_training_stream_is_epoch_after_epoch(length, batch_size, seed):
    batches = Batches(Numbered(length), batch_size, shuffle=True, seed=seed)
    steps = 3 * length // batch_size + 2
    stream = np.concatenate([batches.indices(step)[0] for step in range(steps)])
    assert all(batches.indices(step)[1].all() for step in range(steps))
    for epoch in range(len(stream) // length):
        part = stream[epoch * length : (epoch + 1) * length]
        np.testing.assert_array_equal(part, permutation(seed, epoch, length))


def test_any_step_can_be_asked_for_in_any_order():
    source = Numbered(17)
    batches = Batches(source, 5, shuffle=True, seed=3)
    wanted = {step: batches[step] for step in range(12)}
    other = Batches(source, 5, shuffle=True, seed=3)
    for step in (11, 0, 7, 7, 3, 10, 1):
        assert_equal(other[step], wanted[step])
    assert batches[10**9]["label"].shape == (5,)
    changed = Batches(source, 5, shuffle=True, seed=4)
    assert any((changed[s]["label"] != wanted[s]["label"]).any() for s in range(3))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 50))
def test_evaluation_is_one_pass_padded_at_the_end(length, batch_size):
    batches = Batches(Numbered(length), batch_size, shuffle=False)
    assert len(batches) == batches.steps_per_epoch == -(-length // batch_size)
    parts = [batches[step] for step in range(len(batches))]
    whole = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    assert whole["mask"].sum() == length
    assert whole["mask"][:length].all()
    assert whole["label"][:length].tolist() == list(range(length))
    assert not whole["image"][length:].any()
    assert not whole["label"][length:].any()
    with pytest.raises(IndexError):
        batches[len(batches)]


def test_lengths_and_wrong_arguments():
    batches = Batches(Numbered(10), 4, shuffle=True)
    assert (batches.num_examples, batches.steps_per_epoch) == (10, 3)
    assert batches.spec == {"image": ((2, 3, 1), np.uint8), "label": ((), np.int32)}
    with pytest.raises(TypeError, match="no length"):
        len(batches)
    with pytest.raises(IndexError):
        batches[-1]
    with pytest.raises(ValueError, match="batch_size"):
        Batches(Numbered(10), 0, shuffle=True)
    with pytest.raises(ValueError, match="seed"):
        Batches(Numbered(10), 1, shuffle=True, seed=-1)
    with pytest.raises(ValueError, match="no records"):
        Batches(Numbered(0), 1, shuffle=True)
    with pytest.raises(
        ValueError, match="on_bad_record is 'ignore', but must be 'raise' or 'skip'"
    ):
        Batches(Numbered(1), 1, shuffle=True, on_bad_record="ignore")


# ---- Hosts, threads, device --------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_hosts_share_the_same_global_batch(hosts, shuffle):
    for step in range(3):
        whole = Batches(Numbered(19), 8, shuffle=shuffle, seed=5)[step]
        sources = [Numbered(19) for _ in range(hosts)]
        parts = [
            Batches(source, 8, shuffle=shuffle, seed=5).local(step, i, hosts)
            for i, source in enumerate(sources)
        ]
        assert_equal({k: np.concatenate([p[k] for p in parts]) for k in whole}, whole)
        # No host reads what another needs (but record 0, for the shapes).
        assert all(len(source.reads) <= 8 // hosts + 1 for source in sources)


def test_hosts_that_do_not_divide_the_batch():
    with pytest.raises(ValueError, match="batch_size 8 cannot be shared equally by 3 hosts"):
        Batches(Numbered(9), 8, shuffle=True).local(0, 0, 3)


@pytest.mark.parametrize("num_threads", [0, 1, 4])
def test_stream_is_the_steps_in_order(num_threads):
    source = Digits().open("train")
    batches = Batches(source, 100, shuffle=True, seed=2, num_threads=num_threads)
    for step, batch in zip(range(10, 30), batches.stream(10, 30), strict=True):
        assert_equal(batch, batches[step])
    evaluation = Batches(SourceView(source, range(250)), 100, shuffle=False)
    assert [int(b["mask"].sum()) for b in evaluation] == [100, 100, 50]
    assert_equal(
        next(batches.stream(3, 4, process_index=1, process_count=2)), batches.local(3, 1, 2)
    )
    assert list(batches.stream(4, 4)) == []


def test_an_endless_stream_may_be_left():
    batches = Batches(Numbered(7), 3, shuffle=True)
    before = threading.active_count()
    stream = batches.stream(5)
    assert_equal(next(stream), batches[5])
    assert_equal(next(stream), batches[6])
    stream.close()
    del stream
    assert threading.active_count() <= before + batches.num_threads + 2
    for step, batch in zip(range(4), batches):
        assert_equal(batch, batches[step])


@pytest.mark.parametrize("shuffle", [True, False])
def test_resident_and_streamed_batches_are_equal(shuffle):
    source = SourceView(Digits().open("train"), range(90))
    batches = Batches(source, 40, shuffle=shuffle, seed=1)
    arrays = materialize(source)
    assert resident_bytes(source) == sum(a.nbytes for a in arrays.values())
    take = jax.jit(gather)
    arrays = jax.device_put(arrays)
    for step in range(3):
        assert_equal(jax.device_get(take(arrays, *batches.indices(step))), batches[step])


def test_resident_and_streamed_batches_are_equal_with_bad_records():
    batches = Batches(Numbered(30, bad=(4, 11)), 8, shuffle=True, on_bad_record="skip")
    arrays = materialize(batches)
    assert np.flatnonzero(~arrays["mask"]).tolist() == [4, 11]
    assert list(batches.bad_records) == ["number 4", "number 11"]
    for step in range(4):
        batch = gather(arrays, *map(jnp.asarray, batches.indices(step)))
        assert_equal(jax.device_get(batch), batches[step])


# ---- Bad records and labels --------------------------------------------------------------------


def test_bad_records_raise_by_default():
    batches = Batches(Numbered(10, bad=[6]), 4, shuffle=False)
    batches[0]
    with pytest.raises(DecodeError, match="number 6: is broken"):
        batches[1]
    with pytest.raises(DecodeError, match="number 6: is broken"):
        materialize(batches)
    with pytest.raises(DecodeError, match="number 6: is broken"):
        list(batches.stream())


def test_skipped_records_are_masked_and_counted_once():
    source = Numbered(10, bad=[0, 6])
    batches = Batches(source, 4, shuffle=False, on_bad_record="skip", max_bad_records=2)
    for _ in range(3):
        masks = [batch["mask"].tolist() for batch in batches]
    assert masks[0] == [False, True, True, True]
    assert masks[1] == [True, True, False, True]
    assert masks[2] == [True, True, False, False]
    assert batches.bad_records == {"number 0": "is broken", "number 6": "is broken"}
    assert batches[0]["label"].tolist() == [0, 1, 2, 3]
    assert not batches[0]["image"][0].any()


def test_too_many_bad_records():
    batches = Batches(
        Numbered(10, bad=[1, 6, 7]), 4, shuffle=False, on_bad_record="skip", max_bad_records=2
    )
    batches[0]
    with pytest.raises(TooManyBadRecordsError, match=r"3 records .*max_bad_records=2.*number 7"):
        batches[1]
    hopeless = Batches(Numbered(3, bad=range(3)), 2, shuffle=False, on_bad_record="skip")
    with pytest.raises(TooManyBadRecordsError, match="none of 3 records"):
        hopeless[0]


def test_bulk_reading_meets_the_same_rules():
    class Bulk(Numbered):
        def __getitems__(self, indices):
            self.bulk = True
            return [self[i] for i in indices]

    source = Bulk(10, bad=[2, 3])
    batches = Batches(source, 5, shuffle=False, on_bad_record="skip")
    assert batches[0]["mask"].tolist() == [True, True, False, False, True]
    assert list(batches.bad_records) == ["number 2", "number 3"]
    assert source.bulk
    labelled = Bulk(10, labels=[0] * 9 + [5], class_names=("a", "b"))
    with pytest.raises(ValueError, match="number 9: label 5"):
        Batches(labelled, 10, shuffle=False)[0]


@pytest.mark.parametrize("label", [-1, 2, 255])
def test_labels_out_of_range_name_the_record(label):
    labels = [0, 1, 0, label, 1]
    message = rf"number 3: label {label} is outside \[0, 2\), the range of 2 classes"
    source = Numbered(5, labels=labels, class_names=("a", "b"))
    for policy in ("raise", "skip"):  # A wrong label is never merely skipped.
        with pytest.raises(ValueError, match=message):
            Batches(source, 5, shuffle=False, on_bad_record=policy)[0]
        with pytest.raises(ValueError, match=message):
            materialize(Batches(source, 5, shuffle=False, on_bad_record=policy))
    with pytest.raises(ValueError, match=message):
        Batches(Numbered(5, labels=labels), 5, shuffle=False, num_classes=2)[0]
    allowed = Batches(source, 5, shuffle=False, ignore_label=label)
    assert allowed[0]["label"][3] == label


def test_regression_labels_must_be_finite():
    labels = np.array([0.5, 1e9, np.nan], np.float32)
    source = Arrays(images=np.zeros((3, 2, 2), np.uint8), labels=labels, test_fraction=0.0).open(
        "train"
    )
    with pytest.raises(ValueError, match=r"arrays\[2\]: label nan is not finite"):
        materialize(source)
    assert Batches(source, 2, shuffle=False)[0]["label"].dtype == np.float32


@pytest.mark.parametrize("shuffle", [True, False])
def test_rows_are_padded_to_a_multiple_and_shared_by_hosts(shuffle):
    source = Synthetic(num_examples=10, num_test_examples=2, image_size=4, num_classes=2).open(
        "train"
    )
    plain = Batches(source, 6, shuffle=shuffle)
    batches = Batches(source, 6, shuffle=shuffle, multiple_of=4)
    for step in (0, 1):
        batch, wanted = batches[step], plain[step]
        assert batch["mask"].tolist() == [*wanted["mask"], False, False]
        for key, values in wanted.items():
            np.testing.assert_array_equal(batch[key][:6], values)
            assert not batch[key][6:].any()
        fractions = [batches.local(step, host, 4) for host in range(4)]
        for key, values in batch.items():
            np.testing.assert_array_equal(np.concatenate([s[key] for s in fractions]), values)


@pytest.mark.parametrize(
    "options", [{}, {"sampler": BalancedIdentities(images_per_identity=3)}, {"multiple_of": 4}]
)
def test_table_of_indices_is_the_steps_one_below_the_other(options):
    # 60 records in batches of 6 and 9: several epochs lie in one table, and batches straddle them.
    source = Synthetic(num_examples=60, num_test_examples=2, image_size=4, num_classes=4).open(
        "train"
    )
    for size in (6, 9):
        batches = Batches(source, size, shuffle=True, seed=5, **options)
        for start, count in ((0, 1), (3, 40), (1000, 7)):
            indices, mask = batches.index_table(start, count)
            steps = [batches.indices(step) for step in range(start, start + count)]
            np.testing.assert_array_equal(indices, np.stack([rows for rows, _ in steps]))
            np.testing.assert_array_equal(mask, np.stack([real for _, real in steps]))
            assert (indices.dtype, mask.dtype) == (np.int32, bool)


def test_table_of_indices_of_an_evaluation_ends_with_it():
    source = Synthetic(num_examples=10, num_test_examples=2, image_size=4, num_classes=2).open(
        "train"
    )
    batches = Batches(source, 4, shuffle=False)
    indices, mask = batches.index_table(1, 2)
    assert indices.tolist() == [[4, 5, 6, 7], [8, 9, 0, 0]]
    assert mask.tolist() == [[True] * 4, [True, True, False, False]]
    with pytest.raises(IndexError, match="no step 3"):
        batches.index_table(1, 3)
