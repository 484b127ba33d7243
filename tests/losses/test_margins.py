"""Margins with their softmax against formulas in float64 (with arccos), and over devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tyro

from jaxcv.losses.margins import (
    ArcFace,
    CurricularFace,
    margin_softmax_cross_entropy,
)
from tests.losses.margin_cases import (
    CLASSIFIER,
    EMBEDDINGS,
    LABELS,
    MARGINS,
    MASK,
    QUICK,
    B,
    C,
    D,
    compiled,
    evaluate,
    quick_jit,
    ref_loss,
    results,
)


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
        for name, found in compiled(x, CLASSIFIER, LABELS, mask).items():
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found)), name
            if not mask.any():
                losses, state, to_x, to_w = found
                assert not any(map(np.any, (losses, to_x, to_w))), name
                assert state == MARGINS[name][0].init(), name
    for zero_class in compiled(EMBEDDINGS, CLASSIFIER * 0, LABELS, MASK).values():
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


def test_permuting_the_classes_permutes_nothing_but_the_classes():
    order = np.random.default_rng(2).permutation(C)
    renamed = np.argsort(order).astype(np.int32)[LABELS]
    permuted = compiled(EMBEDDINGS, CLASSIFIER[order], renamed, MASK)
    for name, (losses, _, to_x, to_w) in results().items():
        np.testing.assert_allclose(permuted[name][0], losses, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(permuted[name][2], to_x, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(permuted[name][3], to_w[order], rtol=1e-3, atol=1e-4)


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
