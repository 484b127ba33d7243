"""Scored pairs, templates and the errors of people, beside the definitions written as loops."""

import numpy as np
import pytest

from jaxcv.metrics import (
    cosine_scores,
    hardest_pairs,
    identity_errors,
    indexed_scores,
    pair_scores,
    template_embeddings,
    template_pair_scores,
)


def people(count=9, images=6, size=8, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(count), images))
    centres = rng.normal(size=(count, size))
    return centres[labels] + 0.7 * rng.normal(size=(len(labels), size)), labels


def cosines(embeddings):
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return unit @ unit.T


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_all_pairs_are_the_upper_triangle(block):
    embeddings, labels = people()
    pairs = pair_scores(embeddings, labels, block=block)
    first, second = np.triu_indices(len(labels), 1)
    np.testing.assert_array_equal(pairs.first, first)
    np.testing.assert_array_equal(pairs.second, second)
    np.testing.assert_array_equal(pairs.same, labels[first] == labels[second])
    np.testing.assert_allclose(pairs.scores, cosines(embeddings)[first, second], atol=1e-14)
    in_float32 = pair_scores(embeddings.astype(np.float32), labels, block=block)
    assert in_float32.scores.dtype == np.float32
    np.testing.assert_allclose(in_float32.scores, pairs.scores, atol=1e-6)


@pytest.mark.parametrize("limit", [1, 40, 1295, 1296, 10_000])
def test_a_sample_keeps_all_genuine_pairs_and_no_impostor_twice(limit):
    embeddings, labels = people()
    whole = pair_scores(embeddings, labels)
    part = pair_scores(embeddings, labels, max_impostors=limit, seed=3)
    assert np.sum(~whole.same) == 1296
    assert np.sum(~part.same) == min(limit, 1296)
    np.testing.assert_allclose(part.scores[part.same], whole.scores[whole.same], atol=1e-14)
    assert (part.first < part.second).all()
    numbers = part.first.astype(int) * len(labels) + part.second
    assert (np.diff(numbers) > 0).all(), "in order, none twice"
    known = dict(zip(zip(whole.first, whole.second), whole.scores))
    for i, j, score in zip(part.first, part.second, part.scores):
        assert score == pytest.approx(known[i, j], abs=1e-14)
    again = pair_scores(embeddings, labels, max_impostors=limit, seed=3)
    np.testing.assert_array_equal(again.second, part.second)


def test_every_impostor_pair_is_as_likely_in_the_sample():
    embeddings, labels = np.eye(6), np.array([0, 0, 1, 1, 2, 2])  # 12 impostor pairs
    counts = np.zeros((6, 6))
    for seed in range(600):
        pairs = pair_scores(embeddings, labels, max_impostors=4, seed=seed)
        np.add.at(counts, (pairs.first[~pairs.same], pairs.second[~pairs.same]), 1)
    drawn = counts[counts > 0]
    assert len(drawn) == 12
    # Each is drawn with probability 1/3: 200 of 600, deviation 11.5.
    assert np.all(np.abs(drawn - 200) < 50)


def test_labels_may_be_names_and_embeddings_may_be_extreme():
    embeddings = np.array([[1e30, 0], [1e-30, 0], [0, 0], [0, 3e38]], np.float32)
    pairs = pair_scores(embeddings, ["ann", "ann", "bob", "bob"])
    assert pairs.scores.tolist() == [1, 0, 0, 0, 0, 0]
    assert pairs.same.tolist() == [True, False, False, False, False, True]
    assert cosine_scores([[1e-30, 0.0]], [[-1e-30, 0.0]]).tolist() == [-1.0]


def test_pairs_of_rows_are_those_of_their_indices():
    embeddings, _ = people()
    first, second = np.random.default_rng(0).integers(0, len(embeddings), (2, 100))
    wanted = cosines(embeddings)[first, second]
    np.testing.assert_allclose(indexed_scores(embeddings, first, second), wanted, atol=1e-14)
    scores = cosine_scores(5 * embeddings[first], embeddings[second])
    np.testing.assert_allclose(scores, wanted, atol=1e-14)


