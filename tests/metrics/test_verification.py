"""ROC, EER and TAR@FAR beside scikit-learn, by definition, and by hand."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import sklearn.metrics

from jaxcv.metrics import (
    area_under_roc,
    bootstrap_intervals,
    det,
    equal_error_point,
    equal_error_rate,
    roc,
    true_accept_rate_at,
    verification_summary,
)


@st.composite
def scored_pairs(draw, max_size=40):
    """Scores with many ties, and answers of both kinds."""
    size = draw(st.integers(2, max_size))
    levels = draw(st.sampled_from([2, 5, 1000]))
    scores = draw(st.lists(st.integers(-levels, levels), min_size=size, max_size=size))
    same = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    same[0], same[1] = True, False
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    return np.array(scores, dtype) / dtype(7), np.array(same)


def normal_pairs(genuine=300, impostors=2000, shift=2.0, seed=0):
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(shift, 1, genuine), rng.normal(0, 1, impostors)])
    same = np.arange(len(scores)) < genuine
    order = rng.permutation(len(scores))
    return scores[order], same[order]


@hypothesis.given(pairs=scored_pairs(), drop=st.booleans())
def test_the_curve_and_its_area_are_those_of_scikit_learn(pairs, drop):
    scores, same = pairs
    curve = roc(scores, same, drop_intermediate=drop)
    far, tar, threshold = sklearn.metrics.roc_curve(same, scores, drop_intermediate=drop)
    np.testing.assert_array_equal(curve.false_accept_rate, far)
    np.testing.assert_array_equal(curve.true_accept_rate, tar)
    np.testing.assert_array_equal(curve.threshold, threshold)
    area = sklearn.metrics.roc_auc_score(same, scores)
    assert area_under_roc(curve) == pytest.approx(area, rel=1e-13, abs=1e-15)


@hypothesis.given(pairs=scored_pairs())
def test_the_errors_are_those_of_scikit_learn(pairs):
    scores, same = pairs
    ours = det(roc(scores, same))
    # scikit-learn keeps a part of the points; each of them is one of ours.
    theirs = sklearn.metrics.det_curve(same, scores)
    points = set(zip(ours.false_accept_rate, ours.false_reject_rate.round(12), ours.threshold))
    for far, frr, threshold in zip(*theirs):
        assert (far, frr.round(12), threshold) in points


@hypothesis.given(pairs=scored_pairs())
def test_every_rate_is_what_the_threshold_does_to_the_pairs(pairs):
    scores, same = pairs
    curve = roc(scores, same)
    accepted = scores >= curve.threshold[:, None]
    np.testing.assert_array_equal(curve.true_accept_rate, accepted[:, same].mean(1))
    np.testing.assert_array_equal(curve.false_accept_rate, accepted[:, ~same].mean(1))
    np.testing.assert_allclose(curve.false_reject_rate, (~accepted)[:, same].mean(1), atol=1e-15)
    genuine, impostors = scores[same], scores[~same]
    wins = (genuine[:, None] > impostors) + 0.5 * (genuine[:, None] == impostors)
    assert area_under_roc(curve) == pytest.approx(wins.mean(), abs=1e-15)


@hypothesis.given(
    pairs=scored_pairs(), limit=st.one_of(st.floats(0, 1), st.sampled_from([0.1, 0.2, 0.25, 0.5]))
)
def test_the_false_accept_rate_is_never_exceeded_and_no_better_threshold_exists(pairs, limit):
    scores, same = pairs
    point = true_accept_rate_at(roc(scores, same), limit)
    accepted = scores >= point.threshold
    assert accepted[~same].mean() == point.false_accept_rate <= limit
    assert accepted[same].mean() == point.true_accept_rate
    for threshold in [np.inf, *scores]:
        accepted = scores >= threshold
        if accepted[~same].mean() <= limit:
            assert accepted[same].mean() <= point.true_accept_rate
            if accepted[same].mean() == point.true_accept_rate:
                assert threshold <= point.threshold, "the strictest of those alike"


def test_a_tie_across_the_limit_is_not_split():
    # Two impostors and a genuine pair share a score: to accept the one accepts the others.
    scores = [0.9, 0.5, 0.5, 0.5, 0.1, 0.1]
    same = [True, True, False, False, False, False]
    assert true_accept_rate_at(roc(scores, same), 0.25).true_accept_rate == 0.5
    assert true_accept_rate_at(roc(scores, same), 0.5).true_accept_rate == 1.0


def test_rates_that_are_reached_exactly_count_as_not_exceeded():
    # 3 of 3000: a limit that is the ratio itself in decimal is no rounding error away from it.
    scores = np.concatenate([[5.0, 4.0], np.arange(3000) / -1000.0, [9.0]])
    same = np.concatenate([[True, True], np.zeros(3000, bool), [True]])
    scores[2:5] = 4.5  # three impostors above one genuine pair
    point = true_accept_rate_at(roc(scores, same), 0.001)
    assert (point.true_accept_rate, point.false_accept_rate) == (1.0, 0.001)
    for count, limit in [(3, 0.3), (7, 0.7), (6, 0.6), (9, 0.9)]:
        scores = np.append(np.arange(10.0), 10 - count - 0.5)
        point = true_accept_rate_at(roc(scores, np.arange(11) == 10), limit)
        assert (point.true_accept_rate, point.false_accept_rate) == (1.0, limit)


def test_equal_error_rate_by_hand():
    # FAR and FRR are both 1/3 at the threshold 0.7.
    scores, same = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [1, 1, 0, 0, 1, 0]
    curve = roc(scores, same)
    assert equal_error_rate(curve) == pytest.approx(1 / 3, abs=1e-15)
    assert equal_error_point(curve).threshold == 0.7
    # All alike: the line from (0, 0) to (1, 1) meets FRR = FAR in the middle.
    assert equal_error_rate(roc([1.0, 1.0, 1.0], [1, 0, 0])) == 0.5
    # (0, 1/2) and (1/2, 1): FAR = t/2 and FRR = 1/2 - t/2 meet at t = 1/2.
    assert equal_error_rate(roc([3, 2, 2, 1], [1, 1, 0, 0])) == 0.25
    assert equal_error_rate(roc([2, 1], [1, 0])) == 0.0
    assert equal_error_rate(roc([1, 2], [1, 0])) == 1.0
    assert equal_error_point(roc([2, 1], [1, 0])).threshold == 2.0


@hypothesis.given(pairs=scored_pairs(), drop=st.booleans())
def test_the_equal_error_rate_lies_on_the_curve_where_both_errors_meet(pairs, drop):
    scores, same = pairs
    curve = roc(scores, same, drop_intermediate=drop)
    rate = equal_error_rate(curve)
    # On the joined points TAR(FAR) may jump: the line 1 - FAR must pass through the jump.
    far, tar = curve.false_accept_rate, curve.true_accept_rate
    low = np.max(tar[far <= rate + 1e-12])
    high = np.min(tar[far >= rate - 1e-12])
    between = np.interp(rate, far, tar)
    assert min(high, between) - 1e-9 <= 1 - rate <= max(low, between) + 1e-9
    assert rate == pytest.approx(equal_error_rate(roc(scores, same)), abs=1e-12)


def test_normal_scores_have_the_rates_of_the_normal_distribution():
    # Means 2 apart: EER = Phi(-1) = 0.1587, AUC = Phi(sqrt 2) = 0.9214.
    curve = roc(*normal_pairs(200_000, 200_000))
    assert equal_error_rate(curve) == pytest.approx(0.1587, abs=2e-3)
    assert area_under_roc(curve) == pytest.approx(0.9214, abs=2e-3)
    assert equal_error_point(curve).threshold == pytest.approx(1.0, abs=0.02)


@hypothesis.given(pairs=scored_pairs(), seed=st.integers(0, 99))
def test_order_and_scale_of_the_scores_do_not_matter(pairs, seed):
    scores, same = pairs
    numbers = verification_summary(scores, same, folds=None)
    order = np.random.default_rng(seed).permutation(len(scores))
    assert verification_summary(scores[order], same[order], folds=None) == numbers
    other = verification_summary(np.arctan(3 * scores + 1), same, folds=None)
    for name in numbers:
        assert "threshold" in name or other[name] == numbers[name], name
    # Exchanging the roles of the kinds mirrors the curve.
    mirrored = verification_summary(-scores, ~same, folds=None)
    assert mirrored["area_under_roc"] == numbers["area_under_roc"]
    assert mirrored["equal_error_rate"] == pytest.approx(numbers["equal_error_rate"], abs=1e-12)


def test_the_summary_names_every_number():
    numbers = verification_summary(*normal_pairs(), false_accept_rates=(0.01, 1e-5))
    assert set(numbers) == {
        "genuine_pairs", "impostor_pairs", "area_under_roc", "equal_error_rate",
        "equal_error_threshold", "true_accept_rate_at_far_0.01", "threshold_at_far_0.01",
        "true_accept_rate_at_far_1e-05", "threshold_at_far_1e-05",
        "fold_accuracy", "fold_accuracy_std", "fold_threshold",
    }  # fmt: skip
    assert (numbers["genuine_pairs"], numbers["impostor_pairs"]) == (300, 2000)
    scores, same = normal_pairs()
    none_accepted = np.mean(scores[same] > scores[~same].max())
    assert numbers["true_accept_rate_at_far_1e-05"] == none_accepted


@pytest.mark.parametrize(
    ("scores", "same", "message"),
    [
        ([0.1, 0.2], [1, 1], "no impostor pair among the 2"),
        ([0.1, 0.2], [0, 0], "no genuine pair among the 2"),
        ([], [], "no genuine pair"),
        ([0.1, np.nan, 0.3], [1, 0, 1], "1 of 3 scores are not finite; the first is nan at pair 1"),
        ([0.1, np.inf], [1, 0], "not finite"),
        ([0.1, 0.2], [1, 0, 1], r"scores \(2,\) and same \(3,\)"),
        ([[0.1, 0.2]], [[1, 0]], r"\(1, 2\)"),
        ([0.1, 0.2], [1, -1], "found -1"),
    ],
)
def test_what_cannot_be_counted_is_refused(scores, same, message):
    for measure in (roc, verification_summary, bootstrap_intervals):
        with pytest.raises(ValueError, match=message):
            measure(np.array(scores), np.array(same))


def test_a_rate_beyond_one_is_refused():
    with pytest.raises(ValueError, match=r"false_accept_rate is 1.5, but must be in \[0.0, 1.0\]"):
        true_accept_rate_at(roc([1, 0], [1, 0]), 1.5)
