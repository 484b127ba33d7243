"""Labels far from 0: pressures, UNIX times. Beside scikit-learn in float64, from file to prediction."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from jaxcv.cli.main import main
from jaxcv.data import CSV, Arrays, Batches, materialize
from jaxcv.models import MLP
from jaxcv.tasks import Huber, Regression
from jaxcv.train import Adam, Experiment, Optimizer, Runtime, open_workdir, predict_test, train
from jaxcv.train.manifest import read_manifest, write_manifest
from jaxcv.train.run import open_run
from jaxcv.train.settling import settled
from jaxcv.train.training_data import TrainingData

ONE_DEVICE = Runtime(devices=1)
FAR = [(0.0, 1.0), (1e5, 1e3), (101_325.0, 50.0), (1.7e9, 1e5), (1.7e9, 1.0), (-1e9, 1.0)]


def drawn(mean, spread, count, seed=0):
    """Images whose brightness tells the label but for some noise, and labels in float64."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 2, 2, 1), np.uint8)
    told = (images.mean((1, 2, 3)) - 127.5) / 37
    return images, mean + spread * (0.8 * told + 0.6 * rng.normal(size=count))


def experiment(mean, spread, **changed):
    images, labels = drawn(mean, spread, 120)
    return Experiment(
        data=Arrays(
            images=images[:80], labels=labels[:80], test_images=images[80:], test_labels=labels[80:]
        ),
        model=MLP(num_classes=1, hidden=()),
        optimizer=Optimizer(learning_rate=0.1 * spread, algorithm=Adam()),
        **{
            "task": Regression(),
            "batch_size": 16,
            "eval_batch_size": 16,
            "steps": 40,
            "log_every": 40,
            "eval_every": 40,
            **changed,
        },
    )


def rows(workdir, split):
    found = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [row for row in found if row["split"] == split]


@pytest.mark.parametrize(("mean", "spread"), FAR)
def test_the_scores_of_a_run_are_those_of_scikit_learn(tmp_path, mean, spread):
    chosen = experiment(mean, spread)
    train(chosen, tmp_path, ONE_DEVICE)
    run, state = open_workdir(tmp_path, ONE_DEVICE, experiment=chosen)
    found, truth = predict_test(run, state.variables), drawn(mean, spread, 120)[1][80:]
    np.testing.assert_allclose(found["label"], truth, atol=1e-6 * spread, rtol=0)
    predictions = found["prediction"]
    (row,) = rows(tmp_path, "test")
    assert row["r_squared"] == pytest.approx(r2_score(truth, predictions), abs=1e-5)
    wanted = mean_squared_error(truth, predictions)
    assert row["mean_squared_error"] == pytest.approx(wanted, rel=1e-5)
    assert row["loss"] == pytest.approx(wanted, rel=1e-5)
    wanted = mean_absolute_error(truth, predictions)
    assert row["mean_absolute_error"] == pytest.approx(wanted, rel=1e-5)
    # It has learned something, which it could not from labels that float32 has rounded to one.
    assert row["r_squared"] > 0.3
    assert 0 < rows(tmp_path, "train")[-1]["r_squared"] < 1


def test_how_far_labels_are_from_zero_changes_nothing(tmp_path):
    """The same run on labels that are moved."""
    for mean in (0.0, 1e5, 1.7e9):
        train(experiment(mean, 1.0, steps=10), tmp_path / str(mean), ONE_DEVICE)
    near, *far = (rows(path, "test")[0]["r_squared"] for path in sorted(tmp_path.iterdir()))
    assert far == pytest.approx([near, near], abs=2e-5)


def test_the_offset_is_settled_when_the_run_starts_and_stays(tmp_path):
    chosen = experiment(1.7e9, 3.0, steps=2)
    train(chosen, tmp_path, ONE_DEVICE)
    written = json.loads((tmp_path / "config.json").read_text())["task"]["offset"]
    labels = drawn(1.7e9, 3.0, 120)[1][:80]
    assert written == pytest.approx(labels.mean(), abs=1e-6)
    earlier = Regression(offset=written)
    images, labels = drawn(5.0, 1.0, 8)
    source = Arrays(images=images, labels=labels).open("train")
    other = TrainingData(num_examples=len(source), num_classes=None, source=source)
    assert settled(Regression(), other, earlier) == earlier
    assert settled(Regression(offset=3.0), other, earlier) == Regression(offset=3.0)
    again = open_run(chosen, ONE_DEVICE, tmp_path)
    assert again.experiment.task.offset == written


