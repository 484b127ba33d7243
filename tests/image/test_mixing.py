import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxcv import image as ji

KEYS = jax.random.split(jax.random.key(4), 6)
# Row i is an image of the constant 20 i, of class i: a pixel tells whose it is.
IMAGES = np.repeat(np.arange(8, dtype=np.uint8) * 20, 12 * 10 * 3).reshape(8, 12, 10, 3)
LABELS = np.eye(8, dtype=np.float32)
PARTNER = np.arange(8) ^ 1


ALL = np.ones(8, bool)
# Compiled once for all tests: the Beta distribution takes most of a second.
MIXES = {"mixup": jax.jit(ji.Mixup(1.0)), "cutmix": jax.jit(ji.CutMix(1.0))}


@pytest.fixture(params=MIXES)
def mix(request):
    return MIXES[request.param]


def test_labels_stay_distributions_over_the_pair(mix):
    for key in KEYS:
        images, labels = mix(key, IMAGES, LABELS, ALL)
        assert images.dtype == jnp.uint8
        assert labels.dtype == jnp.float32
        np.testing.assert_allclose(labels.sum(axis=1), 1.0, rtol=1e-6)
        own, other = np.diag(labels), np.asarray(labels)[np.arange(8), PARTNER]
        np.testing.assert_allclose(own + other, 1.0, rtol=1e-6)
        assert np.ptp(own) == 0  # one weight for the batch


def test_cutmix_label_is_the_exact_area():
    for key in KEYS:
        images, labels = MIXES["cutmix"](key, IMAGES, LABELS, ALL)
        for i in range(8):
            values = np.asarray(images[i, :, :, 0])
            assert set(np.unique(values)) <= {20 * i, 20 * PARTNER[i]}
            kept = np.count_nonzero(values == 20 * i)
            np.testing.assert_allclose(labels[i, i], kept / 120, rtol=2e-7)  # float32's rounding
            hole = values != 20 * i
            assert hole.sum() == hole.any(0).sum() * hole.any(1).sum()  # a rectangle


def test_mixup_mixes_pixels_as_labels():
    for key in KEYS:
        images, labels = MIXES["mixup"](key, IMAGES, LABELS, ALL)
        expected = np.asarray(labels) @ (np.arange(8) * 20)
        np.testing.assert_allclose(images[:, 3, 4, 1], expected, atol=0.501)  # uint8 is rounded
        assert np.ptp(np.asarray(images), axis=(1, 2, 3)).max() == 0


def test_parts_of_the_batch_give_the_whole(mix):
    whole = mix(KEYS[0], IMAGES, LABELS, ALL)
    parts = [mix(KEYS[0], IMAGES[i : i + 2], LABELS[i : i + 2]) for i in range(0, 8, 2)]
    for i in (0, 1):  # images, labels
        np.testing.assert_array_equal(np.concatenate([part[i] for part in parts]), whole[i])


def test_partner_of_padding_stays(mix):
    mask = ALL.copy()
    mask[3] = False
    images, labels = mix(KEYS[1], IMAGES, LABELS, mask)
    np.testing.assert_array_equal(images[2], IMAGES[2])
    np.testing.assert_array_equal(labels[2], LABELS[2])
    for paired in (0, 1, 4, 5, 6, 7):
        assert float(labels[paired, paired]) < 1.0


def test_last_row_of_an_odd_batch_stays():
    images, labels = MIXES["cutmix"](KEYS[1], IMAGES[:3], LABELS[:3])
    np.testing.assert_array_equal(images[2], IMAGES[2])
    np.testing.assert_array_equal(labels[2], LABELS[2])
    assert float(labels[0, 0]) < 1.0


def test_mixup_weight_is_beta_distributed():
    keys = jax.random.split(jax.random.key(0), 1000)
    images, labels = np.zeros((2, 1, 1, 1), np.uint8), np.eye(2)
    _, mixed = jax.jit(jax.vmap(ji.Mixup(0.4), (0, None, None)))(keys, images, labels)
    weights = np.asarray(mixed[:, 0, 0], np.float64)
    assert stats.kstest(weights, "beta", (0.4, 0.4)).pvalue > 0.01


