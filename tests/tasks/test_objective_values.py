"""What an objective's numbers are: those of the pure function it is named after; and its state."""

import dataclasses
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tyro

from jaxcv import losses, tasks
from jaxcv.data import DecodeError
from jaxcv.devices import AXIS
from jaxcv.tasks import Classification, CrossEntropy, Dice, Focal, Segmentation, Sum
from jaxcv.tasks.objective import IGNORED
from jaxcv.train import TrainingData
from jaxcv.train.config_file import from_json, to_json
from tests.tasks.objective_training import Records

pytestmark = pytest.mark.usefixtures("quick_compilation")

RNG = np.random.default_rng(0)
C = 3
SCORES = RNG.normal(size=(2, 2, 3, C)).astype(np.float32)
LABELS = RNG.integers(0, C, (2, 2, 3)).astype(np.int32)
LABELS[0, 0, 1] = LABELS[1, 1, 0] = IGNORED
VALID = LABELS != IGNORED
COUNTS = np.array([7, 4, 1])
DATA = TrainingData(num_examples=12, num_classes=C, source=Records(np.repeat(np.arange(C), COUNTS)))


def evaluated(objective, scores=SCORES, labels=LABELS, state=None, **batch):
    """`(values, weights, state)` of a batch on one device."""
    rows = len(labels)
    batch = {
        "label": labels,
        "mask": np.ones(rows, bool),
        "record": np.arange(rows, dtype=np.int32),
        "epoch": np.zeros(rows, np.int32),
        **batch,
    }
    state = objective.init(DATA) if state is None else state
    one_device = jax.vmap(objective.loss, in_axes=(0, 0, None), out_axes=0, axis_name=AXIS)
    found = jax.jit(one_device)(
        *jax.tree.map(lambda x: np.asarray(x)[None], (scores, batch)), state
    )
    return jax.tree.map(lambda x: np.asarray(x[0]), found)


WEIGHTS = (1.0, 2.0, 3.0)
SEEN = np.bincount(LABELS[VALID], minlength=C)
PURE = [
    (
        CrossEntropy(
            label_smoothing=0.1, smoothing="other_classes", class_weights=WEIGHTS, z_loss=0.1
        ),
        partial(
            losses.softmax_cross_entropy,
            label_smoothing=0.1,
            smoothing="other_classes",
            class_weights=jnp.array(WEIGHTS),
            z_loss=0.1,
        ),
    ),
    (
        Focal(gamma=1.5, class_weights=WEIGHTS),
        partial(losses.softmax_focal_loss, gamma=1.5, class_weights=jnp.array(WEIGHTS)),
    ),
    (
        tasks.Poly1(epsilon=0.5, class_weights=WEIGHTS),
        partial(losses.poly1_cross_entropy, epsilon=0.5, class_weights=jnp.array(WEIGHTS)),
    ),
    (
        tasks.BiTempered(bound_temperature=0.7, tail_temperature=1.5, label_smoothing=0.1),
        partial(
            losses.bi_tempered_loss,
            bound_temperature=0.7,
            tail_temperature=1.5,
            label_smoothing=0.1,
        ),
    ),
    (
        tasks.MulticlassHinge(margin=0.5, rivals="all", squared=True),
        partial(losses.multiclass_hinge_loss, margin=0.5, rivals="all", squared=True),
    ),
    (
        tasks.SigmoidCrossEntropy(positive_weight=3.0, label_smoothing=0.1),
        lambda z, y: losses.sigmoid_cross_entropy(
            z, jax.nn.one_hot(y, C), positive_weight=3.0, label_smoothing=0.1
        ).sum(-1),
    ),
    (
        tasks.SigmoidFocal(gamma=1.0, alpha=0.3),
        lambda z, y: losses.sigmoid_focal_loss(z, jax.nn.one_hot(y, C), gamma=1.0, alpha=0.3).sum(
            -1
        ),
    ),
    (
        tasks.Asymmetric(gamma_positive=0.5, gamma_negative=3.0, shift=0.1),
        lambda z, y: losses.asymmetric_loss(
            z, jax.nn.one_hot(y, C), gamma_positive=0.5, gamma_negative=3.0, shift=0.1
        ).sum(-1),
    ),
    (
        tasks.Hinge(margin=0.5, squared=True),
        lambda z, y: losses.hinge_loss(z, jax.nn.one_hot(y, C), margin=0.5, squared=True).sum(-1),
    ),
    (
        tasks.EqualizedFocal(gamma=1.0, scale=4.0, alpha=0.3),
        lambda z, y: losses.equalized_focal_loss(
            z, jax.nn.one_hot(y, C), jnp.ones(C), gamma=1.0, scale=4.0, alpha=0.3
        ).sum(-1),
    ),
    (
        tasks.ClassBalanced(objective=Focal(), beta=0.8),
        lambda z, y: losses.softmax_focal_loss(
            z, y, class_weights=losses.class_balanced_weights(COUNTS, beta=0.8)
        ),
    ),
    (
        tasks.BalancedSoftmax(),
        lambda z, y: losses.balanced_softmax_cross_entropy(z, y, COUNTS),
    ),
    (
        tasks.LogitAdjusted(tau=0.5, label_smoothing=0.1),
        lambda z, y: losses.logit_adjusted_cross_entropy(
            z, y, COUNTS, tau=0.5, label_smoothing=0.1
        ),
    ),
    (
        tasks.LDAM(max_margin=0.3, scale=4.0),
        lambda z, y: losses.ldam_loss(z, y, COUNTS, max_margin=0.3, scale=4.0),
    ),
    (
        tasks.Seesaw(mitigation=0.5, compensation=1.0),
        lambda z, y: losses.seesaw_loss(z, y, SEEN, mitigation=0.5, compensation=1.0),
    ),
    (
        tasks.GeneralizedCrossEntropy(q=0.4),
        partial(losses.generalized_cross_entropy, q=0.4),
    ),
    (tasks.SoftmaxAbsoluteError(), losses.softmax_absolute_error),
    (
        tasks.SymmetricCrossEntropy(alpha=2.0, beta=0.5),
        partial(losses.symmetric_cross_entropy, alpha=2.0, beta=0.5),
    ),
    (tasks.NormalizedCrossEntropy(), losses.normalized_cross_entropy),
    (tasks.NormalizedFocal(gamma=1.0), partial(losses.normalized_focal_loss, gamma=1.0)),
    (
        tasks.ActivePassive(
            active="normalized_focal", passive="mean_absolute_error", alpha=2.0, beta=0.5, gamma=1.0
        ),
        partial(
            losses.active_passive_loss,
            active="normalized_focal",
            passive="mean_absolute_error",
            alpha=2.0,
            beta=0.5,
            gamma=1.0,
        ),
    ),
    (
        tasks.Bootstrapped(beta=0.7, target="hard"),
        partial(losses.bootstrapped_cross_entropy, beta=0.7, target="hard"),
    ),
]


