"""The contact sheet shows the records it names, under their classes."""

import numpy as np
import pytest

from jaxcv.data import Arrays, Digits, contact_sheet, permutation


def test_sheet_shows_records_under_their_classes(tmp_path):
    source = Digits().open("train")
    figure = contact_sheet(source, rows=2, columns=4, seed=3)
    assert len(figure.axes) == 8
    for axes, index in zip(figure.axes, permutation(3, 0, len(source))):
        record = source[int(index)]
        np.testing.assert_array_equal(axes.images[0].get_array(), record["image"][..., 0])
        assert axes.get_title() == source.class_names[record["label"]]
    path = tmp_path / "sheet.png"
    figure.savefig(path)
    assert path.stat().st_size > 5000


def test_small_sources_long_names_colour_and_regression():
    images = np.zeros((3, 4, 4, 3), np.uint8)
    images[..., 0] = 200
    data = Arrays(
        images=images,
        labels=np.array([0, 0, 0]),
        class_names=("a very long name of a class",),
        test_fraction=0.0,
    )
    figure = contact_sheet(data.open("train"), rows=2, columns=5)
    assert [axes.get_title() for axes in figure.axes] == ["a very long name …"] * 3
    assert figure.axes[0].images[0].get_array().shape == (4, 4, 3)
    regression = Arrays(images=images, labels=np.array([0.5, 2, 1e-3]), test_fraction=0.0)
    titles = [axes.get_title() for axes in contact_sheet(regression.open("train")).axes]
    assert sorted(titles) == ["0.001", "0.5", "2"]


def test_wrong_grid():
    with pytest.raises(ValueError, match="at least one row and one column"):
        contact_sheet(Digits().open("train"), rows=0)


class Maps:
    """Two classes side by side, the lower half ignored; the second record wholly so."""

    class_names = ("sky", "a very long name of a class")

    def __len__(self):
        return 2

    def __getitem__(self, index):
        label = np.full((4, 6), 255, np.uint8)
        if index == 0:
            label[:2, :2], label[:2, 2:] = 0, 1
        return {"image": np.full((4, 6, 3), 90, np.uint8), "label": label}

    def record_name(self, index):
        return str(index)


def test_label_maps_lie_over_their_images():
    figure = contact_sheet(Maps(), rows=1, columns=2)
    titles = [axes.get_title() for axes in figure.axes]
    first = titles.index("a very long name …")
    assert titles[1 - first] == "ignored"
    overlay = np.asarray(figure.axes[first].images[1].get_array())
    assert (overlay[:2, :, 3] > 0).all()
    assert (overlay[2:, :, 3] == 0).all()
    assert not np.array_equal(overlay[0, 0, :3], overlay[0, 2, :3])
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == list(Maps.class_names)


class Boxes:
    """A cow and two cats, one of them ignored; the second record without objects."""

    class_names = ("cat", "cow", "dog")

    def __len__(self):
        return 2

    def __getitem__(self, index):
        classes = [0, 1, 0, -1] if index == 0 else [-1] * 4
        boxes = [[1, 2, 5, 4], [0, 0, 3, 3], [2, 1, 8, 5], [0, 0, 0, 0]]
        return {
            "image": np.full((6, 9, 3), 90, np.uint8),
            "boxes": np.asarray(boxes, np.float32) * (index == 0),
            "classes": np.asarray(classes, np.int32),
            "ignored": np.asarray([False, False, True, False]),
        }

    def record_name(self, index):
        return str(index)


def test_boxes_are_drawn_where_they_are():
    figure = contact_sheet(Boxes(), rows=1, columns=2)
    titles = [axes.get_title() for axes in figure.axes]
    assert sorted(titles) == ["2 cat, 1 cow", "no objects"]
    marked, empty = (
        figure.axes[titles.index("2 cat, 1 cow")],
        figure.axes[titles.index("no objects")],
    )
    assert not empty.patches
    corners = [(*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in marked.patches]
    # The middle of the first pixel is matplotlib's 0.
    assert corners == [(0.5, 1.5, 4, 2), (-0.5, -0.5, 3, 3), (1.5, 0.5, 6, 4)]
    colors = [patch.get_edgecolor() for patch in marked.patches]
    assert colors[0] == colors[2] != colors[1]
    assert [patch.get_linestyle() for patch in marked.patches] == ["-", "-", ":"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["cat", "cow"]
