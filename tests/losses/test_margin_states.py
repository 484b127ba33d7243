"""States of margins by hand, the dense composition piece by piece, bad input."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
from tests.losses.margin_cases import (
    CLASSIFIER,
    EMBEDDINGS,
    LABELS,
    MARGINS,
    MASK,
    B,
    C,
    quick_jit,
    results,
)


def test_tiles_of_negatives_equal_the_whole():
    cosines, _ = quick_jit(class_cosines)(EMBEDDINGS, CLASSIFIER)
    target = cosines[np.arange(B), LABELS]
    for name in ("curricular", "mv_angle_adaptive", "circle", "adacos", "arcface_linear"):
        margin, state = MARGINS[name][0], results()[name][1]
        negatives = quick_jit(margin.negative_logits)
        whole = negatives(cosines, target, state)
        tiles = [negatives(cosines[:, i : i + 2], target, state) for i in (0, 2, 4)]
        np.testing.assert_array_equal(np.concatenate(tiles, axis=1), whole)
        assert negatives(cosines.astype(jnp.bfloat16), target, state).dtype == jnp.float32
        assert margin.reshapes_negatives == (name not in ("adacos", "arcface_linear"))


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


COS, Y = jnp.zeros((4, 3)), jnp.arange(4) % 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ArcFace(scale=0.0), "scale is 0.0"),
        (lambda: ArcFace(margin=4.0), "margin is 4.0"),
        (lambda: ArcFace(gradient="none"), "gradient is 'none', but must be 'exact'"),
        (lambda: MagFace(beyond_pi="hard"), "beyond_pi is 'hard', but must be 'continue'"),
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
