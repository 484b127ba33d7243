"""TFDS data sets whose label is a name, as in `lfw`, prepared here without TensorFlow."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxcv.data import (
    TFDS,
    BalancedIdentities,
    Batches,
    DisjointIdentities,
    FrequentIdentities,
    materialize,
    record_labels,
)

PEOPLE = {"Zoë_Young": 3, "Ada_Lovelace": 4, "Bo": 1}


@pytest.fixture(scope="module")
def lfw(tmp_path_factory):
    """A data set with the name, the version and the features of TFDS's own, and 8 small faces."""
    import tensorflow_datasets as tfds

    def examples():
        for person, (name, count) in enumerate(PEOPLE.items()):
            for i in range(count):
                file = io.BytesIO()
                Image.new("RGB", (250, 250), (person, i, 0)).save(file, "PNG")
                yield f"{name}/{i}", {"label": name, "image": file.getvalue()}

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """Faces in the layout of LFW."""

        name = "lfw"
        VERSION = tfds.core.Version("0.1.1")

        def _info(self):
            features = {
                "label": tfds.features.Text(),
                "image": tfds.features.Image(shape=(250, 250, 3)),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {"train": examples()}

        def _generate_examples(self):
            raise NotImplementedError

    data_dir = tmp_path_factory.mktemp("prepared")
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    Builder(data_dir=str(data_dir), file_format="array_record").download_and_prepare(
        download_dir=str(tmp_path_factory.mktemp("scratch")), download_config=config
    )
    return str(data_dir)


def test_people_are_numbered_by_name(lfw):
    source = TFDS(name="lfw", data_dir=lfw, size=4).open("train")
    assert source.class_names == ("Ada_Lovelace", "Bo", "Zoë_Young")
    arrays = materialize(source)
    painted = [list(PEOPLE)[red] for red in arrays["image"][:, 0, 0, 0]]
    assert [source.class_names[label] for label in arrays["label"]] == painted
    assert arrays["label"].dtype == np.int32
    np.testing.assert_array_equal(record_labels(source), arrays["label"])
    assert np.bincount(arrays["label"]).tolist() == [4, 1, 3]


def test_slices_number_people_alike(lfw):
    data = TFDS(name="lfw", data_dir=lfw, train_split="train[:3]", test_split="train[3:]", size=4)
    train, test = data.open("train"), data.open("test")
    assert train.class_names == test.class_names == ("Ada_Lovelace", "Bo", "Zoë_Young")
    whole = TFDS(name="lfw", data_dir=lfw, size=4).open("train")
    both = np.concatenate([record_labels(train), record_labels(test)])
    np.testing.assert_array_equal(both, record_labels(whole))


def test_as_people(lfw):
    data = TFDS(name="lfw", data_dir=lfw, size=8)
    often = FrequentIdentities(data=data, minimum_images=3)
    batch = Batches(
        often.open("train"), 6, shuffle=True, sampler=BalancedIdentities(images_per_identity=3)
    )[0]
    assert sorted(batch["label"].tolist()) == [0, 0, 0, 1, 1, 1]
    parts = DisjointIdentities(data=often, test_identities=1)
    assert len(parts.open("train").class_names) == len(parts.open("test").class_names) == 1
    with pytest.raises(ValueError, match="no split 'test'"):
        data.open("test")
    with pytest.raises(ValueError, match="no split 'validation'"):
        data.open("validation")


def test_a_text_that_is_no_name(prepared_cifar10):
    data = TFDS(name="cifar10", data_dir=str(prepared_cifar10), label_key="id")
    with pytest.raises(ValueError, match="'id' of 'cifar10' .* is another in each of 80 records"):
        data.open("train")
