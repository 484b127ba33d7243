"""Random rectangles cut while decoding: their law, and batches as a function of the step."""

import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

from jaxcv.data import (
    CSV,
    TFDS,
    Batches,
    DecodeRandomResizedCrop,
    Folder,
    FrequentIdentities,
    TFDSSegmentation,
    TooManyBadRecordsError,
    decode_image,
    materialize,
)
from jaxcv.image.random_crop import sample_rectangle

CUT = DecodeRandomResizedCrop(size=(12, 10))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of two classes with six pictures each, of different sizes."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(12):
        folder = root / "ab"[number % 2]
        folder.mkdir(exist_ok=True)
        height, width = rng.integers(20, 60, 2)
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return root


def boxes(cut, size, count, seed=0):
    return np.array([view(size).box for view in cut.views(seed, 0, count)])


def test_rectangles_lie_inside_and_have_the_areas_and_ratios_asked_for():
    cut = DecodeRandomResizedCrop(scale=(0.1, 0.6), ratio=(0.5, 2.0))
    for height, width in [(100, 140), (333, 77), (3, 2)]:
        left, top, right, bottom = boxes(cut, (height, width), 2000).T
        assert min(left.min(), top.min()) >= 0
        assert right.max() <= width
        assert bottom.max() <= height
        area = (right - left) * (bottom - top) / (height * width)
        assert area.min() >= 0.1 - 1e-9
        assert area.max() <= 0.6 + 1e-9
        ratio = (right - left) / (bottom - top)
        assert ratio.min() >= 0.5 - 1e-9
        assert ratio.max() <= 2 + 1e-9


def test_the_law_is_that_of_the_crop_on_the_device():
    # Quantiles of left, top, width, height over 4,000 draws of each, for the default crop.
    height, width = 300, 400
    found = boxes(DecodeRandomResizedCrop(), (height, width), 4000)
    found[:, 2:] -= found[:, :2]
    keys = jax.random.split(jax.random.key(0), 4000)
    draw = jax.jit(
        jax.vmap(lambda key: sample_rectangle(key, (height, width), (0.08, 1), (3 / 4, 4 / 3))[0])
    )
    wanted = np.asarray(draw(keys))
    fractions = np.linspace(0.05, 0.95, 10)
    gap = np.quantile(found, fractions, axis=0) - np.quantile(wanted, fractions, axis=0)
    # A quantile of 4,000 draws is known to some 0.8% of the range; 4 sigma of a difference.
    assert np.abs(gap / [width, height, width, height]).max() < 4 * 0.008 * np.sqrt(2)
    np.testing.assert_allclose(
        np.corrcoef(found, rowvar=False), np.corrcoef(wanted, rowvar=False), atol=0.1
    )


def test_where_none_fits_the_largest_central_one_is_taken():
    cut = DecodeRandomResizedCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0))
    np.testing.assert_allclose(boxes(cut, (100, 400), 3), [[150, 0, 250, 100]] * 3)
    np.testing.assert_allclose(boxes(cut, (400, 100), 3), [[0, 150, 100, 250]] * 3)


def test_views_are_a_function_of_seed_step_and_row():
    def all_boxes(seed, step, count=5):
        return [view((50, 70)).box for view in CUT.views(seed, step, count)]

    assert all_boxes(3, 8) == all_boxes(3, 8)
    assert all_boxes(3, 8, 9)[:5] != all_boxes(3, 9, 9)[:5]
    assert all_boxes(3, 8) != all_boxes(4, 8)
    assert len(set(all_boxes(2**40, 2**39, 100))) == 100
    # Recorded once: other rectangles would silently change every run that is resumed.
    np.testing.assert_allclose(all_boxes(0, 0, 1), [RECORDED], rtol=1e-12)


RECORDED = (20.315567854086567, 4.050105868428751, 62.81472628808588, 46.922668160662)


def test_batches_show_the_rectangles_of_their_step(pictures):
    source = Folder(root=str(pictures), random_resized_crop=CUT, test_fraction=0.0).open("train")
    batches = Batches(source, 5, shuffle=True, seed=1)
    assert batches.spec["image"] == ((12, 10, 3), np.uint8)
    for step in (0, 7, 3):
        batch = batches[step]
        indices, _ = batches.indices(step)
        for row, view in enumerate(CUT.views(1, step, 5)):
            with open(source.record_name(indices[row]), "rb") as file:
                whole = decode_image(file.read())
            picture = Image.fromarray(whole).resize(
                (10, 12), Image.Resampling.BILINEAR, view(whole.shape[:2]).box
            )
            np.testing.assert_array_equal(batch["image"][row], np.asarray(picture))
            assert batch["label"][row] == source.labels[indices[row]]
    assert (batches[0]["image"] != batches[0 + 12]["image"]).any()


