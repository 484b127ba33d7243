"""Every objective of classes, regions and numbers trains, resumes, and is alike on 1 and 8 devices."""

import chex
import jax
import numpy as np
import pytest

from jaxcv import tasks
from jaxcv.tasks import (
    BinaryClassification,
    Classification,
    CrossEntropy,
    Dice,
    Focal,
    HardPixels,
    Regression,
    Segmentation,
    Sum,
)
from jaxcv.train import Checkpoints
from tests.tasks.objective_training import CLASSES, first_rows, problem, start, ten_steps

pytestmark = pytest.mark.usefixtures("quick_compilation")


def of_classes(objective, **options):
    return pytest.param(
        Classification(num_classes=CLASSES, objective=objective),
        problem(CLASSES, CLASSES),
        options,
        id=f"classes-{type(objective).__name__}",
    )


def of_pixels(objective, classes=CLASSES, name=None, **options):
    return pytest.param(
        Segmentation(num_classes=classes, objective=objective),
        problem(classes, classes, (3, 4)),
        options,
        id=f"pixels-{name or type(objective).__name__}",
    )


def of_numbers(objective, **options):
    return pytest.param(
        Regression(objective=objective),
        problem(1, None),
        options,
        id=f"numbers-{type(objective).__name__}",
    )


def of_yes_or_no(objective):
    return pytest.param(
        BinaryClassification(objective=objective),
        problem(1, 2),
        {},
        id=f"yes_or_no-{type(objective).__name__}",
    )


CASES = [
    of_classes(CrossEntropy(label_smoothing=0.1, class_weights=(1.0, 2.0, 3.0))),
    of_classes(Focal()),
    of_classes(tasks.Poly1()),
    of_classes(tasks.BiTempered(label_smoothing=0.1)),
    of_classes(tasks.MulticlassHinge(squared=True)),
    of_classes(tasks.SigmoidCrossEntropy(positive_weight=2.0)),
    of_classes(tasks.SigmoidFocal(alpha=0.5)),
    of_classes(tasks.Asymmetric()),
    of_classes(tasks.Hinge()),
    of_classes(tasks.EqualizedFocal(scale=2.0)),
    of_classes(tasks.ClassBalanced(objective=Focal(), beta=0.9, start_epoch=1)),
    of_classes(tasks.BalancedSoftmax()),
    of_classes(tasks.LogitAdjusted(tau=0.5)),
    of_classes(tasks.LDAM(scale=2.0)),
    of_classes(tasks.Seesaw()),
    of_classes(tasks.GeneralizedCrossEntropy()),
    of_classes(tasks.SoftmaxAbsoluteError()),
    of_classes(tasks.SymmetricCrossEntropy()),
    of_classes(tasks.NormalizedCrossEntropy()),
    of_classes(tasks.NormalizedFocal()),
    of_classes(tasks.ActivePassive(active="normalized_focal")),
    of_classes(tasks.Bootstrapped(beta=0.9)),
    of_classes(tasks.EarlyLearning()),
    of_yes_or_no(tasks.SigmoidCrossEntropy(positive_weight=2.0)),
    of_yes_or_no(tasks.LDAM()),
    of_numbers(tasks.MeanSquared()),
    of_numbers(tasks.MeanAbsolute()),
    of_numbers(tasks.Huber(delta=0.5)),
    of_numbers(tasks.LogCosh()),
    of_numbers(tasks.SmoothL1(beta=0.5)),
    of_numbers(tasks.EuclideanDistance()),
    of_pixels(HardPixels(objective=Focal(gamma=1.0), fraction=0.4)),
    of_pixels(tasks.ClassBalanced(beta=0.9)),
    of_pixels(Dice(per="batch", absent="include", smooth=1.0)),
    of_pixels(tasks.GeneralizedDice()),
    of_pixels(tasks.Jaccard(class_weights=(1.0, 2.0, 3.0))),
    of_pixels(tasks.Tversky()),
    of_pixels(tasks.FocalTversky()),
    of_pixels(tasks.MCC(per="batch")),
    of_pixels(tasks.LovaszSoftmax()),
    of_pixels(tasks.LovaszHinge(per="batch"), classes=2),
    of_pixels(tasks.Boundary(class_weights=(0.0, 1.0, 1.0))),
    of_pixels(Sum((HardPixels(), 1.0), (Dice(), 0.5), (tasks.Seesaw(), 0.2))),
]


@pytest.mark.parametrize(("task", "chosen", "options"), CASES)
def test_it_learns_resumes_to_the_same_bytes_and_one_device_equals_eight(
    task, chosen, options, tmp_path
):
    rate = options.get("learning_rate", 0.1)
    steps = ten_steps(task, 8, rate)
    begun, first = steps(start(task, chosen), chosen.batch)
    ended, second = steps(begun, chosen.batch)
    assert np.isfinite(first).all()
    assert second[-1] < first[0] - 0.02 * abs(first[0])

    # Restored without a look at the records.
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(10, begun)
    like = {**begun, "task_state": jax.tree.map(jax.numpy.asarray, task.init_state(chosen.shapes))}
    resumed, _ = steps(jax.device_get(checkpoints.restore(like, 10)), chosen.batch)
    chex.assert_trees_all_equal(resumed, ended)

    # The eight have padding that the one has not: it counts for nothing, in the state neither.
    one = ten_steps(task, 1, rate)
    alone, losses = one(start(task, chosen), first_rows(chosen.batch))
    np.testing.assert_allclose(losses, first, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(alone, begun, rtol=1e-5, atol=1e-5)


def test_every_objective_of_these_tasks_is_among_the_cases():
    """Those of faces and detection have cases of their own."""
    from jaxcv.tasks import classification, regression, segmentation

    def names(objective):
        inner = [part for part, _ in getattr(objective, "terms", ())]
        inner += [objective.objective] if hasattr(objective, "objective") else []
        return {type(objective).__name__}.union(*(names(part) for part in inner))

    tried = set().union(*(names(case.values[0].objective) for case in CASES))
    rooms = (classification, regression, segmentation)
    public = {name for room in rooms for name in room.__all__}
    known = {name for name in public if issubclass(getattr(tasks, name), tasks.Objective)}
    assert known - tried == {"Region"}
