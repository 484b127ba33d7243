"""Several centres a class: the fused loss, its devices and samples beside the dense form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxcv.losses import (
    ArcFace,
    CurricularFace,
    linear_softmax_cross_entropy,
    linear_top_k,
    margin_softmax_cross_entropy,
    sample_classes,
    softmax_cross_entropy,
)
from tests.losses.compilation import QUICK, quick_jit
from tests.losses.linear_cases import check_near

ROWS, CLASSES, CENTRES, WIDTH = 12, 21, 3, 4
AXIS = "shards"
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, WIDTH)).astype(np.float32)
W = RNG.normal(size=(CLASSES, CENTRES, WIDTH)).astype(np.float32)
W[4, 1] = W[4, 0]  # equal centres share a gradient
W[7, 2] = 0  # and one is dead
BIAS = RNG.normal(size=CLASSES).astype(np.float32)
LABELS = RNG.integers(0, CLASSES, ROWS).astype(np.int32)
LABELS[:3] = 4, 7, 4
COTANGENT = RNG.normal(size=ROWS)


def both(fused, dense, dtype="float64"):
    """(values, gradients) of both functions of embeddings, classifier and bias."""

    def run(x, w, bias):
        cotangent = jnp.asarray(COTANGENT, x.dtype)
        return [
            (values, pull(cotangent))
            for values, pull in (jax.vjp(function, x, w, bias) for function in (fused, dense))
        ]

    with jax.enable_x64(dtype == "float64"):
        return jax.device_get(quick_jit(run)(*(jnp.asarray(a, dtype) for a in (X, W, BIAS))))


@pytest.mark.parametrize(
    ("margin", "block"),
    [
        (ArcFace(scale=16.0), None),
        (CurricularFace(scale=16.0), 4),
        pytest.param(ArcFace(scale=16.0), 4, marks=pytest.mark.slow),
    ],
    ids=["arcface", "curricular, tiles", "arcface, tiles"],
)
def test_equals_dense_with_margin(margin, block):
    settings = {"label_smoothing": 0.1}

    def fused(x, w, bias):
        return linear_softmax_cross_entropy(
            x, w, LABELS, margin=margin, margin_state=margin.init(), block_size=block, **settings
        ).loss

    def dense(x, w, bias):
        return margin_softmax_cross_entropy(x, w, LABELS, margin, margin.init(), **settings)[0]

    found, wanted = both(fused, dense)
    check_near(found, wanted, 1e-6)  # states are float32
    to_w = found[1][1]
    np.testing.assert_array_equal(to_w[4, 0], to_w[4, 1])
    assert to_w[4, 0].any()
    assert not to_w[7, 2].any()


@pytest.mark.parametrize("block", [None, 4])
def test_equals_dense_with_bias(block):
    def fused(x, w, bias):
        return linear_softmax_cross_entropy(x, w, LABELS, bias=bias, block_size=block).loss

    def dense(x, w, bias):
        logits = jnp.max(jnp.einsum("nd,ckd->nck", x, w), axis=-1) + bias
        return softmax_cross_entropy(logits, LABELS)

    check_near(*both(fused, dense), 1e-12)


def gradients(x, w, labels, **settings):
    def total(x, w):
        result = linear_softmax_cross_entropy(x, w, labels, margin=ArcFace(scale=16.0), **settings)
        return jnp.sum(result.loss), (result.loss, result.correct)

    return jax.grad(total, (0, 1), has_aux=True)(x, w)


@pytest.mark.parametrize("devices", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_equals_one_device(devices):
    padded = np.pad(W, [(0, -CLASSES % devices), (0, 0), (0, 0)])

    def step(x, w, labels, axis_name):
        found = gradients(
            x, w, labels, num_classes=CLASSES, block_size=2 if axis_name else 5, axis_name=axis_name
        )
        top = linear_top_k(
            x, w, 3, normalize=True, num_classes=CLASSES, block_size=4, axis_name=axis_name
        )
        return found, top

    mesh = Mesh(np.array(jax.devices()[:devices]), (AXIS,))
    spread = jax.shard_map(
        functools.partial(step, axis_name=AXIS),
        mesh=mesh,
        in_specs=(P(AXIS),) * 3,
        out_specs=P(AXIS),
        check_vma=False,
    )
    found, top = jax.jit(spread, compiler_options=QUICK)(X, padded, LABELS)
    wanted, wanted_top = quick_jit(step, static_argnums=3)(X, padded, LABELS, None)
    check_near(found, wanted, 2e-6)
    np.testing.assert_array_equal(top[1], wanted_top[1])
    unit = W / np.maximum(np.linalg.norm(W, axis=-1, keepdims=True), 1e-12)
    cosines = np.einsum("nd,ckd->nck", X, unit).max(-1)
    np.testing.assert_array_equal(top[1], np.argsort(-cosines, axis=1)[:, :3])


def test_sampled():
    """Of all classes, in the order of the classes: the full softmax; of some, that of the rows."""

    @quick_jit
    def run(x, w):
        sample = sample_classes(jax.random.key(0), jnp.asarray(LABELS), CLASSES, rate=0.8)
        found = gradients(x, w[sample.rows], LABELS, sample=sample, block_size=4)
        labels = jnp.searchsorted(sample.rows, LABELS)
        return found, gradients(x, w[sample.rows], labels), sample.rows

    found, wanted, rows = run(X, W)
    assert len(rows) == 17
    check_near(found, wanted, 2e-6)


def test_memory():
    def mean(x, w, labels):
        result = linear_softmax_cross_entropy(x, w, labels, margin=ArcFace(), block_size=256)
        return jnp.mean(result.loss)

    shapes = [(128, 256), (20_011, 3, 256), (128,)]
    arguments = [
        jax.ShapeDtypeStruct(s, d)
        for s, d in zip(shapes, ("float32", "float32", "int32"), strict=True)
    ]
    program = jax.jit(jax.grad(mean, (0, 1))).lower(*arguments).compile()
    # The classifier is 59 MiB, the scores of all centres 29 MiB.
    assert program.memory_analysis().temp_size_in_bytes < 6 * 2**20


@pytest.mark.parametrize(
    ("classifier", "bias", "message"),
    [
        (W[..., :2], None, r"classifier has shape \[21, 3, 2\], but \[C, K, 4\] is wanted"),
        (W[:, :0], None, r"classifier has shape \[21, 0, 4\], but at least one class"),
        (W, np.zeros((CLASSES, CENTRES), np.float32), r"bias has shape \[21, 3\]"),
    ],
)
def test_bad_input(classifier, bias, message):
    with pytest.raises(ValueError, match=message):
        linear_softmax_cross_entropy(X, classifier, LABELS, bias=bias)