@pytest.mark.parametrize(("objective", "pure"), PURE, ids=lambda x: type(x).__name__)
def test_each_label_has_the_loss_of_the_pure_function(objective, pure):
    """Of pixels; a label of an image is a pixel more or less."""
    values, weights, _ = evaluated(objective)
    np.testing.assert_array_equal(weights, VALID.astype(np.float32))
    assert not values[~VALID].any()
    wanted = jax.jit(pure)(SCORES[VALID], LABELS[VALID])
    np.testing.assert_allclose(values[VALID], wanted, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("objective", "pure"),
    [
        (Dice(smooth=1.0, squared=True), partial(losses.dice_loss, smooth=1.0, squared=True)),
        (
            tasks.GeneralizedDice(weighting="inverse", absent="include"),
            partial(losses.generalized_dice_loss, weighting="inverse", absent="include"),
        ),
        (
            tasks.Jaccard(smooth=0.5, class_weights=WEIGHTS),
            partial(losses.jaccard_loss, smooth=0.5, class_weights=jnp.array(WEIGHTS)),
        ),
        (
            tasks.FocalTversky(false_negatives=0.6, exponent=0.5, smooth=1.0, absent="zero"),
            partial(
                losses.focal_tversky_loss,
                false_positive_weight=0.4,
                false_negative_weight=0.6,
                exponent=0.5,
                smooth=1.0,
                absent="zero",
            ),
        ),
        (tasks.MCC(epsilon=0.01), partial(losses.mcc_loss, epsilon=0.01)),
        (tasks.LovaszSoftmax(per="batch"), partial(losses.lovasz_softmax_loss, per="batch")),
        (
            tasks.Boundary(class_weights=(0.0, 1.0, 2.0)),
            lambda z, y, ignore_label: losses.boundary_loss(
                z,
                losses.signed_distances(y, C),
                class_weights=jnp.array([0.0, 1.0, 2.0]),
                mask=y != ignore_label,
            ),
        ),
    ],
    ids=lambda x: type(x).__name__,
)
def test_each_image_has_the_loss_of_the_pure_function_times_its_pixels(objective, pure):
    values, weights, _ = evaluated(objective)
    pixels = VALID.sum((1, 2))
    np.testing.assert_array_equal(weights, pixels)
    wanted = jax.jit(partial(pure, ignore_label=IGNORED))(SCORES, LABELS)
    np.testing.assert_allclose(values, wanted * pixels, rtol=1e-5, atol=1e-6)


