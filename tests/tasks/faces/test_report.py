"""Sections of a face report: curves through the right points, pairs, people, odd cases."""

import itertools
import math
import re

import numpy as np
import pytest

from jaxcv.metrics import equal_error_rate, pair_scores, roc, true_accept_rate_at
from jaxcv.report import write_report
from jaxcv.report.charts.axis import Axis
from jaxcv.report.charts.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, curve_chart
from jaxcv.tasks.faces.charts import det_chart, roc_chart, score_histogram
from jaxcv.tasks.faces.report import (
    MAX_PEOPLE,
    FaceEvidence,
    FacePair,
    face_evidence,
    face_sections,
)

NAMES = ("ann", "bob", "<cy>", "dee", "eve", "fay")


def people(noise=1.2, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(6), 7)
    embeddings = rng.normal(size=(6, 8))[labels] + noise * rng.normal(size=(42, 8))
    images = rng.integers(0, 256, (42, 8, 8, 3), np.uint8)
    return pair_scores(embeddings, labels), labels, images


def evidence(**options):
    pairs, labels, images = people()
    return face_evidence(
        pairs, labels, image=images.__getitem__, record_name="photo-{}".format, class_names=NAMES,
        **{"replicates": 20, "count": 4, **options},
    )  # fmt: skip


def path_points(chart, number=0):
    path = re.findall(r'<path class="line[^"]*" d="([^"]*)"', chart)[number]
    return [tuple(map(float, part.split())) for part in re.split("[ML]", path)[1:]]


def test_a_face_report_shows_curves_pairs_and_people(tmp_path):
    path = write_report(tmp_path / "r.html", title="Faces", task_sections=face_sections(evidence()))
    page = path.read_text(encoding="utf-8")
    for words in (
        "Verification", "Hardest pairs", "Errors per person", "ROC", "DET", "Scores",
        "Operating points", "genuine pairs", "impostor pairs", "95% CI", "wrongly accepted",
        "wrongly rejected", "photo-", "&lt;cy&gt;", 'href="#hardest-pairs"',
    ):  # fmt: skip
        assert words in page, words
    assert "<cy>" not in page
    assert page.count("<img") == 2 * 2 * 4, "four pairs of each kind, two pictures each"
    assert not re.search(r'"[^"]*\b(nan|inf)\b[^"]*"', re.sub(r"data:image[^\"]*", "", page))


def test_the_roc_passes_through_its_operating_points():
    pairs, _, _ = people()
    curve = roc(pairs.scores, pairs.same)
    chart = roc_chart(curve)
    points = path_points(chart)
    x = Axis(low=100 / curve.impostors, high=100.0, start=LEFT, end=WIDTH - RIGHT, log=True)
    floor = 10 * math.floor(10 * true_accept_rate_at(curve, 1 / curve.impostors).true_accept_rate)
    y = Axis(low=floor, high=100.0, start=HEIGHT - BOTTOM, end=TOP)
    assert points[0][0] == LEFT
    assert points[-1] == (WIDTH - RIGHT, TOP), "everything is accepted at the end"
    for rate in (0.3, 0.1, 0.02):
        wanted = y(100 * true_accept_rate_at(curve, rate).true_accept_rate)
        left = max(p for p in points if p[0] <= x(100 * rate) + 0.05)
        assert left[1] == pytest.approx(wanted, abs=3.0)
    assert all(a[0] <= b[0] and a[1] >= b[1] for a, b in itertools.pairwise(points)), "ascending"
    assert f"TAR {100 * true_accept_rate_at(curve, 0.1).true_accept_rate:.2f}% at FAR 10%" in chart


def test_normal_scores_give_a_straight_line_of_errors():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=200_000)
    scores[:100_000] += 2.5
    chart = det_chart(roc(scores, np.arange(200_000) < 100_000))
    points = np.array(path_points(chart))
    # Where both errors have hundreds of pairs.
    middle = points[(points[:, 0] > LEFT + 90) & (points[:, 1] < HEIGHT - BOTTOM - 45)]
    fit = np.polyfit(middle[:, 0], middle[:, 1], 1)
    assert len(middle) > 100
    assert np.abs(np.polyval(fit, middle[:, 0]) - middle[:, 1]).max() < 3.0
    assert "equal error rate 10.6%" in chart  # Phi(-1.25) = 0.1056


