"""Preparing data sets without TensorFlow, from archives in the official formats made small."""

import bz2
import gzip
import hashlib
import importlib.util
import io
import lzma
import pathlib
import struct
import tarfile
import urllib.error
import urllib.request

import numpy as np
import pytest

from jaxcv.data import TFDS, materialize, preparation, prepare
from jaxcv.data.downloads import raw_file
from tests.data.cifar_archives import cifar_rows, write_archive


def idx(array):
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.tobytes())


def write_mnist(folder, train=30, test=12):
    """Four files like MNIST's; returns images and labels by split."""
    rng, made = np.random.default_rng(0), {}
    for split, part, count in (("train", "train", train), ("test", "t10k", test)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(labels))
        made[split] = images, labels
    return made


def offline(name, tmp_path, **options):
    return prepare(
        name, data_dir=str(tmp_path / "out"), raw_dir=str(tmp_path), download=False, **options
    )


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_mnist_and_its_kin(name, tmp_path):
    made = write_mnist(tmp_path)
    folder = offline(name, tmp_path, verify_checksums=False)
    assert folder == tmp_path / "out" / name / "3.0.1"
    for split in ("train", "test"):
        source = TFDS(name=name, data_dir=str(tmp_path / "out")).open(split)
        assert len(source.class_names) == 10
        found = materialize(source)
        images, labels = made[split]
        # Preparing shuffles the records: compare as sets.
        wanted = {(image.tobytes(), int(label)) for image, label in zip(images, labels)}
        assert {(i.tobytes(), int(y)) for i, y in zip(found["image"], found["label"])} == wanted
    assert source.class_names[0] == {"mnist": "0", "fashion_mnist": "T-shirt/top"}[name]


def test_cifar100(tmp_path):
    rows = {"train": cifar_rows(30, 0, 20, 100), "test": cifar_rows(10, 1, 20, 100)}
    files = {f"{split}.bin": part.tobytes() for split, part in rows.items()}
    files["fine_label_names.txt"] = "\n".join(f"fine_{i}" for i in range(100)).encode()
    files["coarse_label_names.txt"] = "\n".join(f"coarse_{i}" for i in range(20)).encode()
    archive = tmp_path / "cifar-100-binary.tar.gz"
    write_archive(archive, {f"cifar-100-binary/{name}": data for name, data in files.items()})
    assert offline("cifar100", tmp_path, verify_checksums=False).name == "3.0.2"
    for key, column, count in (("label", 1, 100), ("coarse_label", 0, 20)):
        data = TFDS(name="cifar100", data_dir=str(tmp_path / "out"), label_key=key)
        source = data.open("train")
        assert len(source.class_names) == count
        found = materialize(source)
        planes = rows["train"][:, 2:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        labels = rows["train"][:, column]
        wanted = {(image.tobytes(), int(label)) for image, label in zip(planes, labels)}
        assert {(i.tobytes(), int(y)) for i, y in zip(found["image"], found["label"])} == wanted


def test_prepared_already_is_left_alone(prepared_cifar10):
    folder = prepared_cifar10 / "cifar10" / "3.0.2"
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    for name in ("cifar10", "cifar10:3.0.2"):
        assert prepare(name, data_dir=str(prepared_cifar10), download=False) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_checksums_are_verified_unless_switched_off(tmp_path):
    write_mnist(tmp_path)
    with pytest.raises(ValueError, match=r"is not the registered file: .* sha256 .*; wanted"):
        offline("mnist", tmp_path)
    assert not (tmp_path / "out").exists()


def test_files_are_found_in_tfds_folders(tmp_path):
    manual = tmp_path / "out" / "downloads" / "manual"
    manual.mkdir(parents=True)
    write_mnist(manual)
    options = {"data_dir": str(tmp_path / "out"), "download": False, "verify_checksums": False}
    assert prepare("mnist", **options).is_dir()
    with pytest.raises(
        ValueError, match=r"needs cifar-10-binary\.tar\.gz, which is not in .*manual"
    ):
        prepare("cifar10", **options)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-40], "not a whole gzipped IDX file"),
        (lambda data: b"not gzip at all", "not a whole gzipped IDX file"),
        (lambda data: gzip.compress(b"\0\0\x08\x01\0\0\0\x05abcde"), "not with an IDX header"),
        (lambda data: gzip.compress(gzip.decompress(data)[:-1]), "its length does not match"),
        (lambda data: gzip.compress(gzip.decompress(data) + b"x"), "its length does not match"),
        (lambda data: gzip.compress(b"\0\0\x08\x03" + b"\xff" * 12), "its header claims"),
        (lambda data: idx(np.zeros((7, 28, 28), np.uint8)), "7 images but 30 labels"),
    ],
)
def test_damaged_idx_files(tmp_path, damage, message):
    write_mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        offline("mnist", tmp_path, verify_checksums=False)
    assert not list(tmp_path.glob("out/mnist/3.0.1"))


def test_damaged_archives(tmp_path):
    archive = tmp_path / "cifar-10-binary.tar.gz"
    archive.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="cannot be read"):
        offline("cifar10", tmp_path, verify_checksums=False)
    write_archive(archive, {"cifar-10-batches-bin/batches.meta.txt": b"a b"})
    with pytest.raises(ValueError, match=r"there is no .*data_batch_1\.bin in it"):
        offline("cifar10", tmp_path, verify_checksums=False)


META = {"cifar-10-batches-bin/batches.meta.txt": b"a b"}


def archive_with_a_long_name():
    """A header that tells of a name of 4 MB (GNU's L, pax's x)."""
    packed = []
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=kind) as tar:
            tar.addfile(tarfile.TarInfo("n/" * (2 << 20)))
        packed.append(file.getvalue())
    return packed


