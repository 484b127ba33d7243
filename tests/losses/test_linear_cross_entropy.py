"""The fused loss beside the dense one: values, every gradient, every shape; memory; bad input."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcv.losses import ArcFace, linear_softmax_cross_entropy, softmax_cross_entropy
from jaxcv.losses.linear import blocks
from tests.losses.compilation import quick_jit
from tests.losses.linear_cases import SETTINGS, batch, check_near, derivatives


@pytest.mark.parametrize(
    "name", ["plain", "everything", "cosine, bias", pytest.param("cosine", marks=pytest.mark.slow)]
)
def test_equals_dense(name):
    found, wanted = derivatives(name, (7, 23, 5), 8, jit=quick_jit)
    check_near(found, wanted, 3e-6)


def test_equals_dense_in_float64():
    found, wanted = derivatives("everything", (7, 23, 5), 8, "float64", quick_jit)
    check_near(found, wanted, 1e-13)


@pytest.mark.parametrize(
    ("shape", "block"),
    [
        ((5, 1, 3), 1),  # one class
        ((5, 1, 3), None),
        ((1, 11, 3), 11),  # one tile
        pytest.param((4, 13, 3), 1, marks=pytest.mark.slow),  # tiles of one class
        pytest.param((6, 24, 1), 8, marks=pytest.mark.slow),  # no remainder
        ((6, 31, 3), 100),  # fewer classes than a tile has
    ],
)
def test_equals_dense_for_shapes(shape, block):
    found, wanted = derivatives("everything", shape, block, jit=quick_jit)
    check_near(found, wanted, 5e-6)


def test_rows_in_tiles(monkeypatch):
    """Three tiles of rows, the last one smaller, times three of classes."""
    monkeypatch.setitem(blocks.ROWS, "cpu", 4)
    monkeypatch.setitem(blocks.KEPT, "cpu", 0)
    found, wanted = derivatives("everything", (10, 19, 3), 8, jit=quick_jit)
    check_near(found, wanted, 3e-6)
    # All classes in one tile, rows in several.
    found, wanted = derivatives("cosine, bias", (9, 5, 3), None, jit=quick_jit)
    check_near(found, wanted, 3e-6)


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(st.sampled_from(list(SETTINGS)), st.integers(1, 9), st.integers(1, 40), st.integers(1, 12))
def test_equals_dense_for_any_shape(name, rows, classes, block):
    found, wanted = derivatives(name, (rows, classes, 4), block, jit=quick_jit)
    check_near(found, wanted, 1e-5)


def test_blocks_fill_the_budget_and_no_more():
    most = max(blocks.ELEMENTS["cpu"], blocks.KEPT["cpu"], blocks.ROWS["cpu"] * blocks.FEWEST)
    for rows, classes in [(1, 10), (256, 100_003), (1024, 10**6), (10**6, 100), (10**6, 10**6)]:
        chosen = blocks.choose_blocks(rows, (classes,))
        assert 1 <= chosen.rows <= rows
        assert 1 <= chosen.classes <= classes
        assert chosen.rows * chosen.classes <= most
        assert chosen.whole == ((chosen.rows, chosen.classes) == (rows, classes))
    assert blocks.choose_blocks(256, (100_003,), 77).classes == 77
    assert blocks.choose_blocks(256, (100_003,), plain=True).whole  # 98 MiB
    assert not blocks.choose_blocks(256, (200_003,), plain=True).whole
    assert not blocks.choose_blocks(256, (100_003,), 512, plain=True).whole
    assert blocks.choose_blocks(64, (100_003, 4)).classes == 512  # 2,048 columns


@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_half_precision_is_summed_in_float32(dtype):
    """262,144 classes: a sum carried in bfloat16 would be off by 0.09 (measured on a peer)."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(4, 16)), dtype)
    w = jnp.asarray(0.4 * rng.normal(size=(262_144, 16)), dtype)
    labels = rng.integers(0, 262_144, 4)

    def run(x, w, b):
        result = linear_softmax_cross_entropy(x, w, labels, bias=b)
        return jnp.sum(result.loss), (result.loss, result.log_sum_exp)

    grads, (loss, lse) = jax.jit(jax.grad(run, (0, 1, 2), has_aux=True))(x, w, jnp.zeros(262_144))
    z = np.asarray(x, np.float64) @ np.asarray(w, np.float64).T
    exact = np.log(np.exp(z).sum(1))
    assert loss.dtype == lse.dtype == jnp.float32
    assert grads[0].dtype == grads[1].dtype == dtype
    np.testing.assert_allclose(lse, exact, rtol=1e-6)
    np.testing.assert_allclose(loss, exact - z[np.arange(4), labels], rtol=1e-5)
    p = np.exp(z - exact[:, None])
    p[np.arange(4), labels] -= 1
    np.testing.assert_allclose(
        np.asarray(grads[0], np.float64), p @ np.asarray(w, np.float64), atol=0.01
    )
    np.testing.assert_allclose(
        np.asarray(grads[1], np.float64), p.T @ np.asarray(x, np.float64), atol=0.01
    )


