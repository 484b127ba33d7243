"""Axes, thinning, pictures and the order of confusions."""

import io
import math

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from PIL import Image

from jaxcv.report.charts.axis import Axis, tick_labels
from jaxcv.report.charts.confusion import confusion_chart, most_confused, shortened
from jaxcv.report.charts.curves import thin
from jaxcv.report.markup import Markup, escape, tag
from jaxcv.report.numbers import shown, title_of, wilson_interval
from jaxcv.report.pictures import to_png, to_uint8
from jaxcv.tasks import FaceRecognition


@hypothesis.given(values=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=5), log=st.booleans())
def test_an_axis_holds_its_values_and_its_ticks_lie_within(values, log):
    values = [abs(v) + 1e-6 for v in values] if log else values
    axis = Axis.around(values, start=300.0, end=10.0, log=log)
    assert all(10.0 <= axis(v) <= 300.0 for v in values)
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 14
    assert all(10.0 - 1e-6 <= axis(t) <= 300.0 + 1e-6 for t in ticks)
    assert ticks == sorted(set(ticks))


def test_ticks_are_round():
    assert Axis(low=0.0, high=1.0, start=0, end=1).ticks() == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert Axis(low=0.0, high=2.0, start=0, end=1).ticks(whole=True) == [0, 1, 2]
    assert Axis(low=0.01, high=10.0, start=0, end=1, log=True).ticks(5) == (
        [0.01, 0.03, 0.1, 0.3, 1, 3, 10]
    )
    assert tick_labels([0, 5000, 20000]) == ["0", "5k", "20k"]
    assert tick_labels([0, 0.25, 1500]) == ["0", "0.25", "1,500"]


def test_thinning_takes_means_and_keeps_gaps():
    points = [(float(i), math.nan if i < 4 else float(i)) for i in range(9)]
    assert thin(points, limit=9) == points or math.isnan(thin(points, limit=9)[0][1])
    thinned = thin(points, limit=5)
    assert len(thinned) == 5
    assert math.isnan(thinned[0][1])
    assert thinned[2] == (4.5, 4.5)
    assert thinned[4] == (8.0, 8.0)


def test_pictures_keep_their_pixels_and_large_ones_shrink():
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    np.testing.assert_array_equal(Image.open(io.BytesIO(to_png(grey))), grey[..., 0])
    large = Image.open(io.BytesIO(to_png(np.zeros((300, 600, 3), np.uint8))))
    assert large.size == (224, 112)
    with pytest.raises(ValueError, match=r"\(4,\)"):
        to_png(np.zeros(4, np.uint8))


def test_floats_become_bytes():
    unit = np.array([0.0, 0.5, 1.0, 1.05, np.nan])[:, None, None, None]
    assert to_uint8(unit).ravel().tolist() == [0, 128, 255, 255, 0]
    normalized = np.array([-2.0, 0.0, 2.0])[:, None, None, None]
    assert to_uint8(normalized).ravel().tolist() == [0, 128, 255]


def test_confusions_are_ordered_and_cells_say_what_they_are():
    matrix = np.array([[5, 1, 0], [4, 7, 0], [0, 2, 9]])
    assert most_confused(matrix) == [(1, 0, 4), (2, 1, 2), (0, 1, 1)]
    assert most_confused(matrix, limit=1) == [(1, 0, 4)]
    assert most_confused(np.eye(3, dtype=int)) == []
    svg = confusion_chart(matrix, ["ant", "bee", "cow"])
    assert "bee taken for ant: 4 (36.4%)" in svg
    assert svg.count("<rect") == 6 + 1  # cells that are not 0, and the frame


def test_names_and_numbers_are_written_for_people():
    assert shortened("a name that is much too long") == "a name tha… long"
    headlines = {h.name: h for h in FaceRecognition(num_classes=2).headlines}
    assert shown(0.98765, headlines["accuracy"]) == "98.77%"
    assert shown(12345, headlines["count"]) == "12,345"
    assert shown(0.123456, headlines["loss"]) == "0.1235"
    assert shown(0.1) == "0.1"
    assert shown(0.5, headlines["true_accept_rate_at_far_0.01"]) == "50.00%"
    assert title_of("macro_f1") == "Macro F1"
    # Wilson's interval of 9 in 10, from the formula by hand.
    assert wilson_interval(0.9, 10) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert wilson_interval(1.0, 10)[1] == pytest.approx(1.0)


def test_markup_escapes_texts_and_attributes():
    assert tag("p", "a<b", Markup("<br>"), None, title='"x"', hidden=True, id=None) == (
        '<p title="&quot;x&quot;" hidden>a&lt;b<br></p>'
    )
    assert tag("svg", viewBox="0 0 1 1", stroke_width=1.5, class_="c") == (
        '<svg viewBox="0 0 1 1" stroke-width="1.5" class="c"></svg>'
    )
    assert escape(escape("&")) == "&amp;"
