"""Eight virtual CPU devices for every test, set before JAX is first used; examples without luck."""

import atexit
import ctypes
import gc
import os
import shutil
import signal
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # Many tests compile the same program: they share it, also between pytest's worker processes,
    # which inherit this variable. The directory is new in each session, so nothing stale is read.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jaxcv-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

from collections.abc import Iterator

import hypothesis
import jax
import jax.experimental
import pytest

from tests import heavy

# Tests send these signals, which whoever started them, by `nohup` say, may have had ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)

# The same examples in every run, however slow the machine is. HYPOTHESIS_PROFILE=deep, or
# `make test-deep`, draws others each time and many more of them; what fails is kept in .hypothesis/
# and tried first in the next such run.
PROFILES = {"repeatable": 1, "deep": 20}
hypothesis.settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile(
    "deep",
    hypothesis.settings.get_profile("repeatable"),
    derandomize=False,
    database=hypothesis.database.DirectoryBasedExampleDatabase(".hypothesis/examples"),
    print_blob=True,
)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "repeatable")
hypothesis.settings.load_profile(PROFILE)


if not hasattr(jax, "enable_x64"):  # jax 0.7 has it elsewhere
    jax.enable_x64 = jax.experimental.enable_x64
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the heavy tests, and skips what only the compiler of a later jaxlib does."""
    heavy_tests = heavy.read_list()
    # That of 0.7 sums a long row in parts of 32, and stores these and what is summed.
    sums_in_parts = jax.__version_info__ < (0, 8)
    for item in items:
        if item.nodeid.partition("[")[0] in heavy_tests:
            item.add_marker(pytest.mark.heavy)
        if sums_in_parts and item.get_closest_marker("fused_sums"):
            item.add_marker(pytest.mark.skip(reason="XLA sums in parts before jaxlib 0.8"))


@pytest.fixture(scope="module", autouse=True)
def bounded_memory() -> Iterator[None]:
    """Forgets a module's compiled programs: a worker would keep gigabytes of all that it has tested."""
    yield
    jax.clear_caches()
    gc.collect()
    if _malloc_trim is not None:
        _malloc_trim(0)  # glibc keeps what is freed otherwise


@pytest.fixture(scope="module")
def quick_compilation() -> Iterator[None]:
    """For a module of small programs that run once or twice: compiling them is nearly all the work."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Multiplies the number of examples that a property states itself by the profile's factor."""
    test = getattr(item, "obj", None)
    test = getattr(test, "__func__", test)
    if hypothesis.is_hypothesis_test(test) and not hasattr(test, "examples_are_multiplied"):
        own = test._hypothesis_internal_use_settings
        many = hypothesis.settings(own, max_examples=PROFILES[PROFILE] * own.max_examples)
        test._hypothesis_internal_use_settings = many
        test.examples_are_multiplied = True
