"""Detection metrics: beside pycocotools on drawn and edge cases, by hand, and by plain loops."""

import contextlib
import io
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from jaxcv.metrics.box_overlap import box_area, box_iou
from jaxcv.metrics.coco import coco_evaluation, detected_annotations, true_annotations
from jaxcv.metrics.detection import detection_summary
from jaxcv.metrics.detection_examples import checked_examples
from jaxcv.metrics.detection_matching import (
    best_f1,
    confusion_with_background,
    image_f1,
    match_detections,
)

FIGURES = (
    "average_precision",
    "average_precision_50",
    "average_precision_75",
    "average_precision_small",
    "average_precision_medium",
    "average_precision_large",
    "average_recall_1",
    "average_recall_10",
    "average_recall_100",
    "average_recall_small",
    "average_recall_medium",
    "average_recall_large",
)


def draw(seed=0, images=12, classes=4, objects=6, detections=20, ignored=0.1, grid=0.0):
    """Objects of all sizes, detections about them and elsewhere, a fraction of rows padded.

    With `grid`, corners and scores are rounded, so that there are ties of both.
    """
    rng = np.random.default_rng(seed)
    N, M, D = images, objects, detections
    size = np.exp(rng.uniform(np.log(6), np.log(250), (N, M, 2)))
    corner = rng.uniform(0, 300, (N, M, 2))
    boxes = np.concatenate((corner, corner + size), -1)
    labels = rng.integers(0, classes, (N, M))
    labels[rng.random((N, M)) < 0.25] = -1
    if M:
        source = rng.integers(0, M, (N, D))
        near = np.take_along_axis(boxes, source[..., None], 1)
        found = np.take_along_axis(labels, source, 1)
        scale = np.tile(near[..., 2:] - near[..., :2], 2)
        found_boxes = near + scale * rng.normal(0, 0.07, (N, D, 4))
    else:
        found_boxes = np.tile([10.0, 20.0, 60.0, 90.0], (N, D, 1)) + rng.uniform(0, 9, (N, D, 4))
        found = np.zeros((N, D), int)
    guessed = rng.random((N, D)) < 0.3
    found = np.where(guessed, rng.integers(0, classes, (N, D)), found)
    found[rng.random((N, D)) < 0.1] = -1
    scores = rng.random((N, D))
    if grid:
        boxes, found_boxes = (np.round(b / grid) * grid for b in (boxes, found_boxes))
        scores = np.round(scores, 1)
    boxes[labels < 0] = 0
    fraction = rng.uniform(0.4, 1.0, (N, M))
    return {
        "boxes": boxes.astype(np.float32),
        "classes": labels.astype(np.int32),
        "ignored": (rng.random((N, M)) < ignored) & (labels >= 0),
        "area": (fraction * box_area(boxes)).astype(np.float32),
        "detected_boxes": found_boxes.astype(np.float32),
        "detected_scores": scores.astype(np.float32),
        "detected_classes": found.astype(np.int32),
    }


