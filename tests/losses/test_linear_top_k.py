"""The tiled top-k beside a full sort; over devices it is tested in test_linear_sharded.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.losses import linear_top_k
from jaxcv.losses.linear import blocks
from tests.losses.compilation import quick_jit

RNG = np.random.default_rng(0)
X, W = RNG.normal(size=(6, 3)).astype(np.float32), RNG.normal(size=(19, 3)).astype(np.float32)
BIAS = RNG.normal(size=19).astype(np.float32)


def sorted_top_k(scores, k):
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), order


@pytest.mark.parametrize("k", [1, 5, 19])
@pytest.mark.parametrize("block", [None, 4])
def test_equals_a_full_sort(k, block, monkeypatch):
    monkeypatch.setitem(blocks.ROWS, "cpu", 4)

    @quick_jit
    def run(x, w):
        return (
            linear_top_k(x, w, k, bias=jnp.asarray(BIAS), block_size=block),
            linear_top_k(x, w, k, normalize=True, block_size=block),
        )

    found = run(X, W)
    cosines = X @ W.T / np.linalg.norm(W, axis=1) / np.linalg.norm(X, axis=1)[:, None]
    for one, scores in zip(found, (X @ W.T + BIAS, cosines), strict=True):
        wanted = sorted_top_k(scores, k)
        np.testing.assert_allclose(one[0], wanted[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(one[1], wanted[1])


def test_equal_scores_in_the_order_of_classes():
    scores = np.array([1.0, 2, 2, 1, 2, 0, 2], np.float32)
    found = linear_top_k(jnp.ones((1, 1)), scores[:, None], 6, block_size=2)[1]
    np.testing.assert_array_equal(found, [[1, 2, 4, 6, 0, 3]])


def test_padding_is_no_class():
    found = linear_top_k(-jnp.ones((1, 1)), jnp.array([[1.0], [2.0], [0.0]]), 2, num_classes=2)
    np.testing.assert_array_equal(found[1], [[0, 1]])


def test_memory_of_a_million_rows():
    run = jax.jit(lambda x, w: linear_top_k(x, w, 10, normalize=True))
    shapes = [jax.ShapeDtypeStruct((n, 128), "float32") for n in (64, 1_000_003)]
    memory = run.lower(*shapes).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 16 * 2**20  # the gallery has 488 MiB


@pytest.mark.parametrize(
    ("k", "settings", "message"),
    [
        (0, {}, r"k is 0, but must be in \[1, 19\]"),
        (20, {}, r"k is 20"),
        (4, {"num_classes": 3}, r"k is 4, but must be in \[1, 3\]"),
        (1, {"block_size": -1}, r"block_size is -1"),
        (1, {"axis_name": "shards"}, r"no device axis of that name is bound"),
        (1, {"bias": BIAS[:3]}, r"bias has shape \[3\]"),
    ],
)
def test_bad_input(k, settings, message):
    with pytest.raises(ValueError, match=message):
        linear_top_k(X, W, k, **settings)