def test_bad_embeddings_are_refused():
    embeddings, labels = people()
    broken = embeddings.copy()
    broken[4, 2] = np.nan
    with pytest.raises(ValueError, match="the first is row 4"):
        pair_scores(broken, labels)
    with pytest.raises(ValueError, match=r"labels must be \[54\]"):
        pair_scores(embeddings, labels[1:])
    with pytest.raises(ValueError, match="no genuine pair"):
        pair_scores(embeddings, np.arange(54))
    with pytest.raises(ValueError, match="no impostor pair: all 54 embeddings are labelled 7"):
        pair_scores(embeddings, np.full(54, 7))
    with pytest.raises(ValueError, match="max_impostors"):
        pair_scores(embeddings, labels, max_impostors=0)
    with pytest.raises(ValueError, match="must be alike"):
        cosine_scores(embeddings, embeddings[:, :3])
    with pytest.raises(ValueError, match="rows -1 to 3"):
        indexed_scores(embeddings, np.array([3, -1]), np.array([0, 0]))


def test_templates_are_means_of_media_and_sums_of_those():
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(80, 5))
    template, media = rng.integers(10, 18, 80), rng.integers(0, 4, 80)
    found = template_embeddings(embeddings, media, template)
    assert found.template.tolist() == sorted(set(template.tolist()))
    for name, row in zip(found.template, found.embeddings):
        total = np.zeros(5)
        for medium in set(media[template == name].tolist()):
            frames = embeddings[(template == name) & (media == medium)]
            total += frames.mean(0)
        np.testing.assert_allclose(row, total / np.linalg.norm(total), atol=1e-14)
    order = rng.permutation(80)
    again = template_embeddings(embeddings[order], media[order], template[order])
    np.testing.assert_allclose(again.embeddings, found.embeddings, atol=1e-14)
    names = found.template
    scores = template_pair_scores(found, names[[0, 3]], names[[5, 3]])
    assert scores[0] == pytest.approx(found.embeddings[0] @ found.embeddings[5])
    assert scores[1] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="1 of 2 pairs name a template that has no embedding.* 99"):
        template_pair_scores(found, [names[0], 99], names[[1, 1]])


def test_frames_of_one_video_weigh_as_one_picture():
    still, frame = [1.0, 0.0], [0.0, 1.0]
    video = template_embeddings([still, frame, frame, frame], [1, 2, 2, 2], [0, 0, 0, 0])
    np.testing.assert_allclose(video.embeddings, [[0.5**0.5, 0.5**0.5]])
    stills = template_embeddings([still, frame, frame, frame], [1, 2, 3, 4], [0, 0, 0, 0])
    np.testing.assert_allclose(stills.embeddings, [[0.1**0.5, 0.9**0.5]])


def test_errors_are_counted_for_each_person():
    embeddings, labels = people()
    labels = np.where(labels == 3, 100, labels)
    pairs = pair_scores(embeddings, labels)
    found = identity_errors(pairs, labels, 0.4)
    scores = cosines(embeddings)
    others = np.arange(len(labels))
    for k, person in enumerate(found.label):
        own = labels == person
        accepted = scores[own] >= 0.4
        genuine = own & (others != np.flatnonzero(own)[:, None])
        assert found.images[k] == own.sum() == 6
        assert found.genuine_pairs[k] == 15
        assert found.false_rejects[k] == np.sum(~accepted & genuine) / 2
        assert found.impostor_pairs[k] == 6 * 48
        assert found.false_accepts[k] == np.sum(accepted & ~own)
        per_other = [np.sum(accepted[:, labels == other]) for other in found.label]
        per_other[k] = 0
        most = int(np.argmax(per_other)) if max(per_other) else -1
        assert found.confused_with[k] == most
    assert found.false_rejects.sum() > 0
    assert found.false_accepts.sum() > 0
    np.testing.assert_allclose(found.false_accept_rate, found.false_accepts / 288)


def test_a_person_with_one_image_has_no_reject_rate():
    pairs = pair_scores(np.eye(3), [0, 0, 1])
    found = identity_errors(pairs, [0, 0, 1], 0.5)
    assert found.false_rejects.tolist() == [1, 0]
    assert found.false_reject_rate[0] == 1.0
    assert np.isnan(found.false_reject_rate[1])
    assert found.confused_with.tolist() == [-1, -1]


def test_the_hardest_pairs_come_first():
    embeddings, labels = people()
    pairs = pair_scores(embeddings.round(1), labels)
    impostors, genuine = hardest_pairs(pairs, 5)
    wanted = sorted(np.flatnonzero(~pairs.same), key=lambda p: (-pairs.scores[p], p))[:5]
    assert impostors.tolist() == wanted
    wanted = sorted(np.flatnonzero(pairs.same), key=lambda p: (pairs.scores[p], p))[:5]
    assert genuine.tolist() == wanted
    impostors, genuine = hardest_pairs(pairs, 10_000)
    assert len(impostors) + len(genuine) == len(pairs.same)
    assert [len(found) for found in hardest_pairs(pairs, 0)] == [0, 0]
