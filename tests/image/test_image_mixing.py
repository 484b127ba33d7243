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


@pytest.fixture(scope="module", params=[ji.Mixup(1.0), ji.CutMix(1.0)], ids=["mixup", "cutmix"])
def mix(request):
    return jax.jit(request.param)


def test_labels_stay_distributions_over_the_pair(mix):
    for key in KEYS:
        images, labels = mix(key, IMAGES, LABELS)
        assert images.dtype == jnp.uint8
        assert labels.dtype == jnp.float32
        np.testing.assert_allclose(labels.sum(axis=1), 1.0, rtol=1e-6)
        own, other = np.diag(labels), np.asarray(labels)[np.arange(8), PARTNER]
        np.testing.assert_allclose(own + other, 1.0, rtol=1e-6)
        assert np.ptp(own) == 0  # one weight for the batch


def test_cutmix_label_is_the_exact_area():
    mix = jax.jit(ji.CutMix(1.0))
    for key in KEYS:
        images, labels = mix(key, IMAGES, LABELS)
        for i in range(8):
            values = np.asarray(images[i, :, :, 0])
            assert set(np.unique(values)) <= {20 * i, 20 * PARTNER[i]}
            kept = np.count_nonzero(values == 20 * i)
            assert float(labels[i, i]) == np.float32(1) - np.float32(120 - kept) / np.float32(120)
            hole = values != 20 * i
            assert hole.sum() == hole.any(0).sum() * hole.any(1).sum()  # a rectangle


def test_mixup_mixes_pixels_as_labels():
    mix = jax.jit(ji.Mixup(1.0))
    for key in KEYS:
        images, labels = mix(key, ji.to_float(IMAGES), LABELS)
        expected = np.asarray(labels) @ (np.arange(8) * 20 / 255)
        np.testing.assert_allclose(images[:, 3, 4, 1], expected, atol=1e-6)


def test_parts_of_the_batch_give_the_whole(mix):
    whole = mix(KEYS[0], IMAGES, LABELS)
    for shards in (2, 4):
        rows = 8 // shards
        parts = [
            mix(KEYS[0], IMAGES[i : i + rows], LABELS[i : i + rows]) for i in range(0, 8, rows)
        ]
        for axis in (0, 1):
            np.testing.assert_array_equal(
                np.concatenate([part[axis] for part in parts]), whole[axis]
            )


def test_odd_row_and_partner_of_padding_stay(mix):
    mask = jnp.asarray([True, True, True, False, True, True, True])
    images, labels = mix(KEYS[1], IMAGES[:7], LABELS[:7], mask)
    for alone in (2, 6):  # 3 is padding, 6 the last of seven
        np.testing.assert_array_equal(images[alone], IMAGES[alone])
        np.testing.assert_array_equal(labels[alone], LABELS[alone])
    for paired in (0, 1, 4, 5):
        assert float(labels[paired, paired]) < 1.0


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_weight_is_beta_distributed(alpha):
    keys = jax.random.split(jax.random.key(0), 1000)
    one_pixel = jnp.zeros((2, 1, 1, 1))
    weights = jax.jit(jax.vmap(lambda key: ji.Mixup(alpha)(key, one_pixel, jnp.eye(2))[1][0, 0]))(
        keys
    )
    assert stats.kstest(np.asarray(weights, np.float64), "beta", (alpha, alpha)).pvalue > 0.01


def test_tiny_and_huge_alpha_are_finite():
    for alpha in (1e-3, 1e4):
        for make in (ji.Mixup, ji.CutMix):
            images, labels = make(alpha)(KEYS[0], IMAGES[:2], LABELS[:2])
            assert bool(jnp.all(jnp.isfinite(labels)))
            np.testing.assert_allclose(labels.sum(axis=1), 1.0, rtol=1e-6)


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
