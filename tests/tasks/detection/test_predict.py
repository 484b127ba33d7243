"""Detection on files: boxes at each image's own size, pictures, COCO JSON."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from PIL import Image

from jaxcv.configs import shapes_fcos
from jaxcv.data import COCODetection, Shapes, fit_image
from jaxcv.models import FCOS, ConvBackbone
from jaxcv.tasks.detection.predict import detect_files, make_detector
from jaxcv.train import Runtime, collect_per_example, open_run

MODEL = FCOS(
    3, ConvBackbone(widths=(4, 6), patch=4, convolutions=1), strides=(4, 8), width=4, convolutions=0
)  # fmt: skip


@pytest.fixture(scope="module")
def run():
    """An untrained run that is sure of much."""
    preset = shapes_fcos.experiment()
    experiment = dataclasses.replace(
        preset,
        data=Shapes(num_examples=4, num_test_examples=4, image_size=(48, 64)),
        model=MODEL.clone(prior=0.3),
        task=dataclasses.replace(preset.task, score_threshold=0.0, max_detections=12),
    )
    return open_run(experiment, Runtime(devices=1))


@pytest.fixture(scope="module")
def variables(run):
    return run.create_state().variables


def test_boxes_lie_in_the_image_whatever_its_size(run, variables):
    detect = make_detector(run, variables)
    rng = np.random.default_rng(0)
    for size in ((48, 64), (96, 128), (30, 100), (77, 20)):
        found = detect(rng.integers(0, 256, (*size, 3), np.uint8))
        assert 0 < len(found.boxes) <= 12
        assert np.all(np.diff(found.scores) <= 0)
        assert set(found.classes) <= {0, 1, 2}
        assert np.all(found.boxes >= 0)
        assert np.all(found.boxes[:, 2:] <= [size[1], size[0]])
        assert np.all(found.boxes[:, :2] < found.boxes[:, 2:])


def predicted(run, variables, image):
    """What the task says of an image uint8 of the model's own size."""
    scaled = np.asarray(image, np.float32)[None] / 255
    for transform in run.experiment.preprocess:
        scaled = transform(scaled)
    outputs = run.experiment.model.apply(jax.device_get(variables), scaled)
    return {name: np.asarray(x)[0] for name, x in run.experiment.task.predict(outputs).items()}


