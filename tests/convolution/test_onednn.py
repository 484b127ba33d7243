"""Convolutions by oneDNN: beside float64, through transforms, over threads and devices, and in a run."""

import functools
import os
import shutil
import subprocess
import sys
from importlib import metadata

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jaxcv.convolution import canonical, cpu, onednn, primitives
from jaxcv.convolution.conv import Geometry, convolution
from jaxcv.train import Checkpoints
from tests.convolution.test_convolution import (
    ARGUMENTS,
    LOWERED,
    TRANSFORMS,
    assert_near,
    draw,
    loss,
    results,
)

PARTS = ("forward", "input_gradient", "filter_gradient")


def _missing():
    try:
        metadata.version("onednn-devel-cpu-gomp")
    except metadata.PackageNotFoundError:
        return "oneDNN is not installed"
    return None if shutil.which("c++") else "there is no C++ compiler"


needs_onednn = pytest.mark.skipif(_missing() is not None, reason=str(_missing()))


@pytest.fixture(scope="module")
def by_onednn():
    """Convolutions by oneDNN within this module, and by XLA again after it."""
    onednn.load()
    jax.clear_caches()
    yield
    onednn.load.cache_clear()
    jax.clear_caches()


def calls(part, *shapes, geometry):
    """Which functions of oneDNN a convolution becomes on a CPU."""
    arrays = [jnp.zeros(shape) for shape in shapes]
    jaxpr = jax.make_jaxpr(lambda *a: getattr(cpu, part)(*a, geometry))(*arrays)
    return [word for word in PARTS if f"jaxcv_onednn_{word}" in str(jaxpr)]


def test_off_until_asked_for():
    geometry = Geometry((8, 8), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    assert not onednn.loaded()
    assert calls("forward", (4, 8, 8, 32), (3, 3, 32, 32), geometry=geometry) == []


def test_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if _missing() is None:
        monkeypatch.setenv("CXX", "no-such-compiler")
        with pytest.raises(onednn.OneDNNError, match="no C\\+\\+ compiler was found"):
            onednn.load()
        monkeypatch.setenv("CXX", "false")
        with pytest.raises(onednn.OneDNNError, match="could not compile .*onednn.cc; what it said"):
            onednn.load()
        assert (tmp_path / "jaxcv" / "onednn" / "failed.log").exists()

    def no_files(package):
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "files", no_files)
    with pytest.raises(onednn.OneDNNError, match="pip install 'jaxcv\\[onednn\\]'"):
        onednn.load()
    assert not onednn.loaded()


@st.composite
def geometries(draw):
    kernel, dilation = (draw(st.tuples(st.integers(1, 5), st.integers(1, 5))) for _ in range(2))
    dilation = tuple(1 + gap // 2 for gap in dilation)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    sides = [st.integers(0, r - 1) for r in reach]
    padding = tuple((draw(side), draw(side)) for side in sides)
    least = [max(1, r - sum(pads)) for r, pads in zip(reach, padding, strict=True)]
    size = tuple(draw(st.integers(n, n + 12)) for n in least)
    strides = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    return Geometry(size, kernel, strides, padding, dilation)


@needs_onednn
@settings(max_examples=60, deadline=None)
@given(
    geometries(),
    st.sampled_from([1, 2, 3, 7, 20]),
    st.sampled_from([1, 3, 8, 17]),
    st.sampled_from([1, 4, 16, 33]),
)
def test_is_the_sum_in_float64(by_onednn, geometry, batch, channels, width):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, *geometry.size, channels))
    kernel = rng.normal(size=(*geometry.kernel, channels, width))
    y = rng.normal(size=(batch, *geometry.output, width))
    for part, pair in zip(PARTS, ((x, kernel), (y, kernel), (x, y)), strict=True):
        with jax.enable_x64(True):
            exact = getattr(canonical, part)(*map(jnp.asarray, pair), geometry)
            scale = getattr(canonical, part)(*(jnp.abs(array) for array in pair), geometry)
            exact, scale = np.asarray(exact), np.asarray(scale)
        assert exact.dtype == np.float64
        arrays = (jnp.asarray(array, jnp.float32) for array in pair)
        found = np.asarray(getattr(onednn, part)(*arrays, geometry))
        # The bound for rounding a sum, which grows with its terms' sizes, and the inputs' rounding.
        assert np.all(np.abs(found - exact) <= 3e-6 * scale + 1e-30), (part, geometry)


