"""A run knows its data: it answers without them, and notices when they are not what they were."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from jaxcv.data import (
    CSV,
    Arrays,
    COCODetection,
    Folder,
    FrequentIdentities,
    ImagesPerIdentity,
    MaskFolder,
    People,
    Synthetic,
)
from jaxcv.models import FCOS, MLP, ConvBackbone, EmbeddingClassifier, UNet
from jaxcv.report import report_run
from jaxcv.report.presentation import presentation_of
from jaxcv.tasks import Classification, Detection, FaceRecognition, Regression, Segmentation
from jaxcv.train import (
    Adam,
    CheckpointError,
    Checkpoints,
    ConfigError,
    EarlyStopping,
    Experiment,
    Keep,
    Optimizer,
    Runtime,
    SetupError,
    evaluate_state,
    make_evaluator,
    open_workdir,
    train,
)
from jaxcv.train.data_card import changes, describe, fingerprint
from jaxcv.train.manifest import read_manifest, write_manifest
from jaxcv.train.run_card import json_digest, read_run_card, write_run_card

COLORS = {"apple": (220, 20, 20), "banana": (230, 220, 30), "cherry": (90, 0, 60)}
ONE = Runtime(devices=1)


def fruit(root, numbers=range(10), classes=COLORS):
    """A folder of class folders whose pictures a linear model tells apart."""
    for name, color in classes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in numbers:
            pixels = np.random.default_rng(i).normal(color, 9, (6, 6, 3))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / name / f"{i}.png")
    return root


def experiment(data, **changes):
    return Experiment(
        **{
            "data": data,
            "model": MLP(num_classes=3, hidden=()),
            "task": Classification(num_classes=3),
            "optimizer": Optimizer(algorithm=Adam(), learning_rate=0.05),
            "batch_size": 8,
            "steps": 30,
            "eval_every": 10,
            "log_every": 10,
            **changes,
        }
    )


def predictions(run, state, files):
    rows = presentation_of(run.experiment.task).rows(run, state.variables, files, None, None)
    return [row["prediction"] for row in rows]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run in `run`, on pictures in `data`."""
    folder = tmp_path_factory.mktemp("finished")
    train(experiment(Folder(root=str(fruit(folder / "data")))), folder / "run", ONE)
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished run, whose data can be spoilt."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    card = read_run_card(folder / "run")
    path = folder / "run" / "config.json"
    path.write_text(path.read_text().replace(str(finished), str(folder)))
    config = json_digest(json.loads(path.read_text()))
    write_run_card(folder / "run", dataclasses.replace(card, config=config))
    return folder


def pictures(folder):
    """One picture of each class outside the data."""
    files = []
    for name, color in COLORS.items():
        Image.new("RGB", (6, 6), color).save(folder / f"{name}.png")
        files.append(str(folder / f"{name}.png"))
    return files


@pytest.mark.parametrize("fate", ["renamed", "gone", "more"])
def test_prediction_uses_the_names_that_were_trained(copy, tmp_path, fate):
    files = pictures(tmp_path)
    if fate == "renamed":
        (copy / "data" / "apple").rename(copy / "data" / "zz")
    elif fate == "gone":
        shutil.rmtree(copy / "data")
    else:
        fruit(copy / "data", classes={"aardvark": (9, 9, 9)})
    run, state = open_workdir(copy / "run", ONE)
    assert predictions(run, state, files) == ["apple", "banana", "cherry"]


def test_evaluation_refuses_other_classes_and_names_them(copy):
    (copy / "data" / "apple").rename(copy / "data" / "zz")
    run, state = open_workdir(copy / "run", ONE)
    with pytest.raises(
        SetupError, match="were apple, banana, cherry and are now banana, cherry, zz"
    ):
        make_evaluator(run)
    with pytest.raises(SetupError, match="apple gone, zz new"):
        report_run(copy / "run", ONE)
    run, state = open_workdir(copy / "run", dataclasses.replace(ONE, data_changed="accept"))
    assert evaluate_state(make_evaluator(run), state)["test"]["count"] == 6