def test_a_run_of_before_keeps_predicting_the_label_itself(tmp_path):
    chosen = experiment(500.0, 3.0, steps=2, task=Regression(offset=0.0))
    train(chosen, tmp_path, ONE_DEVICE)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["task"]["offset"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (
        tmp_path / "run.json"
    ).unlink()  # which a run of before does not have, nor its checkpoints' digest
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    body = read_manifest(checkpoint, 2)
    write_manifest(checkpoint, {**body, "run_digest": None})
    train(experiment(500.0, 3.0, steps=2), tmp_path, ONE_DEVICE)  # resumes: nothing to do
    run, _ = open_workdir(tmp_path, ONE_DEVICE, experiment=experiment(500.0, 3.0, steps=2))
    assert run.experiment.task.offset == 0.0


def test_the_offset_comes_from_records_where_no_labels_are_known():
    class Slow:
        """A source that has to be read record by record, and counts what is read."""

        class_names = ()
        read = 0

        def __len__(self):
            return 10_000

        def __getitem__(self, index):
            type(self).read += 1
            return {"image": np.zeros((1, 1, 1), np.uint8), "label": np.float64(1e9 + index)}

    data = TrainingData(num_examples=10_000, num_classes=None, source=Slow())
    assert data.label_mean() == pytest.approx(1e9 + 5000, abs=100)
    assert Slow.read < 300
    assert TrainingData(num_examples=3, num_classes=None).label_mean() == 0.0


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.float32])
def test_batches_take_the_offset_off_before_they_round(dtype):
    images = np.zeros((5, 2, 2, 1), np.uint8)
    labels = (1_600_000_000 + 128 * np.arange(5)).astype(dtype)
    source = Arrays(images=images, labels=np.arange(5, dtype=np.float64)).open("train")

    class Labelled:
        class_names, __len__ = (), lambda self: 5

        def __getitem__(self, index):
            return {"image": source[0]["image"], "label": labels[index]}

        def record_name(self, index):
            return str(index)

    batches = Batches(Labelled(), 3, shuffle=False, multiple_of=4, label_offset=1_600_000_000.0)
    assert batches.spec["label"] == ((), np.float32)
    wanted = [[0, 128, 256, 0], [384, 512, 0, 0]]  # 0 in padding
    for step, values in enumerate(wanted):
        found = batches[step]["label"]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(materialize(batches)["label"], 128 * np.arange(5))


def test_predicted_files_have_the_digits_of_float64(tmp_path, capsys):
    images, labels = drawn(1.7e9, 1.0, 40)
    lines = ["image,label"]
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image[..., 0]).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{float(label)!r}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    chosen = Experiment(
        data=CSV(path=str(tmp_path / "table.csv"), regression=True, channels=1),
        model=MLP(num_classes=1, hidden=()),
        task=Regression(objective=Huber()),
        optimizer=Optimizer(learning_rate=0.05, algorithm=Adam()),
        batch_size=16,
        steps=100,
    )
    train(chosen, tmp_path / "run", ONE_DEVICE)
    capsys.readouterr()
    files = [str(tmp_path / f"{i}.png") for i in range(40)]
    written = tmp_path / "found.jsonl"
    assert (
        main(["predict", str(tmp_path / "run"), *files, "--devices", "1", "--output", str(written)])
        == 0
    )
    predictions = [json.loads(line)["prediction"] for line in written.read_text().splitlines()]
    assert r2_score(labels, predictions) > 0.3


def test_restored_leaves_alone_what_has_no_offset():
    arrays = {"prediction": np.float32([1, 2]), "mask": np.array([True, False])}
    assert Regression().restored(arrays) is arrays
    found = Regression(offset=1e9).restored(arrays)
    np.testing.assert_array_equal(found["prediction"], [1e9 + 1, 1e9 + 2])
    assert found["mask"] is arrays["mask"]
    outputs = jnp.array([[1.0], [2.0]])
    np.testing.assert_array_equal(Regression(offset=1e9).predict(outputs)["prediction"], [1, 2])


@pytest.mark.parametrize("offset", [np.nan, np.inf])
def test_an_offset_that_is_no_number_is_refused(offset):
    with pytest.raises(ValueError, match="offset is"):
        Regression(offset=offset)


def test_evaluation_adds_up_over_devices(tmp_path):
    chosen = experiment(1e9, 1.0, steps=4)
    for count in (1, 8):
        train(chosen, tmp_path / str(count), Runtime(devices=count))
    one, eight = (rows(tmp_path / name, "test")[0] for name in ("1", "8"))
    assert one["r_squared"] == pytest.approx(eight["r_squared"], abs=1e-5)
    assert jax.device_count() == 8
