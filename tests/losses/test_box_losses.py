"""Box losses against formulas in float64, by hand, and on boxes without size."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcv.losses.boxes import ciou_loss, diou_loss, giou_loss, iou_loss, smooth_l1_loss

LOSSES = {
    "smooth_l1": smooth_l1_loss,
    "iou": iou_loss,
    "giou": giou_loss,
    "diou": diou_loss,
    "ciou": ciou_loss,
}
QUICK = {"xla_backend_optimization_level": 0}  # LLVM would take most of the time otherwise.
quick_jit = functools.partial(jax.jit, compiler_options=QUICK)


def evaluate(predictions, targets):
    """Values and gradients to the predictions, of every loss."""

    def with_sum(loss, p):
        values = loss(p, targets)
        return jnp.sum(values), values

    results = {}
    for name, loss in LOSSES.items():
        run = jax.grad(functools.partial(with_sum, loss), has_aux=True)
        gradient, values = run(predictions)
        results[name] = values, gradient
    return results


_on_128 = quick_jit(evaluate)


def _compiled(predictions, targets):
    """`evaluate`, compiled for one shape."""
    rows = len(predictions)
    found = _on_128(*(jnp.resize(x, (128, 4)) for x in (predictions, targets)))
    return jax.tree.map(lambda x: x[:rows], jax.device_get(found))


def random_boxes(seed, n=64):
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 1, (n, 2)), rng.uniform(0.1, 1.0, (n, 2))
    return np.concatenate([corner, corner + size], axis=1).astype(np.float32)


def reference(p, t, p0):
    """The losses of one pair, float64; `p0` is where CIoU's constant weight is computed."""

    def area(box):
        return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)

    def parts(p):
        both = area([max(p[0], t[0]), max(p[1], t[1]), min(p[2], t[2]), min(p[3], t[3])])
        union = area(p) + area(t) - both
        aspect = math.atan((p[3] - p[1]) / (p[2] - p[0])) - math.atan((t[3] - t[1]) / (t[2] - t[0]))
        return both / union, union, 4 / math.pi**2 * aspect**2

    iou, union, v = parts(p)
    iou0, _, v0 = parts(p0)
    hull = [min(p[0], t[0]), min(p[1], t[1]), max(p[2], t[2]), max(p[3], t[3])]
    centers = (p[0] + p[2] - t[0] - t[2]) ** 2 / 4 + (p[1] + p[3] - t[1] - t[3]) ** 2 / 4
    diagonal = (hull[2] - hull[0]) ** 2 + (hull[3] - hull[1]) ** 2
    error = np.abs(p - t)
    return {
        "smooth_l1": np.where(error < 1, error**2 / 2, error - 0.5).sum(),
        "iou": 1 - iou,
        "giou": 1 - iou + (area(hull) - union) / area(hull),
        "diou": 1 - iou + centers / diagonal,
        "ciou": 1 - iou + centers / diagonal + v0 / (1 - iou0 + v0) * v,
    }


def test_values_and_gradients_equal_the_formulas():
    predictions, targets = random_boxes(0), random_boxes(1)
    predictions[:8] = targets[:8] + 1.5  # Apart.
    found = _compiled(predictions, targets)
    p, t = predictions.astype(np.float64), targets.astype(np.float64)
    direction = np.random.default_rng(2).normal(size=p.shape)
    h = 1e-7
    for i in range(len(p)):
        here = reference(p[i], t[i], p[i])
        up = reference(p[i] + h * direction[i], t[i], p[i])
        down = reference(p[i] - h * direction[i], t[i], p[i])
        for name, (values, gradient) in found.items():
            np.testing.assert_allclose(values[i], here[name], rtol=1e-5, atol=1e-6, err_msg=name)
            slope = (up[name] - down[name]) / (2 * h)
            error = abs((gradient[i] * direction[i]).sum() - slope)
            assert error < 1e-4 * np.abs(gradient[i] * direction[i]).sum() + 1e-6, name


