"""TFDS data sets read without TensorFlow: names, splits, errors, damage."""

import json
import shutil
import sys

import numpy as np
import pytest

from jaxcv.data import TFDS, Batches, DecodeError, materialize, prepared
from jaxcv.data.tfds import find_prepared
from tests.data.painted import encoded

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def cifar10(data_dir, **options):
    return TFDS(name="cifar10", data_dir=str(data_dir), **options)


def by_content(arrays):
    """Records as sortable rows, since preparing shuffles them."""
    rows = np.concatenate([arrays["label"][:, None], arrays["image"].reshape(-1, 3072)], 1)
    return rows[np.lexsort(rows.T)]


def test_records_are_exact(prepared_cifar10, tiny_cifar10):
    _, train, test = tiny_cifar10
    for split, rows in (("train", train), ("test", test)):
        source = cifar10(prepared_cifar10).open(split)
        assert source.class_names == NAMES
        arrays = materialize(source)
        planes = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        wanted = {"label": rows[:, 0].astype(np.int32), "image": planes}
        np.testing.assert_array_equal(by_content(arrays), by_content(wanted))
    assert "tensorflow" not in sys.modules


def test_equal_to_what_tfds_itself_reads(prepared_cifar10):
    import tensorflow_datasets as tfds

    theirs = tfds.data_source("cifar10", split="test", data_dir=str(prepared_cifar10))
    ours = cifar10(prepared_cifar10).open("test")
    assert len(ours) == len(theirs) == 20
    for i in range(20):
        np.testing.assert_array_equal(ours[i]["image"], theirs[i]["image"])
        assert ours[i]["label"] == theirs[i]["label"]
    assert theirs[0]["id"].startswith(b"test_000")


def test_slices_names_and_options(prepared_cifar10):
    data = cifar10(prepared_cifar10, train_split="train[:75%]", test_split="train[75%:]")
    train, test = data.open("train"), data.open("test")
    assert (len(train), len(test)) == (45, 15)
    assert train.record_name(3) == "cifar10:3.0.2 train[:75%][3]"
    whole = materialize(cifar10(prepared_cifar10).open("train"))
    parts = [materialize(train), materialize(test)]
    for key, values in whole.items():
        np.testing.assert_array_equal(np.concatenate([part[key] for part in parts]), values)
    small = TFDS(name="cifar10:3.0.2", data_dir=str(prepared_cifar10), size=8, channels=1)
    record = small.open("test")[0]
    assert record["image"].shape == (8, 8, 1)
    assert record["label"].dtype == np.int32


def test_data_dir_from_the_environment(prepared_cifar10, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared_cifar10))
    assert list(prepared()) == ["cifar10"]
    assert len(TFDS(name="cifar10").open("test")) == 20


def test_newest_version_and_configurations(tmp_path):
    for folder in ("a/1.9.0", "a/1.10.0", "b/small/2.0.0", "a/incomplete.X_1.11.0", "c/1.0"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "dataset_info.json").write_text("{}")
    here = str(tmp_path)
    assert {k: [f.name for f in v] for k, v in prepared(here).items()} == {
        "a": ["1.9.0", "1.10.0"],
        "b/small": ["2.0.0"],
    }
    assert find_prepared("a", here).name == "1.10.0"
    assert find_prepared("a:1.9.0", here).name == "1.9.0"
    assert find_prepared("b/small", here).parent.name == "small"
    with pytest.raises(ValueError, match=r"no version '2\.0\.0' in .*; found 1\.9\.0, 1\.10\.0"):
        find_prepared("a:2.0.0", here)
    with pytest.raises(ValueError, match="needs a configuration; prepared are b/small"):
        find_prepared("b", here)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "cifar1O"}, "no data set 'cifar1O'. Did you mean 'cifar10'"),
        ({"name": "zzzzzzzz"}, "no data set 'zzzzzzzz'. Prepared in .*: cifar10"),
        ({"name": "mnist"}, "'mnist' is not prepared in .*; run `jaxcv data prepare mnist`"),
        ({"name": "cifar10:1.0.0"}, r"no version '1\.0\.0'"),
        ({"train_split": "trian"}, r"no split 'trian': it has .*train \(60\).*slices are written"),
        ({"train_split": "train[:9"}, "no split"),
        ({"train_split": "train[:0]"}, r"no split 'train\[:0\]'"),
        ({"image_key": "img"}, "no feature 'img'; it has id, image, label"),
        ({"label_key": "id"}, "feature 'id' .* is not a class or a number"),
        ({"image_key": "label"}, "feature 'label' .* is not an image"),
    ],
)
def test_wrong_settings(prepared_cifar10, options, message):
    settings = {"name": "cifar10", "data_dir": str(prepared_cifar10), **options}
    with pytest.raises(ValueError, match=message) as caught:
        Batches(TFDS(**settings).open("train"), 2, shuffle=True)
    assert "\n" not in str(caught.value)


