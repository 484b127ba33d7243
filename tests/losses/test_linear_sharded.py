"""Classes and rows over 1, 2, 4 and 8 devices beside one device, under pmap and shard_map."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxcv.losses import (
    AdaCos,
    AdaFace,
    ArcFace,
    CurricularFace,
    linear_softmax_cross_entropy,
    linear_top_k,
)
from tests.losses.compilation import QUICK, quick_jit
from tests.losses.linear_cases import batch, check_near

ROWS, CLASSES, WIDTH = 16, 21, 4  # 21 classes: no number of devices fractions them evenly
AXIS = "shards"
X, W, LABELS, BIAS, WEIGHTS = batch(ROWS, CLASSES, WIDTH)
LABELS[3] = -1
COTANGENTS = np.random.default_rng(5).normal(size=(3, ROWS)).astype(np.float32)
MARGINS = {
    "adaface": AdaFace(scale=16.0, rate=0.5),
    "curricular": CurricularFace(scale=16.0, rate=0.5),
    "adacos": AdaCos(num_classes=CLASSES),
}
CASES = {
    "everything": (("bias", "weights"), {"label_smoothing": 0.1, "z_loss": 0.01}),
    "arcface": (("weights",), {"margin": ArcFace(scale=16.0), "label_smoothing": 0.1}),
    **{name: ((), {"margin": m, "margin_state": m.init()}) for name, m in MARGINS.items()},
}


def padded(array, devices):
    rows = -(-CLASSES // devices) * devices
    return np.pad(array, [(0, rows - CLASSES), *[(0, 0)] * (array.ndim - 1)])


def step(x, w, bias, weights, labels, cotangents, *, names, axis_name=None, num_classes=None):
    """Of each case: everything per row, the state, and gradients to x, w and bias."""
    found = {}
    for name in names:
        wanted, settings = CASES[name]

        def values(x, w, bias, wanted=wanted, settings=settings):
            result = linear_softmax_cross_entropy(
                x,
                w,
                labels,
                bias=bias if "bias" in wanted else None,
                class_weights=weights if "weights" in wanted else None,
                ignore_label=-1,
                num_classes=num_classes,
                block_size=2 if axis_name else 5,
                axis_name=axis_name,
                **settings,
            )
            return result[:3], (result.correct, result.margin_state)

        main, pull, (correct, state) = jax.vjp(values, x, w, bias, has_aux=True)
        found[name] = {"rows": (*main, correct), "state": state, "to": pull(tuple(cotangents))}
    found["top"] = linear_top_k(
        x, w, 4, bias=bias, num_classes=num_classes, block_size=2, axis_name=axis_name
    )
    return found


@functools.cache
def single(names):
    run = quick_jit(functools.partial(step, names=names))
    return jax.device_get(run(X, W, BIAS, WEIGHTS, LABELS, COTANGENTS))


def sharded(devices, strategy, names):
    """The same on several devices, joined again, without the padding."""
    function = functools.partial(step, names=names, axis_name=AXIS, num_classes=CLASSES)
    w, bias, weights = (padded(a, devices) for a in (W, BIAS, WEIGHTS))
    arguments = X, w, bias, weights, LABELS, COTANGENTS
    if strategy == "shard_map":
        mesh = Mesh(np.array(jax.devices()[:devices]), (AXIS,))
        specs = (P(AXIS),) * 5 + (P(None, AXIS),)
        out = {
            name: {"rows": P(AXIS), "state": P(), "to": (P(AXIS), P(AXIS), P(AXIS))}
            for name in names
        }
        run = jax.jit(
            jax.shard_map(
                function,
                mesh=mesh,
                in_specs=specs,
                out_specs={**out, "top": P(AXIS)},
                check_vma=False,
            ),
            compiler_options=QUICK,
        )
        found = jax.device_get(run(*arguments))
    else:
        split = [a.reshape(devices, -1, *a.shape[1:]) for a in arguments[:5]]
        split.append(COTANGENTS.reshape(3, devices, -1).swapaxes(0, 1))
        run = jax.pmap(function, AXIS, devices=jax.devices()[:devices])
        found = jax.device_get(run(*split))
        states = {name: found[name].pop("state") for name in names}
        found = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), found)
        for name in names:
            for leaf in jax.tree.leaves(states[name]):
                assert (leaf == leaf[0]).all()  # equal on all devices
            found[name]["state"] = jax.tree.map(lambda a: a[0], states[name])
    for name in names:
        to_x, to_w, to_bias = found[name]["to"]
        assert not to_w[CLASSES:].any()
        assert not to_bias[CLASSES:].any()
        found[name]["to"] = to_x, to_w[:CLASSES], to_bias[:CLASSES]
    return found


MANY = tuple(CASES)
FEW = ("everything", "curricular")


@pytest.mark.parametrize(
    ("devices", "strategy", "names"),
    [
        (8, "shard_map", FEW),
        (2, "pmap", ("adaface",)),
        *[
            pytest.param(devices, strategy, MANY, marks=pytest.mark.slow)
            for devices in (1, 2, 4, 8)
            for strategy in ("shard_map", "pmap")
        ],
    ],
)
def test_equals_one_device(devices, strategy, names):
    found, wanted = sharded(devices, strategy, names), single(names)
    np.testing.assert_array_equal(found["top"][1], wanted["top"][1])
    check_near(found, wanted, 2e-6)


def test_padding_on_one_device():
    """A padded parameter is the same without devices; empty shards are those of the test above."""
    names = ("everything", "arcface")
    run = quick_jit(functools.partial(step, names=names, num_classes=CLASSES))
    found = run(X, padded(W, 8), padded(BIAS, 8), padded(WEIGHTS, 8), LABELS, COTANGENTS)
    wanted = single(names)
    check_near(found["top"], wanted["top"], 1e-6)
    for name in names:
        check_near(found[name]["rows"], wanted[name]["rows"], 1e-6)
        check_near(found[name]["to"][1][:CLASSES], wanted[name]["to"][1], 1e-6)
        assert not np.any(found[name]["to"][1][CLASSES:])


def test_memory_of_a_shard():
    """A device holds its classes, their gradient and the rows of all devices; no copy of them."""
    devices, rows, classes, width = 4, 16, 8_192, 256

    def mean(x, w, labels):
        result = linear_softmax_cross_entropy(
            x, w, labels, margin=ArcFace(), axis_name=AXIS, block_size=256
        )
        return jnp.sum(result.loss) / (rows * devices)

    mesh = Mesh(np.array(jax.devices()[:devices]), (AXIS,))
    run = jax.shard_map(
        jax.grad(mean, (0, 1)),
        mesh=mesh,
        in_specs=(P(AXIS),) * 3,
        out_specs=P(AXIS),
        check_vma=False,
    )
    shapes = [
        jax.ShapeDtypeStruct((rows * devices, width), "float32"),
        jax.ShapeDtypeStruct((classes * devices, width), "float32"),
        jax.ShapeDtypeStruct((rows * devices,), "int32"),
    ]
    memory = jax.jit(run).lower(*shapes).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 2**21  # a quarter of the shard
