"""Identification beside its definitions written as loops, and by hand."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from jaxcv.metrics import (
    cumulative_match,
    identification,
    nearest_neighbor_accuracy,
    rank_scores,
    search_ranks,
    true_identification_rate_at,
)


def ranks_by_definition(scores, probe_labels, gallery_labels):
    """(rank, score) of each mated probe, and the highest score of each other."""
    mated, others = [], []
    for row, label in zip(scores, probe_labels):
        best = {}
        for score, person in zip(row, gallery_labels):
            best[person] = max(score, best.get(person, -np.inf))
        if label in best:
            as_good = [p for p, s in best.items() if p != label and s >= best[label]]
            mated.append((1 + len(as_good), best[label]))
        else:
            others.append(max(best.values()))
    return mated, others


@hypothesis.given(
    levels=st.sampled_from([2, 1000]), seed=st.integers(0, 9999), rank=st.integers(1, 3),
    limit=st.sampled_from([0.0, 0.2, 0.5, 1.0, 0.33]),
)  # fmt: skip
def test_ranks_and_rates_are_those_of_the_definition(levels, seed, rank, limit):
    rng = np.random.default_rng(seed)
    gallery_labels, probe_labels = rng.integers(0, 5, 8), rng.integers(0, 8, 12)
    probe_labels[:2] = gallery_labels[0], 7
    scores = rng.integers(0, levels, (12, 8)) / 8
    found = rank_scores(scores, probe_labels, gallery_labels)
    mated, others = ranks_by_definition(scores, probe_labels, gallery_labels)
    assert list(zip(found.mate_rank, found.mate_score)) == mated
    assert found.other_score.tolist() == others
    assert sorted([*found.mated, *found.other]) == list(range(12))
    assert found.people == len(set(gallery_labels.tolist()))

    curve = cumulative_match(found)
    assert curve.tolist() == [
        np.mean([r <= k for r, _ in mated]) for k in range(1, found.people + 1)
    ]
    assert curve[-1] == 1.0
    assert cumulative_match(found, 2).tolist() == [*curve[:2], *[1.0] * (2 - len(curve[:2]))]

    point = true_identification_rate_at(found, limit, rank=rank)
    best = 0.0
    for threshold in [np.inf, *scores.ravel()]:
        if np.mean([s >= threshold for s in others]) <= limit:
            best = max(best, np.mean([r <= rank and s >= threshold for r, s in mated]))
    assert point.true_positive_identification_rate == pytest.approx(best, abs=1e-15)
    assert point.false_positive_identification_rate <= limit
    assert point.false_positive_identification_rate == np.mean(
        [s >= point.threshold for s in others]
    )


def test_equal_scores_for_everybody_are_the_worst_result():
    found = rank_scores(np.ones((2, 3)), [0, 2], [0, 1, 2])
    assert found.mate_rank.tolist() == [3, 3]
    assert cumulative_match(found).tolist() == [0.0, 0.0, 1.0]
    assert nearest_neighbor_accuracy(np.ones((4, 2)), [0, 0, 1, 1]) == 0.0


def people(count, images, noise, seed):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(count), images)
    return rng.normal(size=(count, 6))[labels] + noise * rng.normal(size=(len(labels), 6)), labels


def test_embeddings_are_searched_in_blocks_by_cosine(monkeypatch):
    embeddings, labels = people(10, 6, 0.8, 0)
    is_probe = np.arange(60) % 2 == 0
    enrolled = ~is_probe & (labels < 7)
    arguments = (
        embeddings[is_probe] * np.arange(1, 31)[:, None], labels[is_probe],
        embeddings[enrolled], labels[enrolled],
    )  # fmt: skip
    whole = search_ranks(*arguments)
    assert (len(whole.mated), len(whole.other)) == (21, 9)
    monkeypatch.setattr(identification, "_SCORES", 100)  # four probes at a time
    for name, value in vars(search_ranks(*arguments)).items():
        np.testing.assert_allclose(value, getattr(whole, name), atol=1e-14, err_msg=name)
    nearest = KNeighborsClassifier(1, metric="cosine").fit(*arguments[2:])
    expected = nearest.score(arguments[0][whole.mated], arguments[1][whole.mated])
    assert cumulative_match(whole, 1).tolist() == [expected]
    assert 0.4 < expected < 1.0


@pytest.mark.parametrize("size", [50, 1 << 22])
def test_nearest_neighbours_leave_the_probe_itself_out(size, monkeypatch):
    monkeypatch.setattr(identification, "_SCORES", size)
    embeddings, labels = people(8, 5, 0.8, 1)
    labels[3] = 99  # alone: no probe, but a neighbour that misleads
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    similarity = unit @ unit.T - 9 * np.eye(40)
    right = (labels[similarity.argmax(1)] == labels)[labels != 99]
    assert nearest_neighbor_accuracy(embeddings, labels) == right.mean()


def test_what_cannot_be_searched_is_refused():
    rows = np.eye(3)
    with pytest.raises(ValueError, match="same model"):
        search_ranks(rows, [0, 1, 2], rows[:, :2], [0, 1, 2])
    with pytest.raises(ValueError, match="3 probes and 0 gallery entries"):
        search_ranks(rows, [0, 1, 2], rows[:0], [])
    with pytest.raises(ValueError, match="0 probes"):
        search_ranks(rows[:0], [], rows, [0, 1, 2])
    with pytest.raises(ValueError, match="gallery hold NaN or infinity; the first is row 1"):
        search_ranks(rows, [0, 1, 2], rows * [[1], [np.nan], [1]], [0, 1, 2])
    with pytest.raises(ValueError, match=r"gallery_labels must be \[3\]"):
        search_ranks(rows, [0, 1, 2], rows, [0, 1])
    with pytest.raises(ValueError, match="integers or strings"):
        search_ranks(rows, [0.0, 1.0, 2.0], rows, [0, 1, 2])
    strangers = search_ranks(rows, [7, 8, 9], rows, [0, 1, 2])
    with pytest.raises(ValueError, match="no probe whose person is in the gallery"):
        cumulative_match(strangers)
    known = search_ranks(rows, [0, 1, 2], rows, [0, 1, 2])
    with pytest.raises(ValueError, match="no probe whose person is missing"):
        true_identification_rate_at(known, 0.1)
    with pytest.raises(ValueError, match="max_rank"):
        cumulative_match(known, 0)
    with pytest.raises(ValueError, match="no label that occurs twice"):
        nearest_neighbor_accuracy(rows, [0, 1, 2])