def evaluate_with_pycocotools(examples, classes):
    """The evaluator, after all its steps."""
    checked = checked_examples(examples, classes)
    sides = []
    with contextlib.redirect_stdout(io.StringIO()):
        for annotations in (true_annotations(checked), detected_annotations(checked)):
            side = COCO()
            side.dataset = {
                "images": [{"id": i} for i in range(len(checked))],
                "categories": [{"id": c} for c in range(classes)],
                "annotations": annotations,
            }
            side.createIndex()
            sides.append(side)
        evaluator = COCOeval(*sides, iouType="bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


def assert_equals_pycocotools(examples, classes):
    peer = evaluate_with_pycocotools(examples, classes)
    ours = coco_evaluation(examples, classes)
    figures = ours.figures()
    assert tuple(figures) == FIGURES
    wanted = np.where(peer.stats < 0, np.nan, peer.stats)
    np.testing.assert_allclose(list(figures.values()), wanted, rtol=0, atol=1e-12)
    for name, values in (("precision", ours.precision), ("recall", ours.recall)):
        theirs = peer.eval[name][..., 2] if name == "precision" else peer.eval[name]
        theirs = np.where(theirs < 0, np.nan, theirs)
        np.testing.assert_allclose(values, theirs, rtol=0, atol=1e-12)
    return figures


def without(examples, side, rows):
    """The examples with all objects ("classes") or detections of some images made padding."""
    changed = dict(examples)
    changed[side] = examples[side].copy()
    changed[side][rows] = -1
    return changed


ALL = slice(None)
CASES = {
    "drawn": draw(0),
    "many images": draw(1, images=40, detections=8),
    "ties of scores and overlaps": draw(2, grid=8.0),
    "more than 100 detections of a class": draw(3, images=4, classes=2, detections=270),
    "crowds everywhere": draw(4, ignored=0.6),
    "only crowds": draw(5, ignored=1.0),
    "no object": without(draw(6), "classes", ALL),
    "no detection": without(draw(7), "detected_classes", ALL),
    "neither": without(without(draw(8), "classes", ALL), "detected_classes", ALL),
    "images with one side or none": without(
        without(draw(9), "classes", [0, 1, 2]), "detected_classes", [2, 3, 4]
    ),
    "one image": draw(10, images=1),
    "no room for objects": draw(11, objects=0),
    "no room for detections": draw(12, detections=0),
}


@pytest.mark.parametrize("name", CASES)
def test_all_twelve_figures_equal_pycocotools(name):
    """And the precision and recall of each class, size and threshold that they are means of."""
    figures = assert_equals_pycocotools(CASES[name], 4)
    assert all(math.isnan(value) for value in figures.values()) == (
        name in ("only crowds", "no object", "neither", "no room for objects")
    )
    if name == "drawn":
        assert all(0.05 < value < 0.95 for value in figures.values())


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(0, 5),
    st.integers(0, 12),
    st.sampled_from([0.0, 10.0]),
)
def test_any_examples_equal_pycocotools(seed, images, classes, objects, detections, grid):
    examples = draw(seed, images, classes, objects, detections, ignored=0.2, grid=grid)
    assert_equals_pycocotools(examples, classes)


def test_a_class_without_an_object_is_in_no_mean():
    examples = draw(1, classes=3)
    alone = assert_equals_pycocotools(examples, 3)
    assert assert_equals_pycocotools(examples, 9) == alone  # classes 3 .. 8 are nowhere
    examples["detected_classes"][0, 0] = 7  # Nor does a detection of one change a thing.
    examples["detected_classes"][0, 1] = 8
    assert_equals_pycocotools(examples, 9)
    summary = detection_summary(examples, 9)
    assert summary["per_class"]["average_precision"][7] is None
    assert summary["per_class"]["voc_average_precision_50"][7] is None
    assert summary["per_class"]["support"][7:] == [0, 0]
    assert summary["per_class"]["detections"][7:] == [1, 1]


def test_sizes_go_by_the_area_given_not_by_the_box():
    """Three boxes alike, whose areas put them into the three sizes; on a limit both sizes count."""
    box = np.array([0.0, 0.0, 100.0, 100.0])
    examples = {
        "boxes": np.tile(box, (4, 1, 1)),
        "classes": np.zeros((4, 1), int),
        "ignored": np.zeros((4, 1), bool),
        "area": np.array([[900.0], [5000.0], [10_000.0], [1024.0]]),
        "detected_boxes": np.tile(box, (4, 1, 1)),
        "detected_scores": np.array([[0.9], [0.8], [0.7], [0.6]]),
        "detected_classes": np.array([[-1], [0], [0], [0]]),
    }
    figures = assert_equals_pycocotools(examples, 1)
    assert figures["average_recall_small"] == 0.5  # the second is found: 1024 is small and medium
    assert figures["average_recall_medium"] == figures["average_recall_large"] == 1
    assert figures["average_recall_100"] == 0.75


def test_summary_by_hand():
    """Two objects; a right detection, a wrong one between, and the second object found last."""
    examples = {
        "boxes": [[[0, 0, 10, 10], [20, 0, 30, 10]], [[0, 0, 0, 0], [0, 0, 0, 0]]],
        "classes": [[0, 0], [-1, -1]],
        "ignored": np.zeros((2, 2), bool),
        "area": [[100.0, 100.0], [0.0, 0.0]],
        "detected_boxes": [[[0, 0, 10, 10], [20, 0, 30, 10]], [[0, 0, 9, 9], [0, 0, 0, 0]]],
        "detected_scores": [[0.9, 0.3], [0.6, 0.0]],
        "detected_classes": [[0, 0], [0, -1]],
    }
    summary = detection_summary(examples, 1)
    # Precision 1, 1/2, 2/3 at recalls 1/2, 1/2, 1: 51 of the 101 recalls are at most 1/2.
    assert summary["average_precision"] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert summary["voc_average_precision_50"] == pytest.approx((1 + 2 / 3) / 2)
    assert (summary["average_recall_1"], summary["average_recall_10"]) == (0.5, 1.0)
    assert math.isnan(summary["average_precision_large"])
    assert (summary["best_f1"], summary["best_f1_threshold"]) == (0.8, 0.3)
    assert (summary["count"], summary["objects"], summary["detections"]) == (2, 2, 3)
    assert summary["confusion_with_background"] == [[2, 0], [1, 0]]
    assert summary["precision_by_recall_50"][0][50:52] == pytest.approx([1, 2 / 3])
    assert json.loads(json.dumps(summary))["per_class"] == summary["per_class"]