def test_separated_scores_and_hopeless_ones_are_drawn():
    perfect = roc([0.9, 0.8, 0.1, 0.2], [1, 1, 0, 0])
    assert "there is no error" in det_chart(perfect)
    assert path_points(roc_chart(perfect))[0][1] == TOP
    inverted = roc([0.1, 0.2, 0.9, 0.8], [1, 1, 0, 0])
    for chart in (det_chart(inverted), roc_chart(inverted), det_chart(perfect)):
        assert "nan" not in chart
    tied = FaceEvidence(scores=np.ones(6, np.float32), same=np.arange(6) < 3)
    sections = face_sections(tied)
    assert "50.00%" in sections["Verification"]
    assert sections["Hardest pairs"] is None
    assert sections["Errors per person"] is None


def test_the_histogram_counts_each_kind_for_itself():
    scores = np.array([0.9, 0.9, 0.9, 0.1, 0.0, 1.0, 0.5, 0.5])
    chart = score_histogram(scores, np.arange(8) < 4, 0.6)
    heights = [float(h) for h in re.findall(r": ([\d.]+) % of the pairs of its kind", chart)]
    assert sorted(heights) == [25, 25, 25, 50, 75]
    assert "threshold 0.6" in chart


def test_the_worst_pairs_come_first_and_say_what_became_of_them():
    found = evidence(threshold=0.5)
    impostors = [p.score for p in found.hardest if not p.same]
    genuine = [p.score for p in found.hardest if p.same]
    assert impostors == sorted(impostors, reverse=True)
    assert genuine == sorted(genuine)
    pairs, _, images = people()
    assert impostors[0] == pairs.scores[~pairs.same].max()
    worst = int(np.argmin(np.where(pairs.same, pairs.scores, 9)))
    first = next(p for p in found.hardest if p.same)
    assert first.records == (f"photo-{pairs.first[worst]}", f"photo-{pairs.second[worst]}")
    np.testing.assert_array_equal(first.images[1], images[pairs.second[worst]])
    pair = FacePair(images=(images[0], images[1]), people=("ann", "ann"), score=0.7, same=True)
    scored = {"scores": [0.7, 0.2], "same": [True, False], "hardest": [pair]}
    right = face_sections(FaceEvidence(**scored, threshold=0.6))["Hardest pairs"]
    assert "accepted" in right
    assert "wrongly" not in right
    wrong = face_sections(FaceEvidence(**scored, threshold=0.71))["Hardest pairs"]
    assert "wrongly rejected" in wrong


def test_intervals_hold_the_figures_that_they_belong_to():
    found = evidence(replicates=100)
    low, high = found.intervals["equal_error_rate"]
    assert low < equal_error_rate(roc(found.scores, found.same)) < high
    assert not evidence(replicates=0).intervals
    assert "95%" not in face_sections(evidence(replicates=0))["Verification"]


def test_a_long_list_of_people_is_cut():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(MAX_PEOPLE + 20), 2)
    pairs = pair_scores(rng.normal(size=(len(labels), 4)), labels, max_impostors=2000)
    found = face_evidence(
        pairs, labels, image=lambda i: np.zeros((2, 2, 3), np.uint8), record_name=str,
        count=1, replicates=0,
    )  # fmt: skip
    table = face_sections(found)["Errors per person"]
    assert table.count("<tr>") == MAX_PEOPLE + 1
    assert f"The {MAX_PEOPLE} people with the most errors, of 220." in table


def test_probit_axes_measure_in_standard_deviations():
    axis = Axis(low=2.275, high=50.0, start=0.0, end=200.0, probit=True)
    assert axis(15.866) == pytest.approx(100.0, abs=0.01)  # one of two deviations
    assert axis.ticks() == [5.0, 10.0, 20.0, 40.0]


def test_curves_break_where_there_is_no_value():
    chart = curve_chart(
        {"a": [(0.0, 0.0), (0.5, math.nan), (1.0, 1.0)], "b": [(0.0, 1.0)]},
        title="T", x_label="x", y_label="y", x_range=(0, 1), y_range=(0, 1),
        dots=[(0.5, 0.5, "within"), (2.0, 0.5, "beyond")],
    )  # fmt: skip
    assert chart.count("M") == 3
    assert "within" in chart
    assert "beyond" not in chart
    assert "series-1" in chart
