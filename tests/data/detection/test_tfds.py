"""Objects of TFDS data sets, prepared here without TensorFlow, and the real ones of BCCD."""

import dataclasses

import numpy as np
import pytest

from jaxcv.data import TFDS, Batches, BoxCounts, TFDSDetection, materialize
from tests.data.painted import bright_box, encoded, painted

# (height, width), boxes (x0, y0, x1, y1), classes, crowd or difficult, area
RECORDS = [
    ((40, 80), [(10, 5, 30, 25), (50, 10, 70, 38)], [0, 2], [False, True], [123, 77]),
    ((80, 50), [(4, 40, 44, 60)], [1], [False], [500]),
    ((30, 30), [], [], [], []),
]
TURNED = (40, 80), (12, 4, 30, 20)  # stored size and box


@pytest.fixture(scope="module")
def prepared_boxes(tmp_path_factory):
    """Folder with "tiny_coco", "tiny_voc" and "tiny_turned" as TFDS stores the like of them."""
    import tensorflow_datasets as tfds

    def features(**more):
        objects = {
            "bbox": tfds.features.BBoxFeature(),
            "label": tfds.features.ClassLabel(names=["cat", "dog", "cow"]),
            **more,
        }
        return {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
            "objects": tfds.features.Sequence(objects),
            "scene": tfds.features.ClassLabel(num_classes=2),
            "numbers": tfds.features.Sequence(np.int64),
        }

    def fraction(box, size):
        (height, width), (x0, y0, x1, y1) = size, box
        return tfds.features.BBox(y0 / height, x0 / width, y1 / height, x1 / width)

    def layout(kind):
        coco = {"area": np.int64, "id": np.int64, "is_crowd": np.bool_}
        voc = {"is_difficult": np.bool_, "is_truncated": np.bool_}
        for i, (size, boxes, classes, marked, area) in enumerate(RECORDS):
            objects = []
            for box, label, mark, pixels in zip(boxes, classes, marked, area):
                one = {"bbox": fraction(box, size), "label": label}
                one |= dict.fromkeys(coco if kind == "coco" else voc, mark)
                if kind == "coco":
                    one |= {"area": pixels, "id": 7}
                objects.append(one)
            yield i, record(encoded(painted(size, boxes)), objects)

    def record(image, objects):
        return {"image": image, "objects": objects, "scene": 0, "numbers": [1, 2]}

    def turned():
        size, box = TURNED
        image = encoded(painted(size, [box]), orientation=6)
        yield 0, record(image, [{"bbox": fraction(box, size), "label": 1}])

    contents = {
        "tiny_coco": (
            {"area": np.int64, "id": np.int64, "is_crowd": np.bool_},
            {"train": lambda: layout("coco"), "validation": lambda: layout("coco")},
        ),
        "tiny_voc": (
            {"is_difficult": np.bool_, "is_truncated": np.bool_},
            {"train": lambda: layout("voc"), "test": lambda: layout("voc")},
        ),
        "tiny_turned": ({}, {"train": turned}),
    }
    data_dir = tmp_path_factory.mktemp("prepared_boxes")
    for data_name, (parts, splits) in contents.items():

        class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
            """One of them."""

            name = data_name
            VERSION = tfds.core.Version("1.0.0")
            made = features(**parts), splits

            def _info(self):
                return tfds.core.DatasetInfo(
                    builder=self, features=tfds.features.FeaturesDict(self.made[0])
                )

            def _split_generators(self, dl_manager):
                return {split: examples() for split, examples in self.made[1].items()}

            def _generate_examples(self):
                raise NotImplementedError

        config = tfds.download.DownloadConfig(try_download_gcs=False)
        Builder(data_dir=str(data_dir), file_format="array_record").download_and_prepare(
            download_dir=str(tmp_path_factory.mktemp("scratch")), download_config=config
        )
    return str(data_dir)


def by_size(source):
    """Records by (height, width) of their image; preparing shuffled them."""
    return {record["image"].shape[:2]: record for record in map(source.__getitem__, range(3))}


