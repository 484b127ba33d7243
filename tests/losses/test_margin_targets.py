"""Target logits and their slopes: at cosine +-1, beyond pi, in limit cases."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.losses.margins import (
    AdaFace,
    AdaFaceState,
    ArcFace,
    CircleMargin,
    CombinedMargin,
    CosFace,
    CurricularFace,
    InterclassFilter,
    MagFace,
    MVSoftmax,
    NormFace,
    SphereFace,
)
from tests.losses.margin_cases import quick_jit

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
