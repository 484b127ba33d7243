"""Jensen-Shannon consistency and distillation: by hand, beside SciPy and PyTorch."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special

from jaxcv.losses import distillation_loss, jensen_shannon_consistency
from tests.losses.compilation import quick_jit

RNG = np.random.default_rng(0)
consistency = quick_jit(jensen_shannon_consistency)
distillation = quick_jit(distillation_loss)
VIEWS = RNG.normal(size=(3, 5, 4)).astype(np.float32)


def test_consistency_by_hand():
    agree = jnp.broadcast_to(jnp.array([1.0, 2.0, 3.0]), (3, 2, 3))
    np.testing.assert_allclose(consistency(agree), [0, 0], atol=1e-7)
    apart = jnp.array([[[100.0, 0, 0]], [[0, 100.0, 0]], [[0, 0, 100.0]]])
    np.testing.assert_allclose(consistency(apart), [math.log(3)], rtol=1e-6)


def test_consistency_beside_scipy():
    p = scipy.special.softmax(VIEWS.astype(np.float64), axis=-1)
    theirs = scipy.spatial.distance.jensenshannon(p[0], p[1], axis=-1) ** 2
    ours = consistency(VIEWS[:2])
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_consistency_and_gradient_beside_torch():
    torch = pytest.importorskip("torch")
    z = torch.tensor(VIEWS, requires_grad=True)
    p = torch.softmax(z, dim=-1)
    log_mean = p.mean(0).log()
    theirs = sum(torch.nn.functional.kl_div(log_mean, q, reduction="none").sum(-1) for q in p) / 3
    theirs.sum().backward()
    ours = consistency(VIEWS)
    gradient = quick_jit(jax.grad(lambda z: jensen_shannon_consistency(z).sum()))(VIEWS)
    np.testing.assert_allclose(ours, theirs.detach(), rtol=1e-4)
    np.testing.assert_allclose(gradient, z.grad, atol=1e-6)


def test_consistency_is_finite_at_the_extremes():
    views = jnp.array([[[1e4, -1e4, 0.0]], [[-1e4, 1e4, -jnp.inf]], [[0.0, 0.0, -jnp.inf]]])
    both = quick_jit(jax.value_and_grad(lambda z: jensen_shannon_consistency(z).sum()))
    value, gradient = both(views)
    # p = (1, 0, 0), (0, 1, 0) and (1/2, 1/2, 0), whose mean is (1/2, 1/2, 0).
    np.testing.assert_allclose(value, 2 / 3 * math.log(2), rtol=1e-6)
    assert np.all(np.isfinite(gradient))


def test_distillation_by_hand():
    student = jnp.array([[0.0, 0.0]])
    teacher = jnp.array([[0.0, 2 * math.log(3.0)]])  # (1/4, 3/4) at temperature 2
    expected = 4 * (0.25 * math.log(0.5) + 0.75 * math.log(1.5))
    loss = distillation(student, teacher, temperature=2.0)
    np.testing.assert_allclose(loss, [expected], rtol=1e-5)
    assert distillation(teacher, teacher)[0] == 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_distillation_and_gradient_beside_torch(dtype):
    torch = pytest.importorskip("torch")
    student, teacher = (np.asarray(jnp.asarray(v, dtype).astype(jnp.float32)) for v in VIEWS[:2])
    z = torch.tensor(student, requires_grad=True)
    theirs = 9 * torch.nn.functional.kl_div(
        torch.log_softmax(z / 3, -1), torch.softmax(torch.tensor(teacher) / 3, -1), reduction="none"
    ).sum(-1)
    theirs.sum().backward()

    def loss(z, t):
        return distillation_loss(z, t, temperature=3.0)

    both = quick_jit(
        lambda z, t: (loss(z, t), jax.grad(lambda z, t: loss(z, t).sum(), (0, 1))(z, t))
    )
    ours, (gradient, to_teacher) = both(jnp.asarray(student, dtype), jnp.asarray(teacher, dtype))
    np.testing.assert_allclose(ours, theirs.detach(), rtol=1e-4, atol=1e-6)
    tolerance = 1e-4 if dtype == "float32" else 2**-8
    np.testing.assert_allclose(gradient.astype(jnp.float32), z.grad, rtol=tolerance, atol=1e-6)
    np.testing.assert_array_equal(to_teacher.astype(jnp.float32), 0)


def test_distillation_with_masked_classes():
    teacher = jnp.array([[0.0, 0.0, -jnp.inf]])
    loss = distillation(jnp.array([[0.0, 0.0, 0.0]]), teacher)
    np.testing.assert_allclose(loss, [math.log(1.5)], rtol=1e-6)
    loss = distillation(jnp.array([[0.0, 0.0, -jnp.inf]]), teacher)
    np.testing.assert_allclose(loss, [0.0], atol=1e-7)
    assert distillation(jnp.array([[0.0, -jnp.inf, 0.0]]), teacher)[0] == jnp.inf


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"logits have shape \[4\], but \[M, ..., C\]"):
        jensen_shannon_consistency(jnp.zeros(4))
    with pytest.raises(ValueError, match=r"teacher_logits has shape \[2, 3\] but student_logits"):
        distillation_loss(jnp.zeros((2, 4)), jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"temperature is 0"):
        distillation_loss(jnp.zeros((2, 4)), jnp.zeros((2, 4)), temperature=0.0)
