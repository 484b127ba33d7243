"""Cross-validated accuracy: by definition, by hand, and beside the grid that papers search."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from sklearn.model_selection import KFold

from jaxcv.metrics import cosine_scores, fold_accuracy, squared_distance_grid


def best_by_definition(scores, same):
    """Every threshold that tells the scores apart, tried one by one from above."""
    levels = np.unique(scores.astype(np.float64))
    candidates = [np.inf, *((levels[1:] + levels[:-1]) / 2)[::-1], -np.inf]
    right = [np.sum((scores >= t) == same) for t in candidates]
    return candidates[int(np.argmax(right))]


@hypothesis.given(
    levels=st.sampled_from([3, 1000]),
    size=st.integers(8, 40),
    folds=st.integers(2, 4),
    seed=st.integers(0, 999),
)
def test_each_fold_is_tested_at_the_best_threshold_of_the_others(levels, size, folds, seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, size).astype(np.float32) / 7
    same = rng.random(size) < 0.5
    same[:2] = True, False
    found = fold_accuracy(scores, same, folds=folds)
    for k, (training, tested) in enumerate(KFold(folds, shuffle=False).split(scores)):
        threshold = best_by_definition(scores[training], same[training])
        assert found.thresholds[k] == threshold
        assert found.accuracies[k] == np.mean((scores[tested] >= threshold) == same[tested])
    assert found.mean == found.accuracies.mean()
    assert found.std == found.accuracies.std()


def test_given_folds_are_the_same_as_runs_in_that_order():
    rng = np.random.default_rng(0)
    scores, same = rng.normal(size=60), rng.random(60) < 0.5
    order = rng.permutation(60)
    runs = fold_accuracy(scores, same, folds=6)
    given = fold_accuracy(scores[order], same[order], folds=6, fold=order // 10)
    np.testing.assert_array_equal(given.accuracies, runs.accuracies)
    np.testing.assert_array_equal(given.thresholds, runs.thresholds)


def test_the_tested_fold_takes_no_part_in_the_choice():
    # Whatever the second fold holds, the first is tested at a threshold that the second made, and
    # that stays when the first changes.
    rng = np.random.default_rng(0)
    scores, same = rng.normal(size=40), np.arange(40) % 2 == 0
    before = fold_accuracy(scores, same, folds=2).thresholds[0]
    scores[:20] = rng.normal(size=20) * 100
    assert fold_accuracy(scores, same, folds=2).thresholds[0] == before


def test_ties_between_thresholds_take_the_strictest():
    # Training scores 4 (genuine), 3 (impostor), 2 (genuine), 1 (impostor): 3 of 4 are right at
    # 3.5 and at 1.5.
    scores = np.array([4.0, 3.0, 2.0, 1.0, 9.0])
    found = fold_accuracy(scores, [1, 0, 1, 0, 0], folds=2, fold=np.array([0, 0, 0, 0, 1]))
    assert found.thresholds[1] == 3.5
    # A fold of impostors only, or of genuine pairs only, teaches to accept nothing, or all.
    assert found.thresholds[0] == np.inf
    both = fold_accuracy([1.0, 2.0, 3.0], [1, 1, 0], folds=2, fold=np.array([0, 0, 1]))
    assert both.thresholds.tolist() == [np.inf, -np.inf]


def test_neighbouring_doubles_are_told_apart():
    one = np.nextafter(1.0, 2.0)
    found = fold_accuracy([one, 1.0, one, 1.0], [1, 0, 1, 0], folds=2)
    assert found.mean == 1.0


def published_protocol(first, second, same):
    """The .bin protocol as usually written: squared distances, a grid, ten runs, first maximum."""
    distance = np.sum(np.square(first - second), 1)
    grid = np.arange(0, 4, 0.01)
    accuracies = []
    for training, tested in KFold(10, shuffle=False).split(distance):
        right = [np.mean((distance[training] < t) == same[training]) for t in grid]
        accuracies.append(np.mean((distance[tested] < grid[np.argmax(right)]) == same[tested]))
    return np.mean(accuracies), np.std(accuracies)


def test_on_the_grid_the_accuracy_is_that_of_the_published_protocol():
    rng = np.random.default_rng(0)
    same = np.arange(600) % 60 < 30
    first = rng.normal(size=(600, 16))
    second = np.where(same[:, None], first, 0) + 1.3 * rng.normal(size=(600, 16))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second /= np.linalg.norm(second, axis=1, keepdims=True)
    scores = cosine_scores(first, second)
    on_grid = fold_accuracy(scores, same, thresholds=squared_distance_grid())
    assert (on_grid.mean, on_grid.std) == pytest.approx(published_protocol(first, second, same))
    assert 0.7 < on_grid.mean < 0.95
    # Distances and cosines are the same question.
    exact = fold_accuracy(scores, same)
    distances = fold_accuracy(-np.sum(np.square(first - second), 1), same)
    np.testing.assert_array_equal(exact.accuracies, distances.accuracies)
    assert exact.mean == pytest.approx(on_grid.mean, abs=0.02)


def test_the_grid_is_that_of_squared_distances():
    grid = squared_distance_grid()
    assert len(grid) == 400
    np.testing.assert_allclose(grid[:3], [1.0, 0.995, 0.99])
    np.testing.assert_allclose(2 - 2 * grid, np.arange(400) / 100, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 5}, "4 pairs cannot be cut into 5 folds"),
        ({"folds": 1}, "cannot be cut into 1"),
        ({"folds": 2, "fold": np.array([0, 1, 2, 0])}, r"\[0, 2\): found 0 to 2"),
        ({"folds": 3, "fold": np.array([0, 2, 2, 0])}, "fold 1 of 3 holds no pair"),
        ({"folds": 2, "fold": np.array([0, 1])}, r"must be \[4\] integers"),
        ({"folds": 2, "fold": np.zeros(4)}, "float64"),
    ],
)
def test_folds_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fold_accuracy([0.1, 0.2, 0.3, 0.4], [1, 0, 1, 0], **options)
