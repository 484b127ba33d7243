"""Every margin in the fused loss beside the dense one: losses, state, all gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.losses import (
    ArcFace,
    CosFace,
    CurricularFace,
    InterclassFilter,
    MagFace,
    class_cosines,
    linear_softmax_cross_entropy,
    margin_logits,
    margin_softmax_cross_entropy,
)
from tests.losses.compilation import quick_jit
from tests.losses.linear_cases import batch, check_near
from tests.losses.margin_cases import CLASSIFIER, EMBEDDINGS, LABELS, MARGINS, MASK, C

CASES = {name: margin for name, (margin, _) in MARGINS.items()}
CASES["filter"] = InterclassFilter(inner=CosFace(scale=16.0, margin=0.3), threshold=0.2)
CASES["magface, pulled"] = MagFace(scale=16.0, lower_norm=3.0, upper_norm=9.0)
CASES["straight_through"] = ArcFace(scale=16.0, gradient="straight_through")
# One of each kind: target only, norm and state, state from all classes, hard negatives.
FEW = ("arcface_linear", "adaface", "adacos", "curricular", "mv_angle_adaptive")
REST = tuple(name for name in CASES if name not in FEW)
LABELS_ = np.where(MASK, LABELS, -1)
WEIGHTS = np.linspace(0.5, 2, C).astype(np.float32)
COTANGENT = np.random.default_rng(3).normal(size=len(LABELS)).astype(np.float32)


def results(names, block, dtype):
    """(fused, dense) for each margin: per example losses, state, gradients."""

    def fused(x, w, margin, settings):
        result = linear_softmax_cross_entropy(
            x, w, LABELS_, margin=margin, margin_state=margin.init(), block_size=block, **settings
        )
        return result.loss, result.margin_state

    def dense(x, w, margin, settings):
        return margin_softmax_cross_entropy(x, w, LABELS_, margin, margin.init(), **settings)

    @quick_jit
    def run(x, w):
        found = {}
        for i, name in enumerate(names):
            settings = {"ignore_label": -1}
            if i % 2:
                settings |= {"label_smoothing": 0.1, "class_weights": jnp.asarray(WEIGHTS)}
            found[name] = []
            for function in (fused, dense):
                call = lambda x, w, f=function, n=name, s=settings: f(x, w, CASES[n], s)  # noqa: E731
                losses, pull, state = jax.vjp(call, x, w, has_aux=True)
                found[name].append((losses, state, pull(jnp.asarray(COTANGENT, losses.dtype))))
        return found

    with jax.enable_x64(dtype == "float64"):
        return jax.device_get(run(jnp.asarray(EMBEDDINGS, dtype), jnp.asarray(CLASSIFIER, dtype)))


@pytest.mark.parametrize(
    ("names", "block"),
    [(FEW, 4), pytest.param(REST, 4, marks=pytest.mark.slow)],
    ids=["few", "rest"],
)
def test_equals_dense(names, block):
    # In float64, so that a negative at the edge of being hard is on the same side in both.
    for fused, dense in results(names, block, "float64").values():
        check_near(fused[0], dense[0], 1e-6)  # states are float32
        check_near(fused[1], dense[1], 1e-6)
        check_near(fused[2], dense[2], 2e-6)
        assert np.any(fused[2][1])


def test_one_tile_equals_dense():
    for fused, dense in results(("curricular", "adaface"), None, "float64").values():
        check_near(fused, dense, 2e-6)


@pytest.mark.parametrize("block", [None, 8])
def test_separated_is_top_1_with_margin(block):
    x, w, labels, _, _ = batch(50, 23, 6)
    x += 2 * w[labels]

    @quick_jit
    def run(x, w):
        found = []
        for margin in (ArcFace(scale=16.0, margin=0.3), CurricularFace(scale=16.0, margin=0.3)):
            result = linear_softmax_cross_entropy(
                x, w, labels, margin=margin, margin_state=margin.init(), block_size=block
            )
            cosines = class_cosines(x, w)[0]
            logits = margin_logits(margin, cosines, labels, result.margin_state)
            found.append((result.separated, jnp.argmax(logits, axis=1) == labels))
            found.append((result.correct, jnp.argmax(cosines, axis=1) == labels))
        return found

    for separated, wanted in run(x, w):
        np.testing.assert_array_equal(separated, wanted)
        assert 0 < np.sum(wanted) < 50


def test_nothing_cancels_beside_a_dominating_target():
    """Scale 64, cosine 1 without margin: the other classes are exp(-128) of the sum."""
    x, w = jnp.array([[1.0, 0.0]]), jnp.array([[2.0, 0.0], [-1.0, 0.0], [0.0, 3.0]])

    @quick_jit
    def loss(margin_scale):
        # The target's plain logit is far above all others; with its margin it is below.
        margin = CosFace(scale=64.0, margin=1.2)
        return linear_softmax_cross_entropy(
            margin_scale * x, w, jnp.array([0]), margin=margin, block_size=1
        ).loss

    # Logits 64 (1 - 1.2), -64 and 0.
    z = np.array([-12.8, -64.0, 0.0])
    np.testing.assert_allclose(loss(1.0), [np.log(np.exp(z).sum()) - z[0]], rtol=1e-6)


def test_a_margin_without_its_state():
    with pytest.raises(ValueError, match=r"state is missing, but CurricularFace needs it"):
        linear_softmax_cross_entropy(
            EMBEDDINGS, CLASSIFIER, LABELS, margin=MARGINS["curricular"][0]
        )