def test_known_values():
    """Boxes of 2 x 2 that share a quarter: IoU 1/7, hull 3 x 3, centres sqrt(2) apart."""
    iou_loss, giou_loss, diou_loss, ciou_loss = map(quick_jit, list(LOSSES.values())[1:])
    p, t = jnp.array([0.0, 0.0, 2.0, 2.0]), jnp.array([1.0, 1.0, 3.0, 3.0])
    np.testing.assert_allclose(iou_loss(p, t), 6 / 7, rtol=1e-6)
    np.testing.assert_allclose(giou_loss(p, t), 6 / 7 + 2 / 9, rtol=1e-6)
    np.testing.assert_allclose(diou_loss(p, t), 6 / 7 + 2 / 18, rtol=1e-6)
    np.testing.assert_allclose(ciou_loss(p, t), 6 / 7 + 2 / 18, rtol=1e-6)  # Both are square.
    wide = jnp.array([0.0, 0.0, 1.0, 2.0])  # Half of p: aspect 45 and atan(1/2) degrees.
    v = 4 / math.pi**2 * (math.pi / 4 - math.atan(0.5)) ** 2
    np.testing.assert_allclose(ciou_loss(p, wide), 0.5 + 0.25 / 8 + v**2 / (0.5 + v), rtol=1e-5)
    np.testing.assert_allclose(smooth_l1_loss(p, t, beta=1.0), 2.0)  # 4 times 1/2.
    np.testing.assert_allclose(smooth_l1_loss(p, t, beta=0.5), 3.0)  # 4 times 3/4.
    np.testing.assert_allclose(smooth_l1_loss(p, t, beta=2.0), 1.0)  # 4 times 1/4.


def test_identical_boxes_cost_nothing():
    boxes = random_boxes(3)
    for name, (values, gradient) in _compiled(boxes, boxes).items():
        np.testing.assert_allclose(values, 0.0, atol=1e-6, err_msg=name)
        assert np.isfinite(gradient).all(), name


