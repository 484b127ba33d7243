"""VOC's average precision: by hand, and beside a plain transcription of its rules."""

import itertools

import numpy as np
import pytest

from jaxcv.metrics.voc import area_under_curve, eleven_point_mean, voc_average_precision


def draw(seed, images=10, classes=3, objects=5, detections=15, grid=0.0):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (images, objects, 2))
    boxes = np.concatenate((corner, corner + rng.uniform(10, 50, corner.shape)), -1)
    labels = rng.integers(-1, classes, (images, objects))
    source = rng.integers(0, objects, (images, detections))
    found = np.take_along_axis(labels, source, 1)
    guessed = rng.random(found.shape) < 0.3
    detected = np.take_along_axis(boxes, source[..., None], 1)
    scores = rng.random(found.shape)
    if grid:
        boxes, scores = np.round(boxes / grid) * grid, np.round(scores, 1)
    return {
        "boxes": boxes,
        "classes": labels,
        "ignored": rng.random(labels.shape) < 0.2,
        "area": np.ones(labels.shape),
        "detected_boxes": detected + rng.normal(0, 3, detected.shape),
        "detected_scores": scores,
        "detected_classes": np.where(guessed, rng.integers(0, classes, found.shape), found),
    }


def plain_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union


def plain_average_precision(examples, c, *, threshold=0.5, eleven_points=False):
    """As the challenge's paper and kit describe it, detection by detection."""
    objects, difficult, rows = {}, {}, []
    for n in range(len(examples["boxes"])):
        mine = examples["classes"][n] == c
        objects[n] = examples["boxes"][n][mine].tolist()
        difficult[n] = examples["ignored"][n][mine].tolist()
        for d in np.flatnonzero(examples["detected_classes"][n] == c):
            rows.append((n, examples["detected_scores"][n, d], examples["detected_boxes"][n, d]))
    wanted = sum(not each for flags in difficult.values() for each in flags)
    if not wanted:
        return np.nan
    rows.sort(key=lambda row: -row[1])
    taken, outcome = set(), []
    for n, _, box in rows:
        overlaps = [plain_iou(box, other) for other in objects[n]]
        best = int(np.argmax(overlaps)) if overlaps else -1
        if best < 0 or overlaps[best] < threshold:
            outcome.append(0)
        elif not difficult[n][best]:
            outcome.append(0 if (n, best) in taken else 1)
            taken.add((n, best))
    right = wrong = 0
    points = []
    for each in outcome:
        right, wrong = right + each, wrong + 1 - each
        points.append((right / wanted, right / (right + wrong)))

    def best_from(recall):
        return max((p for r, p in points if r >= recall), default=0.0)

    if eleven_points:
        return sum(best_from(tenth / 10) for tenth in range(11)) / 11
    steps = sorted({0.0, *(r for r, _ in points)})
    return sum((high - low) * best_from(high) for low, high in itertools.pairwise(steps))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("eleven_points", [False, True])
def test_equals_a_plain_transcription(seed, eleven_points):
    examples = draw(seed, grid=5.0 * (seed % 2))
    for threshold in (0.5, 0.75):
        wanted = [
            plain_average_precision(examples, c, threshold=threshold, eleven_points=eleven_points)
            for c in range(4)
        ]
        found = voc_average_precision(
            examples, 4, iou_threshold=threshold, eleven_points=eleven_points
        )
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
        assert np.isnan(found).tolist() == [False] * 3 + [True]  # class 3 is nowhere


def one_image(detected, scores, **changes):
    examples = {
        "boxes": np.array([[[0.0, 0, 10, 10], [4, 0, 14, 10]]]),
        "classes": np.array([[0, 0]]),
        "ignored": np.array([[False, False]]),
        "area": np.array([[100.0, 100.0]]),
        "detected_boxes": np.array([detected], float),
        "detected_scores": np.array([scores]),
        "detected_classes": np.zeros((1, len(scores)), int),
    }
    return voc_average_precision({**examples, **changes}, 1).item()


def test_a_second_hit_is_wrong_even_if_another_object_is_free():
    """Both overlap the first object most; with COCO's rule the second would take the other object."""
    first, second = [0, 0, 10, 10], [1.5, 0, 11.5, 10]
    assert one_image([first, second], [0.9, 0.8]) == 0.5
    assert one_image([first, [4, 0, 14, 10]], [0.9, 0.8]) == 1
    # Recall 1/2, 1/2, 1 at precision 1, 1/2, 2/3.
    found = one_image([first, second, [4, 0, 14, 10]], [0.9, 0.8, 0.7])
    assert found == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_difficult_objects_and_their_detections_count_neither_way():
    ignored = np.array([[True, False]])
    both = [[0, 0, 10, 10], [0, 0, 10, 10], [4, 0, 14, 10]]
    assert one_image(both, [0.9, 0.8, 0.7], ignored=ignored) == 1
    assert np.isnan(one_image(both, [0.9, 0.8, 0.7], ignored=np.array([[True, True]])))


def test_sizes_have_no_pixel_added():
    """IoU is 5 / 10 as it stands, and 6 / 11 with the kit's addition of 1."""
    box = np.array([[[0.0, 0, 10, 1], [90, 90, 99, 99]]])
    assert one_image([[0, 0, 5, 1]], [0.9], boxes=box) == 0.5
    assert one_image([[0, 0, 4.99, 1]], [0.9], boxes=box) == 0


def test_no_detection_and_no_object():
    none = np.zeros((1, 0, 4))
    assert one_image([], [], detected_boxes=none) == 0
    absent = np.array([[-1, -1]])
    assert np.isnan(one_image([[0, 0, 10, 10]], [0.5], classes=absent))


def test_areas_by_hand():
    precision, recall = np.array([1.0, 0.5, 2 / 3, 0.5]), np.array([0.25, 0.25, 0.5, 0.5])
    assert area_under_curve(precision, recall) == pytest.approx(0.25 + 0.25 * 2 / 3)
    # Precision 1 at recalls 0, .1, .2; 2/3 at .3, .4, .5; nothing beyond.
    assert eleven_point_mean(precision, recall) == pytest.approx((3 + 3 * 2 / 3) / 11)
    assert area_under_curve(np.array([]), np.array([])) == 0
    assert eleven_point_mean(np.array([]), np.array([])) == 0
