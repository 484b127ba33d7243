"""Softmax cross-entropy: by hand, by finite differences, beside PyTorch, optax, Keras and SciPy."""

import functools
import math
import os

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

from jaxcv.losses import masked_mean, softmax_cross_entropy
from tests.losses.compilation import quick_jit
from tests.losses.finite_differences import check_gradient

B, C = 6, 5
INF = float("inf")
OPTIONS = [
    {},
    {"label_smoothing": 0.1},
    {"label_smoothing": 0.3, "smoothing": "other_classes"},
    {"class_weights": True},
    {"class_weights": True, "label_smoothing": 0.2, "z_loss": 1e-2, "temperature": 2.0},
]


def draw(seed=0, scale=2.0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(B, C)).astype(dtype) * scale
    labels = rng.integers(0, C, B)
    dense = rng.dirichlet(np.ones(C), B).astype(dtype)
    return logits, labels, dense


def options_of(options):
    weights = jnp.array([0.5, 2.0, 1.0, 0.0, 3.0]) if options.get("class_weights") else None
    return {**options, "class_weights": weights}


def by_numpy(
    logits,
    target,
    *,
    label_smoothing=0.0,
    smoothing="all_classes",
    class_weights=None,
    temperature=1.0,
    z_loss=0.0,
):
    """The definition, in float64 with SciPy's log-softmax, from a dense target."""
    z = np.asarray(logits, np.float64) / temperature
    k = z.shape[-1]
    a = label_smoothing
    spread = a / k if smoothing == "all_classes" else a * (1 - target) / (k - 1)
    q = (1 - a) * target + spread
    w = np.ones(k) if class_weights is None else np.asarray(class_weights, np.float64)
    loss = -(w * q * scipy.special.log_softmax(z, axis=-1)).sum(-1)
    return loss + z_loss * scipy.special.logsumexp(z, axis=-1) ** 2


@functools.partial(quick_jit, static_argnames=("label_smoothing", "smoothing", "ignore_label"))
def value_and_gradient(logits, labels, cotangent, **options):
    value, pull = jax.vjp(lambda z: softmax_cross_entropy(z, labels, **options), logits)
    return value, pull(cotangent)[0]


def test_known_values():
    logits = np.array([[0.0, math.log(3.0)], [0.0, 0.0]], np.float32)  # p = 3/4 and 1/2
    loss, gradient = value_and_gradient(logits, np.array([1, 0]), np.ones(2, np.float32))
    np.testing.assert_allclose(loss, [math.log(4 / 3), math.log(2.0)], rtol=1e-6)
    np.testing.assert_allclose(gradient, [[0.25, -0.25], [-0.5, 0.5]], rtol=1e-6)


def test_known_values_of_smoothing():
    # p = (1/4, 3/4), label 1, a = 0.2. All classes: q = (.1, .9); other classes: q = (.2, .8).
    arguments = np.array([[0.0, math.log(3.0)]], np.float32), np.array([1]), np.ones(1, np.float32)
    every, _ = value_and_gradient(*arguments, label_smoothing=0.2)
    other, _ = value_and_gradient(*arguments, label_smoothing=0.2, smoothing="other_classes")
    np.testing.assert_allclose(every, 0.1 * math.log(4) + 0.9 * math.log(4 / 3), rtol=1e-6)
    np.testing.assert_allclose(other, 0.2 * math.log(4) + 0.8 * math.log(4 / 3), rtol=1e-6)


def test_known_value_of_temperature_and_z_loss():
    logits = jnp.array([[2.0, 2.0 * (1 + math.log(3.0))]])  # divided by 2: lse = 1 + log 4
    loss = softmax_cross_entropy(logits, jnp.array([0]), temperature=2.0, z_loss=0.5)
    np.testing.assert_allclose(loss, math.log(4) + 0.5 * (1 + math.log(4)) ** 2, rtol=1e-6)