def test_tfrecord_is_refused_with_what_to_do(prepared_cifar10, tmp_path):
    shutil.copytree(prepared_cifar10 / "cifar10", tmp_path / "cifar10")
    path = tmp_path / "cifar10" / "3.0.2" / "dataset_info.json"
    info = json.loads(path.read_text())
    info["fileFormat"] = "tfrecord"
    path.write_text(json.dumps(info))
    with pytest.raises(ValueError, match=r"stored as tfrecord in .*prepare it as array_record"):
        cifar10(tmp_path).open("train")


def test_damaged_shard_names_the_record(prepared_cifar10, tmp_path):
    shutil.copytree(prepared_cifar10 / "cifar10", tmp_path / "cifar10")
    (shard,) = (tmp_path / "cifar10" / "3.0.2").glob("*-train.array_record*")
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 4
    shard.write_bytes(data)
    source = cifar10(tmp_path).open("train")
    with pytest.raises(DecodeError, match=r"cifar10:3\.0\.2 train\[\d+\]: cannot be read"):
        materialize(source)
    batches = Batches(source, 60, shuffle=False, on_bad_record="skip")
    arrays = materialize(batches)
    assert 1 <= len(batches.bad_records) == int((~arrays["mask"]).sum())


@pytest.mark.parametrize(
    ("name", "shape", "lengths"),
    [
        ("fashion_mnist", (28, 28, 1), (60_000, 10_000)),
        ("cifar10_jpeg75", (32, 32, 3), (50_000, 10_000)),
    ],
)
def test_real_data(real_data, name, shape, lengths):
    data = TFDS(name=name, data_dir=real_data(name))
    train, test = data.open("train"), data.open("test")
    assert (len(train), len(test)) == lengths
    batch = Batches(train, 256, shuffle=True, seed=1)[7]
    assert batch["image"].shape == (256, *shape)
    assert set(batch["label"]) == set(range(10))
    assert 40 < batch["image"].mean() < 160


@pytest.fixture(scope="module")
def prepared_wide(tmp_path_factory):
    """ "wide_labels": numbers as labels, the last of which needs more than 32 bits."""
    import tensorflow_datasets as tfds

    class WideLabels(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"image": tfds.features.Image(shape=(4, 4, 3)), "label": np.int64}
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, download_manager):
            return {
                "train": self._generate_examples((0, 3)),
                "test": self._generate_examples((2**32 + 1,)),
            }

        def _generate_examples(self, labels):
            picture = encoded(np.zeros((4, 4, 3), np.uint8), file_format="PNG")
            for label in labels:
                yield label, {"image": picture, "label": label}

    data_dir = str(tmp_path_factory.mktemp("prepared_wide"))
    builder = WideLabels(data_dir=data_dir, file_format="array_record")
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    builder.download_and_prepare(download_config=config)
    return data_dir


def test_a_label_beyond_32_bits_is_not_cut_to_another_class(prepared_wide):
    data = TFDS(name="wide_labels", data_dir=prepared_wide)
    assert sorted(data.open("train").labels.tolist()) == [0, 3]
    message = r"wide_labels:1\.0\.0 test\[0\]: label 4294967297 does not fit 32 bits"
    source = data.open("test")
    with pytest.raises(ValueError, match=message):
        source[0]
    with pytest.raises(ValueError, match=message):
        source.__getitems__([0])
    with pytest.raises(ValueError, match=message):
        _ = source.labels


@pytest.mark.parametrize(
    ("train", "other", "shared"),
    [
        ("train", "train", 60),
        ("train[:50%]", "train[40%:]", 6),
        ("train+test", "test[5:]", 15),
        ("train[10:20]", "train[:11]+train[19:]", 2),
        ("train[:50%]", "train[50%:]", 0),
        ("train", "test", 0),
    ],
)
@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_record_is_in_one_split(prepared_cifar10, train, other, shared, split):
    data = cifar10(prepared_cifar10, **{"train_split": train, f"{split}_split": other})
    assert len(data.open("train")) > 0
    if not shared:
        assert len(data.open(split)) > 0
        return
    with pytest.raises(
        ValueError, match=rf"cifar10: {shared} records of .* for training; give spl"
    ):
        data.open(split)
