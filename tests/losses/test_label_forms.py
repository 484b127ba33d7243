"""A class index and its one-hot distribution are one label: equal losses, equal gradients.

Also where classes are masked, by a logit of -inf or by `where`, and the label is one of them.
"""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv import losses
from jaxcv.tasks import Classification, CrossEntropy, Dice, Focal, Poly1, Segmentation
from tests.losses.compilation import quick_jit
from tests.losses.test_contract import LABELS, LOGITS, TABLE, WEIGHTS

L = losses
C = LOGITS.shape[-1]
COUNTS = np.array([1000.0, 200.0, 50.0, 7.0, 0.0])
BOTH = {
    "softmax_cross_entropy": L.softmax_cross_entropy,
    "softmax_cross_entropy/smoothed": functools.partial(
        L.softmax_cross_entropy, label_smoothing=0.1
    ),
    "softmax_cross_entropy/others": functools.partial(
        L.softmax_cross_entropy,
        label_smoothing=0.2,
        smoothing="other_classes",
        temperature=1.5,
        z_loss=1e-2,
    ),
    "softmax_cross_entropy/weighted": functools.partial(
        L.softmax_cross_entropy, class_weights=WEIGHTS, label_smoothing=0.1
    ),
    "softmax_focal_loss": L.softmax_focal_loss,
    "softmax_focal_loss/plain": functools.partial(L.softmax_focal_loss, gamma=0.0),
    "softmax_focal_loss/half": functools.partial(L.softmax_focal_loss, gamma=0.5),
    "softmax_focal_loss/weighted": functools.partial(L.softmax_focal_loss, class_weights=WEIGHTS),
    "poly1_cross_entropy": L.poly1_cross_entropy,
    "poly1_cross_entropy/less": functools.partial(L.poly1_cross_entropy, epsilon=-1.0),
    "poly1_cross_entropy/weighted": functools.partial(L.poly1_cross_entropy, class_weights=WEIGHTS),
    "generalized_cross_entropy": L.generalized_cross_entropy,
    "generalized_cross_entropy/plain": functools.partial(L.generalized_cross_entropy, q=0.0),
    "softmax_absolute_error": L.softmax_absolute_error,
    "bi_tempered_loss": L.bi_tempered_loss,
    "bi_tempered_loss/plain": functools.partial(
        L.bi_tempered_loss, bound_temperature=1.0, tail_temperature=1.0, label_smoothing=0.1
    ),
    "early_learning_loss": lambda logits, labels: L.early_learning_loss(
        logits, labels, jnp.full(logits.shape, 0.1)
    ),
    "logit_adjusted_cross_entropy": functools.partial(
        L.logit_adjusted_cross_entropy, class_counts=COUNTS
    ),
    "balanced_softmax_cross_entropy": functools.partial(
        L.balanced_softmax_cross_entropy, class_counts=COUNTS
    ),
}
# The loss that the definition has at p = 0, and the factor of softmax(z) - y in its gradient.
AT_ZERO = {
    "softmax_cross_entropy": (np.inf, 1),
    "softmax_focal_loss": (np.inf, 1),
    "softmax_focal_loss/plain": (np.inf, 1),
    "softmax_focal_loss/half": (np.inf, 1),
    "poly1_cross_entropy": (np.inf, 1),
    "poly1_cross_entropy/less": (np.inf, 1),
    "generalized_cross_entropy": (1 / 0.7, 0),
    "generalized_cross_entropy/plain": (np.inf, 1),
    "softmax_absolute_error": (1, 0),
}
MASKS = [(), (1,), (0, 3), (0, 1, 2, 3), (0, 1, 2, 3, 4)]


def takes_where(loss):
    return "where" in inspect.signature(loss).parameters


def accepts_dense(loss):
    try:
        jax.eval_shape(loss, LOGITS, jnp.zeros(LOGITS.shape))
    except (ValueError, TypeError):
        return False
    return True


def test_the_table_is_complete():
    """Every loss of logits that takes class indices, and distributions as well."""
    found = {
        name.split("/")[0]
        for name, (loss, labels) in TABLE.items()
        if np.ndim(labels) == 1 and accepts_dense(loss)
    }
    assert found | {"early_learning_loss"} == {name.split("/")[0] for name in BOTH}


@functools.cache
def results(masked, how):
    """{name: ((value, gradient) of indices, of distributions)}, for every class as a label."""
    logits = np.repeat(LOGITS[:1], C, axis=0)
    where = np.ones(C, bool)
    if how == "where":
        where[list(masked)] = False
    else:
        logits[:, list(masked)] = -np.inf

    def everything(logits):
        found = {}
        for name, loss in BOTH.items():
            if how == "where":
                if not takes_where(loss):
                    continue
                loss = functools.partial(loss, where=jnp.asarray(where))
            pair = []
            for labels in (jnp.arange(C), jnp.eye(C)):
                value, pull = jax.vjp(lambda z, f=loss, y=labels: f(z, y), logits)
                pair.append((value, pull(jnp.ones_like(value))[0]))
            found[name] = tuple(pair)
        return found

    return jax.device_get(quick_jit(everything)(logits))