@pytest.mark.parametrize("kind", ["integer", "dense"])
def test_values_by_definition_and_gradients_by_float64_differences(kind):
    logits, labels, dense = draw(dtype=np.float64)
    target = np.eye(C)[labels] if kind == "integer" else dense
    given = labels if kind == "integer" else dense

    def losses_of_all_options(z):
        return [softmax_cross_entropy(z, jnp.asarray(given), **options_of(o)) for o in OPTIONS]

    with jax.enable_x64(True):
        for options, loss in zip(OPTIONS, quick_jit(losses_of_all_options)(logits)):
            expected = by_numpy(logits, target, **options_of(options))
            np.testing.assert_allclose(loss, expected, rtol=1e-12, err_msg=str(options))
    # Unequal factors, so that no error of one can hide behind another's.
    factors = np.sqrt(np.arange(1.0, len(OPTIONS) + 1))[:, None]
    check_gradient(lambda z: factors * jnp.stack(losses_of_all_options(z)), logits, second=True)


def test_gradient_is_softmax_minus_target_and_hessian_its_derivative():
    logits, labels, dense = draw()
    gradient = quick_jit(jax.grad(lambda z, y: softmax_cross_entropy(z, y).sum()))
    p = scipy.special.softmax(logits.astype(np.float64), axis=-1)
    np.testing.assert_allclose(gradient(logits, labels), p - np.eye(C)[labels], atol=1e-6)
    np.testing.assert_allclose(gradient(logits, dense), p - dense, atol=1e-6)
    hessian = quick_jit(jax.hessian(lambda z: softmax_cross_entropy(z, labels[0])))(logits[0])
    np.testing.assert_allclose(hessian, np.diag(p[0]) - np.outer(p[0], p[0]), atol=1e-6)


def test_gradient_in_dense_labels_weights_smoothing_and_temperature():
    logits, labels, dense = draw(dtype=np.float64)

    def loss(x):
        options = {"class_weights": x[0], "label_smoothing": x[1, 0], "temperature": x[1, 1]}
        options["smoothing"] = "other_classes"
        a = softmax_cross_entropy(jnp.asarray(logits), x[2:], **options)
        b = softmax_cross_entropy(jnp.asarray(logits), jnp.asarray(labels), **options)
        return a - 0.7 * b

    settings = np.array([[1, 2, 3, 4, 5], [0.1, 1.5, 0, 0, 0]])
    check_gradient(loss, np.concatenate([settings, dense]))


