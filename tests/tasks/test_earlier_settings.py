"""Runs on disk from before objectives: their settings say the same as today's objects."""

import pytest

from jaxcv.tasks import (
    BinaryClassification,
    Classification,
    CrossEntropy,
    Dice,
    Focal,
    HardPixels,
    LovaszSoftmax,
    MeanAbsolute,
    Regression,
    Segmentation,
    SigmoidCrossEntropy,
    Sum,
    Tversky,
)
from jaxcv.train.config_file import from_json, to_json

EARLIER = {
    "class": "jaxcv.tasks.segmentation.Segmentation",
    "num_classes": 3,
    "ignore_label": 255,
    "cross_entropy_weight": 1.0,
    "label_smoothing": 0.0,
    "focal_gamma": 0.0,
    "hard_pixels": 1.0,
    "class_weights": [],
    "dice_weight": 0.0,
    "tversky_weight": 0.0,
    "lovasz_weight": 0.0,
    "tversky_false_negatives": 0.7,
    "auxiliary_weight": 0.4,
    "boundary_tolerance": 2,
    "with_confidence": False,
}


@pytest.mark.parametrize(
    ("changes", "objective"),
    [
        ({}, CrossEntropy()),
        ({"label_smoothing": 0.1}, CrossEntropy(label_smoothing=0.1)),
        (
            {"focal_gamma": 2.0, "class_weights": [1.0, 2.0, 3.0]},
            Focal(gamma=2.0, class_weights=(1.0, 2.0, 3.0)),
        ),
        ({"hard_pixels": 0.5}, HardPixels(objective=CrossEntropy(), fraction=0.5)),
        ({"cross_entropy_weight": 0.5}, Sum((CrossEntropy(), 0.5))),
        (
            {
                "hard_pixels": 0.5,
                "focal_gamma": 1.0,
                "dice_weight": 0.5,
                "tversky_weight": 0.25,
                "tversky_false_negatives": 0.6,
                "lovasz_weight": 0.75,
            },
            Sum(
                (HardPixels(objective=Focal(gamma=1.0), fraction=0.5), 1.0),
                (Dice(), 0.5),
                (Tversky(false_negatives=0.6), 0.25),
                (LovaszSoftmax(), 0.75),
            ),
        ),
    ],
)
def test_a_segmentation_of_before_reads_as_an_objective(changes, objective):
    assert from_json({**EARLIER, **changes}) == Segmentation(num_classes=3, objective=objective)


def test_the_other_tasks_of_before_read_as_objectives():
    before = {"class": "jaxcv.tasks.classification.Classification", "num_classes": 2, "top_k": 1}
    smoothed = {"label_smoothing": 0.1, "class_weights": [1.0, 2.0]}
    assert from_json({**before, **smoothed}) == Classification(
        num_classes=2,
        objective=CrossEntropy(label_smoothing=0.1, class_weights=(1.0, 2.0)),
        top_k=1,
    )
    before = {"class": "jaxcv.tasks.binary.BinaryClassification", "positive_weight": 3.0}
    assert from_json(before) == BinaryClassification(
        objective=SigmoidCrossEntropy(positive_weight=3.0)
    )
    before = {"class": "jaxcv.tasks.regression.Regression"}
    # Its model predicts the label itself, whatever the mean of the training labels.
    assert from_json({**before, "error": "absolute"}) == Regression(
        objective=MeanAbsolute(), offset=0.0
    )
    assert from_json({**before, "error": "squared"}) == Regression(offset=0.0)
    assert from_json({**before, "objective": to_json(MeanAbsolute())}).offset == 0.0
    assert from_json(to_json(Regression())) == Regression()