@needs_onednn
@pytest.mark.parametrize("case", LOWERED)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_shape_is_the_stock_convolution(by_onednn, case, dtype):
    x_shape, kernel_shape, strides, padding = LOWERED[case]
    kernel = draw(*kernel_shape, seed=1) / np.sqrt(np.prod(kernel_shape[:3]))
    compare = functools.partial(
        results,
        x=draw(*x_shape, dtype=dtype),
        kernel=kernel.astype(dtype),
        strides=strides,
        padding=padding,
    )
    tolerance = {"float32": 5e-6, "bfloat16": 2e-2}[dtype]
    assert_near(compare(convolution), compare(lax.conv_general_dilated), tolerance)


@needs_onednn
def test_what_it_is_slower_at_stays_as_it_was(by_onednn):
    def dense(size, kernel, stride=1, pad=1):
        return Geometry((size,) * 2, (kernel,) * 2, (stride,) * 2, ((pad, pad),) * 2, (1, 1))

    narrow, wide = (4, 8, 8, 32), (4, 8, 8, 384)
    kernel, wide_kernel = (3, 3, 32, 32), (3, 3, 384, 384)
    assert calls("forward", narrow, kernel, geometry=dense(8, 3)) == ["forward"]
    assert calls("input_gradient", narrow, kernel, geometry=dense(8, 3)) == ["input_gradient"]
    assert calls("filter_gradient", narrow, narrow, geometry=dense(8, 3)) == ["filter_gradient"]
    assert calls("forward", wide, wide_kernel, geometry=dense(8, 3)) == []
    assert calls("filter_gradient", wide, wide, geometry=dense(8, 3)) == []
    strided = dense(8, 1, 2, 0)
    assert calls("forward", narrow, (1, 1, 32, 64), geometry=strided) == ["forward"]
    assert calls("input_gradient", (4, 4, 4, 64), (1, 1, 32, 64), geometry=strided) == []
    assert calls("forward", (4, 8, 8, 32), kernel, geometry=dense(8, 3, pad=-1)) == []


@needs_onednn
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms(by_onednn, transform):
    ours, theirs = (
        jax.jit(TRANSFORMS[transform](functools.partial(loss, convolve)))
        for convolve in (convolution, lax.conv_general_dilated)
    )
    if transform not in ("kernels_mapped", "both_mapped"):  # those are the stock lowering's
        assert "jaxcv_onednn" in ours.lower(*ARGUMENTS).as_text()
    assert_near(ours(*ARGUMENTS), theirs(*ARGUMENTS), 1e-5)


@needs_onednn
def test_eight_devices_at_once_many_times(by_onednn):
    # More devices than cores: calls wait for one another's threads, and must all come to an end.
    x, kernel = draw(64, 8, 8, 3), ARGUMENTS[1]
    wanted = jax.grad(functools.partial(loss, lax.conv_general_dilated), 1)(x, kernel)
    by_kernel = jax.pmap(jax.grad(functools.partial(loss, convolution), 1), in_axes=(0, None))
    shards = x.reshape(8, 8, 8, 8, 3)
    found = [by_kernel(shards, kernel) for _ in range(50)]
    for each in found:
        np.testing.assert_array_equal(each, found[0])
    assert_near(found[0].sum(0), wanted, 1e-5)


@needs_onednn
def test_same_bits_each_time(by_onednn):
    geometry = Geometry((16, 16), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    x, y = draw(32, 16, 16, 16), draw(32, 16, 16, 24, seed=1)
    gradient = jax.jit(functools.partial(primitives.filter_gradient, geometry=geometry))
    first = np.asarray(gradient(x, y))
    for _ in range(20):
        np.testing.assert_array_equal(gradient(x, y), first)


@needs_onednn
@pytest.mark.slow
def test_a_run_resumes_to_the_same_bytes(tmp_path):
    workdir = tmp_path / "run"
    command = [sys.executable, "-m", "jaxcv", "train", "digits_lenet", "--onednn", "--devices=1"]
    options = ["--steps=40", "--epochs=None", "--checkpoint-every=20", "--eval-every=40"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def train():
        subprocess.run([*command, f"--workdir={workdir}", *options], env=environment, check=True)
        return Checkpoints(workdir / "checkpoints").verify(40)["leaves"]

    whole = train()
    assert list((tmp_path / "cache" / "jaxcv" / "onednn").glob("convolutions-*.so"))
    (workdir / "checkpoints" / "40").rename(tmp_path / "gone-40")
    assert train() == whole


def test_a_library_is_not_loaded_from_a_directory_that_others_can_write(tmp_path, monkeypatch):
    directory = tmp_path / "jaxcv/onednn"
    directory.mkdir(parents=True)
    directory.chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(onednn, "_installed", lambda package, ending: tmp_path / ending)
    monkeypatch.setattr(onednn.metadata, "version", lambda package: "0")
    with pytest.raises(onednn.OneDNNError, match=r"onednn can be written by others \(mode 777\)"):
        onednn._build()
