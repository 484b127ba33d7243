"""Convolutions on a CPU by oneDNN, the library that PyTorch convolves with: an extra, off until asked for.

    pip install 'jaxcv[onednn]'        # Linux on x86-64, and a C++ compiler on the path
    jaxcv train ... --onednn

oneDNN keeps a tile's sums in registers, which no JAX program can say; with few channels that is several
times as fast. `load` compiles `onednn.cc` once, keeps the library in the user's cache, and from then on
`cpu` gives oneDNN the convolutions that it is faster at. Derivatives and `vmap` stay those of `primitives`.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv.atomic import replacing, write_text
from jaxcv.cache import cache_directory
from jaxcv.convolution.geometry import Geometry

_SOURCE = Path(__file__).with_suffix(".cc")
_FUNCTIONS = ("forward", "input_gradient", "filter_gradient")
_FLAGS = ("-std=c++17", "-O3", "-shared", "-fPIC")


class OneDNNError(OSError):
    """oneDNN cannot be used here; the message says what is missing."""


@functools.cache
def load() -> Path:
    """Makes oneDNN available to the programs that this process compiles from now on; gives its library.

    What was compiled before stays as it is: call it first.

    Raises:
        OneDNNError: where oneDNN or a C++ compiler is missing, the compiler fails, or others could
            write the directory that keeps the library.
    """
    library = _build()
    functions = ctypes.CDLL(str(library))
    for name in _FUNCTIONS:
        target = jax.ffi.pycapsule(getattr(functions, name))
        jax.ffi.register_ffi_target(_target(name), target, platform="cpu")
    return library


def loaded() -> bool:
    """Whether `load` has been called."""
    return load.cache_info().currsize > 0


def fits(geometry: Geometry) -> bool:
    """Whether oneDNN knows such padding: not negative, and no output that sees only padding."""
    return all(
        0 <= side < reach
        for pads, reach in zip(geometry.padding, geometry.reach, strict=True)
        for side in pads
    )


def forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H, W, C] and [h, w, C, D] -> [B, H', W', D], float32."""
    shape = (x.shape[0], *geometry.output, kernel.shape[3])
    return _call("forward", x, kernel, shape, geometry)


def input_gradient(gradient: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H', W', D] and [h, w, C, D] -> [B, H, W, C], float32."""
    shape = (gradient.shape[0], *geometry.size, kernel.shape[2])
    return _call("input_gradient", gradient, kernel, shape, geometry)


def filter_gradient(x: jax.Array, gradient: jax.Array, geometry: Geometry) -> jax.Array:
    """[B, H, W, C] and [B, H', W', D] -> [h, w, C, D], float32."""
    shape = (*geometry.kernel, x.shape[3], gradient.shape[3])
    return _call("filter_gradient", x, gradient, shape, geometry)


def _call(
    name: str, first: jax.Array, second: jax.Array, shape: tuple[int, ...], geometry: Geometry
) -> jax.Array:
    call = jax.ffi.ffi_call(_target(name), jax.ShapeDtypeStruct(shape, jnp.float32))
    return call(
        first,
        second,
        strides=np.array(geometry.strides, np.int64),
        dilation=np.array(geometry.dilation, np.int64),
        padding=np.array(geometry.padding, np.int64).ravel(),  # top, bottom, left, right
    )


def _target(name: str) -> str:
    return f"jaxcv_onednn_{name}"


def _build() -> Path:
    """Gives the compiled library, compiling it where the cache has none for these versions."""
    header = _installed("onednn-devel-cpu-gomp", "oneapi/dnnl/dnnl.hpp")
    shared = _installed("onednn-cpu-gomp", "libdnnl.so")
    version = metadata.version("onednn-cpu-gomp")
    parts = (_SOURCE.read_text(), *_FLAGS, version, str(shared), jax.lib.__version__)
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    try:
        directory = cache_directory("onednn")
    except OSError as error:
        raise OneDNNError(f"oneDNN's convolutions are compiled into a cache: {error}") from None
    library = directory / f"convolutions-{digest}.so"
    if library.exists():
        return library
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        raise OneDNNError(
            "oneDNN's convolutions have to be compiled once, and no C++ compiler was found; install "
            "g++ or clang++, or name one in CXX"
        )
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        made = Path(scratch) / library.name
        command = [
            compiler,
            *_FLAGS,
            f"-I{jax.ffi.include_dir()}",
            f"-I{header.parents[2]}",
            str(_SOURCE),
            f"-o{made}",
            str(shared),
            f"-Wl,-rpath,{shared.parent}",
        ]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            log = directory / "failed.log"
            write_text(log, f"{' '.join(command)}\n{result.stderr}")
            raise OneDNNError(f"{compiler} could not compile {_SOURCE}; what it said is in {log}")
        with replacing(library) as part:  # so that no process ever loads half of it
            made.replace(part)
    return library


def _installed(package: str, ending: str) -> Path:
    """A file of a package."""
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if str(file).endswith(ending):
            return Path(str(file.locate())).resolve()
    raise OneDNNError(
        f"the package {package} is not installed; pip install 'jaxcv[onednn]' (Linux on x86-64 only)"
    )
