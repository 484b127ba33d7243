"""Prediction for a file is what an evaluation says of the record that the file is."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from jaxcv.data import CSV, Folder, FrequentIdentities, ImagesPerIdentity, People
from jaxcv.models import MLP
from jaxcv.predict import predict_images
from jaxcv.tasks import Classification
from jaxcv.train import Experiment, Optimizer, Runtime, open_run
from jaxcv.train.evaluation import predict_test
from jaxcv.train.run import SetupError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Wide, turned photos in two classes; by chance none looks like another."""
    root, rng, exif = (
        tmp_path_factory.mktemp("files") / "classes",
        np.random.default_rng(0),
        Image.Exif(),
    )
    exif[0x0112] = 6
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for i in range(5):
            pixels = rng.integers(0, 256, (24, 70, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.jpg", exif=exif.tobytes())
    files = sorted(path.relative_to(root).as_posix() for path in root.glob("*/*"))
    table = "".join(f"{file},{file[0]}\n" for file in files)
    (root / "table.csv").write_text("image,label\n" + table)
    return str(root)


def opened(data):
    """A run whose weights are random, on one device, and its variables."""
    experiment = Experiment(
        data=data,
        model=MLP(num_classes=2, hidden=()),
        task=Classification(num_classes=2),
        optimizer=Optimizer(learning_rate=0.1),
        batch_size=2,
        eval_batch_size=4,
        steps=1,
    )
    run = open_run(experiment, Runtime(devices=1))
    return run, run.create_state().variables


@pytest.mark.parametrize(
    "make",
    [
        lambda root: Folder(root=root, apply_exif=False),
        lambda root: Folder(root=root, size=8, fit="stretch", decode_margin=1.0),
        lambda root: CSV(path=f"{root}/table.csv", size=(10, 6), fit="pad", channels=1),
        lambda root: FrequentIdentities(
            data=Folder(root=root, size=8, fit="stretch", apply_exif=False), minimum_images=2
        ),
        lambda root: ImagesPerIdentity(
            data=People(root=root, size=(8, 12), fit="pad", channels=1, apply_exif=False),
            train_images=2,
        ),
    ],
)
def test_a_file_is_predicted_as_the_record_is(make, folder):
    run, variables = opened(make(folder))
    source = run.test_source
    files = [source.record_name(i) for i in range(len(source))]
    rows = list(predict_images(run, variables, files))
    assert [row.file for row in rows] == files
    wanted = predict_test(run, variables)["probabilities"]
    found = [row.arrays["probabilities"] for row in rows]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert np.ptp(wanted[:, 0]) > 1e-3  # so that pictures read otherwise would be noticed


def test_a_file_above_the_limit_of_the_data_set_is_told_and_left_out(folder, tmp_path):
    run, variables = opened(Folder(root=folder, size=8, max_pixels=24 * 70))
    Image.fromarray(np.zeros((24, 71, 3), np.uint8)).save(tmp_path / "large.png")
    files = [str(tmp_path / "large.png"), run.test_source.record_name(0)]
    large, fine = predict_images(run, variables, files)
    assert "71x24 pixels, above the limit 1680" in large.error
    assert "prediction" in fine.arrays


def test_a_source_of_your_own_without_a_reader_is_told_what_it_lacks(folder):
    run, _ = opened(Folder(root=folder, size=8))
    run = dataclasses.replace(run, data=dataclasses.replace(run.data, image_reader=None))
    with pytest.raises(SetupError, match="Folder has no image_reader.*jaxcv.data.ImageReader"):
        _ = run.image_reader