@pytest.mark.parametrize(
    ("size", "scale", "corner"),
    [
        ((48, 64), (1, 1), (0, 0)),
        ((96, 128), (0.5, 0.5), (0, 0)),
        # 0.64 times as large, 19.2 rows, of which 19 stand below 14 black ones.
        ((30, 100), (0.64, 19 / 30), (0, 14)),
    ],
)
def test_boxes_are_those_of_the_letterboxed_image(run, variables, size, scale, corner):
    image = np.random.default_rng(2).integers(0, 256, (*size, 3), np.uint8)
    found = make_detector(run, variables)(image)
    wanted = predicted(run, variables, fit_image(image, (48, 64), "pad"))
    boxes = (wanted["boxes"] - np.tile(corner, 2)) / np.tile(scale, 2)
    boxes = np.clip(boxes, 0, [size[1], size[0], size[1], size[0]])
    real = (wanted["classes"] >= 0) & np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    assert real.any()
    np.testing.assert_allclose(found.boxes, boxes[real], rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(found.scores, wanted["scores"][real], rtol=1e-4)


def test_files_are_drawn_and_written_as_coco_reads_them(run, variables, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    sizes = {"a.png": (48, 64), "b.png": (100, 60)}
    for name, size in sizes.items():
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(name)
    (tmp_path / "c.png").write_bytes(b"no image")
    rows = list(detect_files(run, variables, [*sizes, "c.png"], "out", min_score=0.0))
    assert [row["file"] for row in rows] == ["a.png", "b.png", "c.png"]
    assert "c.png" in rows[2]["error"]
    for row, size in zip(rows, sizes.values(), strict=False):
        assert (row["height"], row["width"]) == size
        with Image.open(row["drawn"]) as drawn:
            assert drawn.size == size[::-1]
        assert row["detections"]
    table = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [c["name"] for c in table["categories"]] == ["square", "circle", "triangle"]
    assert len(table["annotations"]) == sum(len(row.get("detections", ())) for row in rows)
    first, told = table["annotations"][0], rows[0]["detections"][0]
    x, y, width, height = first["bbox"]
    np.testing.assert_allclose([x, y, x + width, y + height], told["box"], atol=0.02)
    source = COCODetection(
        images=".", annotations="out/detections.json", test_fraction=0, size=(48, 64)
    ).open("train")
    assert len(source) == 2
    assert (source[0]["classes"] >= 0).sum() == len(rows[0]["detections"])


def test_few_are_sure_enough(run, variables, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(run.test_source[0]["image"]).save(path)
    (row,) = detect_files(run, variables, [str(path)], tmp_path / "out", min_score=1.0)
    assert row["detections"] == []
    with pytest.raises(ValueError, match=r"min_score is 1\.5"):
        detect_files(run, variables, [str(path)], tmp_path / "out", min_score=1.5)


# ---- Evaluation and prediction say the same ------------------------------------------------------

SIZES = [(96, 32), (30, 100), (48, 64), (77, 20), (21, 90), (20, 20)]


@pytest.fixture(scope="module")
def coco_run(tmp_path_factory):
    """An untrained run on pictures of many shapes in COCO's format, all for testing."""
    root = tmp_path_factory.mktemp("coco")
    rng = np.random.default_rng(3)
    for name, sizes in (("train", SIZES[:2]), ("test", SIZES)):
        images, annotations = [], []
        (root / name).mkdir()
        for i, (height, width) in enumerate(sizes):
            pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
            images.append({"id": 70 - i, "file_name": f"{i}.png", "height": height, "width": width})
            box = {"bbox": [1, 1, 9, 12], "area": 108, "iscrowd": 0}
            annotations.append({"id": i, "image_id": 70 - i, "category_id": 4 + i % 3, **box})
        categories = [{"id": 4 + i, "name": name} for i, name in enumerate("abc")]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"{name}.json").write_text(json.dumps(content))
    preset = shapes_fcos.experiment()
    experiment = dataclasses.replace(
        preset,
        data=COCODetection(
            images=str(root / "train"),
            annotations=str(root / "train.json"),
            test_images=str(root / "test"),
            test_annotations=str(root / "test.json"),
            size=(48, 64),
            max_boxes=2,
        ),
        batch_size=2,
        eval_batch_size=4,
        model=MODEL.clone(prior=0.3),
        task=dataclasses.replace(preset.task, score_threshold=0.0, max_detections=30),
        mix=None,
        augment=(),
    )
    run = open_run(experiment, Runtime(devices=1))
    return run, run.create_state().variables, root


def test_evaluation_clips_to_the_picture_as_prediction_does(coco_run):
    """Of a picture between black borders, what hangs over its edge ends there in both."""
    run, variables, root = coco_run
    told, _ = collect_per_example(run, variables)
    detect = make_detector(run, variables)
    at_the_edge = 0
    for i, (height, width) in enumerate(SIZES):
        real = told["detected_classes"][i] >= 0
        boxes = told["detected_boxes"][i][real]
        assert np.all((boxes >= 0) & (boxes <= [width, height, width, height]))
        assert np.all(boxes[:, :2] < boxes[:, 2:])
        at_the_edge += np.sum(boxes[:, 2:] == [width, height])
        with Image.open(root / "test" / f"{i}.png") as picture:
            found = detect(np.asarray(picture))
        np.testing.assert_allclose(boxes, found.boxes, atol=1e-3)
        np.testing.assert_allclose(told["detected_scores"][i][real], found.scores, atol=1e-5)
        np.testing.assert_array_equal(told["detected_classes"][i][real], found.classes)
    assert at_the_edge > len(SIZES)


def test_a_files_detections_have_its_id(coco_run, tmp_path):
    run, variables, root = coco_run
    foreign = tmp_path / "0.png"
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(foreign)
    files = [str(root / "test" / f"{i}.png") for i in (3, 1)]
    list(detect_files(run, variables, [files[0], str(foreign), files[1]], tmp_path / "out"))
    table = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [image["id"] for image in table["images"]] == [67, 71, 69]
    assert [category["id"] for category in table["categories"]] == [4, 5, 6]
    said = table["info"]["description"]
    assert "2 images have their ids of" in said
    assert "test.json; 1 others are numbered from 71." in said
