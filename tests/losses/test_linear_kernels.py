"""The Pallas kernels, interpreted, beside the portable tiles; lowered for the machines they are for."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxcv.losses import AdaCos, ArcFace, CurricularFace, linear_softmax_cross_entropy
from jaxcv.losses.linear.experimental import kernels
from tests.losses.compilation import QUICK, quick_jit
from tests.losses.linear_cases import batch, check_near, derivatives
from tests.losses.test_linear_sharded import AXIS

KERNELS = ("pallas_gpu", "pallas_tpu")
# More than a program has of everything but, on TPUs, of the width; nothing divides anything.
ROWS, CLASSES, WIDTH, BLOCK = 261, 1_031, 37, 601


CASES = {
    "plain": {"scale": 0.3},
    "cosine": {"normalize": True, "scale": 20.0, "label_smoothing": 0.1, "num_classes": 1_000},
    "arcface": {"margin": ArcFace(scale=16.0)},
    "adacos": {"margin": AdaCos(num_classes=CLASSES), "margin_state": AdaCos(num_classes=9).init()},
}


@functools.cache
def results(implementation, name, dtype="float32"):
    """Of a case: everything per row, and the gradients to embeddings and classifier."""
    x, w, labels, _, weights = batch(ROWS, CLASSES, WIDTH)
    labels %= 1_000
    x += 0.2 * w[labels]  # so that some rows are right
    labels[::7] = -1
    cotangents = np.random.default_rng(5).normal(size=(3, ROWS)).astype(np.float32)

    def values(x, w):
        found = linear_softmax_cross_entropy(
            x,
            w,
            labels,
            class_weights=weights if name == "cosine" else None,
            ignore_label=-1,
            block_size=BLOCK,
            implementation=implementation,
            **CASES[name],
        )
        return found[:3], (found.correct, found.margin_state)

    @quick_jit
    def run(x, w):
        main, pull, more = jax.vjp(values, x, w, has_aux=True)
        return main, more, pull(tuple(cotangents))

    return jax.device_get(run(jnp.asarray(x, dtype), jnp.asarray(w, dtype)))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in ("plain", "adacos"))) for n in CASES]
)
@pytest.mark.parametrize("kernel", KERNELS)
def test_equals_portable(kernel, name):
    found, wanted = results(kernel, name), results("portable", name)
    check_near(found, wanted, 3e-6)
    assert 0 < np.sum(wanted[1][0]) < ROWS


@pytest.mark.parametrize("kernel", KERNELS)
def test_bias_and_everything_else_equal_dense(kernel):
    found, wanted = derivatives("everything", (7, 23, 5), 8, jit=quick_jit, implementation=kernel)
    check_near(found, wanted, 3e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", KERNELS)
def test_half_precision(kernel):
    """Products of bfloat16 are exact in float32: only G, rounded before its products, differs."""
    found, wanted = (results(name, "arcface", "bfloat16") for name in (kernel, "portable"))
    check_near(found[:2], wanted[:2], 1e-5)
    assert found[2][1].dtype == jnp.bfloat16
    check_near(*(jax.tree.map(lambda a: a.astype(np.float32), r[2]) for r in (found, wanted)), 0.01)


@pytest.mark.parametrize("kernel", KERNELS)
def test_on_devices(kernel):
    x, w, labels, _, _ = batch(16, 21, 4)
    padded = np.pad(w, [(0, 1), (0, 0)])

    def gradients(x, w, labels, **settings):
        def total(x, w):
            found = linear_softmax_cross_entropy(
                x, w, labels, margin=ArcFace(), num_classes=21, **settings
            )
            return jnp.sum(found.loss), found.loss

        return jax.grad(total, (0, 1), has_aux=True)(x, w)

    on_device = functools.partial(gradients, axis_name=AXIS, implementation=kernel)
    mesh = Mesh(np.array(jax.devices()[:2]), (AXIS,))
    spread = jax.shard_map(
        on_device, mesh=mesh, in_specs=(P(AXIS),) * 3, out_specs=P(AXIS), check_vma=False
    )
    found = jax.jit(spread, compiler_options=QUICK)(x, padded, labels)
    wanted = quick_jit(gradients)(x, padded, labels)
    check_near(found, wanted, 2e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("kernel", "platform"), [("pallas_gpu", "cuda"), ("pallas_tpu", "tpu")])
def test_lowers_for_its_machine(kernel, platform, dtype, monkeypatch):
    """Not run here, but of shapes and operations that Triton and Mosaic take."""
    monkeypatch.setattr(kernels, "interpreted", lambda: False)

    def mean(x, w, labels, bias):
        found = linear_softmax_cross_entropy(
            x, w, labels, bias=bias, label_smoothing=0.1, block_size=8192, implementation=kernel
        )
        return jnp.mean(found.loss)

    for rows, width in ((300, 2304), (5, 3)):
        shapes = [(rows, width), (100_003, width), (rows,), (100_003,)]
        dtypes = (dtype, dtype, "int32", "float32")
        arguments = [jax.ShapeDtypeStruct(*pair) for pair in zip(shapes, dtypes, strict=True)]
        with described_gpu():
            traced = jax.jit(jax.value_and_grad(mean, (0, 1, 3))).trace(*arguments)
            text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert ("gpu.triton" if platform == "cuda" else "tpu_custom_call") in text
        assert f"{rows}x100003" not in text


def described_gpu():
    """From jax 0.12 on, Triton's lowering asks which GPU it is for where there is none."""
    if jax.__version_info__ < (0, 12):
        return contextlib.nullcontext()
    from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh

    device = AbstractDevice(device_kind="NVIDIA H200", num_cores=None, platform="gpu")
    return use_abstract_mesh(AbstractMesh((), (), abstract_device=device))


X, W, LABELS = np.zeros((4, 3), np.float32), np.zeros((5, 3), np.float32), np.zeros(4, int)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"implementation": "triton"}, r"implementation is 'triton'"),
        ({"classifier": np.zeros((5, 2, 3), np.float32)}, r"one centre a class, .* has 2"),
        ({"margin": CurricularFace()}, r"CurricularFace reshapes other classes: use .*portable"),
        ({"classifier": W.astype(np.float16)}, r"in float32 or bfloat16, but .* is float16"),
    ],
)
def test_refuses_what_it_does_not_do(settings, message):
    settings = {"classifier": W, "implementation": "pallas_tpu", **settings}
    x = X.astype(settings["classifier"].dtype)
    if settings.get("margin"):
        settings["margin_state"] = settings["margin"].init()
    with pytest.raises(ValueError, match=message):
        linear_softmax_cross_entropy(x, labels=LABELS, **settings)


def test_refuses_another_machine(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    with pytest.raises(ValueError, match=r"runs on a gpu or, interpreted, on a cpu, but .* is tpu"):
        linear_softmax_cross_entropy(X, W, LABELS, implementation="pallas_gpu")


def test_refuses_tiles_too_large_to_count():
    shapes = [(1024, 512), (2**22, 512), (1024,)]
    dtypes = ("float32", "float32", "int32")
    arguments = [jax.ShapeDtypeStruct(*pair) for pair in zip(shapes, dtypes, strict=True)]
    settings = {"implementation": "pallas_gpu", "block_size": 2**22}
    with pytest.raises(ValueError, match="give a smaller block_size"):
        jax.eval_shape(lambda *a: linear_softmax_cross_entropy(*a, **settings), *arguments)