def test_smoothing_with_ignored_labels_and_class_weights():
    """Together, by hand: p = softmax(0, 0, log 2) = (1/4, 1/4, 1/2), w = (1, 2, 4), a = 0.3."""
    logits = jnp.tile(jnp.array([0.0, 0.0, math.log(2.0)]), (2, 1))
    labels = jnp.array([2, 255])
    options = {"class_weights": jnp.array([1.0, 2.0, 4.0]), "ignore_label": 255}
    options |= {"label_smoothing": 0.3}
    log2, log4 = math.log(2), math.log(4)
    # All classes: q = (.1, .1, .8), w q = (.1, .2, 3.2), whose sum is 3.5.
    loss, gradient = value_and_gradient(logits, labels, jnp.ones(2), **options)
    np.testing.assert_allclose(loss, [0.3 * log4 + 3.2 * log2, 0.0], rtol=1e-6)
    by_hand = np.array([[0.875 - 0.1, 0.875 - 0.2, 1.75 - 3.2], [0, 0, 0]])
    np.testing.assert_allclose(gradient, by_hand, rtol=1e-5)
    # Other classes: q = (.15, .15, .7), w q = (.15, .3, 2.8), whose sum is 3.25.
    options["smoothing"] = "other_classes"
    loss, gradient = value_and_gradient(logits, labels, jnp.ones(2), **options)
    np.testing.assert_allclose(loss, [0.45 * log4 + 2.8 * log2, 0.0], rtol=1e-6)
    by_hand = np.array([[0.8125 - 0.15, 0.8125 - 0.3, 1.625 - 2.8], [0, 0, 0]])
    np.testing.assert_allclose(gradient, by_hand, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("smoothing", [0.0, 0.15])
def test_parity_with_torch(dtype, smoothing):
    torch = pytest.importorskip("torch")
    logits, labels, dense = draw(seed=3)
    logits = np.asarray(jnp.asarray(logits, dtype).astype(jnp.float32))  # what both can hold
    labels[1] = -100
    cotangent = np.linspace(-1.0, 2.0, B, dtype=np.float32)
    weights = np.array([0.5, 2.0, 1.0, 0.25, 3.0], np.float32)
    cases = [(labels, None), (labels, weights), (dense, None), (dense, weights)]
    for target, weight in cases:
        z = torch.tensor(logits, requires_grad=True)
        theirs = torch.nn.functional.cross_entropy(
            z,
            torch.tensor(target),
            weight=None if weight is None else torch.tensor(weight),
            label_smoothing=smoothing,
            reduction="none",
        )
        theirs.backward(torch.tensor(cotangent))
        ours, gradient = value_and_gradient(
            jnp.asarray(logits, dtype),
            jnp.asarray(target),
            cotangent,
            class_weights=weight,
            label_smoothing=smoothing,
            ignore_label=None if target.ndim == 2 else -100,
        )
        assert ours.dtype == jnp.float32
        assert gradient.dtype == dtype
        np.testing.assert_allclose(ours, theirs.detach(), rtol=2e-6, atol=1e-6)
        tolerance = 1e-6 if dtype == "float32" else 2**-8  # one rounding to 8 bits
        np.testing.assert_allclose(gradient.astype(jnp.float32), z.grad, atol=1e-6, rtol=tolerance)


def test_parity_with_optax():
    logits, labels, dense = draw(seed=4)
    where = np.random.default_rng(0).random((B, C)) < 0.7
    where[np.arange(B), labels] = True

    @quick_jit
    def both(z):
        integer = optax.softmax_cross_entropy_with_integer_labels
        return [
            (softmax_cross_entropy(z, labels), integer(z, labels)),
            (softmax_cross_entropy(z, labels, where=where), integer(z, labels, where=where)),
            (softmax_cross_entropy(z, dense), optax.softmax_cross_entropy(z, dense)),
        ]

    for ours, theirs in both(logits):
        np.testing.assert_allclose(ours, theirs, rtol=2e-6)


@pytest.mark.slow
def test_parity_with_keras():
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    logits, labels, dense = draw(seed=7)
    sparse = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=None)
    ours = softmax_cross_entropy(logits, labels)
    np.testing.assert_allclose(ours, sparse(labels, logits), rtol=1e-5)
    smooth = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=0.1, reduction=None
    )
    ours = softmax_cross_entropy(logits, dense, label_smoothing=0.1)
    np.testing.assert_allclose(ours, smooth(dense, logits), rtol=1e-5)


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(st.integers(0, 2**31), st.permutations(range(C)), st.floats(-100, 100))
def test_class_permutation_logit_shift_and_mask_properties(seed, permutation, shift):
    logits, labels, _ = draw(seed)
    permutation = np.array(permutation)
    inverse = np.argsort(permutation)
    ones = np.ones(B, np.float32)
    value, gradient = value_and_gradient(logits, labels, ones, label_smoothing=0.1)
    moved, moved_gradient = value_and_gradient(
        logits[:, permutation], inverse[labels], ones, label_smoothing=0.1
    )
    np.testing.assert_allclose(moved, value, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(moved_gradient, gradient[:, permutation], atol=1e-6)
    shifted, _ = value_and_gradient(logits + np.float32(shift), labels, ones, label_smoothing=0.1)
    np.testing.assert_allclose(shifted, value, rtol=1e-4, atol=1e-4)
    assert np.all(value >= 0)
    np.testing.assert_allclose(gradient.sum(-1), 0, atol=1e-6)  # softmax cannot see a shift


@pytest.mark.parametrize("smoothing", ["all_classes", "other_classes"])
@pytest.mark.parametrize("how", ["where", "-inf"])
def test_masked_classes_are_as_if_removed(smoothing, how):
    logits, labels, _ = draw(seed=5)
    labels = labels % 3
    options = {"label_smoothing": 0.2, "smoothing": smoothing}
    ones = np.ones(B, np.float32)
    value, gradient = value_and_gradient(logits[:, :3], labels, ones, **options)
    if how == "where":
        masked = value_and_gradient(
            logits, labels, ones, where=jnp.array([True, True, True, False, False]), **options
        )
    else:
        hidden = logits.copy()
        hidden[:, 3:] = -INF
        masked = value_and_gradient(hidden, labels, ones, **options)
    np.testing.assert_allclose(masked[0], value, rtol=1e-6)
    np.testing.assert_allclose(masked[1][:, :3], gradient, atol=1e-6)
    np.testing.assert_array_equal(masked[1][:, 3:], 0)


def test_ignored_examples_are_as_if_removed_whatever_their_logits():
    logits, labels, _ = draw(seed=6)
    ones = np.ones(B, np.float32)
    options = {"ignore_label": -1, "label_smoothing": 0.1, "z_loss": 0.1}
    value, gradient = value_and_gradient(logits, labels, ones, **options)
    logits[2], logits[4], labels[[2, 4]] = np.nan, INF, -1
    masked, masked_gradient = value_and_gradient(logits, labels, ones, **options)
    kept = [0, 1, 3, 5]
    np.testing.assert_array_equal(masked[jnp.array([2, 4])], 0)
    np.testing.assert_array_equal(masked_gradient[jnp.array([2, 4])], 0)
    np.testing.assert_allclose(masked[jnp.array(kept)], value[jnp.array(kept)], rtol=1e-6)
    np.testing.assert_allclose(masked_gradient[jnp.array(kept)], gradient[jnp.array(kept)])
    mean = masked_mean(masked, labels != -1)
    np.testing.assert_allclose(mean, np.mean(np.asarray(value)[kept]), rtol=1e-6)


def test_finite_at_the_extremes():
    logits = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 1e4], [-INF, -INF, -INF], [1e4, -INF, 3]])
    logits = logits.astype(np.float32)
    labels = np.array([1, 1, 0, 0])
    for dtype in ("float32", "bfloat16"):
        for options in ({}, {"label_smoothing": 0.1}, {"ignore_label": 0}):
            value, gradient = value_and_gradient(
                jnp.asarray(logits, dtype), labels, np.ones(4, np.float32), z_loss=1e-4, **options
            )
            assert np.all(np.isfinite(value)), (dtype, options)
            assert np.all(np.isfinite(gradient.astype(jnp.float32))), (dtype, options)
            np.testing.assert_array_equal(value[2], 0)
            np.testing.assert_array_equal(gradient[2], 0)
    value, _ = value_and_gradient(logits, labels, np.ones(4, np.float32))
    np.testing.assert_allclose(value, [2e4, math.log(2), 0, 0], rtol=1e-6)
    hessian = quick_jit(jax.hessian(lambda z: softmax_cross_entropy(z, labels).sum()))(logits)
    assert np.all(np.isfinite(hessian))


