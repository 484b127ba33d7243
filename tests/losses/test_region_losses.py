"""Region losses against loops in float64, hard predictions in scikit-learn, and over eight devices.

Eight images (one a device) of 4 x 5 pixels and four classes: class 3 is nowhere, class 2 in some
images only, and image 6 is masked out as a whole.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import ndimage
from sklearn import metrics

from jaxcv.losses.boundary import boundary_loss, signed_distances
from jaxcv.losses.lovasz import lovasz_hinge_loss, lovasz_softmax_loss
from jaxcv.losses.overlap import (
    dice_loss,
    focal_tversky_loss,
    generalized_dice_loss,
    jaccard_loss,
    mcc_loss,
    tversky_loss,
)

B, H, W, C, IGNORE = 8, 4, 5, 4, 255
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, (B, H, W)).astype(np.int32)
LABELS[:3][LABELS[:3] == 2] = 0
LABELS[RNG.random(LABELS.shape) < 0.1] = IGNORE
MASK = RNG.random((B, H, W)) < 0.9
MASK[6] = False
LOGITS = RNG.normal(size=(B, H, W, C)).astype(np.float32)
LOGITS += 1.5 * (LABELS[..., None] == np.arange(C))
DENSE = (RNG.random((B, H, W, C)) * (np.arange(C) < 3)).astype(np.float32)  # Soft labels.
WEIGHTS = np.array([0.0, 1.0, 2.0, 4.0])
QUICK = {"xla_backend_optimization_level": 0}  # LLVM would take most of the time otherwise.
quick_jit = functools.partial(jax.jit, compiler_options=QUICK)


# References: the loss of one class from probabilities p [n] and truth y [n] of the valid pixels.


def counts(p, y):
    return (p * y).sum(), (p * (1 - y)).sum(), ((1 - p) * y).sum()


def dice(p, y, smooth=0.0):
    tp, fp, fn = counts(p, y)
    return 1 - (2 * tp + smooth) / (2 * tp + fp + fn + smooth)


def squared_dice(p, y):
    return 1 - 2 * (p * y).sum() / ((p**2).sum() + (y**2).sum())


def tversky(p, y, a=0.3, b=0.7, smooth=0.0):
    tp, fp, fn = counts(p, y)
    return 1 - (tp + smooth) / (tp + a * fp + b * fn + smooth)


def focal_tversky(p, y):
    return tversky(p, y) ** 0.75


def mcc(p, y, epsilon=1e-6):
    n = len(p)
    tp, fp, fn = (x / n for x in counts(p, y))
    tn = ((1 - p) * (1 - y)).sum() / n
    square = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return 1 - (tp * tn - fp * fn + epsilon) / (np.sqrt(square) + epsilon)


def lovasz(errors, y):
    """Steps of the Jaccard loss of growing sets of wrong pixels, counted one by one."""
    order, wrong, before, loss = np.argsort(-errors), np.zeros(len(y), bool), 0.0, 0.0
    for k in order:
        wrong[k] = True
        predicted = np.where(wrong, 1 - y, y)
        union = np.maximum(predicted, y).sum()
        after = 1 - np.minimum(predicted, y).sum() / union if union else 0.0
        loss += errors[k] * (after - before)
        before = after
    return loss


def lovasz_softmax(p, y):
    return lovasz(np.abs(y - p), y)


def over_classes(of_class, p, y, absent="exclude", weights=None):
    weights = np.ones(C) if weights is None else weights
    losses, used = np.zeros(C), weights.copy()
    for c in range(C):
        present = y[:, c].sum() > 0
        if present or absent == "include":
            losses[c] = of_class(p[:, c], y[:, c])
        elif absent == "exclude":
            used[c] = 0
    return (losses * used).sum() / used.sum() if used.sum() else 0.0


def generalized(p, y, power=2, absent="exclude", weights=None):
    wrong = everything = 0.0
    for c in range(C):
        actual = y[:, c].sum()
        if actual or absent == "include":
            w = (1.0 if weights is None else weights[c]) / max(actual, 1) ** power
            tp, fp, fn = counts(p[:, c], y[:, c])
            wrong, everything = wrong + w * (fp + fn), everything + w * (2 * tp + fp + fn)
    return wrong / everything if everything else 0.0


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def each(of_class, **settings):
    return functools.partial(over_classes, of_class, **settings)


# name: (loss, its options, reference of p [n, C], y [n, C])
LOSSES = {
    "dice": (dice_loss, {}, each(dice)),
    "dice_zero": (dice_loss, {"absent": "zero"}, each(dice, absent="zero")),
    "dice_smooth": (
        functools.partial(dice_loss, smooth=1.0),
        {"absent": "include"},
        each(functools.partial(dice, smooth=1.0), absent="include"),
    ),
    "dice_squared": (functools.partial(dice_loss, squared=True), {}, each(squared_dice)),
    "dice_weighted": (dice_loss, {"class_weights": WEIGHTS}, each(dice, weights=WEIGHTS)),
    "dice_zero_weighted": (
        dice_loss,
        {"class_weights": WEIGHTS, "absent": "zero"},
        each(dice, weights=WEIGHTS, absent="zero"),
    ),
    "dice_batch": (dice_loss, {"per": "batch"}, each(dice)),
    "dice_sigmoid": (dice_loss, {"activation": "sigmoid"}, each(dice)),
    "generalized": (generalized_dice_loss, {}, generalized),
    "generalized_include": (
        functools.partial(generalized_dice_loss, weighting="inverse"),
        {"absent": "include", "class_weights": WEIGHTS},
        functools.partial(generalized, power=1, absent="include", weights=WEIGHTS),
    ),
    "generalized_batch": (generalized_dice_loss, {"per": "batch"}, generalized),
    "tversky": (tversky_loss, {}, each(tversky)),
    "tversky_include": (
        functools.partial(tversky_loss, smooth=2.0),
        {"absent": "include"},
        each(functools.partial(tversky, smooth=2.0), absent="include"),
    ),
    "focal_tversky": (focal_tversky_loss, {}, each(focal_tversky)),
    "focal_tversky_batch": (focal_tversky_loss, {"per": "batch"}, each(focal_tversky)),
    "jaccard": (jaccard_loss, {}, each(functools.partial(tversky, a=1, b=1))),
    "mcc": (mcc_loss, {}, each(mcc)),
    "mcc_include": (mcc_loss, {"absent": "include"}, each(mcc, absent="include")),
    "mcc_batch": (mcc_loss, {"per": "batch"}, each(mcc)),
    "lovasz": (lovasz_softmax_loss, {}, each(lovasz_softmax)),
    "lovasz_include": (
        lovasz_softmax_loss,
        {"absent": "include"},
        each(lovasz_softmax, absent="include"),
    ),
    "lovasz_batch": (lovasz_softmax_loss, {"per": "batch"}, each(lovasz_softmax)),
}


def evaluate(logits, labels, dense, mask, axis_name=None):
    """Values [B] and gradients of their sum, of every loss; with an axis, of those that use it."""
    results = {}
    for name, (loss, options, _) in LOSSES.items():
        if axis_name is not None and options.get("per") != "batch":
            continue
        if options.get("activation") == "sigmoid":
            run = functools.partial(loss, labels=dense, **options)
        else:
            run = functools.partial(loss, labels=labels, ignore_label=IGNORE, **options)
        run = functools.partial(run, mask=mask, axis_name=axis_name)
        total = lambda z, run=run: (jnp.sum(run(z)), run(z))  # noqa: E731
        gradient, values = jax.grad(total, has_aux=True)(logits)
        results[name] = values, gradient
    hinge = functools.partial(
        lovasz_hinge_loss, labels=labels, ignore_label=IGNORE, mask=mask, axis_name=axis_name
    )
    for name, per in (("hinge", "image"), ("hinge_batch", "batch")):
        total = lambda z, p=per: (jnp.sum(hinge(z[..., 0], per=p)), hinge(z[..., 0], per=p))  # noqa: E731
        gradient, values = jax.grad(total, has_aux=True)(logits)
        results[name] = values, gradient
    return results


def reference(name, logits):
    """Values [B] float64, from the valid pixels alone."""
    valid = MASK if "sigmoid" in name else MASK & (LABELS != IGNORE)

    def of_images(images):
        z, keep = logits[images], valid[images]
        if not keep.any():
            return 0.0
        if "hinge" in name:
            y = (LABELS[images] == 1)[keep].astype(float)
            return lovasz(np.maximum(1 - z[..., 0][keep] * (2 * y - 1), 0), y)
        if "sigmoid" in name:
            return LOSSES[name][2](sigmoid(z[keep]), DENSE[images][keep].astype(float))
        y = (LABELS[images][..., None] == np.arange(C)).astype(float)
        return LOSSES[name][2](softmax(z)[keep], y[keep])

    if "batch" in name:
        return np.where(valid.any((1, 2)), of_images(slice(None)), 0.0)
    return np.array([of_images(slice(i, i + 1)) for i in range(B)])


_compiled = quick_jit(evaluate)


@functools.cache
def results():
    return jax.device_get(_compiled(LOGITS, LABELS, DENSE, MASK))


@pytest.mark.parametrize("name", [*LOSSES, "hinge", "hinge_batch"])
def test_value_and_gradient_equal_the_loops_on_the_valid_pixels(name):
    values, gradient = results()[name]
    logits = LOGITS.astype(np.float64)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, reference(name, logits), rtol=2e-5, atol=1e-6)
    invalid = ~MASK if "sigmoid" in name else ~MASK | (LABELS == IGNORE)
    assert not np.any(gradient[invalid])
    rng = np.random.default_rng(1)
    for _ in range(3):  # Central differences in random directions.
        direction, step = rng.normal(size=logits.shape), 1e-6
        up, down = (reference(name, logits + s * direction).sum() for s in (step, -step))
        scale = np.abs(gradient * direction).sum()
        assert abs((gradient * direction).sum() - (up - down) / (2 * step)) < 1e-4 * scale + 1e-7


def test_eight_devices_give_the_values_and_gradients_of_one():
    split = [a[:, None] for a in (LOGITS, LABELS, DENSE, MASK)]
    mapped = jax.pmap(functools.partial(evaluate, axis_name="devices"), axis_name="devices")
    found = jax.device_get(mapped.lower(*split).compile(QUICK)(*split))
    assert len(found) == 7
    for name, eight in found.items():
        values, gradient = results()[name]
        np.testing.assert_allclose(eight[0][:, 0], values, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(eight[1][:, 0], gradient, rtol=1e-4, atol=1e-6, err_msg=name)


def test_finite_at_extreme_logits_perfect_and_wrong_predictions_and_with_everything_masked():
    perfect = 1e4 * (LABELS[..., None] == np.arange(C)).astype(np.float32)
    one_class = np.zeros_like(LABELS)
    no_labels = np.zeros_like(DENSE)
    for z, y, dense, mask in [
        (perfect, LABELS, DENSE, MASK),
        (-perfect, LABELS, DENSE, MASK),
        (perfect * 6e-3, LABELS, DENSE, MASK),  # Probabilities of about 1e-26.
        (np.zeros_like(LOGITS), one_class, no_labels, MASK),
        (LOGITS, np.full_like(LABELS, IGNORE), DENSE, MASK),
        (LOGITS, LABELS, DENSE, MASK & False),
        (np.where(MASK[..., None], LOGITS, np.nan), LABELS, DENSE, MASK),
    ]:
        for name, (values, gradient) in _compiled(z, y, dense, mask).items():
            assert np.isfinite(values).all(), name
            assert np.isfinite(gradient).all(), name
            if not mask.any():
                assert not np.any(values), name
                assert not np.any(gradient), name
    for name, (values, _) in _compiled(perfect, LABELS, DENSE, MASK).items():
        if "sigmoid" not in name and "hinge" not in name and "smooth" not in name:
            np.testing.assert_allclose(values, 0.0, atol=1e-5, err_msg=name)


def test_permuting_the_classes_and_the_images_changes_nothing():
    order = np.array([2, 0, 3, 1])
    renamed = np.where(LABELS == IGNORE, IGNORE, np.argsort(order)[np.minimum(LABELS, C - 1)])
    images = np.arange(B)[::-1]
    permuted = _compiled(
        LOGITS[images][..., order],
        renamed[images].astype(np.int32),
        DENSE[images][..., order],
        MASK[images],
    )
    for name, (values, gradient) in results().items():
        if "weighted" in name or name in ("generalized_include", "hinge", "hinge_batch"):
            continue  # These know class numbers.
        np.testing.assert_allclose(permuted[name][0], values[images], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(
            permuted[name][1], gradient[images][..., order], rtol=1e-3, atol=1e-5
        )


@pytest.mark.slow
def test_half_precision_is_computed_in_float32():
    half = jnp.asarray(LOGITS, jnp.bfloat16)
    run = lambda z: {  # noqa: E731
        name: jax.value_and_grad(lambda z, f=f: f(z, LABELS % C, mask=MASK).sum())(z)
        for name, f in (("dice", dice_loss), ("mcc", mcc_loss), ("lovasz", lovasz_softmax_loss))
    }
    exact = quick_jit(run)(half.astype(jnp.float32))
    for name, (value, gradient) in quick_jit(run)(half).items():
        assert value.dtype == jnp.float32
        assert gradient.dtype == jnp.bfloat16
        np.testing.assert_allclose(value, exact[name][0], rtol=1e-5)
        np.testing.assert_allclose(
            gradient.astype(np.float32), exact[name][1], rtol=1e-2, atol=1e-4
        )


def test_relations_between_the_losses():
    @quick_jit
    def run(z):
        options = {"ignore_label": IGNORE, "mask": MASK, "per": "image"}
        half = {"false_positive_weight": 0.5, "false_negative_weight": 0.5}
        whole = {"false_positive_weight": 1.0, "false_negative_weight": 1.0}
        binary = z[..., :1]
        labels = (LABELS[..., None] == 1).astype(np.float32)
        return {
            "dice": (dice_loss(z, LABELS, **options), tversky_loss(z, LABELS, **half, **options)),
            "smooth": (
                dice_loss(z, LABELS, smooth=2.0, **options),
                tversky_loss(z, LABELS, smooth=1.0, **half, **options),
            ),
            "jaccard": (
                jaccard_loss(z, LABELS, **options),
                tversky_loss(z, LABELS, **whole, **options),
            ),
            "focal": (
                focal_tversky_loss(z, LABELS, exponent=1.0, **options),
                tversky_loss(z, LABELS, **options),
            ),
            "dense": (
                dice_loss(z, jax.nn.one_hot(LABELS % C, C), mask=MASK),
                dice_loss(z, LABELS % C, mask=MASK),
            ),
            "sigmoid": (  # Two classes: softmax over (0, z) is the sigmoid.
                dice_loss(binary, labels, activation="sigmoid", mask=MASK),
                dice_loss(
                    jnp.concatenate([jnp.zeros_like(binary), binary], -1),
                    (LABELS == 1).astype(np.int32),
                    class_weights=np.array([0, 1]),
                    mask=MASK,
                ),
            ),
            "uniform weights": (
                dice_loss(z, LABELS, class_weights=np.full(C, 2.0), **options),
                dice_loss(z, LABELS, **options),
            ),
            "generalised, uniform, one class": (
                generalized_dice_loss(
                    z, LABELS, weighting="uniform", class_weights=np.eye(C)[1], **options
                ),
                dice_loss(z, LABELS, class_weights=np.eye(C)[1], **options),
            ),
        }

    for name, (one, other) in run(LOGITS).items():
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6, err_msg=name)


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
    np.testing.assert_allclose(np.abs(gradient[0]), expected, rtol=1e-4, atol=1e-12)


def test_stray_labels_poison_their_image_only():
    labels = LABELS.copy()
    labels[1, 0, 0], labels[4, 1, 1] = C, -1
    values = quick_jit(lambda y: dice_loss(LOGITS, y, ignore_label=IGNORE))(labels)
    np.testing.assert_array_equal(np.isnan(values), np.isin(np.arange(B), [1, 4]))


@pytest.mark.slow
def test_vmap_forward_mode_and_volumes():
    def run(z):
        f = lambda z: mcc_loss(z, LABELS % C).sum() + lovasz_softmax_loss(z, LABELS % C).sum()  # noqa: E731
        forward = jax.jvp(f, (z,), (jnp.cos(z),))[1]
        return forward, jnp.vdot(jax.grad(f)(z), jnp.cos(z))

    forward, backward = quick_jit(jax.vmap(run))(jnp.stack([LOGITS, 2 * LOGITS]))
    np.testing.assert_allclose(forward, backward, rtol=1e-4)
    volume = quick_jit(dice_loss)(LOGITS.reshape(B, 2, 2, W, C), (LABELS % C).reshape(B, 2, 2, W))
    np.testing.assert_allclose(volume, quick_jit(dice_loss)(LOGITS, LABELS % C), rtol=1e-6)


# Boundary loss.


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


# Bad input.

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
