"""The report's pictures of label maps: colours, order, what is said of an image."""

import re

import numpy as np
import pytest

from jaxcv.data import CAMVID, MaskFolder, class_colors
from jaxcv.drawing.palettes import class_palette
from jaxcv.report import write_report
from jaxcv.report.charts.confusion import compact
from jaxcv.tasks.segmentation.report import (
    WRONG,
    SegmentedImage,
    error_map,
    iou_chart,
    label_map_samples,
    legend,
    most_confused_pixels,
    segmentation_sections,
)

NAMES = ("sky", "road", "car")
PALETTE = np.array([(10, 20, 30), (0, 200, 0), (250, 0, 250)], np.uint8)
TRUTH = np.array([[0, 1, 255], [1, 1, 2]], np.uint8)
PREDICTION = np.array([[0, 2, 0], [1, 0, 2]], np.uint8)


def segmented(iou, record):
    image = np.full((2, 3, 3), 100, np.uint8)
    return SegmentedImage(
        image=image, truth=TRUTH, prediction=PREDICTION, mean_iou=iou, record=record
    )


@pytest.fixture
def page(tmp_path):
    sections = segmentation_sections(
        worst=[segmented(0.125, "first"), segmented(0.25, "second")],
        typical=[segmented(0.5, "third")],
        class_iou=[0.5, None, 0.75],
        class_pixels=[10, 0, 30],
        image_iou=np.array([0.125, 0.25, 0.5]),
        class_names=NAMES,
        palette=PALETTE,
    )
    samples = label_map_samples(
        np.zeros((3, 4, 4, 3), np.uint8), np.zeros((3, 4, 4), np.uint8), NAMES, PALETTE
    )
    path = write_report(
        tmp_path / "r.html", title="Scenes", task_sections=sections, samples=samples
    )
    return path.read_text(encoding="utf-8")


def test_every_image_has_four_panels_and_its_error_in_words(page):
    for heading in ("IoU by class and by image", "Worst images", "Typical images"):
        assert f"<h2>{heading}</h2>" in page
    assert page.count("<img") == 3 * 4 + 3 * 2  # and two for each training sample
    assert page.index("first") < page.index("second") < page.index("third")
    assert "<b>12.5%</b> mean IoU, 40.0% of the pixels wrong" in page
    # Each of the two errors is one of five labelled pixels; the lower true and predicted class leads.
    assert page.count("most of all road taken for sky (20.0%)") == 3
    assert page.count("<div>errors</div>") == 3


def test_legend_has_the_colour_of_every_class():
    keys = legend(NAMES, PALETTE, errors=True)
    for color, name in [("#0a141e", "sky"), ("#00c800", "road"), ("#fa00fa", "car")]:
        assert f'style="background:{color}" class="swatch"></i>{name}' in keys
    assert "wrong" in keys
    assert "wrong" not in legend(NAMES, PALETTE)
    many = [f"class {i}" for i in range(150)]
    assert "<summary>Colours of 150 classes</summary>" in legend(many, class_colors(150))


def test_bars_stand_best_first_and_a_class_that_is_nowhere_last():
    chart = iou_chart([0.5, None, 0.75], [10, 0, 30], NAMES, PALETTE)
    assert re.findall(r"</title>(\w+)</text>", chart) == ["car", "sky", "road"]
    widths = [float(w) for w in re.findall(r'<rect[^>]* width="([\d.]+)"', chart)]
    assert widths == pytest.approx([340 * 0.75, 340 * 0.5])
    assert "mean 62.5%" in chart  # of the two classes that are known
    assert "car: IoU 75.0%, 75% of the pixels" in chart
    assert iou_chart([None], [0], ["a"], PALETTE).count("<rect") == 0


def test_errors_are_coloured_and_ignored_pixels_dark():
    shown = error_map(np.full((2, 3, 1), 100, np.uint8), TRUTH, PREDICTION, 3).astype(int)
    right, wrong, ignored = shown[0, 0], shown[0, 1], shown[0, 2]
    np.testing.assert_array_equal(right, 190)
    np.testing.assert_allclose(wrong, 0.25 * 190 + 0.75 * np.array(WRONG), atol=0.5)
    np.testing.assert_array_equal(ignored, 35)


def test_most_confused_counts_no_ignored_pixel():
    truth = np.array([[0, 0, 1, 255, 255, 255]])
    assert most_confused_pixels(truth, np.array([[1, 1, 0, 2, 2, 2]]), 3) == (0, 1, 2 / 3)
    assert most_confused_pixels(truth, truth, 3) is None


def test_palettes_are_the_data_sets_own_or_customary():
    data = MaskFolder(images="a", masks="b", class_names=NAMES, palette=((1, 2, 3),) * 3)
    assert class_palette(NAMES, data).tolist() == [[1, 2, 3]] * 3
    np.testing.assert_array_equal(class_palette(CAMVID.class_names), CAMVID.palette)
    assert class_palette(("background", "a"))[0].tolist() == [0, 0, 0]
    assert len({tuple(color) for color in class_palette(NAMES).tolist()} - {(0, 0, 0)}) == 3


def test_large_counts_fit_a_cell():
    counts = (0, 9_999, 10_000, 999_499, 999_500, 1_020_182, 45_600_000, 7_300_000_000)
    assert [compact(n) for n in counts] == [
        "0", "9999", "10k", "999k", "1M", "1.02M", "45.6M", "7.3G",
    ]  # fmt: skip
