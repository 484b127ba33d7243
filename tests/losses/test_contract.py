"""What every loss owes: per example, float32, finite at the extremes, right under each transform.

All losses are compiled together, once per question, as compilation is what costs time here.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv import losses
from tests.losses.compilation import QUICK, quick_jit

B, C = 8, 5
RNG = np.random.default_rng(0)
LOGITS = (RNG.normal(size=(B, C)) * 2).astype(np.float32)
LABELS = np.array([0, 1, 2, 3, 4, 0, 1, 2])
DENSE = RNG.dirichlet(np.ones(C), B).astype(np.float32)
BINARY = RNG.integers(0, 2, (B, C))
COUNTS = np.array([1000.0, 200.0, 50.0, 7.0, 0.0])
WEIGHTS = np.array([0.5, 1.0, 2.0, 0.0, 3.0], np.float32)
BALANCE = np.linspace(0, 1, C)
DIRECTION = np.cos(np.arange(B * C)).reshape(B, C).astype(np.float32)

L = losses
# name: (loss of logits and labels, the labels). All map [b, C] and b labels to [b] or [b, C].
TABLE = {
    "softmax_cross_entropy": (L.softmax_cross_entropy, LABELS),
    "softmax_cross_entropy/dense": (L.softmax_cross_entropy, DENSE),
    "softmax_cross_entropy/all": (
        functools.partial(
            L.softmax_cross_entropy,
            label_smoothing=0.1,
            smoothing="other_classes",
            class_weights=WEIGHTS,
            temperature=1.5,
            z_loss=1e-3,
            where=jnp.array([True, True, True, True, True]),
        ),
        LABELS,
    ),
    "sigmoid_cross_entropy": (L.sigmoid_cross_entropy, BINARY),
    "sigmoid_cross_entropy/weighted": (
        functools.partial(L.sigmoid_cross_entropy, positive_weight=WEIGHTS, label_smoothing=0.1),
        BINARY,
    ),
    "softmax_focal_loss": (functools.partial(L.softmax_focal_loss, class_weights=WEIGHTS), LABELS),
    "softmax_focal_loss/half": (functools.partial(L.softmax_focal_loss, gamma=0.5), LABELS),
    "softmax_focal_loss/dense": (functools.partial(L.softmax_focal_loss, gamma=0.5), DENSE),
    "sigmoid_focal_loss": (functools.partial(L.sigmoid_focal_loss, alpha=0.25), BINARY),
    "sigmoid_focal_loss/half": (functools.partial(L.sigmoid_focal_loss, gamma=0.5), BINARY),
    "poly1_cross_entropy": (L.poly1_cross_entropy, LABELS),
    "poly1_cross_entropy/dense": (L.poly1_cross_entropy, DENSE),
    "asymmetric_loss": (L.asymmetric_loss, BINARY),
    "asymmetric_loss/unshifted": (
        functools.partial(L.asymmetric_loss, shift=0.0, gamma_negative=0.5),
        BINARY,
    ),
    "bi_tempered_loss": (L.bi_tempered_loss, LABELS),
    "bi_tempered_loss/dense": (
        functools.partial(L.bi_tempered_loss, bound_temperature=0.3, tail_temperature=2.0),
        DENSE,
    ),
    "distillation_loss": (functools.partial(L.distillation_loss, temperature=2.0), 3 * DENSE),
    "hinge_loss": (functools.partial(L.hinge_loss, squared=True), BINARY),
    "multiclass_hinge_loss": (functools.partial(L.multiclass_hinge_loss, rivals="all"), LABELS),
    "multiclass_hinge_loss/worst": (L.multiclass_hinge_loss, LABELS),
    "generalized_cross_entropy": (L.generalized_cross_entropy, LABELS),
    "softmax_absolute_error": (L.softmax_absolute_error, LABELS),
    "symmetric_cross_entropy": (L.symmetric_cross_entropy, LABELS),
    "normalized_cross_entropy": (L.normalized_cross_entropy, LABELS),
    "normalized_focal_loss": (L.normalized_focal_loss, LABELS),
    "active_passive_loss": (L.active_passive_loss, LABELS),
    "bootstrapped_cross_entropy": (L.bootstrapped_cross_entropy, LABELS),
    "bootstrapped_cross_entropy/hard": (
        functools.partial(L.bootstrapped_cross_entropy, target="hard"),
        LABELS,
    ),
    "early_learning_loss": (
        lambda logits, targets: L.early_learning_loss(
            logits, jnp.argmax(targets, axis=-1), targets
        ),
        0.9 * DENSE,
    ),
    "logit_adjusted_cross_entropy": (
        functools.partial(L.logit_adjusted_cross_entropy, class_counts=COUNTS),
        LABELS,
    ),
    "balanced_softmax_cross_entropy": (
        functools.partial(L.balanced_softmax_cross_entropy, class_counts=COUNTS),
        LABELS,
    ),
    "ldam_loss": (functools.partial(L.ldam_loss, class_counts=COUNTS), LABELS),
    "seesaw_loss": (functools.partial(L.seesaw_loss, class_counts=COUNTS), LABELS),
    "equalized_focal_loss": (
        functools.partial(L.equalized_focal_loss, balance=BALANCE),
        BINARY,
    ),
    "kl_divergence": (functools.partial(L.kl_divergence, from_logits=True), DENSE),
    "js_divergence": (functools.partial(L.js_divergence, from_logits=True), DENSE),
    "cross_entropy": (functools.partial(L.cross_entropy, from_logits=True), DENSE),
    "entropy": (lambda logits, _: L.entropy(logits, from_logits=True), DENSE),
    "mean_squared_error": (L.mean_squared_error, DENSE),
    "mean_absolute_error": (L.mean_absolute_error, DENSE),
    "huber": (L.huber, DENSE),
    "log_cosh": (L.log_cosh, DENSE),
    "euclidean_distance": (L.euclidean_distance, DENSE),
}
ROOMS = {
    f"jaxcv.losses.{room}"
    for room in (
        "consistency",
        "early_learning",
        "equalized_focal",
        "focal",
        "hinge",
        "imbalance",
        "information",
        "noise",
        "regression",
        "sigmoid",
        "softmax",
        "tempered",
    )
}
# Gradients of these are, by design, not those of the whole formula: see their own tests.
PARTLY_STOPPED = {"seesaw_loss"}
IGNORING = [
    "softmax_cross_entropy",
    "softmax_focal_loss",
    "poly1_cross_entropy",
    "generalized_cross_entropy",
    "softmax_absolute_error",
    "symmetric_cross_entropy",
    "normalized_cross_entropy",
    "normalized_focal_loss",
    "active_passive_loss",
    "bootstrapped_cross_entropy",
    "bootstrapped_cross_entropy/hard",
    "logit_adjusted_cross_entropy",
    "balanced_softmax_cross_entropy",
    "ldam_loss",
    "seesaw_loss",
    "sigmoid_cross_entropy",
    "sigmoid_focal_loss",
    "asymmetric_loss",
]
EXTREMES = np.array(
    [
        [1e4, -1e4, 0, 1e4, -1e4],
        [1e4, 1e4, 1e4, 1e4, 1e4],
        [-1e4, -1e4, 1e4, -1e4, -1e4],
        [-1e4, -1e4, -1e4, -1e4, -1e4],
        [0, 0, 0, 0, 0],
        [-1e4, 1e4, 1e4, 1e4, 1e4],
        [88.0, 104.0, -104.0, 0.0, 1e-30],
        [1e-30, 50.0, -50.0, 1e4, 0.0],
    ],
    np.float32,
)


def total(loss, logits, labels):
    return jnp.sum(loss(logits, labels))


def of_all(function, *, optimized=True):
    """One compiled function for the whole table: {name: function(loss, labels, logits)}.

    Where only agreement is asked, compiling without LLVM's optimisations takes half the time.
    """

    def everything(logits):
        return {
            name: function(loss, jnp.asarray(labels), logits)
            for name, (loss, labels) in TABLE.items()
        }

    return jax.jit(everything, compiler_options=None if optimized else QUICK)


@functools.cache
def value_and_gradient_of_all(dtype):
    def both(loss, labels, logits):
        return loss(logits, labels), jax.grad(functools.partial(total, loss))(logits, labels)

    return of_all(both, optimized=dtype == "float32")


@functools.cache
def values_and_gradients(dtype, where):
    logits = jnp.asarray(LOGITS if where == "ordinary" else EXTREMES, dtype)
    return jax.device_get(value_and_gradient_of_all(dtype)(logits))


@functools.cache
def float64_derivatives():
    """(reverse mode, central differences, forward mode along DIRECTION) for all."""
    step = 1e-5
    steps = step * np.eye(B * C).reshape(B * C, B, C)

    def derivatives(loss, labels, logits):
        labels = labels.astype(jnp.float64) if labels.dtype == jnp.float32 else labels
        f = functools.partial(total, loss)
        reverse = jax.grad(f)(logits, labels)
        forward = jax.jvp(lambda z: f(z, labels), (logits,), (jnp.asarray(DIRECTION, float),))[1]
        both = jax.vmap(lambda d: f(logits + d, labels))(np.concatenate([steps, -steps]))
        return reverse, (both[: B * C] - both[B * C :]).reshape(B, C) / (2 * step), forward

    with jax.enable_x64(True):
        return jax.device_get(
            of_all(derivatives, optimized=False)(jnp.asarray(LOGITS, jnp.float64))
        )


@functools.cache
def mapped_values_and_hessians():
    """Each example alone, through vmap: its value, and its Hessian (forward over reverse)."""

    def alone(loss, labels, logits):
        def one(row, label):
            return jnp.sum(loss(row[None], label[None]))

        return jax.vmap(one)(logits, labels), jax.vmap(jax.hessian(one))(logits, labels)

    return jax.device_get(of_all(alone, optimized=False)(jnp.asarray(LOGITS)))


@functools.cache
def over_devices():
    labels = {name: jnp.asarray(labels)[:, None] for name, (_, labels) in TABLE.items()}

    def everything(logits, labels):
        return {
            name: (
                loss(logits, labels[name]),
                jax.grad(functools.partial(total, loss))(logits, labels[name]),
            )
            for name, (loss, _) in TABLE.items()
        }

    return jax.device_get(jax.pmap(everything)(LOGITS[:, None], labels))


@pytest.mark.parametrize("name", TABLE)
def test_per_example_in_float32(name):
    for dtype in ("float32", "bfloat16"):
        value, gradient = values_and_gradients(dtype, "ordinary")[name]
        assert value.dtype == jnp.float32
        assert value.shape in {(B,), (B, C)}
        assert gradient.dtype == dtype
    exact = values_and_gradients("float32", "ordinary")[name]
    # bfloat16 rounds the logits (2^-9 of up to 6) and the gradient, nothing in between.
    np.testing.assert_allclose(value, exact[0], atol=0.1, rtol=0.05)
    np.testing.assert_allclose(gradient.astype(np.float32), exact[1], atol=0.1, rtol=0.1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", TABLE)
def test_finite_at_the_extremes(name, dtype):
    value, gradient = values_and_gradients(dtype, "extreme")[name]
    assert np.all(np.isfinite(value))
    assert np.all(np.isfinite(gradient.astype(np.float32)))


@pytest.mark.parametrize("name", TABLE)
def test_gradients_are_the_differences_of_float64(name):
    reverse, differences, forward = float64_derivatives()[name]
    if name not in PARTLY_STOPPED:
        np.testing.assert_allclose(reverse, differences, atol=1e-7 * (1 + np.abs(reverse).max()))
    np.testing.assert_allclose(forward, np.sum(reverse * DIRECTION), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", TABLE)
def test_float32_gradients_are_those_of_float64(name):
    _, gradient = values_and_gradients("float32", "ordinary")[name]
    reverse = float64_derivatives()[name][0]
    np.testing.assert_allclose(gradient, reverse, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE)
def test_examples_alone_through_vmap_and_symmetric_hessians(name):
    value, hessian = mapped_values_and_hessians()[name]
    batched = values_and_gradients("float32", "ordinary")[name][0]
    batched = batched if batched.ndim == 1 else batched.sum(-1)
    np.testing.assert_allclose(value, batched, rtol=1e-5, atol=1e-6)
    assert np.all(np.isfinite(hessian))
    if name not in PARTLY_STOPPED:
        np.testing.assert_allclose(hessian, hessian.swapaxes(1, 2), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE)
def test_eight_devices_give_what_one_gives(name):
    value, gradient = over_devices()[name]
    expected, expected_gradient = values_and_gradients("float32", "ordinary")[name]
    np.testing.assert_allclose(value[:, 0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient[:, 0], expected_gradient, rtol=1e-4, atol=1e-6)


@functools.cache
def with_ignored_rows():
    logits = LOGITS.copy()
    logits[1], logits[3] = np.nan, np.inf
    logits[5, 2] = -np.inf

    def everything(logits):
        results = {}
        for name in IGNORING:
            loss, labels = TABLE[name]
            hidden = np.array(labels)
            hidden[[1, 3, 5]] = 255
            f = functools.partial(loss, ignore_label=255)
            hidden = jnp.asarray(hidden)
            gradient = jax.grad(lambda z, f=f, y=hidden: losses.masked_mean(f(z, y)))(logits)
            results[name] = f(logits, hidden), gradient
        return results

    return jax.device_get(quick_jit(everything)(logits))


@pytest.mark.parametrize("name", IGNORING)
def test_ignored_examples_cost_exactly_nothing(name):
    value, gradient = with_ignored_rows()[name]
    rows, kept = [1, 3, 5], [0, 2, 4, 6, 7]
    np.testing.assert_array_equal(value[rows], 0)
    np.testing.assert_array_equal(gradient[rows], 0)
    expected, expected_gradient = values_and_gradients("float32", "ordinary")[name]
    np.testing.assert_allclose(value[kept], expected[kept], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient[kept] * value.size, expected_gradient[kept], atol=1e-5)


def test_all_masked_is_zero_with_zero_gradient():
    def everything(logits):
        return {
            name: jax.value_and_grad(
                lambda z, loss=loss, y=labels: losses.masked_mean(
                    (values := loss(z, jnp.asarray(y))), jnp.zeros(values.shape, bool)
                )
            )(logits)
            for name, (loss, labels) in TABLE.items()
        }

    quick = quick_jit(everything)
    for name, (value, gradient) in quick(EXTREMES).items():
        assert value == 0, name
        np.testing.assert_array_equal(gradient, 0, err_msg=name)


def test_the_table_is_complete():
    """Whoever adds a loss to the package adds it here, or says below what else it is."""
    ours = {name for name in losses.__all__ if getattr(losses, name).__module__ in ROOMS}
    not_of_logits_and_labels = {
        "GradientBalance",
        "class_balanced_weights",
        "conditional_entropy",
        "count_classes",
        "deferred_weights",
        "initial_gradient_balance",
        "jensen_shannon_consistency",
        "joint_entropy",
        "mutual_information",
        "tempered_log_softmax",
        "update_early_learning_targets",
        "update_gradient_balance",
    }
    assert ours - not_of_logits_and_labels == {name.split("/")[0] for name in TABLE}
