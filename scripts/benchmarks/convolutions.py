"""Convolutions one by one: forward, input gradient and filter gradient, beside XLA's and PyTorch's.

    python -m scripts.benchmarks convolutions

Contenders: ours; `jax.lax.conv_general_dilated` and its transposes ("stock"), both as jaxcv's steps are
compiled; stock as JAX compiles by default ("stock, no options"); and PyTorch, channels last. "in scan"
is ours and stock within `jax.lax.scan`, three times a call, which costs three times the call outside.
Notes give GFLOP/s.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scripts.benchmarks.contenders import Row, compare, show, wanted

PARTS = ("forward", "input gradient", "filter gradient")
LOOPS = 3


@dataclass(frozen=True)
class Case:
    """One convolution of [B, size, size, channels], padded alike on all sides."""

    batch: int
    size: int
    channels: int
    width: int
    kernel: int
    stride: int
    padding: int

    def __str__(self) -> str:
        return (
            f"{self.kernel}x{self.kernel}/{self.stride} {self.channels}->{self.width} "
            f"at {self.size}x{self.size}, batch {self.batch}"
        )


CASES = (
    Case(64, 32, 64, 64, 3, 1, 1),
    Case(64, 32, 64, 128, 3, 2, 1),
    Case(64, 32, 64, 128, 1, 2, 0),
    Case(64, 16, 128, 128, 3, 1, 1),
    Case(64, 16, 128, 256, 3, 2, 1),
    Case(64, 16, 128, 256, 1, 2, 0),
    Case(64, 8, 256, 256, 3, 1, 1),
    Case(64, 8, 256, 512, 3, 2, 1),
    Case(64, 4, 512, 512, 3, 1, 1),
    Case(64, 32, 3, 64, 3, 1, 1),
    Case(128, 32, 3, 6, 5, 1, 0),
    Case(128, 14, 6, 16, 5, 1, 0),
    Case(4, 32, 3, 6, 5, 1, 0),
    Case(4, 14, 6, 16, 5, 1, 0),
    Case(64, 28, 1, 16, 3, 1, 1),
    Case(64, 14, 16, 32, 3, 1, 1),
    Case(8, 128, 3, 64, 7, 2, 3),
    Case(8, 32, 256, 64, 1, 1, 0),
)


def run(options: argparse.Namespace) -> list[Row]:
    rows = []
    for case in CASES:
        for part in PARTS:
            name = f"{case}, {part}"
            if wanted(name, options):
                rows.append(measure(case, part, name, options))
                show(rows[-1])
    return rows


def measure(case: Case, part: str, name: str, options: argparse.Namespace) -> Row:
    import jax
    import numpy as np

    from jaxcv.convolution.compiler import compiler_options

    x, kernel, gradient = arrays(case)
    pair = {
        "forward": (x, kernel),
        "input gradient": (gradient, kernel),
        "filter gradient": (x, gradient),
    }[part]
    settings = compiler_options(jax.devices())
    all_contenders = {
        "ours": lambda: compiled(operation(case, part, ours=True), pair, settings),
        "stock": lambda: compiled(operation(case, part, ours=False), pair, settings),
        "stock, no options": lambda: compiled(operation(case, part, ours=False), pair, {}),
        "ours, in scan": lambda: compiled(looped(case, part, ours=True), pair, settings),
        "stock, in scan": lambda: compiled(looped(case, part, ours=False), pair, settings),
        "torch": lambda: torch_contender(case, part, options.threads),
    }
    contenders = {}
    for contender, make in all_contenders.items():
        made = make() if contender not in options.without else None
        if made is not None:
            contenders[contender] = made
    reference = np.asarray(operation(case, part, ours=False)(*pair))
    for contender in ("ours", "torch"):
        if contender in contenders:
            error = np.max(np.abs(np.asarray(contenders[contender]()) - reference))
            assert error < 1e-4 * np.max(np.abs(reference)), (name, contender, error)
    row = compare("convolutions", name, contenders, options)
    work = 2e-9 * gradient.size * case.kernel**2 * case.channels
    for contender, seconds in row.seconds.items():
        times = LOOPS if "scan" in contender else 1
        row.notes[f"GFLOP/s, {contender}"] = round(times * work / seconds, 1)
    return row


def arrays(case: Case) -> tuple[Any, Any, Any]:
    import jax.numpy as jnp
    import numpy as np

    rng = np.random.default_rng(0)
    out = (case.size + 2 * case.padding - case.kernel) // case.stride + 1
    shapes = (
        (case.batch, case.size, case.size, case.channels),
        (case.kernel, case.kernel, case.channels, case.width),
        (case.batch, out, out, case.width),
    )
    x, kernel, gradient = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes)
    return x, kernel, gradient


def operation(case: Case, part: str, *, ours: bool) -> Callable[[Any, Any], Any]:
    """One of the three as a function of two arrays."""
    import jax

    from jaxcv.convolution.conv import convolution

    convolve = functools.partial(
        convolution if ours else jax.lax.conv_general_dilated,
        window_strides=(case.stride, case.stride),
        padding=((case.padding, case.padding),) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    x, kernel, _ = arrays(case)
    if part == "forward":
        return convolve
    if part == "input gradient":
        return lambda gradient, kernel: jax.linear_transpose(lambda x: convolve(x, kernel), x)(
            gradient
        )[0]
    return lambda x, gradient: jax.linear_transpose(lambda k: convolve(x, k), kernel)(gradient)[0]


def looped(case: Case, part: str, *, ours: bool) -> Callable[[Any, Any], Any]:
    """`LOOPS` times under `lax.scan`, each with a slightly different second array."""
    import jax

    function = operation(case, part, ours=ours)

    def loop(first: Any, second: Any) -> Any:
        def body(second: Any, _: None) -> Any:
            result = function(first, second)
            return second + 1e-6 * result.sum(), None

        return jax.lax.scan(body, second, None, length=LOOPS)[0]

    return loop


def compiled(
    function: Callable[[Any, Any], Any], pair: tuple[Any, Any], settings: dict[str, str]
) -> Callable[[], Any]:
    import jax

    program = jax.jit(function, compiler_options=settings).lower(*pair).compile()
    return lambda: jax.block_until_ready(program(*pair))


def torch_contender(case: Case, part: str, threads: int) -> Callable[[], Any] | None:
    try:
        import torch
    except ImportError:
        return None
    import numpy as np

    torch.set_num_threads(threads)
    x, kernel, gradient = (torch.tensor(np.asarray(array)) for array in arrays(case))
    layout = torch.channels_last
    x, gradient = (a.permute(0, 3, 1, 2).contiguous(memory_format=layout) for a in (x, gradient))
    kernel = kernel.permute(3, 2, 0, 1).contiguous(memory_format=layout)
    stride, padding = (case.stride,) * 2, (case.padding,) * 2
    if part == "forward":

        def run() -> Any:
            result = torch.nn.functional.conv2d(x, kernel, None, stride, padding)
            return result.permute(0, 2, 3, 1)

        return run
    wants = (part == "input gradient", part == "filter gradient", False)

    def run_backward() -> Any:
        by_x, by_kernel, _ = torch.ops.aten.convolution_backward(
            gradient, x, kernel, None, stride, padding, (1, 1), False, (0, 0), 1, wants
        )
        return by_x.permute(0, 2, 3, 1) if wants[0] else by_kernel.permute(2, 3, 1, 0)

    return run_backward