@pytest.mark.parametrize("name", ["tiny_coco", "tiny_voc"])
def test_records(prepared_boxes, name):
    data = TFDSDetection(name=name, data_dir=prepared_boxes, max_boxes=4)
    source = data.open("train")
    assert (len(source), source.class_names) == (3, ("cat", "dog", "cow"))
    records = by_size(source)
    for size, boxes, classes, marked, area in RECORDS:
        record, count = records[size], len(boxes)
        np.testing.assert_allclose(record["boxes"][:count], np.reshape(boxes, (-1, 4)), atol=1e-4)
        assert record["classes"].tolist() == classes + [-1] * (4 - count)
        assert record["ignored"].tolist() == marked + [False] * (4 - count)
        own = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes]
        wanted = area if name == "tiny_coco" else own
        np.testing.assert_allclose(record["area"], wanted + [0] * (4 - count), rtol=1e-5)
        assert record["placement"].tolist() == [1, 1, 0, 0]
    assert source.box_counts == BoxCounts()


@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_images_of_any_size_make_a_batch(prepared_boxes, fit):
    data = TFDSDetection(
        name="tiny_coco", data_dir=prepared_boxes, size=64, fit=fit, test_split="validation"
    )
    batch = Batches(data.open("test"), 4, shuffle=False)[0]
    assert batch["image"].shape == (4, 64, 64, 3)
    assert batch["boxes"].shape == (4, 100, 4)
    assert batch["mask"].tolist() == [True, True, True, False]
    counts = (batch["classes"][:3] >= 0).sum(1)
    assert sorted(counts) == [0, 1, 2]
    (dog,) = np.flatnonzero(counts == 1)
    np.testing.assert_allclose(bright_box(batch["image"][dog]), batch["boxes"][dog, 0], atol=1.01)
    assert (materialize(data.open("test"))["classes"].max(1) >= -1).all()


def test_which_objects_are_ignored_can_be_chosen(prepared_boxes):
    data = TFDSDetection(name="tiny_voc", data_dir=prepared_boxes, max_boxes=2)
    marked = by_size(dataclasses.replace(data, ignored_key="is_truncated").open("train"))
    assert marked[40, 80]["ignored"].tolist() == [False, True]
    none = by_size(dataclasses.replace(data, ignored_key="").open("train"))
    assert none[40, 80]["ignored"].tolist() == [False, False]


@pytest.mark.parametrize("boxes_on", ["upright", "stored"])
def test_orientation(prepared_boxes, boxes_on):
    """The image is upright either way; boxes drawn on the stored pixels are turned with it."""
    data = TFDSDetection(
        name="tiny_turned", data_dir=prepared_boxes, max_boxes=1, boxes_on=boxes_on
    )
    record = data.open("train")[0]
    (height, width), (x0, y0, x1, y1) = TURNED
    assert record["image"].shape == (width, height, 3)
    assert bright_box(record["image"]) == [height - y1, x0, height - y0, x1]
    if boxes_on == "stored":
        np.testing.assert_allclose(
            record["boxes"][0], [height - y1, x0, height - y0, x1], atol=1e-4
        )
    else:  # The fractions are those of the upright image.
        wanted = [
            x0 / width * height,
            y0 / height * width,
            x1 / width * height,
            y1 / height * width,
        ]
        np.testing.assert_allclose(record["boxes"][0], wanted, atol=1e-4)


def test_lists_and_arrays_are_taken_alike(prepared_boxes):
    """A real data source gives lists of arrays, TFDS's mock arrays."""
    source = TFDSDetection(name="tiny_coco", data_dir=prepared_boxes, max_boxes=4).open("train")
    for index in range(3):
        stored = source._records[index]
        assert isinstance(stored["objects"]["bbox"], list)
        arrays = {key: np.asarray(values) for key, values in stored["objects"].items()}
        one, other = source[index], source._record(index, {**stored, "objects": arrays})
        for key, values in one.items():
            np.testing.assert_array_equal(values, other[key])


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ({"bbox": [[0, 0, 1, np.nan]], "label": [0]}, r"tiny_voc:1\.0\.0 train\[1\]: box .*finite"),
        ({"bbox": [[0, 0, 1, 1]] * 2, "label": [0]}, r"train\[1\]: .* 2 boxes, 1 classes"),
        ({"bbox": [[0, 0, 1, 1]], "label": [-1]}, r"train\[1\]: class -1"),
        ({"bbox": [[0, 0, 1, 1]] * 5, "label": [0] * 5}, r"train\[1\]: 5 objects .* max_boxes=4"),
        ({"bbox": [[0.5, 0, 0.5, 1]], "label": [0]}, r"train\[1\]: box .* has no area"),
    ],
)
def test_a_bad_record_is_named(prepared_boxes, objects, message):
    data = TFDSDetection(
        name="tiny_voc", data_dir=prepared_boxes, max_boxes=4, ignored_key="", on_bad_box="raise"
    )
    source = data.open("train")
    stored = {**source._records[1], "objects": objects}
    with pytest.raises(ValueError, match=message):
        source._record(1, stored)


