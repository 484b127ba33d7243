"""Bootstrap intervals: weights mean repeated pairs, coverage is as promised."""

import numpy as np
import pytest

from jaxcv.metrics import area_under_roc, bootstrap_intervals, equal_error_rate, pair_scores, roc
from jaxcv.metrics.bootstrap import _draw_pairs, _draw_subjects, _weighted_roc


def test_a_weight_means_that_the_pair_stands_there_as_often():
    rng = np.random.default_rng(0)
    scores, same = np.sort(rng.integers(0, 8, 60))[::-1] / 8, rng.random(60) < 0.4
    ends = np.append(np.flatnonzero(scores[1:] != scores[:-1]), 59)
    weights = rng.integers(0, 4, 60)
    curve = _weighted_roc(weights, same, ends, np.append(np.inf, scores[ends]))
    repeated = roc(np.repeat(scores, weights), np.repeat(same, weights))
    assert area_under_roc(curve) == area_under_roc(repeated)
    assert equal_error_rate(curve) == pytest.approx(equal_error_rate(repeated), abs=1e-12)


def test_pairs_are_drawn_within_their_kind():
    same = np.arange(50) < 10
    for weights in _draw_pairs(same, 5, np.random.default_rng(0)):
        assert (weights[same].sum(), weights[~same].sum()) == (10, 40)


def test_people_are_drawn_with_all_their_pairs():
    # Three people with two images each: 3 genuine and 12 impostor pairs.
    people = np.repeat(np.arange(3), 2)
    first, second = np.triu_indices(6, 1)
    subjects = np.stack([people[first], people[second]], 1)
    for weights in _draw_subjects(subjects, 20, np.random.default_rng(1)):
        drawn = weights[subjects[:, 0] == subjects[:, 1]]
        assert drawn.sum() == 3
        for (a, b), weight in zip(subjects, weights):
            assert weight == (drawn[a] if a == b else drawn[a] * drawn[b])


def test_the_interval_covers_the_truth_as_often_as_it_says():
    # Scores 2 apart: the area is Phi(sqrt 2) = 0.9214.
    rng = np.random.default_rng(0)
    same = np.arange(160) < 80
    covered = 0
    for seed in range(100):
        scores = rng.normal(size=160) + 2.0 * same
        low, high = bootstrap_intervals(
            scores, same, false_accept_rates=(), replicates=100, confidence=0.9, seed=seed
        )["area_under_roc"]
        covered += low <= 0.9214 <= high
    # Binomial(100, 0.9) lies in [79, 98] but for one case in a thousand.
    assert 79 <= covered <= 98


def test_intervals_by_subject_are_wider_where_people_differ():
    # Each person's images lie about a mean of its own: pairs of a person rise and fall together.
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(12), 8)
    spread = rng.uniform(0.1, 1.5, 12)[labels][:, None]
    embeddings = rng.normal(size=(12, 8))[labels] + spread * rng.normal(size=(96, 8))
    pairs = pair_scores(embeddings, labels)
    subjects = np.stack([labels[pairs.first], labels[pairs.second]], 1)
    options = {"false_accept_rates": (0.01,), "replicates": 200}
    by_pair = bootstrap_intervals(pairs.scores, pairs.same, **options)
    by_subject = bootstrap_intervals(pairs.scores, pairs.same, subjects=subjects, **options)
    assert set(by_pair) == set(by_subject)
    assert set(by_pair) == {
        "area_under_roc", "equal_error_rate", "true_accept_rate_at_far_0.01"
    }  # fmt: skip
    for name in by_pair:
        assert np.diff(by_subject[name]) > 1.5 * np.diff(by_pair[name]), name
    again = bootstrap_intervals(pairs.scores, pairs.same, subjects=subjects, **options)
    assert again == by_subject
    other = bootstrap_intervals(pairs.scores, pairs.same, subjects=subjects, seed=1, **options)
    assert other != by_subject


def test_subjects_that_contradict_the_pairs_are_refused():
    with pytest.raises(
        ValueError, match="pair 1 is an impostor pair, but its subjects are 4 and 4"
    ):
        bootstrap_intervals([1, 0], [1, 0], subjects=[[3, 3], [4, 4]])
    with pytest.raises(ValueError, match=r"must be \[2, 2\]"):
        bootstrap_intervals([1, 0], [1, 0], subjects=[3, 4])
    with pytest.raises(ValueError, match="confidence"):
        bootstrap_intervals([1, 0], [1, 0], confidence=95)
