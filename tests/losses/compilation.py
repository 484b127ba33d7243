"""Compilation for tests: without LLVM's optimisations it takes half the time, and tests are small."""

import functools

import jax

QUICK = {"xla_backend_optimization_level": 0}
quick_jit = functools.partial(jax.jit, compiler_options=QUICK)
