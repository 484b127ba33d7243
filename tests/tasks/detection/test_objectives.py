"""Objectives of detection: each is its loss, learns, and means the same on any number of devices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcv import losses
from jaxcv.data import Shapes
from jaxcv.image import DeltaCoding, DistanceCoding
from jaxcv.models import FCOS, ConvBackbone
from jaxcv.models.detection import DetectionOutputs, grid_anchors
from jaxcv.tasks import (
    AXIS,
    Asymmetric,
    BoxSmoothL1,
    CIoU,
    CrossEntropy,
    Detection,
    DIoU,
    EqualizedFocal,
    Focal,
    GIoU,
    HardNegatives,
    IoU,
    LogitAdjusted,
    Poly1,
    SigmoidFocal,
)
from jaxcv.train import Checkpoints, DeviceMap, TrainingData, create_state, make_train_step
from jaxcv.train.checkpoint import leaf_digests
from jaxcv.train.config_file import from_json, to_json

pytestmark = pytest.mark.usefixtures("quick_compilation")

C, B, M = 3, 8, 3
SIZE = (16, 16)
ANCHORS = grid_anchors({4: (4, 4)}, [(2.0, 2.0)])
N = len(ANCHORS.boxes)
DATA = TrainingData(num_examples=B, num_classes=C)
RNG = np.random.default_rng(0)
CORNERS = RNG.uniform(0, 6, (B, M, 2))
BATCH = {
    "boxes": np.concatenate([CORNERS, CORNERS + RNG.uniform(5, 9, (B, M, 2))], -1).astype(
        np.float32
    ),
    "classes": RNG.integers(-1, C, (B, M)).astype(np.int32),
    "ignored": RNG.random((B, M)) < 0.1,
    "mask": np.arange(B) < B - 1,
}
# What is learned, without a network: the logits with one for no object, and the terms of the boxes.
PARAMS = {
    "logits": RNG.normal(size=(B, N, C + 1)).astype(np.float32),
    "regression": (0.3 * RNG.normal(size=(B, N, 4))).astype(np.float32),
}

CLASS_LOSSES = {
    "focal": SigmoidFocal(gamma=1.5, alpha=0.3),
    "equalized": EqualizedFocal(scale=4.0),
    "asymmetric": Asymmetric(),
    "hard_negatives": HardNegatives(per_positive=2.0),
}
BOX_LOSSES = {
    "iou": (IoU(), losses.iou_loss),
    "giou": (GIoU(), losses.giou_loss),
    "diou": (DIoU(), losses.diou_loss),
    "ciou": (CIoU(), losses.ciou_loss),
    "smooth_l1": (BoxSmoothL1(beta=0.5), None),
}


def task_of(class_loss=None, box_loss=None):
    """A task of one of the two alone, since each has its own parameters."""
    chosen = {} if class_loss is None else {"class_loss": class_loss}
    return Detection(
        num_classes=C,
        background=isinstance(class_loss, HardNegatives),
        box_loss=box_loss or GIoU(),
        **chosen,
    )


TASKS = {
    **{name: task_of(class_loss=loss) for name, loss in CLASS_LOSSES.items()},
    **{name: task_of(box_loss=loss) for name, (loss, _) in BOX_LOSSES.items()},
}


def outputs_of(task, params):
    return DetectionOutputs(
        logits=params["logits"] if task.background else params["logits"][..., :C],
        regression=params["regression"],
        centerness=None,
        anchors=ANCHORS,
        coding=DeltaCoding() if isinstance(task.box_loss, BoxSmoothL1) else DistanceCoding(),
        image_size=SIZE,
    )


@pytest.fixture(scope="module")
def courses():
    """By devices: of each task the parts of the loss in 20 steps of descent, and the last state."""

    def descend(params, batch):
        def of_task(task, rate):
            def total(params, state):
                found = task.loss_and_metrics(outputs_of(task, params), batch, state, None)
                values, weights, metrics, state = found
                weight = jax.lax.psum(jnp.sum(weights), AXIS)
                return jnp.sum(values) / weight, (metrics, weight, state)

            def step(carry, _):
                slopes, (metrics, weight, state) = jax.grad(total, has_aux=True)(*carry)
                params = jax.tree.map(lambda p, g: p - rate * g, carry[0], slopes)
                sums = jax.lax.psum((metrics.class_loss, metrics.box_loss), AXIS)
                return (params, state), jnp.stack(sums) / weight

            start = (params, task.init_state(DATA))
            (_, state), parts = jax.lax.scan(step, start, None, 20)
            return parts, state

        # The terms of a box are distances in units of several pixels.
        return {
            name: of_task(task, 5.0 if name in BOX_LOSSES else 0.5) for name, task in TASKS.items()
        }

    found = {}
    for count in (1, 8):
        device_map = DeviceMap(jax.devices()[:count])
        found[count] = jax.device_get(
            device_map.map(descend, (0, 0))(device_map.split(PARAMS), device_map.split(BATCH))
        )
    return found


@pytest.fixture(scope="module")
def expected():
    """The sums of the pure losses over the anchors that count, per positive anchor."""

    @jax.jit
    def of_all(params, batch):
        found = {}
        for name, task in TASKS.items():
            out = outputs_of(task, params)
            targets = task.targets(out, batch)
            positive, counted = targets.positive, targets.counted[..., None]
            labels = targets.classes[..., None] == jnp.arange(C)
            if name in BOX_LOSSES:
                pure = BOX_LOSSES[name][1]
                values = (
                    losses.smooth_l1_loss(
                        out.regression, out.coding.encode(targets.boxes, ANCHORS.boxes), beta=0.5
                    )
                    if pure is None
                    else pure(out.boxes(), targets.boxes)
                )
                values = jnp.where(positive, values, 0)
            elif name == "focal":
                values = losses.sigmoid_focal_loss(out.logits, labels, gamma=1.5, alpha=0.3)
                values = jnp.where(counted, values, 0)
            elif name == "equalized":
                values = losses.equalized_focal_loss(out.logits, labels, jnp.ones(C), scale=4.0)
                values = jnp.where(counted, values, 0)
            elif name == "asymmetric":
                values = jnp.where(counted, losses.asymmetric_loss(out.logits, labels), 0)
            else:
                values = losses.softmax_cross_entropy(out.logits, targets.classes)
                negative = jnp.where(targets.counted & ~positive, values, -jnp.inf)
                rank = jnp.argsort(jnp.argsort(-negative, axis=1), axis=1)
                number = 2 * jnp.maximum(jnp.sum(positive, 1, keepdims=True), 1)
                kept = (rank < number) & jnp.isfinite(negative)
                values = jnp.where(positive | kept, values, 0)
            found[name] = jnp.sum(values) / jnp.sum(positive)
        return found

    return jax.device_get(of_all(PARAMS, BATCH))


@pytest.mark.parametrize("name", TASKS)
def test_an_objective_is_its_loss_on_any_number_of_devices_and_learns(name, courses, expected):
    part = int(name in BOX_LOSSES)
    one, eight = courses[1][name], courses[8][name]
    np.testing.assert_allclose(one[0][0, part], expected[name], rtol=1e-5)
    np.testing.assert_allclose(eight[0][:3], one[0][:3], rtol=1e-5)
    for a, b in zip(jax.tree.leaves(one[1]), jax.tree.leaves(eight[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)
    assert one[0][-1, part] < 0.95 * one[0][0, part]


def test_the_balance_of_gradients_counts_what_counts(courses):
    balance = courses[8]["equalized"][1]
    assert np.all(balance.positive > 0)
    assert np.all(balance.negative > balance.positive)


def test_a_state_is_restored_and_goes_on_to_the_same_bytes(tmp_path):
    task = Detection(num_classes=C, class_loss=EqualizedFocal(), box_loss=CIoU())
    backbone = ConvBackbone(widths=(4, 4), patch=2, convolutions=1, axis_name=AXIS)
    model = FCOS(num_classes=C, backbone=backbone, strides=(2, 4), width=4, convolutions=1)
    optimizer, device_map = optax.adam(0.01), DeviceMap(jax.devices()[:1])
    step = device_map.map(make_train_step(model, task, optimizer), (None, 0))
    batch = device_map.split({**BATCH, "image": RNG.integers(0, 256, (B, *SIZE, 3), np.uint8)})
    checkpoints = Checkpoints(tmp_path)

    def start():
        state = create_state(model, optimizer, (*SIZE, 3), seed=0, task=task, data=DATA)
        return device_map.replicate(state)

    state, _ = step(start(), batch)
    checkpoints.save(1, state)
    state, _ = step(state, batch)
    restored, _ = step(checkpoints.restore(start(), 1), batch)
    assert leaf_digests(state) == leaf_digests(restored)
    assert np.all(np.asarray(state.task_state.negative) > 0)


@pytest.mark.parametrize(
    ("earlier", "task"),
    [
        (
            {"classification": "focal", "focal_gamma": 1.0, "focal_alpha": 0.5, "box_loss": "diou"},
            Detection(
                num_classes=C, class_loss=SigmoidFocal(gamma=1.0, alpha=0.5), box_loss=DIoU()
            ),
        ),
        (
            {"classification": "softmax", "hard_negatives": 2.0, "box_loss": "smooth_l1"},
            Detection(
                num_classes=C,
                class_loss=HardNegatives(per_positive=2.0),
                background=True,
                box_loss=BoxSmoothL1(),
            ),
        ),
    ],
)
def test_names_and_numbers_of_earlier_versions_are_read(earlier, task):
    fields = to_json(task)
    for name in ("class_loss", "background", "box_loss"):
        del fields[name]
    rest = {"focal_gamma": 2.0, "focal_alpha": 0.25, "hard_negatives": 3.0}
    assert from_json({**fields, **rest, **earlier}) == task
    assert from_json(to_json(task)) == task


def test_hard_negatives_need_a_logit_for_no_object():
    with pytest.raises(ValueError, match="say --task.background True"):
        dataclasses.replace(Detection(num_classes=C), class_loss=HardNegatives())


@pytest.mark.parametrize("loss", [CrossEntropy(), Focal(), Poly1()], ids=lambda x: type(x).__name__)
def test_a_softmax_over_the_classes_alone_is_refused(loss):
    """It would be NaN at every anchor without an object."""
    outputs = outputs_of(task_of(), PARAMS)
    with pytest.raises(
        ValueError, match=rf"{type(loss).__name__} chooses .*--task.background True"
    ):
        Detection(num_classes=C, class_loss=loss).check_outputs(outputs, None)
    wide = dataclasses.replace(outputs, logits=PARAMS["logits"])
    Detection(num_classes=C, class_loss=loss, background=True).check_outputs(wide, None)


@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_the_class_losses_have_an_answer_for_no_object(name):
    TASKS[name].check_outputs(outputs_of(TASKS[name], PARAMS), None)


def test_classes_are_not_counted_by_boxes():
    source = Shapes(num_examples=1, image_size=32).open("train")
    data = TrainingData(num_examples=1, num_classes=3, source=source)
    with pytest.raises(ValueError, match="has image, boxes.*no label to count the classes by"):
        Detection(num_classes=3, class_loss=LogitAdjusted(), background=True).init_state(data)


@pytest.mark.parametrize("name", ["box_weight", "centerness_weight"])
@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_parts_of_the_loss_have_no_negative_weight(name, weight):
    with pytest.raises(ValueError, match=f"{name} is {weight}, but must be in"):
        Detection(num_classes=3, **{name: weight})
