"""Options for XLA: those it knows are used, those it does not know are left out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxcv.convolution import compiler
from jaxcv.train import DeviceMap


@pytest.fixture
def forgotten():
    """The options are tried once a process: not so here."""
    compiler._accepted.cache_clear()
    yield
    compiler._accepted.cache_clear()


def test_unknown_options_and_values_are_left_out(forgotten, monkeypatch):
    known = {"xla_cpu_enable_fast_math": "False"}
    unknown = {
        "xla_no_such_option": "1",
        "xla_cpu_experimental_ynn_fusion_type": "NO_SUCH_TYPE",
    }
    monkeypatch.setattr(compiler, "_ON_CPU", unknown | known)
    assert compiler.compiler_options(jax.devices()) == known


def test_none_for_another_platform():
    class Accelerator:
        platform = "gpu"

    assert compiler.compiler_options([Accelerator()]) == {}


@pytest.mark.skipif(jax.__version__ != "0.10.2", reason="XLA's own choice may have changed")
def test_convolutions_under_a_device_map_are_not_given_to_ynnpack():
    x, kernel = jnp.ones((1, 8, 8, 32)), jnp.ones((3, 3, 32, 32))

    def convolve(x, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)

    devices = jax.devices()[:1]
    options = compiler.compiler_options(devices)
    mapped = DeviceMap(devices, compiler_options=options).map(convolve, (0, None), out=0)
    assert "ynn_fusion" in jax.jit(convolve).lower(x, kernel).compile().as_text()
    assert "ynn_fusion" not in mapped.lower(x, kernel).compile().as_text()
    np.testing.assert_allclose(mapped(x, kernel)[0, 4, 4], 9 * 32)