def test_dropped_boxes_are_counted_once_and_logged(prepared_boxes, caplog):
    data = TFDSDetection(name="tiny_voc", data_dir=prepared_boxes, ignored_key="")
    source = data.open("train")
    bad = {"bbox": [[0.5, 0, 0.5, 1], [0, 0, 1, 1.5], [0.25, 0.5, 0.5, 0.75]], "label": [0, 1, 2]}
    for index in (1, 1):
        record = source._record(index, {**source._records[index], "objects": bad})
    assert record["classes"][:3].tolist() == [1, 2, -1]
    assert source.box_counts == BoxCounts(clipped=1, dropped=1)
    assert len(caplog.records) == 1
    assert "tiny_voc:1.0.0 train[1]" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fit": "crop"}, "fit must be 'pad' or 'stretch'.*'crop' would cut"),
        ({"max_boxes": 0}, "max_boxes is 0, but must be a whole number of at least 1"),
        ({"on_bad_box": "keep"}, "on_bad_box is 'keep', but must be 'drop' or 'raise'"),
        ({"boxes_on": "left"}, "boxes_on is 'left', but must be 'upright' or 'stored'"),
        ({"label_key": "boxes"}, "no feature 'boxes'; it has image, numbers, objects, scene"),
        ({"label_key": "scene"}, "'scene' of 'tiny_coco' is not a sequence of objects"),
        ({"label_key": "numbers"}, "'numbers' of 'tiny_coco' is not a sequence of objects"),
        ({"box_key": "box"}, "objects with 'box'; it has area, bbox, id, is_crowd, label"),
        ({"ignored_key": "hard"}, "objects with 'hard'"),
        ({"box_key": "area"}, "'area' in 'objects' of 'tiny_coco' is not a box"),
        ({"class_key": "id"}, "'id' in 'objects' of 'tiny_coco' is not a class"),
        ({"train_split": "trian"}, "no split 'trian'"),
        ({"name": "tiny_cocoa"}, "no data set 'tiny_cocoa'"),
    ],
)
def test_wrong_settings(prepared_boxes, options, message):
    settings = {"name": "tiny_coco", "data_dir": prepared_boxes, **options}
    with pytest.raises(ValueError, match=message):
        TFDSDetection(**settings).open("train")


def test_objects_are_no_label_for_tfds(prepared_boxes):
    data = TFDS(name="tiny_coco", data_dir=prepared_boxes, label_key="objects")
    with pytest.raises(ValueError, match="read by TFDSDetection"):
        data.open("train")


def test_data_show_draws_boxes(prepared_boxes, tmp_path, capsys, monkeypatch):
    """A data set with objects and without a label needs no option to be shown."""
    from jaxcv.cli import data as command
    from jaxcv.cli.main import main

    opened, sheet = [], command.contact_sheet

    def noted(source, *options):
        opened.append(source)
        return sheet(source, *options)

    monkeypatch.setattr(command, "contact_sheet", noted)
    path = tmp_path / "sheet.png"
    words = ["data", "show", "tiny_voc", "--data-dir", prepared_boxes, "--output", str(path)]
    assert main(words) == 0
    assert capsys.readouterr().out == f"{path}\n"
    assert path.stat().st_size > 3000
    assert sum((opened[0][i]["classes"] >= 0).sum() for i in range(3)) == 3


