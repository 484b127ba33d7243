"""The segmentation task: its objective over valid pixels, what is ignored, its predictions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxcv import losses
from jaxcv.losses.hard_examples import hardest
from jaxcv.metrics import boundary_counts
from jaxcv.tasks import (
    AXIS,
    CrossEntropy,
    Dice,
    Focal,
    FocalTversky,
    HardPixels,
    LovaszHinge,
    LovaszSoftmax,
    Segmentation,
    Sum,
    Task,
    Tversky,
)

QUICK = {"xla_backend_optimization_level": 0}
B, H, W, C = 4, 5, 6, 3
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(B, H, W, C)).astype(np.float32)
LABELS = RNG.integers(0, C, (B, H, W)).astype(np.uint8)
LABELS[RNG.random(LABELS.shape) < 0.3] = 255
LABELS[1] = 255
MASK = np.array([True, True, True, False])
EVERY_LOSS = Segmentation(
    num_classes=C,
    objective=Sum(
        (CrossEntropy(class_weights=(1.0, 2.0, 0.5), label_smoothing=0.1), 1.0),
        (Dice(), 0.5),
        (Tversky(), 0.25),
        (LovaszSoftmax(), 0.75),
    ),
)


def batch(labels=LABELS, mask=MASK):
    return {"label": jnp.asarray(labels), "mask": jnp.asarray(mask)}


@partial(jax.jit, static_argnums=0, compiler_options=QUICK)
def loss(task, outputs, rows):
    return task.loss(outputs, rows)[:2]


@partial(jax.jit, static_argnums=0, compiler_options=QUICK)
def gradient(task, outputs, rows):
    """Of the objective, as the training step takes it."""

    def objective(outputs):
        values, weights, _ = task.loss(outputs, rows)
        return jnp.sum(values) / jnp.maximum(jnp.sum(weights), 1e-12)

    return jax.value_and_grad(objective)(outputs)


def test_the_contract_is_kept():
    task = Segmentation(num_classes=C)
    assert isinstance(task, Task)
    assert task.class_count() == C
    assert task.init_state() == ()
    values, weights = loss(task, jnp.asarray(LOGITS, jnp.bfloat16), batch())
    assert values.dtype == weights.dtype == jnp.float32
    wanted = (LABELS != 255).sum((1, 2)) * MASK
    np.testing.assert_array_equal(weights, wanted)
    assert values[1] == values[3] == 0
    assert values[0] > 0


def test_the_objective_is_the_mean_over_the_valid_pixels_of_the_batch():
    value, _ = gradient(Segmentation(num_classes=C), LOGITS, batch())
    valid = (LABELS != 255) & MASK[:, None, None]
    scores = LOGITS[valid].astype(np.float64)
    own = np.take_along_axis(scores, LABELS[valid][:, None].astype(int), 1)[:, 0]
    wanted = (np.log(np.exp(scores).sum(1)) - own).mean()
    assert float(value) == pytest.approx(wanted, rel=1e-5)


def test_region_losses_enter_by_image_times_valid_pixels():
    values, weights = loss(EVERY_LOSS, LOGITS, batch())
    labels = jnp.asarray(LABELS, jnp.int32)
    dice, tversky, lovasz = (
        jax.jit(partial(f, ignore_label=255, **options))(LOGITS, labels)
        for f, options in (
            (losses.dice_loss, {}),
            (
                losses.tversky_loss,
                {"false_positive_weight": 0.3, "false_negative_weight": 0.7},
            ),
            (losses.lovasz_softmax_loss, {}),
        )
    )
    pixels = losses.softmax_cross_entropy(
        LOGITS,
        labels,
        class_weights=jnp.array([1.0, 2.0, 0.5]),
        label_smoothing=0.1,
        ignore_label=255,
    )
    wanted = jnp.sum(pixels, (1, 2)) + weights * (0.5 * dice + 0.25 * tversky + 0.75 * lovasz)
    np.testing.assert_allclose(values, np.where(MASK, wanted, 0), rtol=1e-5)
    # The order of the images, and what batch they are in, make no difference.
    backwards = loss(EVERY_LOSS, LOGITS[::-1], batch(LABELS[::-1], MASK[::-1]))
    np.testing.assert_allclose(backwards[0][::-1], values, rtol=1e-6)


def test_all_ignored_gives_loss_0_and_gradient_0_and_so_does_a_padding_row():
    task = EVERY_LOSS
    value, slope = gradient(task, LOGITS, batch(np.full_like(LABELS, 255)))
    assert value == 0
    assert not np.any(slope)
    value, slope = gradient(task, LOGITS, batch())
    assert np.isfinite(value)
    ignored = (LABELS == 255) | ~MASK[:, None, None]
    assert not np.any(np.asarray(slope)[ignored])
    assert np.asarray(slope)[~ignored].any(-1).all()


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extremes_are_finite(size):
    logits = jnp.asarray(size * np.eye(C)[np.minimum(LABELS, C - 1)], jnp.float32)
    value, slope = gradient(EVERY_LOSS, logits, batch())
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


def test_eight_devices_have_the_loss_and_metrics_of_one():
    objective = Sum((CrossEntropy(), 1.0), (Dice(), 1.0))
    task = Segmentation(num_classes=C, objective=objective)
    logits, labels = (np.concatenate([x, x[::-1]]) for x in (LOGITS, LABELS))
    mask = np.concatenate([MASK, MASK])
    mesh = Mesh(np.array(jax.devices()), (AXIS,))

    def sums(logits, rows):
        return jax.tree.map(jnp.sum, task.loss(logits, rows)[:2]), task.metrics(logits, rows)

    mapped = jax.shard_map(
        lambda *x: jax.lax.psum(sums(*x), AXIS),
        mesh=mesh,
        in_specs=P(AXIS),
        out_specs=P(),
        check_vma=False,
    )
    rows = batch(labels, mask)
    many = jax.jit(mapped, compiler_options=QUICK)(logits, rows)
    one = jax.jit(sums, compiler_options=QUICK)(logits, rows)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), many, one)
    assert task.summary(many[1])["pixels"] == ((labels != 255) & mask[:, None, None]).sum()


def test_focal_loss_and_hard_pixels():
    labels = jnp.asarray(LABELS, jnp.int32)
    focal = losses.softmax_focal_loss(LOGITS, labels, gamma=2.0, ignore_label=255)
    values, _ = loss(Segmentation(num_classes=C, objective=Focal(gamma=2.0)), LOGITS, batch())
    np.testing.assert_allclose(values, jnp.sum(focal, (1, 2)) * MASK, rtol=1e-5)

    pixels = losses.softmax_cross_entropy(LOGITS, labels, ignore_label=255)
    task = Segmentation(num_classes=C, objective=HardPixels(fraction=0.25))
    values, weights = loss(task, LOGITS, batch())
    for i in (0, 2):
        valid = np.sort(np.asarray(pixels[i])[LABELS[i] != 255])
        kept = valid[-int(np.ceil(0.25 * len(valid))) :]
        assert weights[i] == len(kept)
        assert values[i] == pytest.approx(kept.sum(), rel=1e-5)
    assert values[1] == weights[1] == 0


def test_of_equal_losses_all_are_kept():
    values, valid = jnp.array([[1.0, 2.0, 2.0, 2.0]]), jnp.ones((1, 4), bool)
    assert hardest(values, valid, jnp.array([2])).tolist() == [[False, True, True, True]]
    assert hardest(values, ~valid, jnp.array([2])).tolist() == [[False] * 4]


def test_a_second_head_adds_its_share():
    other = RNG.normal(size=LOGITS.shape).astype(np.float32)
    task = Segmentation(num_classes=C, auxiliary_weight=0.4, objective=HardPixels(fraction=0.5))
    values, weights = loss(task, {"logits": LOGITS, "auxiliary": other}, batch())
    alone, its_weights = loss(task, LOGITS, batch())
    auxiliary, _ = loss(task, other, batch())
    np.testing.assert_allclose(values, alone + 0.4 * auxiliary, rtol=1e-5)
    np.testing.assert_array_equal(weights, its_weights)
    metrics = task.metrics({"logits": LOGITS, "auxiliary": other}, batch())
    np.testing.assert_array_equal(metrics.confusion, task.metrics(LOGITS, batch()).confusion)


def test_the_evaluation_compares_edges():
    task = Segmentation(num_classes=C, boundary_tolerance=1)
    examples = {name: np.asarray(x) for name, x in task.per_example(LOGITS, batch()).items()}
    assert examples["boundary"].shape == (B, 4, C)
    counts = boundary_counts(
        jnp.asarray(LABELS, jnp.int32),
        LOGITS.argmax(-1),
        C,
        tolerance=1,
        valid=jnp.asarray((LABELS != 255) & MASK[:, None, None]),
    )
    np.testing.assert_array_equal(examples["boundary"][:, 2], counts.true)
    result = task.aggregate({name: x[MASK] for name, x in examples.items()})
    assert 0 < result["boundary_f1"] < 1
    assert len(result["boundary_f1_per_class"]) == C
    blind = Segmentation(num_classes=C, boundary_tolerance=None)
    assert blind.per_example(LOGITS, batch()) == blind.aggregate({}) == {}


def test_predictions_are_index_maps():
    predictions = Segmentation(num_classes=C).predict({"logits": jnp.asarray(LOGITS)})
    assert list(predictions) == ["prediction"]
    assert predictions["prediction"].dtype == jnp.uint8
    np.testing.assert_array_equal(predictions["prediction"], LOGITS.argmax(-1))
    sure = Segmentation(num_classes=C, with_confidence=True).predict(jnp.asarray(LOGITS))
    np.testing.assert_allclose(sure["confidence"], jax.nn.softmax(LOGITS).max(-1), rtol=1e-6)
    many = Segmentation(num_classes=300, ignore_label=-1).predict(jnp.zeros((1, 2, 2, 300)))
    assert many["prediction"].dtype == jnp.int32


def test_outputs_that_do_not_fit_are_refused():
    images = jax.ShapeDtypeStruct((2, 8, 9, 3), jnp.float32)
    task = Segmentation(num_classes=C)
    fits = jax.ShapeDtypeStruct((2, 8, 9, C), jnp.float32)
    task.check_outputs(fits, images)
    task.check_outputs({"logits": fits, "auxiliary": fits}, images)
    for outputs, message in (
        (
            jax.ShapeDtypeStruct((2, C), jnp.float32),
            r"logits of shape \(2, 3\), but .* every pixel",
        ),
        (jax.ShapeDtypeStruct((2, 8, 9, 7), jnp.float32), "for 7 classes.*--model.num-classes 3"),
        ({"auxiliary": fits}, r"a dict of \['auxiliary'\]"),
        ((fits,), "logits of tuple"),
        (
            {"logits": fits, "auxiliary": jax.ShapeDtypeStruct((2, 4, 5, C), jnp.float32)},
            r"auxiliary of shape \(2, 4, 5, 3\)",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            task.check_outputs(outputs, images)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (lambda: Segmentation(num_classes=C, ignore_label=2), "ignore_label is 2, which is one of"),
        (lambda: HardPixels(fraction=0.0), "fraction is 0.0"),
        (lambda: Tversky(false_negatives=1.5), "Tversky's false_negatives is 1.5"),
        (lambda: FocalTversky(false_negatives=-0.1), "FocalTversky's false_negatives is -0.1"),
        (lambda: Sum(), "found 0 pairs"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        settings()


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (CrossEntropy(class_weights=(1.0, 2.0)), r"class_weights has shape \[2\], but \[3\]"),
        (CrossEntropy(class_weights=(1.0, 2.0, -0.5)), r"class_weights\[2\] is -0.5, but a weight"),
        (Dice(class_weights=(-1.0, 2.0, 0.5)), r"class_weights\[0\] is -1.0, but a weight"),
        (Sum((CrossEntropy(), 1.0), (Dice(class_weights=(1.0,)), 1.0)), r"class_weights has shape"),
        (Focal(gamma=-1.0), "gamma is -1.0"),
        (HardPixels(objective=Dice()), "Dice has one loss per image"),
        (LovaszHinge(), "tells 2 classes apart, but there are 3; take LovaszSoftmax"),
    ],
)
def test_an_objective_that_does_not_fit_is_refused_before_training(objective, message):
    outputs = jax.ShapeDtypeStruct((2, 8, 9, C), jnp.float32)
    with pytest.raises(ValueError, match=message):
        Segmentation(num_classes=C, objective=objective).check_outputs(outputs, outputs)


@pytest.mark.slow
def test_a_small_unet_learns_two_images():
    """Discs on a ground, told apart by their colour and their place."""
    import optax

    from jaxcv.models import ConvBackbone, UNet

    y, x = np.mgrid[:30, :41]
    labels = np.stack(
        [
            np.where((y - r) ** 2 + (x - c) ** 2 < 64, 1 + (x > c), 0)
            for r, c in ((12, 14), (17, 26))
        ]
    ).astype(np.uint8)
    images = jnp.asarray(RNG.normal(size=(*labels.shape, 3)) * 0.1, jnp.float32)
    images = images.at[..., 0].add(labels > 0)
    labels[:, :3] = 255
    rows = {"label": jnp.asarray(labels), "mask": jnp.ones(2, bool)}
    backbone = ConvBackbone(widths=(8, 16, 16), convolutions=1, patch=2)
    model = UNet(3, backbone, widths=(16, 8), convolutions=1)
    task, optimizer = Segmentation(num_classes=3), optax.adam(1e-2)
    variables = model.init(jax.random.key(0), images)
    params, state = variables["params"], variables["batch_stats"]
    slots = optimizer.init(params)

    @jax.jit
    def step(params, state, slots):
        def objective(params):
            logits, updated = model.apply(
                {"params": params, "batch_stats": state}, images, train=True, mutable="batch_stats"
            )
            values, weights, _ = task.loss(logits, rows)
            return jnp.sum(values) / jnp.sum(weights), (updated["batch_stats"], logits)

        (_, (state, logits)), gradients = jax.value_and_grad(objective, has_aux=True)(params)
        updates, slots = optimizer.update(gradients, slots, params)
        return optax.apply_updates(params, updates), state, slots, logits

    for _ in range(80):
        params, state, slots, logits = step(params, state, slots)
    assert task.summary(task.metrics(logits, rows))["mean_iou"] > 0.9