def test_nothing_at_all_has_a_summary():
    empty = draw(images=0)
    summary = detection_summary(empty, 2)
    assert summary["count"] == summary["objects"] == summary["detections"] == 0
    assert all(math.isnan(summary[name]) for name in FIGURES)
    assert summary["per_class"]["average_precision"] == [None, None]
    assert summary["confusion_with_background"] == [[0] * 3] * 3


def test_padding_rows_and_the_order_of_images_change_nothing():
    examples = draw(3)
    figures = coco_evaluation(examples, 4).figures()
    order = np.random.default_rng(0).permutation(12)
    moved = {name: values[order] for name, values in examples.items()}
    padded = {
        name: np.concatenate([v, np.full_like(v[:, :2], -1 if "classes" in name else 5)], 1)
        for name, v in moved.items()
    }
    padded["detected_scores"][:, -1] = np.nan  # what is in padding does not matter
    again = coco_evaluation(padded, 4).figures()
    np.testing.assert_allclose(list(again.values()), list(figures.values()), rtol=1e-12)


def pycocotools_matches(examples, classes, threshold=0):
    """(image, score, class) of its right and of its wrong detections; ids of found objects."""
    right, wrong, found = [], [], 0
    for each in evaluate_with_pycocotools(examples, classes).evalImgs:
        if each is None or each["aRng"] != [0, 1e10]:
            continue
        rows = zip(each["dtScores"], each["dtMatches"][threshold], each["dtIgnore"][threshold])
        for score, match, ignored in rows:
            if not ignored:
                kind = right if match else wrong
                kind.append((each["image_id"], score, each["category_id"]))
        matched = each["gtMatches"][threshold] > 0
        found += int((matched & (np.asarray(each["gtIgnore"]) == 0)).sum())
    return sorted(right), sorted(wrong), found


@pytest.mark.parametrize("name", [name for name in CASES if "more than 100" not in name])
@pytest.mark.parametrize("threshold", [0, 5])
def test_matches_are_those_of_pycocotools(name, threshold):
    """But for those beyond the 100th, which pycocotools does not look at."""
    examples = CASES[name]
    matches = match_detections(examples, 4, iou_threshold=0.5 + 0.05 * threshold)

    def listed(kind):
        rows = [
            (
                int(n),
                float(examples["detected_scores"][n, d]),
                int(examples["detected_classes"][n, d]),
            )
            for n, d in np.argwhere(kind)
        ]
        return sorted(rows)

    right, wrong, found = pycocotools_matches(examples, 4, threshold)
    assert listed(matches.right) == right
    assert listed(matches.wrong) == wrong
    assert matches.found.sum() == found == len(right)
    wanted = (examples["classes"] >= 0) & ~examples["ignored"]
    np.testing.assert_array_equal(matches.found | matches.missed, wanted)
    assert not (matches.found & matches.missed).any()


def test_the_score_threshold_leaves_out_what_is_less_sure():
    examples = draw(2)
    kept = examples["detected_scores"] >= 0.5
    fewer = {**examples, "detected_classes": np.where(kept, examples["detected_classes"], -1)}
    ours = match_detections(examples, 4, score_threshold=0.5)
    wanted = match_detections(fewer, 4)
    for field in ("truth", "right", "wrong", "found", "missed"):
        np.testing.assert_array_equal(getattr(ours, field), getattr(wanted, field))
    assert 0 < ours.right.sum() < match_detections(examples, 4).right.sum()


@pytest.mark.parametrize("seed", range(5))
def test_best_f1_is_the_best_of_all_thresholds(seed):
    examples = draw(seed, grid=6.0 * (seed % 2))
    found = {}
    for threshold in np.unique(examples["detected_scores"]):
        matches = match_detections(examples, 4, score_threshold=threshold)
        right, wrong, missed = matches.right.sum(), matches.wrong.sum(), matches.missed.sum()
        found[float(threshold)] = 2 * right / (2 * right + wrong + missed)
    f1, threshold = best_f1(examples, 4)
    assert f1 == pytest.approx(max(found.values()))
    assert f1 == pytest.approx(found[threshold])


