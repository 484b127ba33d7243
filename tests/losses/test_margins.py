"""Margins against their formulas in float64 (with arccos), at cosine +-1, and over devices."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tyro

from jaxcv.losses.margins import (
    AdaCos,
    AdaCosState,
    AdaFace,
    AdaFaceState,
    ArcFace,
    CircleMargin,
    CombinedMargin,
    CosFace,
    CurricularFace,
    CurricularFaceState,
    InterclassFilter,
    MagFace,
    MVSoftmax,
    NormFace,
    SphereFace,
    class_cosines,
    margin_logits,
    margin_softmax_cross_entropy,
    updated_state,
)

B, C, D = 16, 6, 3
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, C, B).astype(np.int32)
CLASSIFIER = RNG.normal(size=(C, D)).astype(np.float32)
EMBEDDINGS = (4 * RNG.normal(size=(B, D)) + 2 * CLASSIFIER[LABELS]).astype(np.float32)
MASK = np.arange(B) % 5 != 3
QUICK = {"xla_backend_optimization_level": 0}  # LLVM would take most of the time otherwise.
quick_jit = functools.partial(jax.jit, compiler_options=QUICK)


# References: target logit and other logits from angles in float64; `c0` and `norm0` are cosines and
# norms at the point at which what the margin calls constant is computed.


def shifted(theta, m, beyond):
    moved, cosine = np.cos(theta + m), np.cos(theta)
    if beyond == "easy":
        return np.where(cosine > 0, moved, cosine)
    if beyond == "linear":
        return np.where(theta + m < np.pi, moved, cosine - m * np.sin(m))
    if beyond == "clamp":
        return np.cos(np.clip(theta + m, 0, np.pi))
    return moved


def psi(theta, m):
    k = np.floor(theta * m / np.pi)
    return (-1) ** k * np.cos(m * theta) - 2 * k


def hard(cosines, theta, reshaped, moved):
    return np.where(cosines > moved(theta)[:, None], reshaped, cosines)


def ref_adaface(theta, cosines, norm, c0, norm0):
    norm0 = np.clip(norm0, 0.001, 100)
    mean = 20 + 0.01 * (norm0.mean() - 20)
    std = 100 + 0.01 * (norm0.std(ddof=1) - 100)
    z = np.clip(30 * (norm0 - mean) / (std + 1e-3), -1, 1)
    return 16 * (shifted(theta, -0.4 * z, "clamp") - 0.4 - 0.4 * z), 16 * cosines


def ref_magface(theta, cosines, norm, c0, norm0):
    m = 0.45 + (0.8 - 0.45) / (9 - 3) * (np.clip(norm, 3, 9) - 3)
    return 16 * shifted(theta, m, "easy"), 16 * cosines


def ref_curricular(theta, cosines, norm, c0, norm0):
    t = 0.2 * c0[np.arange(len(c0)), VALID_LABELS].mean()
    negatives = hard(cosines, theta, cosines * (t + cosines), lambda a: np.cos(a + 0.5))
    return 16 * shifted(theta, 0.5, "linear"), 16 * negatives


def ref_mv(theta, cosines, norm, c0, norm0, kind, emphasis):
    extra = 0.3 * (cosines + 1) if emphasis == "adaptive" else 0.3
    moved = (lambda a: np.cos(a + 0.4)) if kind == "angle" else (lambda a: np.cos(a) - 0.4)
    target = shifted(theta, 0.4, "linear") if kind == "angle" else np.cos(theta) - 0.4
    return 16 * target, 16 * hard(cosines, theta, cosines + extra, moved)


def ref_circle(theta, cosines, norm, c0, norm0, constant):
    target, target0 = np.cos(theta), c0[np.arange(len(c0)), VALID_LABELS]
    a_p = np.maximum(1.25 - (target0 if constant else target), 0)
    a_n = np.maximum((c0 if constant else cosines) + 0.25, 0)
    return 16 * a_p * (target - 0.75), 16 * a_n * (cosines - 0.25)


def ref_adacos(theta, cosines, norm, c0, norm0):
    s0 = np.sqrt(2) * np.log(C - 1)
    rows = np.arange(len(c0))
    others = np.exp(s0 * c0)
    others[rows, VALID_LABELS] = 0
    middle = np.median(np.arccos(c0[rows, VALID_LABELS]))
    s = np.log(others.sum(1).mean()) / np.cos(min(np.pi / 4, middle))
    return s * np.cos(theta), s * cosines


def fixed(target):
    return lambda theta, cosines, *_: (16 * target(theta), 16 * cosines)


VALID_LABELS = LABELS[MASK]
MARGINS = {
    "normface": (NormFace(scale=16.0), fixed(np.cos)),
    "cosface": (CosFace(scale=16.0, margin=0.3), fixed(lambda a: np.cos(a) - 0.3)),
    "sphereface": (SphereFace(scale=16.0, margin=4), fixed(lambda a: psi(a, 4))),
    "sphereface_annealed": (
        SphereFace(scale=16.0, margin=3, annealing=5.0),
        fixed(lambda a: (5 * np.cos(a) + psi(a, 3)) / 6),
    ),
    "combined": (
        CombinedMargin(scale=16.0, m1=1.3, m2=0.2, m3=0.1),
        fixed(lambda a: np.cos(1.3 * a + 0.2) - 0.1),
    ),
    "combined_clamp": (
        CombinedMargin(scale=16.0, m1=1.3, m2=0.2, m3=0.1, beyond_pi="clamp"),
        fixed(lambda a: np.cos(np.minimum(1.3 * a + 0.2, np.pi)) - 0.1),
    ),
    "combined_easy": (
        CombinedMargin(scale=16.0, m1=1.3, m2=0.2, m3=0.1, beyond_pi="easy"),
        fixed(lambda a: np.where(np.cos(a) > 0, np.cos(1.3 * a + 0.2), np.cos(a)) - 0.1),
    ),
    "adaface": (AdaFace(scale=16.0, concentration=30.0), ref_adaface),
    "magface": (MagFace(scale=16.0, lower_norm=3.0, upper_norm=9.0, pull=0.0), ref_magface),
    "curricular": (CurricularFace(scale=16.0, rate=0.2), ref_curricular),
    "circle": (CircleMargin(scale=16.0), functools.partial(ref_circle, constant=True)),
    "circle_whole": (
        CircleMargin(scale=16.0, constant_weights=False),
        functools.partial(ref_circle, constant=False),
    ),
    "adacos": (AdaCos(num_classes=C), ref_adacos),
}
for _beyond in ("continue", "linear", "easy", "clamp"):
    MARGINS[f"arcface_{_beyond}"] = (
        ArcFace(scale=16.0, margin=0.9, beyond_pi=_beyond),
        fixed(functools.partial(shifted, m=0.9, beyond=_beyond)),
    )
for _kind in ("angle", "cosine"):
    for _emphasis in ("adaptive", "fixed"):
        MARGINS[f"mv_{_kind}_{_emphasis}"] = (
            MVSoftmax(scale=16.0, kind=_kind, emphasis=_emphasis, margin=0.4, t=0.3),
            functools.partial(ref_mv, kind=_kind, emphasis=_emphasis),
        )


def ref_loss(name, x, w, x0, w0):
    """Mean cross-entropy over rows x, float64."""

    def compare(x, w):
        norm = np.linalg.norm(x, axis=1)
        return x @ w.T / norm[:, None] / np.linalg.norm(w, axis=1), norm

    rows = np.arange(len(x))
    cosines, norm = compare(x, w)
    theta = np.arccos(cosines[rows, VALID_LABELS])
    target, logits = MARGINS[name][1](theta, cosines, norm, *compare(x0, w0))
    logits[rows, VALID_LABELS] = target
    top = logits.max(1, keepdims=True)
    return (np.log(np.exp(logits - top).sum(1)) + top[:, 0] - target).mean()


def evaluate(x, w, labels, mask, names=tuple(MARGINS), axis_name=None):
    """Losses [B], new state and the gradients to x and w of the mean loss, of every margin."""

    def mean(margin, x, w):
        losses, state = margin_softmax_cross_entropy(
            x, w, labels, margin, margin.init(), mask=mask, axis_name=axis_name
        )
        rows = jnp.sum(mask)
        if axis_name is not None:
            rows = jax.lax.psum(rows, axis_name)
        return jnp.sum(losses) / jnp.maximum(rows, 1), (losses, state)

    results = {}
    for name in names:
        run = jax.grad(functools.partial(mean, MARGINS[name][0]), argnums=(0, 1), has_aux=True)
        (to_x, to_w), (losses, state) = run(x, w)
        if axis_name is not None:
            to_w = jax.lax.psum(to_w, axis_name)
        results[name] = losses, state, to_x, to_w
    return results


_compiled = quick_jit(evaluate)


@functools.cache
def results():
    return jax.device_get(_compiled(EMBEDDINGS, CLASSIFIER, LABELS, MASK))


@pytest.mark.parametrize("name", MARGINS)
def test_loss_and_gradients_equal_the_formula_on_the_valid_rows(name):
    losses, _, to_x, to_w = results()[name]
    x, w = EMBEDDINGS[MASK].astype(np.float64), CLASSIFIER.astype(np.float64)
    loss = functools.partial(ref_loss, name, x0=x, w0=w)
    assert losses.dtype == np.float32
    np.testing.assert_allclose(losses[MASK].mean(), loss(x, w), rtol=2e-5)
    assert not np.any(losses[~MASK])
    assert not np.any(to_x[~MASK])
    rng = np.random.default_rng(1)
    for _ in range(4):  # Central differences in random directions.
        u, v = rng.normal(size=x.shape), rng.normal(size=w.shape)
        h = 1e-6
        slope = (loss(x + h * u, w + h * v) - loss(x - h * u, w - h * v)) / (2 * h)
        found = (to_x[MASK] * u).sum() + (to_w * v).sum()
        scale = np.abs(to_x[MASK] * u).sum() + np.abs(to_w * v).sum()
        assert abs(found - slope) < 3e-4 * scale


def test_state_and_gradients_are_those_of_one_device_on_eight():
    names = ("adaface", "curricular", "adacos", "magface")
    split = [a.reshape(8, 2, *a.shape[1:]) for a in (EMBEDDINGS, LABELS, MASK)]
    run = jax.pmap(
        lambda x, y, mask: evaluate(x, CLASSIFIER, y, mask, names, "devices"), axis_name="devices"
    )
    mapped = run.lower(*split).compile(QUICK)(*split)
    for name in names:
        losses, state, to_x, to_w = results()[name]
        found, states, to_x_8, to_w_8 = jax.device_get(mapped[name])
        np.testing.assert_allclose(found.reshape(B), losses, rtol=1e-5)
        np.testing.assert_allclose(to_x_8.reshape(B, D), to_x, rtol=1e-4, atol=1e-6)
        for device in range(8):
            np.testing.assert_allclose(to_w_8[device], to_w, rtol=1e-4, atol=1e-6)
            for one, eight in zip(state, states):
                np.testing.assert_allclose(eight[device], one, rtol=1e-5)


def test_finite_at_zero_parallel_and_opposite_rows_and_with_everything_masked():
    own = CLASSIFIER[LABELS]
    for x, mask in [
        (np.zeros_like(own), MASK),
        (own, MASK),
        (-own, MASK),
        (own * 1e-15, MASK),
        (own * 1e4, MASK),
        (EMBEDDINGS, np.zeros(B, bool)),
        (np.where(MASK[:, None], EMBEDDINGS, np.nan), MASK),
    ]:
        for name, found in _compiled(x, CLASSIFIER, LABELS, mask).items():
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found)), name
            if not mask.any():
                losses, state, to_x, to_w = found
                assert not any(map(np.any, (losses, to_x, to_w))), name
                assert state == MARGINS[name][0].init(), name
    for zero_class in _compiled(EMBEDDINGS, CLASSIFIER * 0, LABELS, MASK).values():
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(zero_class))


@pytest.mark.slow
def test_half_precision_rounds_the_product_only():
    half = jnp.asarray(EMBEDDINGS, jnp.bfloat16), jnp.asarray(CLASSIFIER, jnp.bfloat16)
    names = ("arcface_linear", "combined", "adaface", "curricular")
    run = quick_jit(functools.partial(evaluate, names=names))
    for name, (losses, _, to_x, _) in run(*half, LABELS, MASK).items():
        assert losses.dtype == jnp.float32
        assert to_x.dtype == jnp.bfloat16
        # A cosine is rounded by up to 2^-8, a logit by 16 times that.
        np.testing.assert_allclose(losses, results()[name][0], atol=0.3, err_msg=name)
        assert np.isfinite(to_x.astype(np.float32)).all()


# Target logits alone.

COSINES = np.concatenate([[-1.0, 1.0], np.cos(np.linspace(0.01, 3.13, 60))]).astype(np.float32)
NORMS = np.linspace(0, 20, COSINES.size).astype(np.float32)


def target_and_slope(margin, cosines=COSINES, norms=NORMS):
    """Target logits and their derivatives with respect to the cosine."""
    state = AdaFaceState(jnp.float32(8.0), jnp.float32(3.0))
    state = state if isinstance(margin, AdaFace) else margin.init()

    def value(c):
        return margin.target_logit(c, state, norm=jnp.asarray(norms))

    run = quick_jit(lambda c: jax.jvp(value, (c,), (jnp.ones_like(c),)))
    return jax.device_get(run(jnp.asarray(cosines, jnp.float32)))


def test_exact_gradient_of_arcface_is_sin_of_the_sum_over_sin():
    degrees = np.array([1.0, 10.0, 60.0, 150.0, 160.0])
    theta = np.radians(degrees)
    margin = ArcFace(scale=1.0, margin=0.5, beyond_pi="continue")
    _, slope = target_and_slope(margin, np.cos(theta), np.ones(5))
    np.testing.assert_allclose(slope, [28.3, 3.6, 1.15, 0.05, -0.44], rtol=0.01, atol=0.005)
    np.testing.assert_allclose(slope, np.sin(theta + 0.5) / np.sin(theta), rtol=2e-3)


@pytest.mark.parametrize(
    "margin",
    [
        ArcFace(margin=0.5),
        ArcFace(margin=0.9, beyond_pi="clamp"),
        CombinedMargin(m1=1.4, m2=0.3, m3=0.2),
        SphereFace(scale=64.0),
        AdaFace(),
        MagFace(lower_norm=3.0, upper_norm=9.0),
        CurricularFace(),
        MVSoftmax(),
    ],
)
def test_straight_through_has_the_value_of_exact_and_slope_scale(margin):
    through = dataclasses.replace(margin, gradient="straight_through")
    value, slope = target_and_slope(through)
    np.testing.assert_allclose(value, target_and_slope(margin)[0], rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(slope, 64.0, rtol=1e-6)


def test_straight_through_keeps_magfaces_gradient_to_the_norm():
    norms = jnp.array([4.0, 6.0])
    cosine = jnp.array([0.5, 0.7])
    slopes = [
        quick_jit(jax.grad(lambda a, m=margin: m.target_logit(cosine, norm=a).sum()))(norms)
        for margin in (
            MagFace(lower_norm=3.0, upper_norm=9.0),
            MagFace(lower_norm=3.0, upper_norm=9.0, gradient="straight_through"),
        )
    ]
    assert np.all(slopes[0] < 0)
    np.testing.assert_allclose(slopes[0], slopes[1])


def test_values_at_cosine_one_and_minus_one_are_exact():
    for margin, at_minus_one, at_one in [
        (ArcFace(scale=1.0, margin=0.5, beyond_pi="continue"), -math.cos(0.5), math.cos(0.5)),
        (ArcFace(scale=1.0, margin=0.5), -1 - 0.5 * math.sin(0.5), math.cos(0.5)),
        (ArcFace(scale=1.0, margin=0.5, beyond_pi="clamp"), -1.0, math.cos(0.5)),
        (ArcFace(scale=1.0, margin=0.5, beyond_pi="easy"), -1.0, math.cos(0.5)),
        (CombinedMargin(scale=1.0, m1=2.0, m2=0.3), math.cos(0.3), math.cos(0.3)),
        (SphereFace(scale=1.0, margin=4), -7.0, 1.0),
        (CircleMargin(scale=1.0, margin=0.25), -2.25 * 1.75, 0.25 * 0.25),
    ]:
        values, slopes = target_and_slope(margin)
        np.testing.assert_allclose(values[:2], [at_minus_one, at_one], rtol=1e-6, atol=1e-6)
        assert np.isfinite(slopes).all()


def test_next_to_one_the_gradient_is_large_but_right():
    cosine = np.float32(1) - np.float32(2**-20)
    theta = math.acos(float(cosine))
    margin = ArcFace(scale=1.0, margin=0.5)
    value, slope = target_and_slope(margin, cosine[None], np.ones(1))
    np.testing.assert_allclose(value, math.cos(theta + 0.5), rtol=1e-6)
    np.testing.assert_allclose(slope, math.sin(theta + 0.5) / math.sin(theta), rtol=1e-4)  # 347
    value, slope = target_and_slope(margin, np.array([1.0000001]), np.ones(1))  # Rounded beyond.
    np.testing.assert_allclose(value, math.cos(0.5), rtol=1e-6)
    assert np.isfinite(slope).all()


def test_the_four_treatments_beyond_pi_by_hand():
    cosine = np.array([math.cos(math.radians(170)), math.cos(math.radians(100))])
    expected = {  # m = 30 degrees: 200 degrees is beyond pi, 130 degrees is not.
        "continue": (math.cos(math.radians(200)), math.cos(math.radians(130))),
        "linear": (cosine[0] - math.pi / 6 * 0.5, math.cos(math.radians(130))),
        "easy": (cosine[0], cosine[1]),
        "clamp": (-1.0, math.cos(math.radians(130))),
    }
    for beyond, values in expected.items():
        margin = ArcFace(scale=1.0, margin=math.pi / 6, beyond_pi=beyond)
        found, _ = target_and_slope(margin, cosine, np.ones(2))
        np.testing.assert_allclose(found, values, rtol=1e-5, atol=1e-6, err_msg=beyond)


@pytest.mark.parametrize(
    ("margin", "same"),
    [
        (ArcFace(margin=0.0, beyond_pi="linear"), NormFace()),
        (ArcFace(margin=0.0, beyond_pi="easy"), NormFace()),
        (ArcFace(margin=0.0, beyond_pi="clamp"), NormFace()),
        (CosFace(margin=0.0), NormFace()),
        (SphereFace(margin=1), NormFace(scale=30.0)),
        (SphereFace(margin=4, annealing=1e9), NormFace(scale=30.0)),
        (CombinedMargin(m1=1.0, m2=0.0, m3=0.0), NormFace()),
        (CombinedMargin(m1=1.0, m2=0.5, m3=0.0), ArcFace(margin=0.5, beyond_pi="continue")),
        (CombinedMargin(m1=1.0, m2=0.0, m3=0.35), CosFace(margin=0.35)),
        (CombinedMargin(m1=2.0, m2=0.0, m3=0.0, beyond_pi="clamp"), "halves"),
        (AdaFace(margin=0.35, concentration=0.0), CosFace(margin=0.35)),
        (MagFace(lower_margin=0.5, upper_margin=0.5), ArcFace(margin=0.5, beyond_pi="easy")),
        (MVSoftmax(t=0.0), ArcFace(margin=0.5)),
        (CurricularFace(), ArcFace(margin=0.5)),
        (InterclassFilter(inner=ArcFace()), ArcFace()),
    ],
)
def test_limit_cases(margin, same):
    value, slope = target_and_slope(margin)
    if same == "halves":  # cos(2 theta) = 2 cos^2 - 1 up to 90 degrees, then -1.
        expected = 64.0 * np.where(COSINES > 0, 2 * COSINES**2 - 1, -1)
        np.testing.assert_allclose(value, expected, atol=2e-5)
        return
    expected = target_and_slope(same)
    np.testing.assert_allclose(value, expected[0], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(slope[2:], expected[1][2:], rtol=1e-4, atol=1e-3)


def test_sphereface_falls_monotonically_and_steeply():
    cosine = np.linspace(-1, 1, 2001, dtype=np.float32)
    value, slope = target_and_slope(SphereFace(scale=1.0, margin=4), cosine, cosine)
    assert np.all(np.diff(value) > -1e-6)
    assert np.all(slope > -1e-4)
    np.testing.assert_allclose([slope[0], slope[-1]], 16.0, rtol=1e-4)  # m^2


# The dense composition.


def test_tiles_of_negatives_equal_the_whole():
    cosines, _ = quick_jit(class_cosines)(EMBEDDINGS, CLASSIFIER)
    target = cosines[np.arange(B), LABELS]
    for name in ("curricular", "mv_angle_adaptive", "circle", "adacos", "arcface_linear"):
        margin, state = MARGINS[name][0], results()[name][1]
        negatives = quick_jit(margin.negative_logits)
        whole = negatives(cosines, target, state)
        tiles = [negatives(cosines[:, i : i + 2], target, state) for i in (0, 2, 4)]
        np.testing.assert_array_equal(np.concatenate(tiles, axis=1), whole)
        assert margin.reshapes_negatives == (name not in ("adacos", "arcface_linear"))


def test_permuting_the_classes_permutes_nothing_but_the_classes():
    order = np.random.default_rng(2).permutation(C)
    renamed = np.argsort(order).astype(np.int32)[LABELS]
    permuted = _compiled(EMBEDDINGS, CLASSIFIER[order], renamed, MASK)
    for name, (losses, _, to_x, to_w) in results().items():
        np.testing.assert_allclose(permuted[name][0], losses, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(permuted[name][2], to_x, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(permuted[name][3], to_w[order], rtol=1e-3, atol=1e-4)


def test_sub_centers_take_the_nearest_and_one_is_none():
    centers = np.stack([CLASSIFIER, -CLASSIFIER, CLASSIFIER[:, ::-1]], axis=1)
    compare = quick_jit(class_cosines)
    cosines, norm = compare(EMBEDDINGS, centers)
    each = [compare(EMBEDDINGS, centers[:, k])[0] for k in range(3)]
    np.testing.assert_allclose(cosines, np.max(each, axis=0), rtol=1e-6)
    np.testing.assert_allclose(norm, np.linalg.norm(EMBEDDINGS, axis=1), rtol=1e-6)
    one, _ = compare(EMBEDDINGS, CLASSIFIER[:, None])
    np.testing.assert_array_equal(one, each[0])


def test_ignored_labels_and_class_weights():
    margin, weights = MARGINS["arcface_linear"][0], np.arange(1.0, C + 1)
    labels = np.where(MASK, LABELS, -7).astype(np.int32)

    @quick_jit
    def run(labels):
        return margin_softmax_cross_entropy(
            EMBEDDINGS, CLASSIFIER, labels, margin, ignore_label=-7, class_weights=weights
        )[0]

    losses = run(labels)
    expected = results()["arcface_linear"][0] * weights[LABELS]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert np.isnan(run(np.where(MASK, LABELS, C).astype(np.int32))[~MASK]).all()


def test_magfaces_regularizer_is_least_at_the_upper_norm():
    margin = MagFace(lower_norm=10.0, upper_norm=110.0, pull=35.0)
    norms = jnp.array([5.0, 10.0, 60.0, 110.0, 200.0])
    a = np.array([10.0, 10.0, 60.0, 110.0, 110.0])
    np.testing.assert_allclose(margin.regularizer(norms), 35 * (a / 110**2 + 1 / a), rtol=1e-6)
    plain = dataclasses.replace(margin, pull=0.0)
    with_pull, without = (
        quick_jit(functools.partial(margin_softmax_cross_entropy, margin=m))(
            EMBEDDINGS, CLASSIFIER, LABELS
        )[0]
        for m in (margin, plain)
    )
    extra = margin.regularizer(np.linalg.norm(EMBEDDINGS, axis=1))
    np.testing.assert_allclose(with_pull - without, extra, rtol=1e-3)


def test_interclass_filter_silences_similar_negatives():
    cosines = jnp.array([[0.9, 0.5, 0.3], [0.1, 0.8, -0.9]])
    margin = InterclassFilter(inner=NormFace(scale=10.0), threshold=0.4)
    logits = margin_logits(margin, cosines, jnp.array([0, 0]))
    np.testing.assert_allclose(logits, [[9, 0, 3], [1, 0, -9]], rtol=1e-6)
    adaptive = InterclassFilter(inner=AdaFace())
    assert adaptive.needs_norm
    assert adaptive.update(adaptive.init(), norm=jnp.ones(2)).mean < 20


# States by hand.


def test_adaface_statistics_by_hand():
    margin = AdaFace(rate=1.0)
    norms, mask = jnp.array([1.0, 2.0, 3.0, 1e9]), jnp.array([True, True, True, False])
    state = margin.update(margin.init(), norm=norms, mask=mask)
    np.testing.assert_allclose(state, (2.0, 1.0), rtol=1e-6)  # Unbiased: 2 / (3 - 1).
    np.testing.assert_allclose(
        margin.quality(norms, AdaFaceState(2.0, 0.999)), [-0.333, 0, 0.333, 1]
    )
    slow = AdaFace(rate=0.1).update(margin.init(), norm=norms, mask=mask)
    np.testing.assert_allclose(slow, (18.2, 90.1), rtol=1e-6)
    one = margin.update(margin.init(), norm=norms[:1])
    np.testing.assert_allclose(one, (1.0, 0.0))
    assert margin.update(margin.init(), norm=norms, mask=mask & False) == margin.init()


def test_curricular_and_adacos_states_by_hand():
    cosine, mask = jnp.array([0.2, 0.4, 0.9]), jnp.array([True, True, False])
    t = CurricularFace(rate=0.5).update(CurricularFaceState(0.1), target_cosine=cosine, mask=mask)
    np.testing.assert_allclose(t.t, 0.2, rtol=1e-6)
    margin = AdaCos(num_classes=101)
    np.testing.assert_allclose(margin.init().scale, math.sqrt(2) * math.log(100), rtol=1e-6)
    log_sums = jnp.log(jnp.array([10.0, 30.0, 1e6]))
    state = margin.update(
        margin.init(), target_cosine=cosine, negative_log_sum_exp=log_sums, mask=mask
    )  # The median angle is beyond 45 degrees.
    np.testing.assert_allclose(state.scale, math.log(20) * math.sqrt(2), rtol=1e-6)
    state = margin.update(
        margin.init(), target_cosine=cosine + 0.5, negative_log_sum_exp=log_sums[:1].repeat(3)
    )
    np.testing.assert_allclose(state.scale, math.log(10) / 0.9, rtol=1e-6)
    still = dataclasses.replace(margin, dynamic=False)
    assert still.update(AdaCosState(7.0)).scale == 7.0


def test_the_state_is_used_after_the_update():
    cosines, norm = class_cosines(EMBEDDINGS, CLASSIFIER)
    margin = MARGINS["curricular"][0]
    state = updated_state(margin, margin.init(), cosines, LABELS, norm=norm, mask=MASK)
    np.testing.assert_allclose(state.t, results()["curricular"][1].t, rtol=1e-6)
    logits = margin_logits(margin, cosines, LABELS, state, norm=norm)
    losses = jax.nn.logsumexp(logits, axis=1) - logits[np.arange(B), LABELS]
    np.testing.assert_allclose(losses[MASK], results()["curricular"][0][MASK], rtol=1e-4)


# Independent implementation, transformations.


@pytest.mark.parametrize("gradient", ["exact", "straight_through"])
def test_arcface_equals_pytorch_with_arccos(gradient):
    torch = pytest.importorskip("torch")
    x = torch.tensor(EMBEDDINGS.astype(np.float64), requires_grad=True)
    w = torch.tensor(CLASSIFIER.astype(np.float64), requires_grad=True)
    cosines = torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(w).T
    rows = torch.arange(B)
    own = cosines[rows, torch.tensor(LABELS).long()]
    moved = torch.cos(torch.arccos(own) + 0.5)
    if gradient == "straight_through":
        moved = own + (moved - own).detach()
    logits = cosines.index_put((rows, torch.tensor(LABELS).long()), moved) * 32
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(LABELS).long())
    loss.backward()
    margin = ArcFace(scale=32.0, margin=0.5, beyond_pi="continue", gradient=gradient)

    def ours(x, w):
        return margin_softmax_cross_entropy(x, w, LABELS, margin)[0].mean()

    value, slopes = quick_jit(jax.value_and_grad(ours, argnums=(0, 1)))(EMBEDDINGS, CLASSIFIER)
    np.testing.assert_allclose(value, loss.item(), rtol=1e-5)
    for found, tensor in zip(slopes, (x, w)):
        np.testing.assert_allclose(found, tensor.grad.numpy(), rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_vmap_forward_mode_and_hessian():
    margin = CurricularFace(scale=16.0)

    def loss(x):
        return margin_softmax_cross_entropy(x, CLASSIFIER, LABELS[:4], margin, margin.init())[0]

    x = jnp.asarray(EMBEDDINGS[:4])
    tangent = jnp.asarray(EMBEDDINGS[4:8])

    def everything(x):
        forward = jax.jvp(lambda x: loss(x).sum(), (x,), (tangent,))[1]
        backward = jnp.vdot(jax.grad(lambda x: loss(x).sum())(x), tangent)
        hessian = jax.hessian(lambda row: loss(x.at[0].set(row)).sum())(x[0])
        return loss(x), forward, backward, hessian

    values, forward, backward, hessian = quick_jit(jax.vmap(everything))(jnp.stack([x, 2 * x]))
    np.testing.assert_allclose(values[0], values[1], rtol=1e-4)  # Length does not matter...
    np.testing.assert_allclose(forward, backward, rtol=1e-4)
    np.testing.assert_allclose(hessian, np.swapaxes(hessian, 1, 2), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(hessian[1], hessian[0] / 4, rtol=1e-2, atol=1e-3)


def test_the_command_line_can_edit_margins():
    margin = tyro.cli(ArcFace, args=["--margin", "0.3", "--beyond-pi", "easy", "--scale", "30"])
    assert margin == ArcFace(margin=0.3, beyond_pi="easy", scale=30.0)


# Bad input.

COS, Y = jnp.zeros((4, 3)), jnp.arange(4) % 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ArcFace(scale=0.0), "scale is 0.0"),
        (lambda: ArcFace(margin=4.0), "margin is 4.0"),
        (lambda: ArcFace(gradient="none"), "gradient is 'none', but one of 'exact'"),
        (lambda: MagFace(beyond_pi="hard"), "beyond_pi is 'hard', but one of 'continue'"),
        (lambda: MagFace(lower_norm=5.0, upper_norm=4.0), "upper_norm is 4.0"),
        (lambda: CosFace(margin=-0.1), "margin is -0.1"),
        (lambda: SphereFace(margin=2.5), "margin is 2.5, but a whole number"),
        (lambda: CombinedMargin(m1=2.0, beyond_pi="linear"), "beyond_pi is 'linear' with m1 2.0"),
        (lambda: AdaFace(rate=0.0), "rate is 0.0"),
        (lambda: AdaCos(num_classes=2), "num_classes is 2"),
        (lambda: MVSoftmax(kind="arc"), "kind is 'arc'"),
        (lambda: CircleMargin(margin=2.0), "margin is 2.0"),
        (lambda: margin_logits(AdaFace(), COS, Y), "state is missing, but AdaFace needs it"),
        (
            lambda: margin_logits(AdaFace(), COS, Y, AdaFace().init()),
            "norm is missing, but AdaFace needs it",
        ),
        (lambda: margin_logits(MagFace(), COS, Y), "norm is missing, but MagFace"),
        (lambda: margin_logits(CurricularFace(), COS, Y), "state is missing, but CurricularFace"),
        (lambda: margin_logits(MagFace(), COS, Y, norm=jnp.ones(3)), r"norm has shape \[3\]"),
        (lambda: margin_logits(ArcFace(), COS[0], Y), r"cosines has shape \[3\], but \[B, C\]"),
        (lambda: margin_logits(ArcFace(), COS, Y[:2]), r"labels are integers of shape \[2\]"),
        (lambda: margin_logits(ArcFace(), COS, Y.astype(float)), "labels have dtype float32"),
        (lambda: class_cosines(COS, jnp.ones((5, 2))), r"classifier has shape \[5, 2\]"),
        (
            lambda: margin_softmax_cross_entropy(COS, COS, Y, ArcFace(), mask=jnp.ones(2)),
            r"mask has shape \[2\]",
        ),
        (
            lambda: AdaFace().update(AdaFace().init(), norm=COS[0], axis_name="nowhere"),
            "axis_name is 'nowhere'",
        ),
        (lambda: AdaCos(num_classes=9).update(AdaCosState(1.0)), "negative_log_sum_exp is missing"),
    ],
)
def test_bad_input_names_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(call)  # At trace time.