def test_evaluation_of_other_records_says_so(copy, caplog):
    fruit(copy / "data", range(10, 20))
    run, state = open_workdir(copy / "run", ONE)
    summary = evaluate_state(make_evaluator(run), state)["test"]
    assert summary["count"] == 12
    assert "test had 6 records and has 12 now (apple 2 -> 4, banana 2 -> 4" in caplog.text
    assert caplog.text.count("changed since the run started") == 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: fruit(root, range(10, 20)), "train had 24 records and has 48 now .*8 -> 16"),
        (
            lambda root: (root / "apple/0.png").rename(root / "apple/x.png"),
            "(train|test) has \\d+ records as before, but with other names",
        ),
        (
            lambda root: (root / "apple/0.png").rename(root / "cherry/00.png"),
            "apple 8 -> 7, cherry 8 -> 9",
        ),
        (lambda root: (root / "banana").rename(root / "Banana"), "banana gone"),
    ],
)
def test_a_run_does_not_go_on_over_other_data(copy, caplog, spoil, message):
    run, _ = open_workdir(copy / "run", ONE)
    for step in (20, 30):  # as if it had been killed
        shutil.rmtree(copy / "run" / "checkpoints" / str(step), ignore_errors=True)
    spoil(copy / "data")
    before = sorted(p.name for p in (copy / "run").rglob("*"))
    with pytest.raises(SetupError, match=f"{message}.*--data-changed accept"):
        train(run.experiment, copy / "run", ONE)
    assert sorted(p.name for p in (copy / "run").rglob("*")) == before
    accepting = dataclasses.replace(ONE, data_changed="accept")
    train(run.experiment, copy / "run", accepting)
    assert "going on although the data have changed" in caplog.text
    accepted = json.loads((copy / "run" / "run.json").read_text())["accepted"]
    assert len(accepted) == len({*accepted}) >= 1
    train(run.experiment, copy / "run", ONE)  # the data are now those of the card


def test_where_data_lie_and_when_they_were_written_does_not_matter(copy, tmp_path):
    moved = tmp_path / "elsewhere" / "deeper"
    shutil.copytree(copy / "data", moved)
    for split in ("train", "test"):
        here, there = (Folder(root=str(root)).open(split) for root in (copy / "data", moved))
        assert fingerprint(here) == fingerprint(there)


def test_a_run_of_an_earlier_version_gets_its_card_when_it_goes_on(copy):
    (copy / "run" / "run.json").unlink()
    for checkpoint in (copy / "run" / "checkpoints").iterdir():
        body = read_manifest(checkpoint, int(checkpoint.name))
        write_manifest(checkpoint, {**body, "run_digest": None})
    run, state = open_workdir(copy / "run", ONE)
    assert evaluate_state(make_evaluator(run), state)["test"]["count"] == 6
    assert not (copy / "run" / "run.json").exists()
    train(run.experiment, copy / "run", ONE)
    assert read_run_card(copy / "run").data.class_names == ("apple", "banana", "cherry")


def test_a_checkpoint_of_another_run_is_refused(copy, tmp_path):
    """Of equal shapes, on the same data, under a manifest of its own."""
    data = Folder(root=str(copy / "data"))
    train(experiment(data, seed=1), tmp_path / "other", ONE)
    shutil.rmtree(copy / "run" / "checkpoints" / "30")
    shutil.copytree(tmp_path / "other" / "checkpoints" / "30", copy / "run" / "checkpoints" / "30")
    with pytest.raises(CheckpointError, match="is the checkpoint of another run.*digest"):
        open_workdir(copy / "run", ONE)


def test_an_edited_configuration_is_noticed(copy):
    path = copy / "run" / "config.json"
    path.write_text(path.read_text().replace('"batch_size": 8', '"batch_size": 4'))
    run = experiment(Folder(root=str(copy / "data")), batch_size=4)
    for act in (lambda: open_workdir(copy / "run", ONE), lambda: train(run, copy / "run", ONE)):
        with pytest.raises(
            SetupError, match=r"config.json was edited after the run had started.*digest"
        ):
            act()


@pytest.mark.parametrize("place", [0.1, 0.35, 0.6, 0.9])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_card_is_noticed(copy, place, damage):
    path = copy / "run" / "run.json"
    data = bytearray(path.read_bytes())
    position = int(place * len(data))
    if damage == "flip":
        data[position] ^= 1
    path.write_bytes(data if damage == "flip" else data[: position if damage == "cut" else 0])
    with pytest.raises(ValueError, match=r"run\.json"):
        open_workdir(copy / "run", ONE)


