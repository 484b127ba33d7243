"""The report's pictures of detections: what is right, wrong and missed, and which come first."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from jaxcv.metrics.detection import detection_summary
from jaxcv.report import write_report
from jaxcv.report.charts.box_pictures import BoxMark, boxes_pictures
from jaxcv.report.charts.confusion import confusion_chart
from jaxcv.report.numbers import shown
from jaxcv.report.pictures import photo_url
from jaxcv.report.tables import confused_table, per_class_table
from jaxcv.tasks import Detection
from jaxcv.tasks.detection.charts import (
    average_precision_chart,
    precision_recall_chart,
    size_histogram,
)
from jaxcv.tasks.detection.panels import FOUND, IGNORED, RIGHT, WRONG, box_samples
from jaxcv.tasks.detection.report import detection_evidence, detection_sections

NAMES = ("cat", "dog")
PALETTE = np.array([(10, 20, 30), (0, 200, 0)], np.uint8)


def examples():
    """Four images: all right; a missed dog and a wrong one; nothing at all; one crowd, detected."""
    cat, dog, crowd = [10, 10, 30, 30], [40, 40, 80, 90], [0, 0, 60, 60]
    away = [100, 100, 110, 120]
    none = [0, 0, 0, 0]
    return {
        "boxes": np.array([[cat, none], [cat, dog], [none, none], [crowd, none]], float),
        "classes": np.array([[0, -1], [0, 1], [-1, -1], [1, -1]]),
        "ignored": np.array([[False] * 2] * 3 + [[True, False]]),
        "area": np.array([[400.0, 0], [400, 2000], [0, 0], [3600, 0]]),
        "detected_boxes": np.array([[cat, none], [away, cat], [none, none], [crowd, none]], float),
        "detected_scores": np.array([[0.9, 0.0], [0.6, 0.8], [0.0, 0.0], [0.7, 0.0]]),
        "detected_classes": np.array([[0, -1], [1, 0], [-1, -1], [1, -1]]),
    }


def record(i):
    image = np.full((60, 80, 3), 40 * i, np.uint8)
    return {"image": image, "placement": np.array([0.5, 0.5, 2.0, 3.0])}


def evidence(**changes):
    options = {"record": record, "record_name": lambda i: f"record {i}", "score_threshold": 0.5}
    return detection_evidence(examples(), 2, **{**options, **changes})


def test_evidence_puts_the_image_with_most_errors_first():
    found = evidence(worst=2, typical=2)
    assert [each.record for each in found.worst] == ["record 1", "record 0"]
    assert [each.record for each in found.typical] == ["record 2", "record 3"]
    first = found.worst[0]
    assert first.f1 == pytest.approx(2 / (2 + 1 + 1))
    assert (first.found.tolist(), first.ignored.tolist()) == ([True, False], [False, False])
    # The surest detection comes first; boxes lie where the record's placement puts them.
    assert first.right.tolist() == [True, False]
    assert first.wrong.tolist() == [False, True]
    assert first.detected_boxes.tolist() == [[7, 8, 17, 18], [52, 53, 57, 63]]
    assert first.boxes.tolist() == [[7, 8, 17, 18], [22, 23, 42, 48]]
    np.testing.assert_array_equal(first.image, record(1)["image"])
    np.testing.assert_array_equal(found.areas, [400, 400, 2000])
    assert found.found.tolist() == [True, True, False]


def test_evidence_leaves_out_what_is_below_the_threshold():
    assert evidence(score_threshold=0.85).found.tolist() == [True, False, False]
    first = evidence(score_threshold=0.95).worst[0]
    assert len(first.detected_boxes) == 0
    assert first.record == "record 1"  # F1 is 0 in both; this one has two misses


@pytest.fixture
def page(tmp_path):
    summary = detection_summary(examples(), 2)
    sections = detection_sections(
        summary, evidence(worst=2, typical=2), class_names=NAMES, palette=PALETTE
    )
    samples = box_samples(
        np.zeros((3, 64, 64, 3), np.uint8),
        np.tile([8.0, 8.0, 40.0, 50.0], (3, 2, 1)),
        np.array([[0, 1], [1, -1], [-1, -1]]),
        NAMES,
        PALETTE,
    )
    path = write_report(
        tmp_path / "r.html",
        title="Animals",
        summary=summary,
        headlines=Detection(num_classes=len(NAMES)).headlines,
        class_names=NAMES,
        task_sections=sections,
        samples=samples,
    )
    return path.read_text(encoding="utf-8")


def hex_of(color):
    return "#{:02x}{:02x}{:02x}".format(*color)


def test_the_page_shows_truth_beside_detections(page):
    for heading in ("Precision and recall", "Confusion of classes", "Worst images"):
        assert f"<h2>{heading}</h2>" in page
    assert page.index("record 1") < page.index("record 0") < page.index("record 2")
    assert "<b>F1 50.0%</b> – 1 missed, 1 wrong" in page
    assert "truth: 1 found, 1 missed" in page
    assert "detections: 1 right, 1 wrong" in page
    assert "dog 0.60, wrong" in page
    assert "cat 0.80, right" in page
    assert "dog 0.70, counts neither way" in page
    # Each image is stored once, by name, and shown twice.
    names = re.findall(r'<image [^>]*id="([\w-]+)"', page)
    assert len(set(names)) == len(names) == 4
    assert re.findall(r'<use href="#([\w-]+)"', page) == names
    assert page.count("<image ") == 4 + 3  # and one for each training sample


def test_kinds_of_boxes_differ_by_line_as_well_as_by_colour(page):
    for color, dash in ((FOUND, ""), (RIGHT, ""), (WRONG, "6 4"), (IGNORED, "1.5 3")):
        lines = re.findall(rf'<rect [^>]*stroke="{hex_of(color)}"[^>]*>', page)
        assert lines, color
        dashes = {"".join(re.findall(r'stroke-dasharray="([^"]+)"', line)) for line in lines}
        assert dashes == {dash}


def test_the_page_has_the_numbers(page):
    assert '<div class="name">Average precision</div>' in page
    assert '<div class="name">AP at IoU 0.5</div>' in page
    for head in ("AP", "AP50", "VOC AP50", "AR", "Examples", "Detections"):
        assert f'<button type="button">{head}</button>' in page


def test_samples_have_a_box_for_each_object(page):
    gallery = page[page.index('<div class="gallery maps">') :]
    assert gallery.count('class="beneath"') == 3
    for color, count in zip(PALETTE, (1, 2)):
        assert gallery.count(f'stroke="{hex_of(color)}"') == count
    assert "augmented image with 0 objects" in gallery


def test_names_are_escaped():
    section = box_samples(
        np.zeros((1, 8, 8, 3)), np.ones((1, 1, 4)), np.zeros((1, 1), int), ["<b>&"], PALETTE
    )
    assert "<b>" not in section
    assert "&lt;b&gt;&amp;" in section


def test_boxes_are_scaled_to_the_picture():
    mark = BoxMark(box=(10, 20, 30, 60), color=RIGHT, label="cat", hint="a cat")
    drawn = boxes_pictures(np.zeros((100, 200, 3), np.uint8), [([mark], "d")], side=400)[0]
    assert 'viewBox="0 0 400.0 200.0"' in drawn
    outline = re.search(r'<rect [^>]*stroke="#3b82f6"[^>]*>', drawn).group()
    for name, value in (("x", 20), ("y", 40), ("width", 40), ("height", 80)):
        assert f' {name}="{value}"' in outline
    assert "<title>a cat</title>" in drawn
    assert ">cat</text>" in drawn


def test_crowded_labels_give_way_to_the_earlier():
    marks = [
        BoxMark(box=(0, 0, 20, 12), color=RIGHT, label=f"label number {i}", hint=f"box {i}")
        for i in range(20)
    ]
    drawn = boxes_pictures(np.zeros((50, 50), np.uint8), [(marks, "d")], side=100)[0]
    kept = [int(i) for i in re.findall(r">label number (\d+)</text>", drawn)]
    assert 0 in kept
    assert len(kept) < 10
    assert drawn.count("<title>box ") == 20


def test_curves_end_where_recall_ends():
    curve = [1.0] * 31 + [0.5] * 20 + [0.0] * 50
    chart = precision_recall_chart([curve, [None] * 101], NAMES)
    path = re.search(r'class="line series-0" d="([^"]+)"', chart).group(1)
    assert path.count("L") == 51  # recalls 0 .. 51 %: the last falls to 0
    assert "mean of classes" not in chart  # it would be the same curve
    assert precision_recall_chart([[None] * 101], NAMES[:1]) is None
    many = [[i / 20] * 101 for i in range(20)]
    chart = precision_recall_chart(many, [f"class {i}" for i in range(20)])
    assert chart.count('class="line ') == 6
    assert [f">class {i}<" in chart or f"class {i}</span>" in chart for i in (19, 18, 1, 0)] == [
        True
    ] * 4
    assert "Of 20 classes the two best" in chart


def test_bars_of_average_precision():
    per_class = {
        "average_precision": [0.25, None, 0.5],
        "average_precision_50": [0.5, None, 0.75],
        "support": [10, 0, 20],
        "detections": [15, 2, 25],
    }
    names, palette = ("a", "b", "c"), np.zeros((3, 3), np.uint8)
    chart = average_precision_chart(per_class, names, palette)
    assert re.findall(r"</title>(\w)</text>", chart) == ["c", "a", "b"]
    assert "c: AP 50.0%, at IoU 0.5 75.0%, 20 objects, 25 detections" in chart
    assert "no object" in chart
    assert "mean 37.5%" in chart
    assert chart.count('class="stroke"') == 2
    many = {name: [each[0]] * 100 for name, each in per_class.items()}
    chart = average_precision_chart(many, [str(i) for i in range(100)], np.zeros((100, 3)))
    assert chart.count("<rect") == 40
    assert "60 in between are left out" in chart


def test_sizes_are_stacked():
    areas = np.array([100.0, 100, 100, 10_000])
    chart = size_histogram(areas, np.array([True, True, False, True]), 0.5)
    heights = [float(h) for h in re.findall(r'<rect [^>]*height="([\d.]+)"', chart)]
    found_small, found_large, missed_small = heights
    assert found_small == pytest.approx(2 * found_large, rel=0.01)
    assert missed_small == pytest.approx(found_large, rel=0.01)
    tops = [float(y) for y in re.findall(r'<rect [^>]* y="([\d.]+)"', chart)]
    assert tops[0] == pytest.approx(tops[2] + missed_small, abs=0.02)
    assert "75.0% of 4 objects" in chart
    assert size_histogram(np.zeros(0), np.zeros(0, bool), 0.5) is None
    assert "<rect" in size_histogram(np.array([0.0]), np.array([True]), 0.5)


def test_confusion_has_a_background():
    matrix = np.array([[5, 1, 2], [0, 7, 0], [3, 0, 0]])
    chart = confusion_chart(matrix, NAMES, background=("nothing", "missed"))
    assert "cat taken for dog: 1 (12.5%)" in chart
    assert "cat, missed: 2 (25.0%)" in chart
    assert "nothing, cat: 3 (100.0%)" in chart
    assert chart.count('class="right"') == 2
    table = confused_table(matrix, NAMES, 10, background=("nothing", "missed"))
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", table)
    assert cells[:3] == ["nothing", "cat", "3"]
    assert cells[4:7] == ["cat", "missed", "2"]
    assert "Detected as" in table


def test_names_and_units_of_the_figures():
    headlines = {h.name: h for h in Detection(num_classes=2).headlines}
    for name in ("average_precision", "average_precision_50", "best_f1"):
        assert shown(0.25, headlines[name]) == "25.00%"
    assert headlines["voc_average_precision_50"].title == "VOC AP at IoU 0.5"
    assert shown(0.25, headlines["loss"]) == "0.25"
    assert shown(7, headlines["count"]) == "7"
    table = per_class_table({"iou": [0.5], "support": [3], "detections": [1234]}, ["a"])
    assert "1,234" in table


def test_photographs_are_small_and_small_pictures_exact():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (20, 30, 3), np.uint8)
    url = photo_url(small, side=500)
    kind, _, data = url.partition(",")
    assert kind == "data:image/png;base64"
    decoded = Image.open(io.BytesIO(base64.b64decode(data)))
    np.testing.assert_array_equal(np.asarray(decoded), small)
    smooth = np.add.outer(np.arange(400), np.arange(3000)) // 14
    photo = np.repeat(smooth.astype(np.uint8)[..., None], 3, -1)
    kind, _, data = photo_url(photo, side=500).partition(",")
    assert kind == "data:image/jpeg;base64"
    decoded = Image.open(io.BytesIO(base64.b64decode(data)))
    assert decoded.size == (1000, 133)
