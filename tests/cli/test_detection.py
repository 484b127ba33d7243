"""Detection from the command line: train, report, predict; and what bad annotations end with."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxcv.cli.main import main
from jaxcv.data import Shapes

PRESET = """
from jaxcv.data import COCODetection
from jaxcv.image import Mosaic, Normalize, RandomHorizontalFlip, RandomScaleCrop
from jaxcv.models import FCOS, ConvBackbone
from jaxcv.tasks import Detection
from jaxcv.train import AXIS, Experiment, Optimizer

BACKBONE = ConvBackbone(widths=(4, 8), patch=2, convolutions=1, axis_name=AXIS)

def experiment():
    return Experiment(
        data=COCODetection(images={images!r}, annotations={annotations!r}, size=(32, 32), max_boxes=6),
        model=FCOS(num_classes=3, backbone=BACKBONE, strides=(2, 4), width=8, convolutions=1),
        task=Detection(num_classes=3, score_threshold=0.0, max_detections=20),
        optimizer=Optimizer(learning_rate=0.01),
        batch_size=8,
        steps=3,
        augment=(RandomHorizontalFlip(), RandomScaleCrop(size=(32, 32), scale=(0.5, 1.5))),
        mix=Mosaic(probability=0.5),
        preprocess=(Normalize(),),
        eval_batch_size=4,
    )
"""


def write_shapes(root, count=20):
    """Generated shapes as image files and a COCO file; gives its content, to be spoilt."""
    source = Shapes(num_examples=count, image_size=40, max_objects=4).open("train")
    (root / "images").mkdir(parents=True)
    table = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 3 * i + 1, "name": n} for i, n in enumerate(source.class_names)],
    }
    for i in range(count):
        record = source[i]
        Image.fromarray(record["image"]).save(root / "images" / f"{i:02}.png")
        table["images"].append({"id": i, "file_name": f"{i:02}.png", "height": 40, "width": 40})
        for box, c in zip(record["boxes"], record["classes"], strict=True):
            if c >= 0:
                x0, y0, x1, y1 = map(float, box)
                table["annotations"].append(
                    {
                        "id": len(table["annotations"]) + 1,
                        "image_id": i,
                        "category_id": 3 * int(c) + 1,
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "area": (x1 - x0) * (y1 - y0),
                        "iscrowd": 0,
                    }
                )
    return table


def write_preset(root, name, table):
    (root / "annotations.json").write_text(json.dumps(table))
    path = root / f"{name}.py"
    path.write_text(
        PRESET.format(images=str(root / "images"), annotations=str(root / "annotations.json"))
    )
    return path


def run(capsys, *words):
    """Gives (exit status, stdout, stderr)."""
    try:
        status = main([str(word) for word in words])
    except SystemExit as exit:
        status = exit.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    root = tmp_path_factory.mktemp("detection")
    preset = str(write_preset(root, "shapes_preset", write_shapes(root)))
    assert main(["train", preset, "--workdir", str(root / "run"), "--devices", "2"]) == 0
    return root / "run"


@pytest.mark.slow
def test_train_evaluates_every_image_and_reports(workdir, capsys):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    test = [row for row in rows if row["split"] == "test"][-1]
    assert test["count"] == 4
    assert 0 <= test["average_precision"] <= test["average_precision_50"] <= 1
    page = (workdir / "report.html").read_text()
    for heading in ("Worst images", "Augmented training images"):
        assert f"<h2>{heading}</h2>" in page
    status, out, _ = run(capsys, "evaluate", workdir, "--devices", "1")
    assert status == 0
    shown = float(out.split("average_precision_50")[1].split()[0])
    assert shown == pytest.approx(test["average_precision_50"], abs=1e-3)


@pytest.mark.slow
def test_predict_draws_and_writes_coco(workdir, capsys, tmp_path):
    rng = np.random.default_rng(0)
    for name, size in {"one.png": (40, 40), "two.jpg": (30, 90)}.items():
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(tmp_path / name)
    output = tmp_path / "found.jsonl"
    status, out, err = run(
        capsys, "predict", workdir, tmp_path, "--output", output, "--min-score", "0.001",
        "--devices", "1",
    )  # fmt: skip
    assert status == 0, err
    assert "2 predictions, 0 unreadable" in out
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["width"] for row in rows] == [40, 90]
    assert (tmp_path / "found" / "images" / "two.jpg").exists()
    table = json.loads((tmp_path / "found" / "detections.json").read_text())
    assert [category["id"] for category in table["categories"]] == [1, 4, 7]
    assert len(table["annotations"]) == sum(len(row["detections"]) for row in rows) > 0
    status, _, err = run(
        capsys, "predict", workdir, tmp_path / "one.png", "--flip", "--devices", "1"
    )
    assert status == 2
    assert "--flip" in err, "an option of segmentation"


def unknown_category(table):
    table["annotations"][2]["category_id"] = 99
    return "99"


def missing_image(table):
    table["annotations"][2]["image_id"] = 77
    return "77"


def no_file(table):
    table["images"][3]["file_name"] = "gone.png"
    return "gone.png"


def too_many(table):
    one = table["annotations"][0]
    more = [{**one, "id": 1000 + i, "image_id": 5} for i in range(7)]
    table["annotations"] += more
    return "max_boxes=6"


def nothing(table):
    table["annotations"].clear()
    table["images"].clear()
    return "annotations.json"


@pytest.mark.parametrize("spoil", [unknown_category, missing_image, no_file, too_many, nothing])
def test_bad_annotations_end_with_one_line_and_write_nothing(spoil, capsys, tmp_path):
    table = write_shapes(tmp_path)
    wanted = spoil(table)
    preset = write_preset(tmp_path, f"spoilt_{spoil.__name__}", table)
    status, out, err = run(capsys, "train", preset, "--workdir", tmp_path / "run", "--devices", "1")
    assert status == 2
    assert wanted in err
    assert err.count("\n") == 1
    assert "Traceback" not in out + err
    assert not (tmp_path / "run").exists()