def test_lovasz_hinge_is_of_the_second_class_against_the_first():
    two, labels = SCORES[..., :2], np.minimum(LABELS, 1)
    values, _, _ = evaluated(tasks.LovaszHinge(), two, labels)
    wanted = losses.lovasz_hinge_loss(two[..., 1] - two[..., 0], labels, ignore_label=IGNORED)
    np.testing.assert_allclose(values, wanted * VALID.sum((1, 2)), rtol=1e-6)


def test_a_single_logit_is_the_second_of_two_for_a_softmax():
    scores, labels = SCORES[0, 0, :, :1], np.array([0, 1, 1], np.int32)
    softmax, _, _ = evaluated(CrossEntropy(), scores, labels)
    sigmoid, _, _ = evaluated(tasks.SigmoidCrossEntropy(), scores, labels)
    np.testing.assert_allclose(softmax, sigmoid, rtol=1e-6)
    with pytest.raises(
        ValueError, match="there is one logit, of yes against no; take SigmoidFocal"
    ):
        evaluated(tasks.EqualizedFocal(), scores, labels)


def test_mixed_labels_weigh_and_cost_as_their_parts():
    scores = SCORES[0, 0]
    mixed = np.array([[0.3, 0.0, 0.7]] * 3, np.float32)
    for objective in (
        tasks.ClassBalanced(beta=0.8),
        tasks.SoftmaxAbsoluteError(),
        tasks.LogitAdjusted(),
    ):
        values, weights, _ = evaluated(objective, scores, mixed)
        first, last = (
            evaluated(objective, scores, np.full(3, label, np.int32))[0] for label in (0, 2)
        )
        wanted = 0.3 * first + 0.7 * last
        if isinstance(objective, tasks.ClassBalanced):
            factors = losses.class_balanced_weights(COUNTS, beta=0.8)
            bare = evaluated(CrossEntropy(), scores, mixed)[0]
            wanted = bare * (0.3 * factors[0] + 0.7 * factors[2])
        np.testing.assert_allclose(values, wanted, rtol=1e-5)
        assert weights.tolist() == [1, 1, 1]


def test_a_sum_counts_what_its_first_part_counts():
    hard = tasks.HardPixels(fraction=0.5)
    both, kept, _ = evaluated(Sum((hard, 2.0), (Dice(), 0.3)))
    pixels, its_kept, _ = evaluated(hard)
    dice = losses.dice_loss(SCORES, LABELS, ignore_label=IGNORED)
    np.testing.assert_array_equal(kept, np.ceil(VALID.sum((1, 2)) / 2))
    np.testing.assert_array_equal(kept, its_kept.sum((1, 2)))
    np.testing.assert_allclose(both, 2 * pixels.sum((1, 2)) + 0.3 * kept * dice, rtol=1e-5)


def test_weights_are_deferred_to_their_epoch():
    objective = tasks.ClassBalanced(beta=0.8, start_epoch=2)
    plain, _, _ = evaluated(CrossEntropy())
    values, _, _ = evaluated(objective, epoch=np.array([1, 2], np.int32))
    np.testing.assert_array_equal(values[0], plain[0])
    factors = np.asarray(losses.class_balanced_weights(COUNTS, beta=0.8))
    np.testing.assert_allclose(values[1], plain[1] * factors[LABELS[1]], rtol=1e-6)


def test_states_follow_the_rows_that_count():
    _, _, counts = evaluated(tasks.Seesaw())
    np.testing.assert_array_equal(counts, SEEN)
    _, _, balance = evaluated(tasks.EqualizedFocal())
    wanted = losses.update_gradient_balance(
        losses.initial_gradient_balance(C), SCORES[VALID], jax.nn.one_hot(LABELS[VALID], C)
    )
    np.testing.assert_allclose(balance, wanted, rtol=1e-6)
    # The next step's exponents are those of this balance.
    again, _, _ = evaluated(tasks.EqualizedFocal(), state=wanted)
    pure = losses.equalized_focal_loss(SCORES, jax.nn.one_hot(LABELS, C), wanted.ratio()).sum(-1)
    np.testing.assert_allclose(again[VALID], pure[VALID], rtol=1e-5)


