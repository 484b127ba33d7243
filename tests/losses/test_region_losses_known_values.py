"""Region losses by hand and beside scikit-learn, optax and SciPy; bad input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import ndimage
from sklearn import metrics

from jaxcv.losses.regions.boundary import boundary_loss, signed_distances
from jaxcv.losses.regions.lovasz import lovasz_hinge_loss, lovasz_softmax_loss
from jaxcv.losses.regions.overlap import (
    dice_loss,
    focal_tversky_loss,
    generalized_dice_loss,
    jaccard_loss,
    mcc_loss,
    tversky_loss,
)
from tests.losses.region_cases import (
    IGNORE,
    LABELS,
    LOGITS,
    RNG,
    B,
    C,
    quick_jit,
)


def test_hard_predictions_equal_scikit_learn():
    """With probabilities 0 and 1 the losses are 1 - a metric over the pixels of the batch."""
    labels = LABELS % 3
    predicted = np.where(RNG.random(labels.shape) < 0.6, labels, RNG.integers(0, 3, labels.shape))
    p = np.eye(3, dtype=np.float32)[predicted]
    options = {"activation": "none", "per": "batch"}
    y, q = labels.reshape(-1), predicted.reshape(-1)
    jaccard = 1 - metrics.jaccard_score(y, q, average="macro")
    matthews = 1 - np.mean([metrics.matthews_corrcoef(y == c, q == c) for c in range(3)])
    for loss, expected, tolerance in [
        (dice_loss, 1 - metrics.f1_score(y, q, average="macro"), 1e-5),
        (jaccard_loss, jaccard, 1e-5),
        (lovasz_softmax_loss, jaccard, 1e-5),  # The extension agrees with what it extends.
        (mcc_loss, matthews, 1e-4),
    ]:
        found = quick_jit(functools.partial(loss, **options))(p, labels)
        np.testing.assert_allclose(found, expected, rtol=tolerance)


def test_dice_and_tversky_equal_optax():
    one_hot = jax.nn.one_hot(LABELS % C, C)
    options = {"smooth": 1.0, "alpha": 0.3, "beta": 0.7, "reduction": "none"}
    theirs = quick_jit(lambda z: optax.losses.dice_loss(z, one_hot, **options))(LOGITS)
    run = functools.partial(tversky_loss, smooth=1.0, absent="include")
    ours = quick_jit(run)(LOGITS, LABELS % C)
    np.testing.assert_allclose(ours, np.mean(theirs, axis=-1), rtol=1e-5)


def test_absent_classes_by_hand():
    """A perfect prediction costs nothing whichever classes are missing; a false one does."""
    labels = jnp.zeros((1, 4), jnp.int32)
    perfect, spread = jnp.eye(3)[labels], jnp.full((1, 4, 3), 1 / 3)

    def run(p, **options):
        loss = functools.partial(dice_loss, activation="none", **options)
        return float(quick_jit(loss)(p, labels)[0])

    for absent in ("exclude", "zero", "include"):
        assert run(perfect, absent=absent) == 0.0
    # Class 0: tp 4/3, fn 8/3: 1 - (8/3) / (16/3) = 1/2. The two others, where they count: 1.
    np.testing.assert_allclose(run(spread, absent="exclude"), 1 / 2, rtol=1e-6)
    np.testing.assert_allclose(run(spread, absent="zero"), 1 / 6, rtol=1e-6)
    np.testing.assert_allclose(run(spread, absent="include"), (0.5 + 1 + 1) / 3, rtol=1e-6)
    # smooth 4: class 0 (8/3 + 4) / (16/3 + 4) = 5/7, the others 4 / (4/3 + 4) = 3/4.
    found = run(spread, absent="include", smooth=4.0)
    np.testing.assert_allclose(found, (2 / 7 + 1 / 4 + 1 / 4) / 3, rtol=1e-6)


def test_small_losses_keep_their_digits():
    """One pixel of a million is wrong: 1 - 0.999999 has one digit in float32."""
    n = 1_000_000
    labels = (np.arange(n) < n // 2).astype(np.int32)[None]
    p = np.eye(2, dtype=np.float32)[labels]
    p[0, 0] = [1, 0]
    loss = quick_jit(functools.partial(dice_loss, activation="none"))(p, labels)
    expected = (1 / (n + 1) + 1 / (n - 1)) / 2  # Class 0: tp n/2, fp 1; class 1: tp n/2 - 1, fn 1.
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_lovasz_in_a_large_image():
    """60,000 pixels: steps of 1e-5 taken as differences of numbers near 1 would be off by 1 %."""
    n = 60_000
    rng = np.random.default_rng(0)
    z = rng.normal(size=(1, n)).astype(np.float32)
    y = rng.integers(0, 2, (1, n)).astype(np.int32)
    value, gradient = quick_jit(jax.value_and_grad(lambda z: lovasz_hinge_loss(z, y)[0]))(z)
    errors = np.maximum(1 - z[0].astype(np.float64) * (2 * y[0] - 1), 0)
    order = np.argsort(-errors)
    hit = y[0][order]
    jaccard = 1 - (hit.sum() - np.cumsum(hit)) / (hit.sum() + np.cumsum(1 - hit))
    steps = np.diff(jaccard, prepend=0.0)
    np.testing.assert_allclose(value, (errors[order] * steps).sum(), rtol=1e-5)
    expected = np.zeros(n)
    expected[order] = steps * (errors[order] > 0)
    # Steps are differences of float32 numbers near 1, the largest of them 2e-5.
    np.testing.assert_allclose(np.abs(gradient[0]), expected, rtol=1e-4, atol=1e-9)


def test_stray_labels_poison_their_image_only():
    labels = LABELS.copy()
    labels[1, 0, 0], labels[4, 1, 1] = C, -1
    values = quick_jit(lambda y: dice_loss(LOGITS, y, ignore_label=IGNORE))(labels)
    np.testing.assert_array_equal(np.isnan(values), np.isin(np.arange(B), [1, 4]))


def test_signed_distances_equal_scipy():
    labels = np.zeros((3, 9, 13), np.int32)
    labels[0, 2:7, 3:9] = 1
    labels[0, 4, 5] = 2
    labels[1] = np.random.default_rng(0).integers(0, 3, labels.shape[1:])
    labels[2] = 1  # One class fills the image.
    found = quick_jit(signed_distances, static_argnums=1)(labels, 4)
    assert found.shape == (3, 9, 13, 4)
    for image in range(3):
        for c in range(4):
            inside = labels[image] == c
            if not inside.any() or inside.all():
                assert not np.any(found[image, ..., c])
                continue
            outward = ndimage.distance_transform_edt(~inside)
            inward = ndimage.distance_transform_edt(inside)
            expected = np.where(inside, 1 - inward, outward)
            np.testing.assert_allclose(found[image, ..., c], expected, rtol=1e-6, atol=1e-6)


def test_boundary_loss_by_hand_and_its_gradient():
    """Its gradient to probabilities is the distance over the number of valid pixels."""
    labels = jnp.array([[[0, 0, 1, 1, 1]]])
    phi = quick_jit(signed_distances, static_argnums=1)(
        labels, 2
    )  # Class 0: -1 0 1 2 3, class 1: 2 1 0 -1 -2.
    np.testing.assert_allclose(phi[0, 0, :, 0], [-1, 0, 1, 2, 3])
    p = jax.nn.one_hot(labels, 2)
    weights = jnp.array([0.0, 1.0])
    run = functools.partial(boundary_loss, activation="none", class_weights=weights)
    total = functools.partial(lambda run, p, phi, mask: run(p, phi, mask=mask).sum(), run)
    slope, run = quick_jit(jax.grad(total)), quick_jit(run)
    np.testing.assert_allclose(run(p, phi), -3 / 5)
    np.testing.assert_allclose(run(1 - p, phi), 3 / 5)
    mask = jnp.array([[[True, True, True, False, True]]])
    np.testing.assert_allclose(run(p, phi, mask=mask), -2 / 4)
    np.testing.assert_allclose(slope(p, phi, mask)[0, 0, :, 1], np.array([2, 1, 0, 0, -2]) / 4)
    np.testing.assert_allclose(run(p, phi, mask=mask & False), 0.0)
    z = jnp.array([[[[1e4, -1e4]] * 5]])
    value, slopes = quick_jit(jax.value_and_grad(lambda z: boundary_loss(z, phi).sum()))(z)
    np.testing.assert_allclose(value, (-1 + 0 + 1 + 2 + 3) / 5)
    assert np.isfinite(slopes).all()


Z, Y = jnp.asarray(LOGITS), jnp.asarray(LABELS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dice_loss(Z, Y[..., :3]), r"labels are integers of shape \[8, 4, 3\]"),
        (lambda: dice_loss(Z, Z[..., :2]), r"labels are dense with shape \[8, 4, 5, 2\]"),
        (lambda: dice_loss(Z[0, 0, 0], Y[0, 0, 0]), r"logits have shape \(4,\), but \[B, ..., C\]"),
        (lambda: dice_loss(Z, Y, per="pixel"), "per is 'pixel'"),
        (lambda: dice_loss(Z, Y, absent="skip"), "absent is 'skip'"),
        (lambda: dice_loss(Z, Y, activation="relu"), "activation is 'relu'"),
        (lambda: dice_loss(Z, Y, activation="sigmoid"), "labels are class indices"),
        (lambda: dice_loss(Z, Y, class_weights=jnp.ones(3)), r"class_weights has shape \[3\]"),
        (lambda: dice_loss(Z, Y, smooth=-1.0), "smooth is -1.0"),
        (lambda: dice_loss(Z, Y, mask=jnp.ones((8, 4))), r"mask has shape \(8, 4\)"),
        (lambda: dice_loss(Z, Z, ignore_label=0), "ignore_label is 0, but labels are floats"),
        (lambda: dice_loss(Z, Y, per="batch", axis_name="no"), "axis_name is 'no'"),
        (lambda: tversky_loss(Z, Y, false_positive_weight=-1.0), "false_positive_weight is -1"),
        (lambda: focal_tversky_loss(Z, Y, exponent=0.0), "exponent is 0.0"),
        (lambda: generalized_dice_loss(Z, Y, weighting="cube"), "weighting is 'cube'"),
        (lambda: generalized_dice_loss(Z, Y, absent="skip"), "absent is 'skip'"),
        (lambda: mcc_loss(Z, Y, epsilon=0.0), "epsilon is 0.0"),
        (lambda: lovasz_softmax_loss(Z, Z), "labels have dtype float32, but class indices"),
        (lambda: lovasz_hinge_loss(Z, Y), "labels has shape"),
        (lambda: lovasz_hinge_loss(Z, Z), "labels have dtype float32"),
        (lambda: lovasz_hinge_loss(Z[..., 0], Y, per="all"), "per is 'all'"),
        (lambda: boundary_loss(Z, Z[0]), "distances has shape"),
        (lambda: signed_distances(Y[0], 3), r"labels has shape \[4, 5\], but \[B, H, W\]"),
    ],
)
def test_bad_input_names_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(call)  # At trace time.
