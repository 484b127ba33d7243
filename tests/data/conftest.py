"""A tiny CIFAR-10 in the official format, prepared once, and the way to real data."""

import os
import pathlib

import pytest

from tests.data.cifar_archives import cifar_rows, write_archive

CIFAR10_NAMES = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]


@pytest.fixture(scope="session")
def tiny_cifar10(tmp_path_factory):
    """(folder of the archive, training rows [60, 3073], test rows [20, 3073])."""
    raw = tmp_path_factory.mktemp("raw")
    train, test = cifar_rows(60, 0, 10), cifar_rows(20, 1, 10)
    files = {f"data_batch_{i + 1}.bin": train[12 * i : 12 * i + 12].tobytes() for i in range(5)}
    files["test_batch.bin"] = test.tobytes()
    files["batches.meta.txt"] = ("\n".join(CIFAR10_NAMES) + "\n\n").encode()
    write_archive(
        raw / "cifar-10-binary.tar.gz",
        {f"cifar-10-batches-bin/{name}": data for name, data in files.items()},
    )
    return raw, train, test


@pytest.fixture(scope="session")
def prepared_cifar10(tiny_cifar10, tmp_path_factory):
    """Folder of prepared data sets that holds the tiny CIFAR-10; copy it before changing it."""
    from jaxcv.data import prepare

    data_dir = tmp_path_factory.mktemp("prepared")
    prepare("cifar10", data_dir=str(data_dir), raw_dir=str(tiny_cifar10[0]), verify_checksums=False)
    return data_dir


@pytest.fixture
def real_data():
    """`real_data(name)` is the folder of prepared data sets that holds `name`, or a skip."""

    def find(name):
        beside = pathlib.Path(__file__).parents[3] / "data"
        for folder in (os.environ.get("TFDS_DATA_DIR"), beside):
            if folder and (pathlib.Path(folder) / name).is_dir():
                return str(folder)
        return pytest.skip(f"{name} is not prepared; set TFDS_DATA_DIR to where it is")

    return find
