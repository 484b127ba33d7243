"""A margin that grows: by hand, and against the margins it starts from and arrives at."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.losses import (
    AdaCos,
    AdaFace,
    ArcFace,
    CosFace,
    CurricularFace,
    NormFace,
    Warmup,
    linear_softmax_cross_entropy,
    margin_softmax_cross_entropy,
)

RNG = np.random.default_rng(0)
EMBEDDINGS = jnp.asarray(RNG.normal(size=(6, 4)), jnp.float32)
CLASSIFIER = jnp.asarray(RNG.normal(size=(9, 4)), jnp.float32)
LABELS = jnp.asarray(RNG.integers(0, 9, 6))


def loss_after(margin, batches):
    """The sum of the losses of the last of so many equal batches, and its gradient."""

    def total(embeddings, state):
        result = linear_softmax_cross_entropy(
            embeddings, CLASSIFIER, LABELS, margin=margin, margin_state=state
        )
        return result.loss.sum(), result.margin_state

    state = margin.init()
    step = jax.jit(jax.value_and_grad(total, has_aux=True))
    for _ in range(batches):
        (value, state), gradient = step(EMBEDDINGS, state)
    return value, gradient


@pytest.mark.parametrize("margin", [CosFace(margin=0.3), ArcFace(), AdaFace(), CurricularFace()])
def test_arrives_at_the_margin(margin):
    arrived, wanted = loss_after(Warmup(margin=margin, steps=2), 3), loss_after(margin, 3)
    np.testing.assert_allclose(arrived[0], wanted[0], rtol=1e-5)
    np.testing.assert_allclose(arrived[1], wanted[1], rtol=1e-4, atol=1e-4)


def test_cosface_half_way_has_half_its_margin():
    # The first batch already counts: 1 of 2 steps.
    value, gradient = loss_after(Warmup(margin=CosFace(margin=0.3, scale=8.0), steps=2), 1)
    wanted, wanted_gradient = loss_after(CosFace(margin=0.15, scale=8.0), 1)
    np.testing.assert_allclose(value, wanted, rtol=1e-6)
    np.testing.assert_allclose(gradient, wanted_gradient, rtol=1e-4, atol=1e-6)


def test_before_the_first_batch_there_is_no_margin():
    margin = Warmup(margin=CurricularFace(scale=8.0), steps=10)
    state = margin.init()
    cosines = EMBEDDINGS @ CLASSIFIER.T / 10
    np.testing.assert_allclose(
        margin.negative_logits(cosines, cosines[:, 0], state), 8 * cosines, rtol=1e-6
    )
    np.testing.assert_allclose(
        margin.target_logit(cosines[:, 0], state), 8 * cosines[:, 0], rtol=1e-6
    )


def test_dense_and_fused_agree():
    margin = Warmup(margin=ArcFace(scale=8.0), steps=5)
    state = margin.update(margin.init())
    fused = linear_softmax_cross_entropy(
        EMBEDDINGS, CLASSIFIER, LABELS, margin=margin, margin_state=state
    )
    dense, dense_state = margin_softmax_cross_entropy(EMBEDDINGS, CLASSIFIER, LABELS, margin, state)
    np.testing.assert_allclose(fused.loss, dense, rtol=1e-5)
    assert int(fused.margin_state.step) == int(dense_state.step) == 2


def test_what_cannot_warm_up_is_refused():
    with pytest.raises(ValueError, match="steps is 0, but at least 1 is wanted"):
        Warmup(steps=0)
    with pytest.raises(ValueError, match="margin is AdaCos, which has no constant scale"):
        Warmup(margin=AdaCos(num_classes=9))
    with pytest.raises(ValueError, match=r"state is missing, but Warmup needs it"):
        Warmup(margin=NormFace()).target_logit(jnp.zeros(2))