def test_f1_of_images():
    examples = without(without(draw(9), "classes", [0, 1, 2]), "detected_classes", [2, 3, 4])
    matches = match_detections(examples, 4)
    f1 = image_f1(matches)
    assert f1[0] == 0  # detections of nothing
    assert f1[2] == 1  # nothing to find, nothing claimed
    assert f1[3] == 0  # all missed
    right, wrong, missed = matches.right[6].sum(), matches.wrong[6].sum(), matches.missed[6].sum()
    assert f1[6] == pytest.approx(right / (right + (wrong + missed) / 2))
    assert best_f1(CASES["no detection"], 4) == (0, 0)
    assert math.isnan(best_f1(CASES["no object"], 4)[0])


def plain_confusion(examples, classes, iou_threshold, score_threshold):
    """By a loop over the detections of each image."""
    table = np.zeros((classes + 1, classes + 1), int)
    for n in range(len(examples["boxes"])):
        boxes, labels = examples["boxes"][n].astype(float), examples["classes"][n]
        ignored = examples["ignored"][n]
        free = [m for m in range(len(labels)) if labels[m] >= 0 and not ignored[m]]
        scores = examples["detected_scores"][n]
        for d in sorted(range(len(scores)), key=lambda d: -scores[d]):
            c = examples["detected_classes"][n, d]
            if c < 0 or scores[d] < score_threshold:
                continue
            box = examples["detected_boxes"][n, d].astype(float)
            near = [(box_iou(box, boxes[m]), labels[m] == c, m) for m in free]
            best = max(near, default=(0, False, -1))
            if best[0] >= iou_threshold:
                table[labels[best[2]], c] += 1
                free.remove(best[2])
                continue
            crowds = np.flatnonzero((labels >= 0) & ignored)
            if not any(box_iou(box, boxes[m], np.array(True)) >= iou_threshold for m in crowds):
                table[classes, c] += 1
        for m in free:
            table[labels[m], classes] += 1
    return table


@pytest.mark.parametrize("name", CASES)
def test_confusion_counts_as_a_plain_loop_does(name):
    examples = CASES[name]
    for iou, score in [(0.5, 0.0), (0.5, 0.6), (0.75, 0.3)]:
        table = confusion_with_background(examples, 4, iou_threshold=iou, score_threshold=score)
        np.testing.assert_array_equal(table, plain_confusion(examples, 4, iou, score))
        wanted = (examples["classes"] >= 0) & ~examples["ignored"]
        counts = np.bincount(examples["classes"][wanted], minlength=4)
        np.testing.assert_array_equal(table[:4].sum(1), counts)
        assert table[4, 4] == 0


def test_overlap_by_hand():
    first = np.array([0.0, 0.0, 4.0, 2.0])
    second = np.array([[2.0, 0, 6, 2], [4, 0, 8, 2], [3, 0, 1, 2], [1, 0, 9, 9]])
    assert box_iou(first, second).tolist() == [1 / 3, 0, 0, 6 / 74]
    assert box_iou(first, second, np.ones(4, bool)).tolist() == [0.5, 0, 0, 0.75]
    assert box_iou(np.zeros(4), np.zeros(4)) == 0


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("boxes", np.zeros((12, 5, 4)), "boxes must be (12, 6, 4) to fit classes (12, 6)"),
        ("detected_scores", np.zeros((12, 9)), "detected_scores must be (12, 20)"),
        ("detected_classes", np.zeros((7, 20), int), "found (7, 20) beside classes (12, 6)"),
        (
            "classes",
            np.full((12, 6), 4),
            "classes of test image 0, row 0, is 4, but must be below 4",
        ),
        ("detected_scores", np.full((12, 20), np.nan), "detected_scores of test image 0, row"),
        ("area", np.full((12, 6), np.inf), "but must be finite"),
    ],
)
def test_what_does_not_fit_is_named(name, value, message):
    with pytest.raises(ValueError, match=r".*") as raised:
        detection_summary({**draw(0), name: value}, 4)
    assert message in str(raised.value)


def test_missing_arrays_are_named():
    examples = draw(0)
    del examples["area"], examples["ignored"]
    with pytest.raises(ValueError, match="examples lack ignored, area"):
        detection_summary(examples, 4)
