"""Regression metrics beside scikit-learn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics

from jaxcv.metrics.regression import RegressionMetrics, summary

ROWS = 80


@functools.partial(jax.jit, static_argnames="offset")
def count(predictions, labels, mask=None, offset=0.0):
    return RegressionMetrics.from_predictions(predictions, labels, mask=mask, offset=offset)


def draw(seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.normal(size=ROWS) * 3 + 1
    return (labels + rng.normal(size=ROWS)).astype(np.float32), labels.astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_scikit_learn(seed):
    predictions, labels = draw(seed)
    mask = np.random.default_rng(seed + 10).random(ROWS) < 0.7
    dirty = np.where(mask, predictions, np.nan)
    result = summary(count(dirty[:, None], labels, mask=mask))
    predictions, labels = predictions[mask], labels[mask]
    wanted = {
        "mean_squared_error": sklearn.metrics.mean_squared_error(labels, predictions),
        "root_mean_squared_error": sklearn.metrics.root_mean_squared_error(labels, predictions),
        "mean_absolute_error": sklearn.metrics.mean_absolute_error(labels, predictions),
        "r_squared": sklearn.metrics.r2_score(labels, predictions),
    }
    assert result["count"] == mask.sum()
    for name, value in wanted.items():
        assert result[name] == pytest.approx(value, rel=1e-5), name


def test_batches_add_up():
    predictions, labels = draw()
    whole = count(predictions, labels)
    parts = [count(predictions[i::2], labels[i::2]) for i in (0, 1)]
    jax.tree.map(
        lambda a, b, both: np.testing.assert_allclose(a + b, both, rtol=1e-5), *parts, whole
    )


def test_an_offset_keeps_the_digits_of_r_squared():
    predictions, labels = draw()
    far = 20_000.0
    wanted = sklearn.metrics.r2_score(labels, predictions)
    centred = count(predictions + far, labels + far, offset=far)
    assert summary(centred)["r_squared"] == pytest.approx(wanted, rel=1e-3)
    plain = count(predictions + far, labels + far)
    assert abs(summary(plain)["r_squared"] - wanted) > 1e-2


def test_r_squared_where_it_is_not_defined():
    def r_squared(predictions, labels):
        metrics = count(jnp.array(predictions), jnp.array(labels))
        return summary(metrics)["r_squared"]

    assert r_squared([2.0, 2.0], [2.0, 2.0]) == 1.0
    assert r_squared([2.0, 3.0], [2.0, 2.0]) == 0.0
    assert np.isnan(r_squared([1.0], [1.0]))


def test_no_example_gives_nan_and_wrong_shapes_are_refused():
    nothing = count(jnp.ones(2), jnp.ones(2), mask=jnp.zeros(2))
    assert np.isnan(summary(nothing)["mean_squared_error"])
    with pytest.raises(ValueError, match=r"predictions \(2, 3\)"):
        RegressionMetrics.from_predictions(jnp.ones((2, 3)), jnp.ones(2))
