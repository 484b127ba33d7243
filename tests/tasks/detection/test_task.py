"""Detection: losses by hand, what does not count, normalisers over all devices, evaluation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcv import losses
from jaxcv.image import DeltaCoding, DistanceCoding
from jaxcv.models import FCOS, ConvBackbone
from jaxcv.models.detection import DetectionOutputs, grid_anchors
from jaxcv.tasks import (
    AXIS,
    Asymmetric,
    BoxSmoothL1,
    CIoU,
    Detection,
    DIoU,
    GIoU,
    HardNegatives,
    IoU,
    SigmoidFocal,
)
from jaxcv.tasks.detection.assignment import ATSS, MaxIoU
from jaxcv.tasks.detection.task import centerness_of, in_original
from jaxcv.train import DeviceMap, create_state, make_eval_step, make_train_step
from jaxcv.train.window import Packing, Window

C, B, M = 3, 4, 5
SIZE = (24, 32)
ANCHORS = grid_anchors({4: (6, 8), 8: (3, 4)}, [(2.0, 2.0)])
N = len(ANCHORS.boxes)


def outputs(seed=0, *, background=False, centerness=True, coding=None):
    rng = np.random.default_rng(seed)
    return DetectionOutputs(
        logits=jnp.asarray(rng.normal(size=(B, N, C + background)), jnp.float32),
        regression=jnp.asarray(0.3 * rng.normal(size=(B, N, 4)), jnp.float32),
        centerness=jnp.asarray(rng.normal(size=(B, N)), jnp.float32) if centerness else None,
        anchors=ANCHORS,
        coding=coding or DistanceCoding(),
        image_size=SIZE,
    )


def batch(seed=0):
    """Three images with 1 to 4 objects; the last is padding."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform((0, 0), (20, 12), (B, M, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 12, (B, M, 2))], -1)
    classes = rng.integers(0, C, (B, M))
    for i in range(B):
        boxes[i, i + 1 :], classes[i, i + 1 :] = 0, -1
    boxes[3], classes[3] = 0, 0  # as a row of zeros comes from `Batches`
    return {
        "boxes": jnp.asarray(boxes, jnp.float32),
        "classes": jnp.asarray(classes, jnp.int32),
        "ignored": jnp.zeros((B, M), bool),
        "area": jnp.asarray(np.prod(boxes[..., 2:] - boxes[..., :2], -1), jnp.float32),
        "placement": jnp.tile(jnp.array([1.0, 1.0, 0.0, 0.0]), (B, 1)),
        "mask": jnp.array([True, True, True, False]),
    }


def parts_by_loops(task, out, examples):
    """Focal, box and centre-ness losses of each image, an anchor at a time, in NumPy's float64."""
    boxes = np.asarray(out.boxes(), np.float64)
    total, count = np.zeros(B), np.zeros(B)
    for i in range(B):
        if not examples["mask"][i]:
            continue
        real = (examples["classes"][i] >= 0) & ~examples["ignored"][i]
        found = task.assigner.assign(ANCHORS, examples["boxes"][i], real)
        hidden = np.asarray(examples["ignored"][i])
        for n in range(N):
            x, y = np.asarray(ANCHORS.centers[n])
            positive = bool(found.positive[n])
            within = [
                x0 < x < x1 and y0 < y < y1 for x0, y0, x1, y1 in np.asarray(examples["boxes"][i])
            ]
            if not positive and np.any(hidden & np.array(within)):
                continue
            row = int(found.matched[n])
            for c in range(C):
                p = 1 / (1 + np.exp(-float(out.logits[i, n, c])))
                if positive and c == examples["classes"][i, row]:
                    total[i] -= task.class_loss.alpha * (1 - p) ** task.class_loss.gamma * np.log(p)
                else:
                    total[i] -= (
                        (1 - task.class_loss.alpha) * p**task.class_loss.gamma * np.log(1 - p)
                    )
            if positive:
                count[i] += 1
                truth = examples["boxes"][i, row]
                giou = losses.giou_loss(jnp.asarray(boxes[i, n], jnp.float32), truth)
                x0, y0, x1, y1 = np.asarray(truth)
                left, right, top, bottom = x - x0, x1 - x, y - y0, y1 - y
                central = np.sqrt(
                    min(left, right) / max(left, right) * min(top, bottom) / max(top, bottom)
                )
                z = float(out.centerness[i, n])
                entropy = np.logaddexp(0, z) - central * z
                total[i] += task.box_weight * float(giou) + task.centerness_weight * entropy
    return total, count