def test_early_learning_keeps_a_mean_for_every_record():
    scores = SCORES.reshape(-1, C)[:5]
    labels = np.array([0, 1, 2, 0, 1], np.int32)
    batch = {
        "record": np.array([3, 0, 3, 7, 5], np.int32),
        "mask": np.array([True, True, True, True, False]),
    }
    table = RNG.dirichlet(np.ones(C), 12).astype(np.float32)
    objective = tasks.EarlyLearning(strength=2.0, momentum=0.6)
    values, _, updated = evaluated(objective, scores, labels, state=table, **batch)
    targets = losses.update_early_learning_targets(table[batch["record"]], scores, momentum=0.6)
    wanted = losses.early_learning_loss(scores, labels, targets, strength=2.0)
    np.testing.assert_allclose(values, np.where(batch["mask"], wanted, 0), rtol=1e-5)
    expected = table.copy()
    expected[3] = (targets[0] + targets[2]) / 2  # Twice in the batch.
    expected[0], expected[7] = targets[1], targets[3]
    np.testing.assert_allclose(updated, expected, rtol=1e-6)
    with pytest.raises(ValueError, match=r"labels are maps, of shape \(2, 2, 3\)"):
        evaluated(objective)
    with pytest.raises(ValueError, match=r"labels are mixed, of shape .* say --mix None"):
        evaluated(objective, scores, np.full((5, C), 1 / 3, np.float32))


def test_classes_are_counted_in_images_and_in_pixels():
    np.testing.assert_array_equal(DATA.class_counts(), COUNTS)
    maps = np.array([[[0, 1], [1, 255]], [[2, 2], [2, 255]]], np.uint8)
    data = TrainingData(num_examples=2, num_classes=C, source=Records(maps))
    np.testing.assert_array_equal(data.class_counts(), [1, 2, 3])

    class Damaged(Records):
        def __getitem__(self, index):
            if index == 0:
                raise DecodeError("record 0", "cut short")
            return super().__getitem__(index)

    data = TrainingData(num_examples=2, num_classes=C, source=Damaged(maps))
    np.testing.assert_array_equal(data.class_counts(), [0, 0, 3])
    shapes = TrainingData(num_examples=2, num_classes=C)
    np.testing.assert_array_equal(shapes.class_counts(), [0, 0, 0])
    with pytest.raises(ValueError, match="the labels of this task are no classes"):
        TrainingData(num_examples=2, num_classes=None).class_counts()


def test_a_state_that_starts_from_the_records_asks_for_them():
    task = Classification(num_classes=C, objective=Sum((CrossEntropy(), 1.0), (tasks.LDAM(), 1.0)))
    with pytest.raises(ValueError, match="the state of LDAM depends on the training records"):
        task.init_state()
    assert task.init_state(DATA)[0] == ()
    np.testing.assert_array_equal(task.init_state(DATA)[1], COUNTS)


@pytest.mark.parametrize(
    ("task", "words", "changed"),
    [
        (
            Classification(num_classes=C, objective=Focal()),
            ["--objective.gamma", "3"],
            Classification(num_classes=C, objective=Focal(gamma=3.0)),
        ),
        (
            Segmentation(num_classes=C, objective=Sum((CrossEntropy(), 1.0), (Dice(), 1.0))),
            ["--objective.terms.1.0.smooth", "2", "--objective.terms.1.1", "0.5"],
            Segmentation(
                num_classes=C, objective=Sum((CrossEntropy(), 1.0), (Dice(smooth=2.0), 0.5))
            ),
        ),
        (
            Segmentation(num_classes=C, objective=tasks.HardPixels()),
            ["--objective.fraction", "0.3", "--objective.objective.class-weights", "1", "2", "3"],
            Segmentation(
                num_classes=C,
                objective=tasks.HardPixels(
                    objective=CrossEntropy(class_weights=WEIGHTS), fraction=0.3
                ),
            ),
        ),
    ],
    ids=["objective", "sum", "nested"],
)
def test_fields_are_edited_from_the_command_line_and_survive_config_json(task, words, changed):
    edited = tyro.cli(type(task), args=words, default=task)
    assert edited == changed
    assert from_json(json.loads(json.dumps(to_json(edited)))) == edited
    assert dataclasses.replace(edited.objective) == edited.objective
