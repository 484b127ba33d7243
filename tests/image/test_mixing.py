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