def test_loss_is_what_loops_give():
    task = Detection(num_classes=C, box_weight=2.0, centerness_weight=0.5)
    examples = batch()
    examples["ignored"] = examples["ignored"].at[2, 1].set(True)
    values, weights, _ = jax.jit(task.loss)(outputs(), examples)
    wanted, count = parts_by_loops(task, outputs(), examples)
    assert count[:3].min() > 0
    np.testing.assert_array_equal(weights, count)
    np.testing.assert_allclose(values, wanted, rtol=2e-5)
    assert values[3] == weights[3] == 0


def test_anchors_in_an_ignored_object_have_no_gradient():
    task, out, examples = Detection(num_classes=C), outputs(), batch()
    whole = jnp.array([0.0, 0.0, 32.0, 24.0])
    examples["boxes"] = examples["boxes"].at[0, 1].set(whole)
    examples["classes"] = examples["classes"].at[0, 1].set(0)
    examples["ignored"] = examples["ignored"].at[0, 1].set(True)

    def total(logits):
        return jnp.sum(task.loss(out.replace(logits=logits), examples)[0])

    gradient = np.asarray(jax.grad(total)(out.logits))
    positive = np.asarray(task.targets(out, examples).positive)
    assert positive[0].any()
    assert np.array_equal(np.any(gradient[0] != 0, -1), positive[0])
    assert np.all(np.any(gradient[1] != 0, -1))
    assert not np.any(gradient[3])


@pytest.mark.parametrize("class_loss", [SigmoidFocal(), Asymmetric(), HardNegatives()])
@pytest.mark.parametrize("box_loss", [GIoU(), DIoU(), CIoU(), IoU(), BoxSmoothL1()])
def test_losses_are_finite_where_networks_go_astray(class_loss, box_loss):
    background = isinstance(class_loss, HardNegatives)
    task = Detection(num_classes=C, class_loss=class_loss, background=background, box_loss=box_loss)
    for scale in (0.0, 1e4, -1e4):
        out = outputs(background=background, coding=DeltaCoding())
        out = out.replace(
            logits=scale * out.logits,
            regression=scale * out.regression,
            centerness=scale * out.centerness,
        )
        for examples in (batch(), {**batch(), "mask": jnp.zeros(B, bool)}):

            def total(logits, regression, centerness, out=out, examples=examples):
                changed = out.replace(logits=logits, regression=regression, centerness=centerness)
                return jnp.sum(task.loss(changed, examples)[0])

            value, gradient = jax.value_and_grad(total, argnums=(0, 1, 2))(
                out.logits, out.regression, out.centerness
            )
            assert np.isfinite(value)
            assert all(np.all(np.isfinite(g)) for g in gradient)


def test_softmax_counts_the_hardest_negatives():
    task = Detection(
        num_classes=C,
        class_loss=HardNegatives(per_positive=2.0),
        background=True,
        assigner=MaxIoU(),
    )
    out, examples = outputs(background=True, centerness=False), batch()
    targets = task.targets(out, examples)
    got = np.asarray(task._parts(out, examples, targets, (), None)[0][0])
    entropy = np.asarray(losses.softmax_cross_entropy(out.logits, targets.classes))
    for i in range(3):
        positive, counted = np.asarray(targets.positive[i]), np.asarray(targets.counted[i])
        negatives = np.sort(entropy[i][counted & ~positive])[::-1]
        wanted = entropy[i][positive].sum() + negatives[: 2 * positive.sum()].sum()
        assert got[i] == pytest.approx(wanted, rel=1e-5)
    assert got[3] == 0


def test_smooth_l1_is_on_the_models_own_terms():
    task = Detection(num_classes=C, box_loss=BoxSmoothL1(), assigner=ATSS(candidates=3))
    out = outputs(centerness=False, coding=DeltaCoding())
    targets = task.targets(out, batch())
    perfect = out.replace(regression=out.coding.encode(targets.boxes, ANCHORS.boxes))
    assert np.all(task._parts(perfect, batch(), targets, (), None)[0][1] < 1e-6)
    off = perfect.replace(regression=perfect.regression.at[..., 0].add(3.0))
    # |3| - 1/2 for each positive anchor.
    np.testing.assert_allclose(
        task._parts(off, batch(), targets, (), None)[0][1],
        2.5 * np.asarray(targets.positive).sum(1),
        rtol=1e-5,
    )