def test_bccd(real_data):
    data = TFDSDetection(
        name="bccd", data_dir=real_data("bccd"), size=(120, 160), validation_split="val"
    )
    sources = [data.open(split) for split in ("train", "validation", "test")]
    assert [len(source) for source in sources] == [205, 87, 72]
    assert sources[0].class_names == ("RBC", "WBC", "Platelets")
    arrays = materialize(sources[2])
    valid = arrays["classes"] >= 0
    assert valid.sum() == 945
    assert set(arrays["classes"][valid]) == {0, 1, 2}
    # 640 x 480 at a quarter, nothing added.
    assert (arrays["placement"] == [0.25, 0.25, 0, 0]).all()
    sides = arrays["boxes"][valid][:, 2:] - arrays["boxes"][valid][:, :2]
    np.testing.assert_allclose(arrays["area"][valid], 16 * sides.prod(1), rtol=1e-4)
    # White cells are the darkest in green, platelets the smallest.
    green = {}
    for label in range(3):
        rows, places = np.nonzero(arrays["classes"] == label)
        middles = arrays["boxes"][rows, places].reshape(-1, 2, 2).mean(1).astype(int)
        green[label] = arrays["image"][rows, middles[:, 1], middles[:, 0], 1].mean()
    assert green[1] < min(green[0], green[2]) - 10
    medians = [np.median(arrays["area"][arrays["classes"] == label]) for label in range(3)]
    assert medians[2] < medians[0] < medians[1]
    assert sources[2].box_counts == BoxCounts()


@pytest.fixture(scope="module")
def prepared_orientations(tmp_path_factory):
    """ "turned": 8 pictures of one box, stored with the EXIF orientations 1 to 8, not square and square."""
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(encoding_format="jpeg"),
        "objects": tfds.features.Sequence(
            {"bbox": tfds.features.BBoxFeature(), "label": tfds.features.ClassLabel(names=["a"])}
        ),
        "orientation": np.int64,
    }

    class Turned(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features_dict = tfds.features.FeaturesDict(features)
            return tfds.core.DatasetInfo(builder=self, features=features_dict)

        def _split_generators(self, download_manager):
            return {
                "train": self._generate_examples((40, 80)),
                "test": self._generate_examples((48, 48)),
            }

        def _generate_examples(self, size):
            height, width = size
            for orientation in range(1, 9):
                image = encoded(painted(size, [[8, 4, 28, 16]]), orientation)
                box = tfds.features.BBox(4 / height, 8 / width, 16 / height, 28 / width)
                objects = [{"bbox": box, "label": 0}]
                yield orientation, {"image": image, "objects": objects, "orientation": orientation}

    data_dir = str(tmp_path_factory.mktemp("prepared_orientations"))
    builder = Turned(data_dir=data_dir, file_format="array_record")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )
    return data_dir


@pytest.mark.parametrize(("split", "size"), [("train", (40, 80)), ("test", (48, 48))])
@pytest.mark.parametrize("options", [{}, {"boxes_on": "stored"}, {"size": (64, 96)}])
def test_boxes_lie_on_their_objects_however_a_picture_is_stored(
    prepared_orientations, split, size, options
):
    data = TFDSDetection(name="turned", data_dir=prepared_orientations, max_boxes=1, **options)
    source = data.open(split)
    shapes = set()
    for i in range(8):
        record = source[i]
        shapes.add(tuple(record["image_size"].tolist()))
        assert record["boxes"][0] == pytest.approx(bright_box(record["image"]), abs=1.0)
    assert shapes == {size, size[::-1]}


def test_boxes_on_the_upright_picture_where_that_is_said(prepared_orientations):
    """The same fractions, of the upright sides."""
    data = TFDSDetection(
        name="turned", data_dir=prepared_orientations, max_boxes=1, boxes_on="upright"
    )
    source = data.open("train")
    for i in range(8):
        height, width = source[i]["image_size"].tolist()
        expected = [width * 0.1, height * 0.1, width * 0.35, height * 0.4]
        np.testing.assert_allclose(source[i]["boxes"][0], expected, atol=1e-3)
