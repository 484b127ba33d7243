"""Segmentation from the command line: train, report, predict; and what bad masks end with."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxcv.cli.main import main
from jaxcv.cli.options import load_preset
from jaxcv.data import encode_mask
from jaxcv.train import open_workdir, predict_test, write_config

PRESET = """
from jaxcv.data import MaskFolder
from jaxcv.image import Normalize, RandomHorizontalFlip, RandomScaleCrop
from jaxcv.models import ConvBackbone, UNet
from jaxcv.tasks import Segmentation
from jaxcv.train import AXIS, Experiment, Optimizer

BACKBONE = ConvBackbone(widths=(4, 8), convolutions=1, axis_name=AXIS)

def experiment():
    return Experiment(
        data=MaskFolder(
            images={images!r}, masks={masks!r}, class_names=("ground", "disc"), size=(16, 24)
        ),
        model=UNet(num_classes=2, backbone=BACKBONE, widths=(4,)),
        task=Segmentation(num_classes=2),
        optimizer=Optimizer(learning_rate=0.01),
        batch_size=4,
        steps=2,
        augment=(RandomHorizontalFlip(), RandomScaleCrop(size=(16, 24), scale=(0.5, 1.5))),
        preprocess=(Normalize(),),
        eval_batch_size=4,
    )
