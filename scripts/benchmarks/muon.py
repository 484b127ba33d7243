"""A Muon update of `cifar10_speedrun`'s matrices, this package's beside Optax's: time and numbers.

    python -m scripts.benchmarks.muon [--divide-widths 4]

Both are compiled and take turns. Printed are the median time of an update and of its compilation,
the matrix products in the compiled program, and how far the updates of the first steps lie apart,
as a fraction of the largest entry.
"""

import argparse
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcv.train import Muon

WIDTHS = (64, 256, 256)
MOMENTUM, STEPS, ROUNDS = 0.6, 3, 15


def matrices(divide: int, seed: int) -> dict[str, jax.Array]:
    """Random filters [3, 3, I, O] of the six convolutions, widths divided by `divide`."""
    rng, inputs, found = np.random.default_rng(seed), 24, {}
    for block, width in enumerate(WIDTHS):
        for convolution in (1, 2):
            shape = (3, 3, inputs, width // divide)
            found[f"{block}/{convolution}"] = jnp.asarray(rng.normal(size=shape), jnp.float32)
            inputs = width // divide
    return found


def contenders() -> dict[str, optax.GradientTransformation]:
    """The same settings twice."""

    def filters(params: Any) -> Any:
        return jax.tree.map(lambda _: optax.contrib.MuonDimensionNumbers((0, 1, 2), 3), params)

    ours = Muon(momentum=MOMENTUM, newton_schulz_steps=STEPS)
    return {
        "jaxcv": ours.transformation(optax.constant_schedule(0.24), None),
        "optax": optax.contrib.muon(
            0.24, ns_steps=STEPS, beta=MOMENTUM, muon_weight_dimension_numbers=filters
        ),
    }


def compare(divide: int) -> None:
    """Prints the comparison."""
    params, gradients = matrices(divide, 0), [matrices(divide, seed) for seed in range(1, 5)]
    compiled, states, updates, seconds = {}, {}, {}, {}
    for name, algorithm in contenders().items():
        states[name], updates[name], seconds[name] = algorithm.init(params), [], []
        start = time.perf_counter()
        compiled[name] = (
            jax.jit(algorithm.update).lower(gradients[0], states[name], params).compile()
        )
        products = compiled[name].as_text().count(" dot(")
        print(f"{name}: compiled in {time.perf_counter() - start:.2f} s, {products} products")
        state = states[name]
        for gradient in gradients:
            update, state = compiled[name](gradient, state, params)
            updates[name].append(update)
    for _ in range(ROUNDS):
        for name, update in compiled.items():
            start = time.perf_counter()
            jax.block_until_ready(update(gradients[0], states[name], params))
            seconds[name].append(time.perf_counter() - start)
    medians = {name: float(np.median(times)) for name, times in seconds.items()}
    print(
        *(f"{name}: {1e3 * median:.2f} ms an update" for name, median in medians.items()), sep="\n"
    )
    print(f"jaxcv / optax: {medians['jaxcv'] / medians['optax']:.2f}")
    for step, (a, b) in enumerate(zip(updates["jaxcv"], updates["optax"]), start=1):
        apart = max(float(jnp.max(jnp.abs(a[k] - b[k])) / jnp.max(jnp.abs(b[k]))) for k in a)
        print(f"update {step}: {apart:.1e} apart")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--divide-widths", type=int, default=1, help="1 for the full width")
    compare(parser.parse_args().divide_widths)
