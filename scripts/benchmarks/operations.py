"""What the benchmarks of networks share: floating-point operations by count, and a machine's own rate."""

import time
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcv.models import PatchWhitening


def forward_operations(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Additions and multiplications of one image's forward pass in convolutions and dense layers.

    A convolution of kernel [h, w, I, O] with output [H, W, O] has 2 H W h w I O; the rest of a
    network, a per cent or two, is not counted. In training the backward pass has twice as many.
    """
    total = 0

    def count(call: Any, arguments: Any, options: Any, context: Any) -> Any:
        nonlocal total
        outputs = call(*arguments, **options)
        module = context.module
        if context.method_name == "__call__" and isinstance(
            module, nn.Conv | nn.Dense | PatchWhitening
        ):
            variables = module.variables
            weights = (
                variables["whitening"]["filters"]
                if isinstance(module, PatchWhitening)
                else variables["params"]["kernel"]
            )
            positions = outputs[0].size // outputs.shape[-1]
            total += 2 * positions * weights.size
        return outputs

    def forward() -> Any:
        with nn.intercept_methods(count):
            return model.init(jax.random.key(0), jnp.zeros((1, *image_shape)), train=False)

    jax.eval_shape(forward)
    return total


def product_rate(dtype: str, size: int, seconds: float = 1.0) -> float:
    """Operations per second of a product of two random matrices [size, size] on this device.

    Random, because zeros draw less power and run faster. The fastest of several rounds: this is the
    ceiling that a network is held against.
    """
    first, second = jax.random.normal(jax.random.key(0), (2, size, size)).astype(dtype)
    multiply = jax.jit(jnp.matmul)
    jax.block_until_ready(multiply(first, second))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        # Several at once: a GPU is started many times slower than it multiplies.
        products = [multiply(first, second) for _ in range(4)]
        jax.block_until_ready(products)
        best = min(best, (time.perf_counter() - start) / 4)
    return 2 * size**3 / best


def ceiling(dtype: str) -> float:
    """`product_rate` at a size that suits the device: 8,192 on an accelerator, 1,024 on a CPU."""
    return product_rate(dtype, 1024 if jax.default_backend() == "cpu" else 8192)


def device() -> str:
    """What the figures belong to."""
    return f"{jax.devices()[0].device_kind} ({jax.default_backend()}), jax {jax.__version__}"
