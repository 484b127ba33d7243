"""Splits by chance: what is one thing stays on one side."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcv.data import stratified_split

# Records as (group, class): groups of any size, of one class or several.
RECORDS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), min_size=1, max_size=60)


def divided(records, fraction, seed=0, names=None):
    groups, labels = zip(*records, strict=True)
    names = [f"file {group}" for group in groups] if names is None else names
    return stratified_split(labels, names, fraction, seed, groups=groups)


@settings(max_examples=100, deadline=None)
@given(RECORDS, st.floats(0, 0.99))
def test_a_group_is_on_one_side_and_every_class_is_in_training(records, fraction):
    train, test = divided(records, fraction)
    assert sorted([*train, *test]) == list(range(len(records)))
    groups, labels = (np.array(column) for column in zip(*records, strict=True))
    assert not set(groups[train]) & set(groups[test])
    assert set(labels[train]) == set(labels)
    assert len(set(groups[test])) <= np.ceil(len(set(groups)) * fraction)


@settings(max_examples=50, deadline=None)
@given(RECORDS, st.floats(0, 0.99), st.randoms(use_true_random=False))
def test_a_group_s_side_does_not_depend_on_the_order(records, fraction, random):
    shuffled = list(records)
    random.shuffle(shuffled)
    sides = []
    for order in (records, shuffled):
        _, test = divided(order, fraction)
        sides.append({order[i][0] for i in test})
    assert sides[0] == sides[1]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.floats(0, 0.99))
def test_groups_of_one_are_records(labels, fraction):
    names = [f"file {i}" for i in range(len(labels))]
    without = stratified_split(labels, names, fraction)
    groups = list(range(len(labels)))
    for found, expected in zip(
        stratified_split(labels, names, fraction, groups=groups), without, strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_names_that_are_not_unique_are_groups():
    labels, names = [0] * 12, [f"{i // 3}.png" for i in range(12)]
    train, test = stratified_split(labels, names, 0.25)
    assert len(test) == 3
    assert not {names[i] for i in train} & {names[i] for i in test}


def test_a_group_of_several_classes_counts_for_the_rarest():
    """40 files of class 0, of which 10 have class 1 too: a fifth of those is for testing."""
    records = [(i, 0) for i in range(40)] + [(i, 1) for i in range(10)]
    _, test = divided(records, 0.2)
    chosen = {records[i][0] for i in test}
    assert len(chosen) == 8
    assert len([group for group in chosen if group < 10]) == 2


def test_the_split_of_unique_names_is_what_it_was():
    """Positions of the test set at the commit before groups, for a few sizes and seeds."""
    cases = {
        (10, 2, 0.2, 0): [1, 4],
        (23, 3, 0.3, 0): [3, 4, 11, 12, 14, 19, 21],
        (23, 3, 0.3, 7): [2, 9, 13, 14, 15, 21, 22],
    }
    for (count, classes, fraction, seed), expected in cases.items():
        labels = np.arange(count) % classes
        _, test = stratified_split(labels, [f"{i}.png" for i in range(count)], fraction, seed)
        assert test.tolist() == expected


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(ValueError, match="test_fraction must be at least 0 and below 1"):
        divided([(0, 0), (1, 0)], fraction)