def test_relations_symmetry_and_scale():
    p, t = random_boxes(4), random_boxes(5)
    found, swapped = _compiled(p, t), _compiled(t, p)
    large = _compiled(p * 1000, t * 1000)
    mirrored = _compiled(p[:, [1, 0, 3, 2]], t[:, [1, 0, 3, 2]])  # [x0, y0, x1, y1]
    for name in LOSSES:
        np.testing.assert_allclose(swapped[name][0], found[name][0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(mirrored[name][0], found[name][0], rtol=1e-4, atol=1e-6)
        if name != "smooth_l1":
            np.testing.assert_allclose(large[name][0], found[name][0], rtol=1e-4, atol=1e-6)
    low, high = np.minimum(p, t)[:, :2], np.maximum(p, t)[:, 2:]
    hull = np.prod(high - low, axis=1)
    both = np.prod(np.maximum(np.minimum(p, t)[:, 2:] - np.maximum(p, t)[:, :2], 0), axis=1)
    union = np.prod(p[:, 2:] - p[:, :2], axis=1) + np.prod(t[:, 2:] - t[:, :2], axis=1) - both
    penalty = (hull - union) / hull
    np.testing.assert_allclose(found["giou"][0] - found["iou"][0], penalty, atol=1e-5)
    assert np.all(found["ciou"][0] >= found["diou"][0] - 1e-6)
    assert np.all(found["diou"][0] >= found["iou"][0] - 1e-6)


def test_boxes_without_size_give_finite_values_and_gradients():
    box = [0.2, 0.2, 0.6, 0.7]
    odd = np.array(
        [
            [0.3, 0.3, 0.3, 0.3],  # A point,
            [0.3, 0.3, 0.3, 0.9],  # a line,
            [0.6, 0.7, 0.2, 0.2],  # corners swapped,
            [0.6, 0.2, 0.2, 0.7],  # one axis swapped,
            [-1.0, -1.0, -1.0, -1.0],  # padding,
            [0.0, 0.0, 0.0, 0.0],
            [0.0, 0.0, 1e-8, 1e-8],
            [0.0, 0.0, 1e-20, 1e-3],
            [0.0, 0.0, 1e4, 1e4],
            [-1e4, -1e4, 1e4, 1e4],
            box,
        ],
        np.float32,
    )
    first, second = np.repeat(odd, len(odd), axis=0), np.tile(odd, (len(odd), 1))
    for name, (values, gradient) in _compiled(first, second).items():
        assert np.isfinite(values).all(), name
        assert np.isfinite(gradient).all(), name
        if name in ("giou", "diou"):
            assert np.all((values >= 0) & (values <= 2 + 1e-6)), name
    # An empty prediction overlaps nothing, but still feels where it should go.
    empty = np.array([[0.9, 0.9, 0.9, 0.9]], np.float32)
    results = _compiled(empty, np.array([box], np.float32))
    np.testing.assert_allclose(results["iou"][0], 1.0)
    assert np.any(results["giou"][1])
    assert np.any(results["diou"][1])


def test_boxes_apart_have_a_gradient_towards_each_other_in_all_but_iou():
    p, t = np.array([[0, 0, 1, 1]], np.float32), np.array([[2, 2, 3, 3]], np.float32)
    results = _compiled(p, t)
    assert not np.any(results["iou"][1])
    for name in ("giou", "diou", "ciou"):
        assert results[name][1].sum() < 0, name  # Moving up and right lowers the loss.


def test_smooth_l1_equals_optax_and_pytorch():
    torch = pytest.importorskip("torch")
    p, t = (3 * random_boxes(seed) for seed in (6, 7))
    for beta in (0.1, 1.0):
        values, slope = quick_jit(
            jax.value_and_grad(lambda p, b=beta: smooth_l1_loss(p, t, beta=b).sum())
        )(p)
        tensor = torch.tensor(p, requires_grad=True)
        theirs = torch.nn.functional.smooth_l1_loss(
            tensor, torch.tensor(t), beta=beta, reduction="sum"
        )
        theirs.backward()
        np.testing.assert_allclose(values, theirs.item(), rtol=1e-5)
        np.testing.assert_allclose(slope, tensor.grad.numpy(), rtol=1e-5, atol=1e-6)
        huber = optax.losses.huber_loss(p, t, delta=beta).sum() / beta
        np.testing.assert_allclose(values, huber, rtol=1e-5)


@pytest.mark.slow
def test_half_precision_vmap_forward_mode_and_devices():
    p, t = random_boxes(8), random_boxes(9)
    half = jnp.asarray(p, jnp.bfloat16)
    exact = _compiled(half.astype(jnp.float32), t)
    for name, (values, gradient) in _compiled(half, t).items():
        assert values.dtype == jnp.float32
        assert gradient.dtype == jnp.bfloat16
        np.testing.assert_allclose(values, exact[name][0], rtol=1e-5, atol=1e-6)
    whole = _compiled(p, t)
    one_by_one = quick_jit(jax.vmap(evaluate))(p, t)
    split = p.reshape(8, 8, 4), t.reshape(8, 8, 4)
    mapped = jax.pmap(evaluate).lower(*split).compile(QUICK)(*split)
    for name, (values, gradient) in whole.items():
        np.testing.assert_allclose(one_by_one[name][0], values, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(mapped[name][0].reshape(-1), values, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(mapped[name][1].reshape(-1, 4), gradient, rtol=1e-4, atol=1e-5)
    forward = quick_jit(lambda p: jax.jvp(lambda p: ciou_loss(p, t).sum(), (p,), (t,))[1])(p)
    np.testing.assert_allclose(forward, (whole["ciou"][1] * t).sum(), rtol=1e-4)


X = jnp.zeros((5, 4))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: iou_loss(X, X[:2]), r"predictions has shape \[5, 4\] but targets has shape"),
        (lambda: giou_loss(X[:, :3], X[:, :3]), r"predictions has shape \[5, 3\], but \[..., 4\]"),
        (lambda: ciou_loss(X[0, 0], X[0, 0]), r"predictions has shape \[\], but \[4\]"),
        (lambda: smooth_l1_loss(X, X, beta=0.0), "beta is 0.0"),
        (lambda: smooth_l1_loss(X, X[0]), "targets has shape"),
    ],
)
def test_bad_input_names_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(call)  # At trace time.