def test_a_perfect_detector_has_no_box_loss_and_average_precision_one():
    examples = batch()
    task = Detection(num_classes=C, centerness_weight=0.0, iou_threshold=0.5)
    out = outputs()
    targets = task.targets(out, examples)
    boxes = jnp.where(targets.positive[..., None], targets.boxes, ANCHORS.boxes)
    labels = jax.nn.one_hot(targets.classes, C)
    out = out.replace(
        logits=jnp.where(labels > 0, 12.0, -12.0),
        regression=out.coding.encode(boxes, ANCHORS.boxes),
        centerness=jnp.full((B, N), 12.0),
    )
    values, _, _ = task.loss(out, examples)
    assert np.all(values < 1e-2)
    told = {name: np.asarray(x)[:3] for name, x in task.per_example(out, examples).items()}
    summary = task.aggregate(told)
    found = {c for c in np.asarray(targets.classes[:3]).ravel() if c < C}
    assert found == {int(c) for c in np.asarray(examples["classes"][:3]).ravel() if c >= 0}
    assert summary["average_precision"] == pytest.approx(1.0)
    assert summary["average_precision_50"] == pytest.approx(1.0)


def test_detections_come_back_in_pixels_of_the_stored_image():
    examples = batch()
    # A stored image of 64 x 40 pixels, shrunk by 2 and put 2 pixels down.
    examples["placement"] = jnp.tile(jnp.array([0.5, 0.5, 0.0, 2.0]), (B, 1))
    task, out = Detection(num_classes=C, score_threshold=0.0, max_detections=7), outputs()
    found, told = task.predict(out), task.per_example(out, examples)
    assert found["boxes"].shape == (B, 7, 4)
    assert np.all(np.diff(found["scores"], axis=1) <= 0)
    expected = (np.asarray(found["boxes"]) - [0, 2, 0, 2]) * 2
    real = np.asarray(found["classes"]) >= 0
    np.testing.assert_allclose(np.asarray(told["detected_boxes"])[real], expected[real], atol=1e-4)
    np.testing.assert_allclose(
        told["boxes"][0, 0], (np.asarray(examples["boxes"][0, 0]) - [0, 2, 0, 2]) * 2, rtol=1e-6
    )
    assert np.all(np.isfinite(in_original(found["boxes"], jnp.zeros((B, 4)))))


@pytest.mark.parametrize(
    ("placement", "image_size"),
    [((0.5, 0.5, 0, 2), (40, 64)), ((1, 1, 10, 0), (24, 12)), ((2, 1.5, 0, 4), (10, 16))],
)
def test_detections_end_at_the_picture_and_those_in_the_border_are_none(placement, image_size):
    task, out = Detection(num_classes=C, score_threshold=0.0, max_detections=40), outputs()
    examples = batch()
    examples["placement"] = jnp.tile(jnp.array(placement, jnp.float32), (B, 1))
    examples["image_size"] = jnp.tile(jnp.array(image_size), (B, 1)).at[3].set(0)  # padding
    before, told = task.predict(out), task.per_example(out, examples)
    scale, corner = np.tile(placement[:2], 2), np.tile(placement[2:], 2)
    whole = (np.asarray(before["boxes"]) - corner) / scale
    expected = np.clip(whole, 0, np.tile(image_size[::-1], 2))
    left = np.all(expected[..., 2:] > expected[..., :2], axis=-1)
    left &= (np.asarray(before["classes"]) >= 0) & (np.arange(B)[:, None] < 3)
    classes = np.where(left, before["classes"], -1)
    np.testing.assert_array_equal(told["detected_classes"], classes)
    np.testing.assert_allclose(told["detected_boxes"][left], expected[left], atol=1e-4)
    np.testing.assert_array_equal(told["detected_scores"][left], before["scores"][left])
    changed = ~np.all(np.isclose(whole, expected, atol=1e-4), axis=-1)
    assert np.sum(changed & left) > 3


def test_scores_are_probability_times_centerness():
    out = outputs()
    task = Detection(num_classes=C)
    wanted = jax.nn.sigmoid(out.logits) * jax.nn.sigmoid(out.centerness)[..., None]
    np.testing.assert_allclose(task.scores(out), wanted, rtol=1e-6)
    out = outputs(background=True, centerness=False)
    task = dataclasses.replace(task, class_loss=HardNegatives(), background=True)
    np.testing.assert_allclose(
        task.scores(out).sum(-1), 1 - jax.nn.softmax(out.logits)[..., -1], rtol=1e-5
    )