def test_precise_where_large_logits_cancel():
    """At logits near 1e4, logsumexp - z_y in float32 is off by 5e-4; the difference is exact."""
    logits = np.array([[10000.0, 10001.0]], np.float32)
    value, gradient = value_and_gradient(logits, np.array([1]), np.ones(1, np.float32))
    np.testing.assert_allclose(value, math.log1p(math.exp(-1)), rtol=1e-6)
    np.testing.assert_allclose(gradient[0, 0], 1 / (1 + math.e), rtol=1e-6)


def test_a_label_outside_the_classes_is_nan_and_not_another_classes_loss():
    logits, labels, _ = draw()
    labels[0], labels[1] = -1, C
    value, gradient = value_and_gradient(logits, labels, np.ones(B, np.float32))
    assert np.all(np.isnan(value[:2]))
    assert np.all(np.isnan(gradient[:2]))
    assert np.all(np.isfinite(value[2:]))
    assert np.all(np.isfinite(gradient[2:]))


def test_a_label_on_a_masked_class_has_infinite_loss_and_finite_gradient():
    value, gradient = value_and_gradient(
        np.zeros((1, 3), np.float32),
        np.array([0]),
        np.ones(1, np.float32),
        where=jnp.array([False, True, True]),
    )
    assert value[0] == INF
    np.testing.assert_allclose(gradient, [[0, 0.5, 0.5]], rtol=1e-6)