def test_correct_is_top_1_without_margin():
    x, w, labels, bias, _ = batch(50, 7, 3)
    scores = x @ w.T / np.linalg.norm(w, axis=1)
    fused = jax.jit(linear_softmax_cross_entropy, static_argnames=("margin", "block_size"))
    found = fused(x, w, labels, margin=ArcFace(), block_size=3)
    np.testing.assert_array_equal(found.correct, scores.argmax(1) == labels)
    found = fused(x, w, labels, bias=bias, ignore_label=jnp.array(2))
    np.testing.assert_array_equal(
        found.correct, ((x @ w.T + bias).argmax(1) == labels) & (labels != 2)
    )
    assert 0 < np.sum(found.correct) < 50
    dead = fused(0 * x, w, labels, bias=0 * bias, ignore_label=jnp.array(2))
    assert not dead.correct.any()  # equal to all others is not above them


@pytest.mark.parametrize(("classes", "block"), [(23, 8), (2, None), (1, None)])
def test_smoothing_over_other_classes(classes, block):
    x, w, labels, bias, weights = batch(7, classes, 5)
    settings = {"label_smoothing": 0.3, "smoothing": "other_classes", "class_weights": weights}

    @quick_jit
    def run(x, w):
        def fused(x, w):
            return linear_softmax_cross_entropy(
                x, w, labels, bias=bias, block_size=block, **settings
            ).loss

        def dense(x, w):
            return softmax_cross_entropy(x @ w.T + bias, labels, **settings)

        cotangent = np.linspace(-1, 2, 7).astype(np.float32)
        found = [jax.vjp(function, x, w) for function in (fused, dense)]
        return [(values, pull(cotangent)) for values, pull in found]

    check_near(*run(x, w), 3e-6)


def test_small_losses_have_digits():
    """exp(-40) is far below float32's resolution of the logits themselves."""
    x, w = jnp.array([[1.0]]), jnp.array([[40.0], [0.0], [-3.0]])

    def loss(x):
        return linear_softmax_cross_entropy(x, w, jnp.array([0]), block_size=2).loss[0]

    # lse - z_y would be 0, and so would its gradient.
    found, gradient = quick_jit(jax.value_and_grad(loss))(x)
    np.testing.assert_allclose(found, np.exp(-40.0) + np.exp(-43.0), rtol=1e-5)
    wanted = -40 * np.exp(-40.0) - 43 * np.exp(-43.0)
    np.testing.assert_allclose(gradient[0, 0], wanted, rtol=1e-5)


@pytest.mark.parametrize("block", [None, 2])
@pytest.mark.parametrize("magnitude", [1e4, 1e-30, 0.0])
def test_finite_at_extremes(block, magnitude):
    x = magnitude * jnp.array([[1.0], [-1.0], [1.0]])
    w, labels = jnp.array([[1.0], [-1.0], [0.5], [0.0], [-1.0]]), jnp.array([0, 0, 3])

    @quick_jit
    def run(x, w):
        def total(x, w, settings):
            result = linear_softmax_cross_entropy(x, w, labels, block_size=block, **settings)
            return jnp.sum(result.loss) + jnp.sum(result.log_sum_exp), result[:3]

        cases = ({"label_smoothing": 0.1, "z_loss": 1e-4}, {"margin": ArcFace()})
        return [jax.value_and_grad(total, (0, 1), has_aux=True)(x, w, case) for case in cases]

    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run(x, w)))


@pytest.mark.parametrize("block", [None, 4])
def test_ignored_and_unknown_labels(block):
    x, w, _, bias, _ = batch(5, 9, 3)
    x[1] = np.nan

    @quick_jit
    def run(x, w, labels):
        def total(x, w, bias):
            options = {"bias": bias, "ignore_label": -1, "label_smoothing": 0.1, "z_loss": 0.1}
            result = linear_softmax_cross_entropy(x, w, labels, block_size=block, **options)
            return jnp.sum(result.loss), result[:4]

        return jax.grad(total, (0, 1, 2), has_aux=True)(x, w, bias)

    gradients, values = run(x, w, np.full(5, -1))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves((gradients, values)))

    gradients, values = run(x, w, np.array([3, -1, 0, 3, 8]))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((gradients, values)))
    assert not gradients[0][1].any()
    assert values[0][1] == 0
    assert gradients[0][0].all()

    gradients, values = run(np.nan_to_num(x), w, np.array([3, 9, -2, 3, 8]))
    np.testing.assert_array_equal(np.isnan(values[0]), [False, True, True, False, False])
    np.testing.assert_array_equal(np.isnan(gradients[0]).any(1), [False, True, True, False, False])