# Of each kind of source: a way to change what its records are, which its fingerprint must tell.
def _coco(root, width=10):
    root.mkdir(parents=True, exist_ok=True)
    images, marks = [], []
    for i in range(6):
        Image.new("RGB", (20, 20), (i, i, i)).save(root / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": 20, "height": 20})
        box = [0, 0, width if i == 3 else 10, 10]
        marks.append(
            {"id": i, "image_id": i, "category_id": 7, "bbox": box, "area": 100, "iscrowd": 0}
        )
    body = {"images": images, "annotations": marks, "categories": [{"id": 7, "name": "x"}]}
    (root / "a.json").write_text(json.dumps(body))
    return COCODetection(images=str(root), annotations=str(root / "a.json"), test_fraction=0.5)


def _csv(root, label="apple"):
    fruit(root)
    rows = [f"{name}/{i}.png,{name}" for name in COLORS for i in range(10)]
    rows[15] = f"banana/5.png,{label if label != 'apple' else 'banana'}"
    (root / "t.csv").write_text("image,label\n" + "\n".join(rows) + "\n")
    return CSV(path=str(root / "t.csv"), test_fraction=0.0)


def _arrays(_, value=0):
    images = np.zeros((8, 4, 4, 1), np.uint8)
    images[3, 0, 0] = value
    return Arrays(images=images, labels=np.arange(8) % 2)


def _masks(root, name="1"):
    for part in ("i", "m"):
        (root / part).mkdir(parents=True, exist_ok=True)
        for stem in ("0", name, "2", "3"):
            Image.new("L", (4, 4)).save(root / part / f"{stem}.png")
    return MaskFolder(images=str(root / "i"), masks=str(root / "m"), class_names=("x", "y"))


@pytest.mark.parametrize(
    ("make", "other"),
    [(_coco, 12), (_csv, "cherry"), (_arrays, 1), (_masks, "other")],
)
def test_every_kind_of_data_has_a_fingerprint(make, other, tmp_path):
    same, again, changed = (
        [make(tmp_path / name, *value).open(split) for split in ("train", "test")]
        if make is not _csv
        else [make(tmp_path / name, *value).open("train")] * 2
        for name, value in (("a", ()), ("b", ()), ("c", (other,)))
    )
    record = same[0][0]
    known = describe(*same, record)
    assert list(changes(known, describe(*again, record), ("train", "test"))) == []
    assert len(list(changes(known, describe(*changed, record), ("train", "test")))) >= 1


def test_a_view_has_the_fingerprint_of_its_records(tmp_path):
    root = fruit(tmp_path / "data")
    data = FrequentIdentities(data=Folder(root=str(root)), minimum_images=2)
    found = fingerprint(data.open("train"))
    assert found.class_counts == (8, 8, 8)
    (root / "apple" / "0.png").rename(root / "apple" / "q.png")
    names = {fingerprint(data.open(split)).names for split in ("train", "test")}
    assert found.names not in names or len(names) == 2


def test_a_metric_that_is_never_logged_is_refused_before_anything_is_written(tmp_path):
    data = Synthetic(num_examples=24, num_test_examples=9, image_size=4, num_classes=3)
    for setting, metric in (
        ("keep", "accuracy"),
        ("keep", "test/acuracy"),
        ("keep", "test_ema/accuracy"),
        ("keep", "train/top_9"),
        ("early_stopping", "tset/loss"),
    ):
        value = Keep(best=metric) if setting == "keep" else EarlyStopping(metric=metric, patience=3)
        with pytest.raises(
            SetupError, match=f"{setting}.* is '{metric}', which this run never logs"
        ):
            train(experiment(data, **{setting: value}), tmp_path / "run", ONE)
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("metric", "changes"),
    [
        ("test/accuracy", {}),
        ("train/loss", {}),
        ("train/gradient_norm", {}),
        ("test_ema/macro_f1", {"ema_decay": 0.9}),
    ],
)
def test_a_metric_that_is_logged_keeps_the_best(tmp_path, metric, changes):
    data = Synthetic(num_examples=24, num_test_examples=9, image_size=4, num_classes=3)
    mode = "max" if "loss" not in metric else "min"
    train(experiment(data, keep=Keep(last=1, best=metric, mode=mode), **changes), tmp_path, ONE)
    checkpoints = Checkpoints(tmp_path / "checkpoints", Keep(last=1, best=metric, mode=mode))
    assert checkpoints.best_step() is not None