def test_leading_axes_and_label_dtypes():
    logits = np.random.default_rng(0).normal(size=(2, 3, 4, C)).astype(np.float32)
    labels = np.random.default_rng(1).integers(0, C, (2, 3, 4)).astype(np.uint8)
    labels[0, 0, 0] = 255
    loss = quick_jit(functools.partial(softmax_cross_entropy, ignore_label=255))
    value = loss(logits, labels)
    flat = loss(logits.reshape(-1, C), labels.reshape(-1).astype(np.int32))
    assert value.shape == labels.shape
    np.testing.assert_allclose(value.reshape(-1), flat, rtol=1e-6)
    assert loss(logits[0, 0, 1], jnp.int32(2)).shape == ()


@pytest.mark.fused_sums
def test_integer_labels_allocate_no_one_hot():
    """Beyond the gradient itself, forward and backward need a few numbers per example."""
    examples, classes = 512, 4096
    loss = jax.jit(jax.grad(lambda z, y: softmax_cross_entropy(z, y).mean()))
    logits = jax.ShapeDtypeStruct((examples, classes), jnp.float32)
    labels = jax.ShapeDtypeStruct((examples,), jnp.int32)
    memory = loss.lower(logits, labels).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 100 * examples < examples * classes


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (((2, 3), "f", (2, 2), "f"), {}, r"labels are dense with shape \[2, 2\], but \[2, 3\]"),
        (((2, 3), "f", (3,), "i"), {}, r"integers of shape \[3\], but \[2\] is wanted"),
        (((2, 3), "f", (2, 3), "i"), {}, r"dense labels must be floating"),
        (((2, 3), "f", (2,), "f"), {}, r"class indices must be integers, found float32"),
        (((2, 3), "i", (2,), "i"), {}, r"logits has dtype int32"),
        (((), "f", (), "i"), {}, r"logits has shape \[\]"),
        (((2, 0), "f", (2,), "i"), {}, r"logits has shape \[2, 0\]"),
        (((2, 3), "f", (2,), "i"), {"class_weights": jnp.ones(2)}, r"\[2\], but \[3\] is wanted"),
        (((2, 3), "f", (2,), "i"), {"label_smoothing": -0.1}, r"label_smoothing is -0.1"),
        (((2, 3), "f", (2,), "i"), {"label_smoothing": 1.5}, r"must be in \[0.0, 1.0\]"),
        (((2, 3), "f", (2,), "i"), {"smoothing": "none"}, r"'none', but must be 'all_classes'"),
        (((2, 3), "f", (2,), "i"), {"temperature": 0.0}, r"temperature is 0.0"),
        (((2, 3), "f", (2,), "i"), {"z_loss": -1.0}, r"z_loss is -1.0"),
        (((2, 3), "f", (2, 3), "f"), {"ignore_label": 0}, r"ignore_label is 0, but labels are de"),
        (((2, 3), "f", (2,), "i"), {"where": jnp.ones(3)}, r"where has dtype float32, but bool"),
        (((2, 3), "f", (2,), "i"), {"where": jnp.ones(4, bool)}, r"where has shape \[4\]"),
    ],
)
def test_bad_input_is_named(arguments, options, message):
    shape, kind, label_shape, label_kind = arguments
    dtypes = {"f": jnp.float32, "i": jnp.int32}
    logits = jax.ShapeDtypeStruct(shape, dtypes[kind])
    labels = jax.ShapeDtypeStruct(label_shape, dtypes[label_kind])
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda z, y: softmax_cross_entropy(z, y, **options), logits, labels)