# What the fused loss is for: memory. All by XLA's own account, nothing is run.


def compiled(rows, classes, width, **settings):
    """Value and gradients of the mean loss at a shape, and the text of the program."""

    def mean(x, w, labels):
        return jnp.mean(linear_softmax_cross_entropy(x, w, labels, **settings).loss)

    shapes = [
        jax.ShapeDtypeStruct(shape, dtype)
        for shape, dtype in [
            ((rows, width), "float32"),
            ((classes, width), "float32"),
            ((rows,), "int32"),
        ]
    ]
    return jax.jit(jax.value_and_grad(mean, (0, 1))).lower(*shapes).compile()


@pytest.mark.parametrize("classes", [1_000_000, 1_048_576, 1_000_003])
def test_memory_of_a_million_classes(classes):
    program = compiled(1024, classes, 512, margin=ArcFace())
    memory = program.memory_analysis()
    assert memory.temp_size_in_bytes <= 32 * 2**20
    gradients = 4 * (classes + 1024) * 512
    assert memory.output_size_in_bytes <= gradients + 1024
    check_no_large_array(program.as_text(), 1024, classes, 512)


@pytest.mark.parametrize(
    "settings",
    [{"label_smoothing": 0.1, "z_loss": 0.1}, {"num_classes": 20_000}, {"normalize": True}],
)
def test_memory_with_settings(settings):
    program = compiled(128, 20_011, 256, block_size=512, **settings)
    assert program.memory_analysis().temp_size_in_bytes < 2 * 2**20  # 20 MB is the classifier
    check_no_large_array(program.as_text(), 128, 20_011, 256)


def check_no_large_array(text, rows, classes, width):
    """Asserts that no array holds more than the classifier, and none the logits or its transpose."""
    shapes = {tuple(map(int, s.split(","))) for s in re.findall(r"\w\d+\[([\d,]+)\]", text)}
    assert (classes, width) in shapes  # the expression finds shapes
    assert (rows, classes) not in shapes
    assert (classes, rows) not in shapes
    assert max(np.prod(s, dtype=np.int64) for s in shapes) == classes * width


# Bad input.

X, W, LABELS = np.zeros((4, 3), np.float32), np.zeros((5, 3), np.float32), np.zeros(4, int)


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((X, W[:, :2], LABELS), {}, r"classifier has shape \[5, 2\], but \[C, 3\] is wanted"),
        ((X[0], W, LABELS), {}, r"embeddings has shape \[3\]"),
        ((X, W[:0], LABELS), {}, r"at least one class"),
        ((X, W, LABELS * 1.0), {}, r"labels have dtype float32, but integers of shape \[4\]"),
        ((X, W, LABELS[:3]), {}, r"labels has shape \[3\], but \[4\] is wanted"),
        ((X.astype(int), W, LABELS), {}, r"embeddings has dtype int32"),
        ((X, W, LABELS), {"block_size": 0}, r"block_size is 0, but a whole number >= 1"),
        ((X, W, LABELS), {"block_size": 2.0}, r"block_size is 2.0"),
        ((X, W, LABELS), {"bias": np.zeros(4, np.float32)}, r"bias has shape \[4\]"),
        ((X, W, LABELS), {"class_weights": np.zeros(4)}, r"class_weights has shape \[4\]"),
        ((X, W, LABELS), {"axis_name": "shards"}, r"axis_name is 'shards', but no device axis"),
        ((X, W, LABELS), {"num_classes": 6}, r"num_classes is 6, but the classifier has 5 rows"),
        ((X, W, LABELS), {"scale": -1.0}, r"scale is -1.0"),
        ((X, W, LABELS), {"temperature": 0.0}, r"temperature is 0.0"),
        ((X, W, LABELS), {"label_smoothing": 1.5}, r"label_smoothing is 1.5"),
        ((X, W, LABELS), {"smoothing": "others"}, r"smoothing is 'others'"),
        ((X, W, LABELS), {"z_loss": -1.0}, r"z_loss is -1.0"),
        ((X, W, LABELS), {"margin": ArcFace(), "scale": 2.0}, r"scale is 2.0, but a margin"),
        ((X, W, LABELS), {"margin": ArcFace(), "bias": W[:, 0]}, r"leave bias out"),
    ],
)
def test_bad_input(arguments, settings, message):
    with pytest.raises(ValueError, match=message):
        linear_softmax_cross_entropy(*arguments, **settings)