"""


def write_scenes(root, count=20, size=(16, 24)):
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for i in range(count):
        mask = rng.integers(0, 2, size).astype(np.uint8)
        mask[0] = 255
        image = np.where(mask[..., None] == 1, 200, 60) + rng.integers(0, 40, (*size, 3))
        Image.fromarray(image.astype(np.uint8)).save(root / "images" / f"{i:02}.png")
        (root / "masks" / f"{i:02}.png").write_bytes(encode_mask(mask))


def write_preset(root, name):
    path = root / f"{name}.py"
    path.write_text(PRESET.format(images=str(root / "images"), masks=str(root / "masks")))
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
    root = tmp_path_factory.mktemp("segmentation")
    write_scenes(root)
    preset = str(write_preset(root, "scenes_preset"))
    assert main(["train", preset, "--workdir", str(root / "run"), "--devices", "1"]) == 0
    return root / "run"


@pytest.mark.slow
def test_report_shows_maps_and_errors(workdir):
    page = (workdir / "report.html").read_text()
    for heading in ("IoU by class and by image", "Worst images", "Augmented training images"):
        assert f"<h2>{heading}</h2>" in page
    assert "Typical images" not in page  # all four test images are among the worst
    assert page.count('class="panel-row"') == 4
    shown = [float(x) for x in page.split("Worst images</h2>")[1].split("<b>")[1:] for x in [x[:4]]]
    assert shown == sorted(shown)


@pytest.mark.slow
def test_predict_writes_maps_and_overlays_of_each_images_own_size(workdir, capsys, tmp_path):
    rng = np.random.default_rng(0)
    sizes = {"a/1.png": (16, 24), "b/1.png": (50, 31), "b/grey.png": (8, 70)}
    for name, size in sizes.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shape = size if "grey" in name else (*size, 3)
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(tmp_path / name)
    own, _ = open_workdir(workdir)
    Image.fromarray(own.test_source[0]["image"]).save(tmp_path / "a" / "own.png")
    (tmp_path / "b" / "broken.png").write_bytes(b"no image")
    found = {}
    for name, options in {
        "plain": [],
        "all": ["--window", "16", "16", "--overlap", "0.25", "--scales", "0.75", "1.25", "--flip"],
    }.items():
        output = tmp_path / f"{name}.jsonl"
        status, out, _ = run(
            capsys, "predict", workdir, tmp_path / "a", tmp_path / "b", "--output", output,
            "--devices", "2", *options,
        )  # fmt: skip
        assert status == 0
        assert "4 predictions, 1 unreadable" in out
        found[name] = {
            row["file"].removeprefix(f"{tmp_path}/"): row
            for row in map(json.loads, output.read_text().splitlines())
        }
        assert list(found[name]) == [
            "a/1.png",
            "a/own.png",
            "b/1.png",
            "b/broken.png",
            "b/grey.png",
        ]
        assert "error" in found[name].pop("b/broken.png")
        assert len({row["index_map"] for row in found[name].values()}) == 4
        for file, row in found[name].items():
            assert row["index_map"].startswith(str(tmp_path / name / "index_maps"))
            index_map = np.asarray(Image.open(row["index_map"]))
            assert index_map.shape == sizes.get(file, (16, 24)) == (row["height"], row["width"])
            assert np.asarray(Image.open(row["overlay"])).shape == (*index_map.shape, 3)
            assert row["fractions"]["disc"] == pytest.approx((index_map == 1).mean())
            assert sum(row["fractions"].values()) == pytest.approx(1)
    # The picture that is a test record gets what the evaluation gave it.
    trained, state = open_workdir(workdir)
    wanted = predict_test(trained, state.variables)["prediction"][0]
    index_map = np.asarray(Image.open(found["plain"]["a/own.png"]["index_map"]))
    assert (index_map != wanted).mean() < 0.01  # a tie may fall the other way


@pytest.mark.slow
def test_wrong_options_of_prediction_change_no_file(workdir, capsys, tmp_path):
    image = tmp_path / "1.png"
    Image.fromarray(np.zeros((16, 24, 3), np.uint8)).save(image)
    output = tmp_path / "out.jsonl"
    output.write_text("kept")
    status, _, err = run(
        capsys,
        "predict",
        workdir,
        image,
        "--output",
        output,
        "--window",
        "8",
        "8",
        "--overlap",
        "1",
    )
    assert status == 2
    assert "overlap is 1.0" in err
    assert output.read_text() == "kept"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1.png", "out.jsonl"]


def mask_of_another_size(root):
    (root / "masks" / "07.png").write_bytes(encode_mask(np.zeros((16, 23), np.uint8)))
    return "masks/07.png: the mask is 16 x 23"


def unknown_value(root):
    mask = np.zeros((16, 24), np.uint8)
    mask[3, 5] = 7
    (root / "masks" / "07.png").write_bytes(encode_mask(mask))
    return "masks/07.png: value 7 at row 3, column 5"


def missing_mask(root):
    (root / "masks" / "07.png").unlink()
    return "images/07.png: its mask is missing"


def color_mask(root):
    Image.fromarray(np.zeros((16, 24, 3), np.uint8)).save(root / "masks" / "07.png")
    return "masks/07.png: is a colour mask"


def damaged_mask(root):
    path = root / "masks" / "07.png"
    path.write_bytes(path.read_bytes()[:-30])
    return "masks/07.png"


@pytest.mark.parametrize(
    "spoil", [mask_of_another_size, unknown_value, missing_mask, color_mask, damaged_mask]
)
def test_bad_masks_end_with_one_line_and_write_nothing(spoil, capsys, tmp_path):
    write_scenes(tmp_path)
    wanted = spoil(tmp_path)
    preset = write_preset(tmp_path, f"spoilt_{spoil.__name__}")
    status, out, err = run(capsys, "train", preset, "--workdir", tmp_path / "run", "--devices", "1")
    assert status == 2
    assert wanted in err
    assert err.count("\n") == 1
    assert "Traceback" not in out + err
    assert not (tmp_path / "run").exists()


def test_options_for_segmentation_are_refused_elsewhere(tmp_path, capsys):
    write_config(tmp_path / "config.json", load_preset("digits_lenet"))
    with pytest.raises(SystemExit) as exit_:
        main(["predict", str(tmp_path), "--flip", "True", "x.png"])
    assert exit_.value.code == 2
    assert "--flip" in capsys.readouterr().err


def test_help_lists_the_options_of_the_runs_task_alone(tmp_path, capsys):
    shown = {}
    for preset in "digits_lenet", "camvid_unet", "shapes_fcos":
        (tmp_path / preset).mkdir()
        write_config(tmp_path / preset / "config.json", load_preset(preset))
        with pytest.raises(SystemExit):
            main(["predict", str(tmp_path / preset), "--help"])
        shown[preset] = capsys.readouterr().out
    options = ("--window", "--scales", "--min-score", "--pairs")
    assert {preset: [o for o in options if o in text] for preset, text in shown.items()} == {
        "digits_lenet": [],
        "camvid_unet": ["--window", "--scales"],
        "shapes_fcos": ["--min-score"],
    }