@pytest.mark.parametrize("how", ["logits", "where"])
@pytest.mark.parametrize("masked", MASKS)
def test_an_index_and_its_one_hot_distribution_cost_the_same(masked, how):
    assert results(masked, how)
    for name, (indices, dense) in results(masked, how).items():
        if name.startswith("bi_tempered") and len(masked) == C:
            continue  # it takes finite logits
        for of_index, of_distribution in zip(indices, dense, strict=True):
            assert not np.isnan(of_index).any(), name
            np.testing.assert_allclose(
                of_index, of_distribution, rtol=1e-5, atol=1e-6, err_msg=name
            )
        assert np.isfinite(indices[1]).all(), name


@pytest.mark.parametrize("masked", MASKS[1:-1])
@pytest.mark.parametrize("name", AT_ZERO)
def test_a_label_on_a_masked_class_costs_the_limit(name, masked):
    value, gradient = results(masked, "logits")[name][0]
    logits = np.float64(LOGITS[0])
    logits[list(masked)] = -np.inf
    p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    limit, slope = AT_ZERO[name]
    for label in masked:
        np.testing.assert_allclose(value[label], limit, rtol=1e-5)
        np.testing.assert_allclose(gradient[label], slope * (p - np.eye(C)[label]), atol=1e-5)


def test_every_class_masked_costs_nothing():
    for how in ("logits", "where"):
        for name, forms in results(tuple(range(C)), how).items():
            if name.split("/")[0] in ("softmax_cross_entropy", *AT_ZERO):
                for value, gradient in forms:
                    np.testing.assert_array_equal(value, 0, err_msg=name)
                    np.testing.assert_array_equal(gradient, 0, err_msg=name)


@pytest.mark.parametrize("name", AT_ZERO)
def test_mass_on_a_masked_class_that_is_none_costs_nothing(name):
    """A distribution over the other classes costs what it costs where the class does not exist."""
    loss = BOTH[name]
    labels = np.random.default_rng(1).dirichlet(np.ones(C - 1), len(LOGITS)).astype(np.float32)
    logits = LOGITS.copy()
    logits[:, 2] = -np.inf
    others = [0, 1, 3, 4]
    value, gradient = jax.vjp(lambda z: loss(z, np.insert(labels, 2, 0, axis=1)), logits)
    wanted, wanted_gradient = jax.vjp(lambda z: loss(z, labels), LOGITS[:, others])
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    found = gradient(jnp.ones_like(value))[0]
    np.testing.assert_allclose(
        found[:, others], wanted_gradient(jnp.ones_like(wanted))[0], rtol=1e-4, atol=1e-6
    )
    np.testing.assert_array_equal(found[:, 2], 0)


@pytest.mark.parametrize(
    ("loss", "limit"),
    [
        (functools.partial(L.symmetric_cross_entropy, alpha=0.0), -L.noise.LOG_ZERO),
        (L.symmetric_cross_entropy, np.inf),
        (L.normalized_cross_entropy, 1.0),
        (L.normalized_focal_loss, 1.0),
        (L.active_passive_loss, 1.0 - L.noise.LOG_ZERO),
    ],
)
def test_losses_of_indices_alone_have_their_limit_too(loss, limit):
    logits = LOGITS.copy()
    logits[np.arange(len(LABELS)), LABELS] = -np.inf
    value, gradient = jax.vjp(lambda z: loss(z, LABELS), logits)
    np.testing.assert_allclose(value, limit, rtol=1e-5)
    assert np.isfinite(gradient(jnp.ones_like(value))[0]).all()


@pytest.mark.parametrize("loss", [L.dice_loss, L.jaccard_loss, L.generalized_dice_loss])
def test_regions_of_indices_and_of_distributions(loss):
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(2, 4, 4, C)).astype(np.float32)
    labels = generator.integers(0, C, (2, 4, 4))
    mask = generator.random((2, 4, 4)) < 0.7
    for options in ({}, {"mask": mask}, {"mask": np.zeros_like(mask)}):
        found = [
            jax.value_and_grad(lambda z, y=y, o=options: jnp.sum(loss(z, y, **o)))(logits)
            for y in (jnp.asarray(labels), jnp.eye(C)[labels])
        ]
        np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weights", [[1, 1, -1, 1, 1], [1, 1, np.nan, 1, 1], [1, 1, np.inf, 1, 1]])
@pytest.mark.parametrize(
    "loss", [L.softmax_cross_entropy, L.softmax_focal_loss, L.poly1_cross_entropy]
)
def test_weights_that_are_none_are_refused(loss, weights):
    with pytest.raises(ValueError, match=r"class_weights is .*, but must be in \[0.0, inf\)"):
        loss(LOGITS, LABELS, class_weights=np.array(weights))


@pytest.mark.parametrize("weights", [(1.0, -1.0), (np.nan, 1.0)])
def test_a_task_refuses_them_before_it_trains(weights):
    outputs, image = (jax.ShapeDtypeStruct(s, jnp.float32) for s in ((2, 2), (2, 4, 4, 1)))
    maps = jax.ShapeDtypeStruct((2, 4, 4, 2), jnp.float32)
    objectives = (CrossEntropy, Focal, Poly1)
    for objective in objectives:
        task = Classification(num_classes=2, objective=objective(class_weights=weights))
        with pytest.raises(ValueError, match="class_weights"):
            task.check_outputs(outputs, image)
    for objective in (CrossEntropy, Dice):
        task = Segmentation(num_classes=2, objective=objective(class_weights=weights))
        with pytest.raises(ValueError, match="class_weights"):
            task.check_outputs(maps, image)
