"""Tasks: what outputs mean, checked by hand and against scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sk

from jaxcv.report import Presentation, presentation_of
from jaxcv.tasks import (
    BinaryClassification,
    Classification,
    CrossEntropy,
    Huber,
    MeanAbsolute,
    MeanSquared,
    Regression,
    SigmoidCrossEntropy,
    Task,
)

RNG = np.random.default_rng(0)
MASK = np.array([True] * 9 + [False] * 3)


def batch(labels):
    return {"label": jnp.asarray(labels), "mask": jnp.asarray(MASK)}


@pytest.mark.parametrize(
    ("task", "outputs", "classes"),
    [
        (Classification(num_classes=4), 4, 4),
        (BinaryClassification(), 1, 2),
        (Regression(), 1, None),
    ],
    ids=lambda x: type(x).__name__,
)
def test_every_task_keeps_the_contract(task, outputs, classes):
    assert isinstance(task, Task)
    assert task.class_count() == classes
    images = jax.ShapeDtypeStruct((12, 8, 8, 1), jnp.float32)
    task.check_outputs(jax.ShapeDtypeStruct((12, outputs), jnp.float32), images)
    with pytest.raises(ValueError, match=f"say --model.num-classes {outputs}"):
        task.check_outputs(jax.ShapeDtypeStruct((12, 7), jnp.float32), images)
    with pytest.raises(ValueError, match="the model gives dict, but the task wants logits"):
        task.check_outputs({}, images)
    assert (task.init_state(), task.per_example(3, {})) == ((), {})
    assert isinstance(presentation_of(task), Presentation)
    assert task.aggregate({}) == {}
    scores = jnp.asarray(RNG.normal(size=(12, outputs)), jnp.bfloat16)
    rows = batch(RNG.integers(0, classes or 5, 12).astype(np.int32))
    assert task.headlines[0].name in task.summary(jax.jit(task.metrics)(scores, rows))
    values, weights, _ = jax.jit(task.loss)(scores, rows)
    assert values.shape == weights.shape == (12,)
    assert values.dtype == weights.dtype == jnp.float32
    np.testing.assert_array_equal(weights, MASK.astype(np.float32))
    assert not np.asarray(values)[~MASK].any()
    halves = [
        task.metrics(scores[part], jax.tree.map(lambda x, p=part: x[p], rows))
        for part in (slice(0, 5), slice(5, 12))
    ]
    added = task.summary(jax.tree.map(jnp.add, *halves))
    whole = task.summary(task.metrics(scores, rows))
    assert added["loss"] == pytest.approx(whole["loss"], rel=1e-5)
    assert added["count"] == whole["count"] == 9
    assert all(len(array) == 12 for array in task.predict(scores).values())


def test_classification_by_hand():
    # One row: logits (ln 3, 0), so that the probabilities are 3/4 and 1/4.
    outputs = jnp.array([[np.log(3.0), 0.0]])
    rows = {"label": jnp.array([1]), "mask": jnp.array([True])}
    values, _, _ = Classification(num_classes=2).loss(outputs, rows)
    assert float(values[0]) == pytest.approx(np.log(4), rel=1e-6)
    smoothed, _, _ = Classification(
        num_classes=2, objective=CrossEntropy(label_smoothing=0.2)
    ).loss(outputs, rows)
    assert float(smoothed[0]) == pytest.approx(0.9 * np.log(4) + 0.1 * np.log(4 / 3), rel=1e-6)
    weighted, _, _ = Classification(
        num_classes=2, objective=CrossEntropy(class_weights=(1.0, 3.0))
    ).loss(outputs, rows)
    assert float(weighted[0]) == pytest.approx(3 * np.log(4), rel=1e-6)
    prediction = Classification(num_classes=2).predict(outputs)
    assert int(prediction["prediction"][0]) == 0
    assert float(prediction["confidence"][0]) == pytest.approx(0.75, rel=1e-6)


def test_classification_summary_equals_scikit_learn():
    logits = RNG.normal(size=(12, 4)).astype(np.float32)
    labels = RNG.integers(0, 4, 12).astype(np.int32)
    task = Classification(num_classes=4, objective=CrossEntropy(label_smoothing=0.3), top_k=2)
    summary = task.summary(task.metrics(jnp.asarray(logits), batch(labels)))
    probabilities = np.asarray(jax.nn.softmax(logits))[MASK]
    true, predicted = labels[MASK], logits.argmax(-1)[MASK]
    # The loss of an evaluation is the plain cross-entropy, whatever is smoothed in training.
    assert summary["loss"] == pytest.approx(
        sk.log_loss(true, probabilities / probabilities.sum(-1, keepdims=True), labels=range(4)),
        rel=1e-5,
    )
    assert summary["accuracy"] == sk.accuracy_score(true, predicted)
    assert summary["top_2_accuracy"] == sk.top_k_accuracy_score(
        true, probabilities, k=2, labels=range(4)
    )
    assert summary["macro_f1"] == pytest.approx(sk.f1_score(true, predicted, average="macro"))
    np.testing.assert_array_equal(
        summary["confusion_matrix"], sk.confusion_matrix(true, predicted, labels=range(4))
    )


def test_mixed_labels_are_distributions():
    outputs = jnp.array([[1.0, 2.0, 0.5]])
    task = Classification(num_classes=3)
    rows = {"label": jnp.array([[0.3, 0.0, 0.7]]), "mask": jnp.array([True])}
    values, _, _ = task.loss(outputs, rows)
    pure = [
        float(task.loss(outputs, {**rows, "label": jnp.array([label])})[0][0]) for label in range(3)
    ]
    assert float(values[0]) == pytest.approx(0.3 * pure[0] + 0.7 * pure[2], rel=1e-6)


def test_binary_by_hand():
    # Logit ln 3: probability 3/4.
    outputs = jnp.array([[np.log(3.0)], [np.log(3.0)]])
    rows = {"label": jnp.array([1, 0]), "mask": jnp.array([True, True])}
    objective = SigmoidCrossEntropy(positive_weight=2.0)
    values, _, _ = BinaryClassification(objective=objective).loss(outputs, rows)
    np.testing.assert_allclose(values, [2 * np.log(4 / 3), np.log(4)], rtol=1e-6)
    predicted = BinaryClassification().predict(outputs)
    np.testing.assert_allclose(predicted["probabilities"][0], [0.25, 0.75], rtol=1e-6)
    assert predicted["prediction"].tolist() == [1, 1]


def test_regression_by_hand():
    outputs, rows = (
        jnp.array([[1.0], [5.0]]),
        {"label": jnp.array([3.0, 4.0]), "mask": jnp.ones(2, bool)},
    )
    np.testing.assert_allclose(Regression(objective=MeanSquared()).loss(outputs, rows)[0], [4, 1])
    np.testing.assert_allclose(Regression(objective=MeanAbsolute()).loss(outputs, rows)[0], [2, 1])
    task = Regression(objective=MeanAbsolute())
    summary = task.summary(task.metrics(outputs, rows))
    assert summary["loss"] == summary["mean_absolute_error"] == 1.5
    assert summary["mean_squared_error"] == 2.5
    # Errors 2 and 1: linear beyond 1, so 1.5 and 0.5. Padding counts for nothing.
    task = Regression(objective=Huber(delta=1.0))
    padded = {"label": jnp.array([3.0, 4.0, 99.0]), "mask": jnp.array([True, True, False])}
    summary = task.summary(task.metrics(jnp.array([[1.0], [5.0], [0.0]]), padded))
    assert (summary["loss"], summary["count"]) == (1.0, 2)