@pytest.mark.parametrize("bad", [["apple/0.png"], ["apple/0.png", "apple/1.png", "banana/0.png"]])
def test_a_bad_record_is_skipped_wherever_it_stands(tmp_path, bad):
    root = fruit(tmp_path / "data")
    folder = Folder(root=str(root))
    first = [s.record_name(0) for s in map(folder.open, ("train", "test"))]
    for name in {*first, *(str(root / each) for each in bad)}:
        with open(name, "wb") as file:
            file.write(b"no image")
    skipping = experiment(folder, on_bad_record="skip", steps=5)
    train(skipping, tmp_path / "run", ONE)
    run, state = open_workdir(tmp_path / "run", ONE)
    assert predictions(run, state, [str(root / "cherry/9.png")])[0] in COLORS
    assert presentation_of(run.experiment.task).sections(
        run, state, evaluate_state(make_evaluator(run), state)["test"]
    )
    with pytest.raises(ValueError, match="0.png"):
        train(experiment(folder, steps=5), tmp_path / "strict", ONE)
    with pytest.raises(ValueError, match=r"\.png"):
        train(experiment(folder, on_bad_record="skip", max_bad_records=0), tmp_path / "few", ONE)


def test_a_run_without_a_picture_that_can_be_read_says_so(tmp_path):
    root = fruit(tmp_path / "data", range(3))
    for path in root.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(ValueError, match="not a whole image"):
        train(experiment(Folder(root=str(root)), on_bad_record="skip"), tmp_path / "run", ONE)
    assert not (tmp_path / "run").exists()


def test_config_error_is_for_people(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        open_workdir(tmp_path, ONE)


def _first_spoilt(data):
    """The data, whose first training and first test picture are no pictures."""
    for split in ("train", "test"):
        with open(data.open(split).record_name(0), "wb") as file:
            file.write(b"no image")
    return data


def _heights(root):
    fruit(root)
    rows = "".join(f"{name}/{i}.png,{i}.5\n" for name in COLORS for i in range(10))
    (root / "t.csv").write_text("image,label\n" + rows)
    return CSV(path=str(root / "t.csv"), regression=True)


def _people(root):
    return ImagesPerIdentity(data=People(root=str(fruit(root))), train_images=7)


def _unchecked_masks(root):
    return dataclasses.replace(_masks(root), check_files=False, size=4, test_fraction=0.5)


def _unchecked_boxes(root):
    return dataclasses.replace(_coco(root), check_files=False, size=16)


@pytest.mark.parametrize(
    ("make", "changes"),
    [
        (_heights, {"task": Regression(), "model": MLP(num_classes=1, hidden=())}),
        (
            _people,
            {
                "task": FaceRecognition(num_classes=3),
                "model": EmbeddingClassifier(
                    num_classes=3, embedding_size=4, backbone=MLP(num_classes=4, hidden=())
                ),
            },
        ),
        (
            _unchecked_masks,
            {
                "task": Segmentation(num_classes=2),
                "model": UNet(2, ConvBackbone(widths=(4, 4), patch=1), widths=(4,)),
            },
        ),
        (
            _unchecked_boxes,
            {
                "task": Detection(num_classes=1),
                "model": FCOS(
                    1, ConvBackbone(widths=(4, 4), patch=4, convolutions=1), strides=(4, 8), width=4
                ),
            },
        ),
    ],
)
def test_every_task_skips_a_bad_first_record(make, changes, tmp_path):
    data = _first_spoilt(make(tmp_path / "data"))
    skipping = experiment(data, steps=2, batch_size=2, on_bad_record="skip", **changes)
    results = train(skipping, tmp_path / "run", ONE)
    assert results["test"]["count"] == len(data.open("test")) - 1