def test_streams_and_hosts_give_the_same(pictures):
    data = Folder(root=str(pictures), random_resized_crop=CUT)
    wanted = [Batches(data.open("train"), 6, shuffle=True, seed=2)[step] for step in range(4)]
    for number, batch in enumerate(
        Batches(data.open("train"), 6, shuffle=True, seed=2, num_threads=3).stream(1, 4)
    ):
        np.testing.assert_array_equal(batch["image"], wanted[1 + number]["image"])
    hosts = [
        Batches(data.open("train"), 6, shuffle=True, seed=2).local(3, host, 2) for host in (0, 1)
    ]
    np.testing.assert_array_equal(
        np.concatenate([host["image"] for host in hosts]), wanted[3]["image"]
    )


def test_only_training_is_cut(pictures):
    data = Folder(root=str(pictures), size=16, random_resized_crop=CUT)
    plain = dataclasses.replace(data, random_resized_crop=None)
    test = Batches(data.open("test"), 2, shuffle=False)
    np.testing.assert_array_equal(
        test[0]["image"], Batches(plain.open("test"), 2, shuffle=False)[0]["image"]
    )
    # A record by itself, and a pass in order over the training set, are as without.
    assert data.open("train")[0]["image"].shape == (16, 16, 3)
    in_order = Batches(data.open("train"), 2, shuffle=False)
    np.testing.assert_array_equal(in_order[0]["image"][0], plain.open("train")[0]["image"])


def test_kept_data_are_refused(pictures):
    source = Folder(root=str(pictures), random_resized_crop=CUT).open("train")
    with pytest.raises(ValueError, match="cannot be decoded once and kept"):
        materialize(Batches(source, 4, shuffle=True))


def test_a_table_and_views_of_views(pictures, tmp_path):
    names = sorted(path.relative_to(pictures).as_posix() for path in pictures.rglob("*.png"))
    rows = [f"{name},{name[0]},{'test' if i % 4 == 0 else 'train'}" for i, name in enumerate(names)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["image,label,split", *rows]) + "\n")
    data = CSV(
        path=str(table), root=str(pictures), split_column="split", random_resized_crop=CUT, size=8
    )
    batch = Batches(data.open("train"), 3, shuffle=True)[0]
    assert batch["image"].shape == (3, 12, 10, 3)
    assert Batches(data.open("test"), 3, shuffle=False)[0]["image"].shape == (3, 8, 8, 3)
    frequent = FrequentIdentities(
        data=Folder(root=str(pictures), random_resized_crop=CUT, test_fraction=0.0),
        minimum_images=2,
    )
    assert Batches(frequent.open("train"), 4, shuffle=True)[0]["image"].shape == (4, 12, 10, 3)


def test_bad_records_are_skipped_or_named(pictures, tmp_path):
    for path in pictures.rglob("*.png"):
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        (tmp_path / path.parent.name / path.name).write_bytes(path.read_bytes())
    (tmp_path / "a" / "00.png").write_bytes(b"no image")
    source = Folder(root=str(tmp_path), random_resized_crop=CUT, test_fraction=0.0).open("train")
    batches = Batches(source, 12, shuffle=True, on_bad_record="skip")
    batch, whole = (
        batches[0],
        Batches(
            Folder(root=str(pictures), random_resized_crop=CUT, test_fraction=0.0).open("train"),
            12,
            shuffle=True,
        )[0],
    )
    assert batch["mask"].sum() == 11
    assert list(batches.bad_records) == [str(tmp_path / "a" / "00.png")]
    np.testing.assert_array_equal(batch["image"][batch["mask"]], whole["image"][batch["mask"]])
    with pytest.raises(TooManyBadRecordsError):
        Batches(source, 12, shuffle=True, on_bad_record="skip", max_bad_records=0)[0]


def test_tfds(prepared_cifar10):
    data = TFDS(name="cifar10", data_dir=str(prepared_cifar10), random_resized_crop=CUT)
    source = data.open("train")
    batch = Batches(source, 4, shuffle=True, seed=5)[2]
    assert batch["image"].shape == (4, 12, 10, 3)
    indices, _ = Batches(source, 4, shuffle=True, seed=5).indices(2)
    for row, view in enumerate(CUT.views(5, 2, 4)):
        whole = source[indices[row]]
        picture = Image.fromarray(whole["image"]).resize(
            (10, 12), Image.Resampling.BILINEAR, view((32, 32)).box
        )
        np.testing.assert_array_equal(batch["image"][row], np.asarray(picture))
        assert batch["label"][row] == whole["label"]
    assert Batches(data.open("test"), 4, shuffle=False)[0]["image"].shape == (4, 32, 32, 3)
    masks = TFDSSegmentation(name="camvid", class_names=("a",), random_resized_crop=CUT)
    with pytest.raises(ValueError, match="TFDSSegmentation has labels that lie in the image"):
        masks.open("train")


@pytest.mark.parametrize(
    "options",
    [{"size": (0, 4)}, {"scale": (0.5, 0.1)}, {"scale": (0.0, 1.0)}, {"ratio": (2.0, 1.0)}],
)
def test_wrong_settings(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        DecodeRandomResizedCrop(**options)