def test_tiny_and_huge_alpha_are_finite():
    for mix in (ji.Mixup(1e-3), ji.CutMix(1e4)):
        _, labels = jax.jit(jax.vmap(mix, (0, None, None)))(KEYS, IMAGES[:2], LABELS[:2])
        np.testing.assert_allclose(labels.sum(axis=-1), 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ji.Mixup(0.0), "alpha=0.0"),
        (lambda: ji.CutMix(float("nan")), "alpha=nan"),
        (lambda: ji.Mixup()(KEYS[0], IMAGES, np.arange(8)), "one_hot"),
        (lambda: ji.CutMix()(KEYS[0], IMAGES[0], LABELS), "batch"),
        (lambda: ji.CutMix()(KEYS[0], IMAGES, LABELS[:4]), "8 images cannot have 4 labels"),
        (lambda: ji.Mixup()(KEYS[0], IMAGES.astype(int), LABELS), "int"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def batch_of(label, **more):
    return {"image": IMAGES, "label": label, "mask": ALL, **more}


ROWS = np.arange(8)
OF_BATCH = {
    "mixup": jax.jit(ji.Mixup(1.0).mix_batch, static_argnames="num_classes"),
    "cutmix": jax.jit(ji.CutMix(1.0).mix_batch, static_argnames="num_classes"),
}


@pytest.mark.parametrize("name", OF_BATCH)
def test_a_batch_of_classes_is_mixed_as_distributions(name):
    classes = np.arange(8, dtype=np.int32)
    batch = OF_BATCH[name](KEYS[0], batch_of(classes, record=ROWS), rows=ROWS, num_classes=8)
    images, labels = MIXES[name](KEYS[0], ji.to_float(IMAGES), LABELS, ALL)
    np.testing.assert_allclose(batch["image"], images, rtol=1e-6)
    np.testing.assert_allclose(batch["label"], labels, rtol=1e-6)
    np.testing.assert_array_equal(batch["record"], ROWS)
    with pytest.raises(ValueError, match="whole numbers that are no classes"):
        OF_BATCH[name](KEYS[0], batch_of(classes), rows=ROWS)


def test_float_labels_of_any_shape_are_mixed_as_the_pixels():
    """Labels are what the constant images are, so that they must agree after mixing too."""
    levels = np.arange(8, dtype=np.float32) * 20 / 255
    for shape in ((), (3,), (12, 10), (12, 10, 1)):
        label = np.broadcast_to(levels.reshape(8, *[1] * len(shape)), (8, *shape))
        mixed = OF_BATCH["mixup"](KEYS[1], batch_of(label), rows=ROWS)
        pixel = mixed["image"][:, 0, 0, 0].reshape(8, *[1] * len(shape))
        assert mixed["label"].shape == label.shape
        np.testing.assert_allclose(mixed["label"], np.broadcast_to(pixel, label.shape), atol=1e-6)
        assert np.abs(mixed["label"] - label).max() > 1e-3
    cut = OF_BATCH["cutmix"](KEYS[1], batch_of(levels), rows=ROWS)
    means = np.asarray(cut["image"]).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(cut["label"], means, atol=1e-6)


def test_a_mixed_map_is_valid_where_both_are():
    maps = np.zeros((8, 12, 10), np.float32)
    valid = np.ones(maps.shape, bool)
    valid[0, 0] = valid[5, :, 3] = valid[7, 2, 2] = False
    mask = np.arange(8) < 7  # row 7 is padding, so that row 6 stays as it is
    batch = {"image": IMAGES, "label": maps, "mask": mask, "valid": valid}
    found = OF_BATCH["mixup"](KEYS[0], batch, rows=ROWS)["valid"]
    np.testing.assert_array_equal(found[0], valid[0])
    np.testing.assert_array_equal(found[1], valid[0])
    np.testing.assert_array_equal(found[4], valid[5])
    assert np.asarray(found[6]).all()


@pytest.mark.parametrize(
    ("mix", "label", "message"),
    [
        (ji.Mixup(), None, "Mixup blends .* but photo 3 has boxes, classes"),
        (ji.Mixup(), np.zeros((4, 5), np.uint8), r"has a label of integers \(4, 5\)"),
        (ji.CutMix(), np.zeros((4, 5), np.float32), r"CutMix .* has a label of floats \(4, 5\)"),
    ],
)
def test_records_that_cannot_be_blended_are_named(mix, label, message):
    record = {"image": IMAGES[0], "boxes": np.zeros((2, 4)), "classes": np.zeros(2)}
    if label is not None:
        record = {"image": IMAGES[0], "label": label}
    with pytest.raises(ValueError, match=message):
        mix.check_record(record, "photo 3")


def test_records_that_can_be_blended_pass():
    for label in (np.int32(3), np.float32(0.5), np.zeros(4, np.float32)):
        ji.Mixup().check_record({"label": label}, "photo")
        ji.CutMix().check_record({"label": label}, "photo")
    ji.Mixup().check_record({"label": np.zeros((4, 5, 3), np.float32)}, "photo")
    assert isinstance(ji.Mixup(), ji.Mixing)
    assert isinstance(ji.CutMix(), ji.Mixing)
    assert isinstance(ji.Mosaic(), ji.Mixing)
    assert not isinstance(ji.RandomHorizontalFlip(), ji.Mixing)