def test_centerness_by_hand():
    boxes = jnp.array([[0.0, 0.0, 4.0, 4.0]])
    for point, wanted in {
        (2, 2): 1.0,
        (1, 2): (1 / 3) ** 0.5,
        (1, 3): 1 / 3,
        (0, 2): 0,
        (5, 2): 0,
    }.items():
        assert centerness_of(jnp.array([point], jnp.float32), boxes)[0] == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("task", "out", "message"),
    [
        (Detection(num_classes=C), jnp.zeros((B, 3)), "wants DetectionOutputs"),
        (Detection(num_classes=5), outputs(), "gives 3 logits for each box, but the task wants 5; say"),
        (Detection(num_classes=C), outputs(background=True), "say --model.background False"),
        (
            Detection(num_classes=C, class_loss=HardNegatives(), background=True), outputs(),
            "say --model.background True",
        ),
    ],
)  # fmt: skip
def test_outputs_that_do_not_fit_say_what_to_change(task, out, message):
    with pytest.raises(ValueError, match=message):
        task.check_outputs(out, jax.ShapeDtypeStruct((B, *SIZE, 3), jnp.float32))


MODEL = FCOS(
    C, ConvBackbone(widths=(4, 6), patch=2, convolutions=1, axis_name=AXIS),
    strides=(2, 4), width=4, convolutions=1,
)  # fmt: skip


def run_step(examples, devices, strategy="shard_map", task=None):
    """One SGD step; gives the state and what the step reports."""
    task, optimizer = task or Detection(num_classes=C), optax.sgd(0.1)
    rng = np.random.default_rng(0)
    rows = len(examples["mask"])
    images = rng.integers(0, 256, (rows, *SIZE, 3), np.uint8)
    device_map = DeviceMap(jax.devices()[:devices], strategy)
    state = create_state(MODEL, optimizer, (*SIZE, 3), seed=0)
    step = device_map.map(make_train_step(MODEL, task, optimizer), (None, 0))
    fractions = device_map.split(jax.tree.map(np.asarray, {**examples, "image": images}))
    state, metrics = step(device_map.replicate(state), fractions)
    return jax.device_get(state), jax.device_get(metrics)


@pytest.mark.parametrize(("devices", "strategy"), [(4, "shard_map"), (2, "pmap")])
def test_the_normaliser_is_of_all_devices(devices, strategy):
    """Images differ in objects: a mean of the devices' own quotients would be another."""
    one, metrics = run_step(batch(), 1)
    many, many_metrics = run_step(batch(), devices, strategy)
    assert metrics.weight_sum == many_metrics.weight_sum > 0
    assert metrics.loss_sum == pytest.approx(many_metrics.loss_sum, rel=1e-5)
    assert metrics.task.objects == many_metrics.task.objects == 1 + 2 + 3
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(many.params)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_batch_without_objects_is_learnt_from():
    examples = batch()
    examples["classes"] = jnp.full((B, M), -1)
    examples["boxes"] = jnp.zeros((B, M, 4))
    state, metrics = run_step(examples, 1)
    assert metrics.weight_sum == 0
    assert 0 < metrics.loss_sum < 1e3
    # Divided by 1, not by nothing: the update is the gradient of the sum.
    assert 0 < metrics.gradient_norm < 1e3
    assert int(state.skipped) == 0
    summary = Detection(num_classes=C).summary(metrics.task)
    assert summary["positives_per_object"] == 0
    assert summary["class_loss"] == pytest.approx(float(metrics.loss_sum), rel=1e-5)
    # And so says the log, after one such step or after many.
    for steps in (1, 5):
        pack = Packing()
        packed = pack(metrics)
        window = Window(Detection(num_classes=C), max_skipped=1, pack=pack)
        for step in range(steps):
            window.add(step, packed)
        assert window.row()["loss"] == pytest.approx(float(metrics.loss_sum), rel=1e-6)


def test_evaluation_gathers_every_image_once():
    task = Detection(num_classes=C, score_threshold=0.0, max_detections=6)
    examples = jax.tree.map(np.asarray, {**batch(), "image": np.zeros((B, *SIZE, 3), np.uint8)})
    variables = create_state(MODEL, optax.sgd(0.1), (*SIZE, 3), seed=0).variables
    told = {}
    for devices in (1, 4):
        device_map = DeviceMap(jax.devices()[:devices])
        step = device_map.map(make_eval_step(MODEL, task), (None, 0))
        metrics, told[devices] = jax.device_get(
            step(device_map.replicate(variables), device_map.split(examples))
        )
        assert int(metrics.count) == 3
    assert told[4]["mask"].tolist() == [True, True, True, False]
    for name in told[1]:
        np.testing.assert_allclose(told[1][name], told[4][name], rtol=1e-4, atol=1e-4)
