"""Eight virtual CPU devices for every test, set before JAX is first used."""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # Many tests compile the same program: they share it, also between pytest's worker processes,
    # which inherit this variable. The directory is new in each session, so nothing stale is read.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jaxcv-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

from collections.abc import Iterator

import jax
import jax.experimental
import pytest

if not hasattr(
    jax, "enable_x64"
):  # jax 0.7, on which this suite runs as Colab does, has it elsewhere
    jax.enable_x64 = jax.experimental.enable_x64
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what only the compiler of a later jaxlib does."""
    # That of 0.7 sums a long row in parts of 32, and stores these and what is summed.
    sums_in_parts = jax.__version_info__ < (0, 8)
    for item in items:
        if sums_in_parts and item.get_closest_marker("fused_sums"):
            item.add_marker(pytest.mark.skip(reason="XLA sums in parts before jaxlib 0.8"))


@pytest.fixture(scope="module")
def quick_compilation() -> Iterator[None]:
    """For a module of small programs that run once or twice: compiling them is nearly all the work."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