def archive_of(files):
    file = io.BytesIO()
    write_archive(file, files)
    return gzip.decompress(file.getvalue())


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, bytes])
def test_archives_that_inflate_beyond_the_limit(tmp_path, monkeypatch, pack):
    """Whatever in them is large: a member that is not asked for, one that is, a name."""
    monkeypatch.setattr(preparation, "MAX_ARCHIVE_BYTES", 1 << 20)
    large = bytes(3 << 20)
    archive = tmp_path / "cifar-10-binary.tar.gz"
    for data in (
        archive_of({"elsewhere": large, **META}),
        archive_of({**META, "elsewhere": large}),
        archive_of({"cifar-10-batches-bin/data_batch_1.bin": large, **META}),
        *archive_with_a_long_name(),
    ):
        archive.write_bytes(pack(data))
        with pytest.raises(
            ValueError, match=r"tar\.gz: .*inflates to more than the limit of 1048576"
        ):
            offline("cifar10", tmp_path, verify_checksums=False)
    archive.write_bytes(pack(archive_of({"elsewhere": bytes(1 << 19), **META})))
    with pytest.raises(ValueError, match=r"there is no .*data_batch_1\.bin in it"):
        offline("cifar10", tmp_path, verify_checksums=False)


def test_an_idx_file_above_the_limit(tmp_path):
    write_mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(b"\0\0\x08\x03" + struct.pack(">III", 1 << 19, 28, 28)))
    with pytest.raises(ValueError, match=r"its header claims the shape \(524288, 28, 28\)"):
        offline("mnist", tmp_path, verify_checksums=False)


def test_archive_that_would_write_elsewhere_writes_nothing(tiny_cifar10, tmp_path):
    archive = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(tiny_cifar10[0] / archive.name) as tar:
        files = {m.name: tar.extractfile(m).read() for m in tar}
    write_archive(archive, {"../../escaped": b"x", str(tmp_path / "absolute"): b"x", **files})
    assert offline("cifar10", tmp_path, verify_checksums=False).is_dir()
    assert not (tmp_path / "absolute").exists()
    assert not list(tmp_path.parent.rglob("escaped"))


# ---- Downloads ---------------------------------------------------------------------------------


class Registered:
    """As much of TFDS's UrlInfo as matters."""

    def __init__(self, data):
        self.size, self.checksum = len(data), hashlib.sha256(data).hexdigest()
        self.filename = "raw.gz"


def test_download(tmp_path, monkeypatch):
    data, asked = b"the registered bytes" * 100, []

    def open_url(url, timeout):
        asked.append(url)
        return io.BytesIO(sent[0])

    monkeypatch.setattr(urllib.request, "urlopen", open_url)
    fetch = ("some_set", "https://example.org/raw.gz", Registered(data), tmp_path)
    for wrong, message in ((data[:-1], "is not the registered file"), (data + b"x", "more than")):
        sent = [wrong]
        with pytest.raises(ValueError, match=message):
            raw_file(*fetch)
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    sent = [data]
    path = raw_file(*fetch)
    assert path.read_bytes() == data
    assert path.parent == tmp_path / "downloads" / "some_set"
    raw_file(*fetch)  # found, not asked for again
    assert asked == ["https://example.org/raw.gz"] * 3


def test_no_network_says_where_to_put_the_file(tmp_path, monkeypatch):
    def fail(url, timeout):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    message = r"cannot download .*t10k.* \(.*no route to host.*\); put t10k-.*\.gz into .*manual"
    with pytest.raises(ValueError, match=message):
        prepare("mnist", data_dir=str(tmp_path))


# ---- Other data sets ---------------------------------------------------------------------------


def test_other_data_sets_need_tensorflow(tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == "tensorflow" else find_spec(n, *a)
    )
    with pytest.raises(ValueError, match=r"'svhn_cropped' needs TensorFlow.*jaxcv\[tf\]"):
        prepare("svhn_cropped", data_dir=str(tmp_path))
    with pytest.raises(ValueError, match=r"no data set 'fashion_mist'.*'fashion_mnist'"):
        prepare("fashion_mist", data_dir=str(tmp_path))
    with pytest.raises(ValueError, match=r"prepared as 3\.0\.2, not '1\.0\.0'"):
        prepare("cifar10:1.0.0", data_dir=str(tmp_path))


def raw_fashion_mnist(data_dir, folder):
    """Puts the four official files into `folder`, or skips."""
    manual = pathlib.Path(data_dir) / "downloads" / "manual"
    pack = pathlib.Path(__file__).parents[3] / "shared" / "data" / "fashion_mnist.tar"
    if (manual / "t10k-images-idx3-ubyte.gz").is_file():
        return manual
    if pack.is_file():
        with tarfile.open(pack) as tar:
            tar.extractall(folder, filter="data")
        return next(folder.rglob("t10k-images-idx3-ubyte.gz")).parent
    return pytest.skip("the raw files of Fashion-MNIST are not here")


@pytest.mark.slow
def test_fashion_mnist_equals_the_one_prepared_elsewhere(real_data, tmp_path):
    """From the official files, checksums verified: every stored record has the same bytes."""
    import tensorflow_datasets as tfds

    data_dir = real_data("fashion_mnist")
    raw = raw_fashion_mnist(data_dir, tmp_path / "raw")
    prepare("fashion_mnist", data_dir=str(tmp_path), raw_dir=str(raw), download=False)
    for split, count in (("train", 60_000), ("test", 10_000)):
        ours, theirs = (
            tfds.builder_from_directory(f"{folder}/fashion_mnist/3.0.1")
            .as_data_source(split=split, deserialize_method="raw_bytes")
            .__getitems__(list(range(count)))
            for folder in (tmp_path, data_dir)
        )
        assert ours == theirs
