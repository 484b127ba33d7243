"""The fused linear cross-entropy beside dense JAX and PyTorch: memory, accuracy, time, identities.

    python scripts/benchmarks/linear_cross_entropy.py
    python scripts/benchmarks/linear_cross_entropy.py time --rows 4096 --width 512 --classes 2000000

* memory: XLA's temporaries beyond inputs, outputs and gradients (`compiled.memory_analysis()`) for
  1,024 rows, 512 wide, ArcFace, forward and backward. Compiled only: nothing is allocated.
* accuracy: bfloat16 inputs, 262,144 classes, beside float64.
* time: forward and backward of the mean loss, no margin. The contenders take turns, so that a busy
  machine slows all alike; a ratio is the median over the rounds of the ratio within a round.
  PyTorch's fused function (2.13) works on a quarter of the rows at a time; its own choice of a
  chunk took 40 times as long on the CPU.
* identities: the rows of the table that insightface publishes (8 V100, ResNet-50, samples/s and MB
  per GPU; arcface_torch/docs/speed_benchmark.md), and by arithmetic what one H200 holds.

On an accelerator, `time` also measures the rate of a matrix product of the same shape, and says
which part of it the loss reaches: 4 products of 2 N D C operations, one of them the recomputation.
"""

import argparse
import functools
import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

PARTS = ("memory", "accuracy", "time", "identities")
MIB = 2**20

# identities: (samples/s, MB per GPU) of data parallel, model parallel, Partial FC 0.1.
INSIGHTFACE = {
    125_000: ((4681, 7358), (4824, 5306), (5004, 4868)),
    250_000: ((4047, 9940), (4521, 5826), (4976, 5004)),
    500_000: ((3087, 14220), (4013, 7114), (4900, 5202)),
    1_000_000: ((2090, 23708), (3449, 9966), (4803, 5620)),
    1_400_000: ((1672, 32252), (3043, 11178), (4738, 6056)),
    2_000_000: (None, (2593, 13978), (4626, 6472)),
    4_000_000: (None, (1748, 23238), (4208, 8284)),
    5_500_000: (None, (1389, 32188), (3975, 9854)),
    8_000_000: (None, None, (3565, 12310)),
    16_000_000: (None, None, (2679, 19950)),
    29_000_000: (None, None, (1855, 32324)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all without")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--classes", type=int, default=100_003)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--block-size", type=int)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2, help="CPU cores for each contender")
    parser.add_argument("--teraflops", type=float, default=790, help="of the assumed H200")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown {', '.join(unknown)}; choose from {', '.join(PARTS)}")
    if hasattr(os, "sched_setaffinity"):  # XLA has as many threads as there are cores to use
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    if "memory" in (options.parts or PARTS):
        print_memory()
    if "accuracy" in (options.parts or PARTS):
        print_accuracy()
    if "time" in (options.parts or PARTS):
        print_times(options)
    if "identities" in (options.parts or PARTS):
        print_identities(options.teraflops)


def step(loss: Callable[..., Any]) -> Any:
    import jax

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))


def fused(margin: Any = None, block_size: int | None = None) -> Callable[..., Any]:
    import jax.numpy as jnp

    from jaxcv.losses import linear_softmax_cross_entropy

    def loss(x: Any, w: Any, labels: Any) -> Any:
        return jnp.mean(
            linear_softmax_cross_entropy(x, w, labels, margin=margin, block_size=block_size).loss
        )

    return loss


def dense(margin: Any = None, peer: bool = False) -> Callable[..., Any]:
    """All logits at once, with this library's loss on them or with Optax's."""
    import jax.numpy as jnp
    import optax

    from jaxcv import losses

    def loss(x: Any, w: Any, labels: Any) -> Any:
        if margin is not None:
            return jnp.mean(losses.margin_softmax_cross_entropy(x, w, labels, margin)[0])
        logits = jnp.matmul(x, w.T, preferred_element_type=jnp.float32)
        if peer:
            return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))
        return jnp.mean(losses.softmax_cross_entropy(logits, labels))

    return loss


def shapes(rows: int, width: int, classes: int, dtype: str) -> list[Any]:
    import jax

    return [
        jax.ShapeDtypeStruct((rows, width), dtype),
        jax.ShapeDtypeStruct((classes, width), dtype),
        jax.ShapeDtypeStruct((rows,), "int32"),
    ]


def print_memory() -> None:
    from jaxcv.losses import ArcFace

    print("Temporary MiB, 1,024 rows, 512 wide, float32, ArcFace, value and gradients")
    print(f"{'classes':>12} {'fused':>9} {'dense':>9} {'classifier':>11}")
    for classes in (1_000_000, 1_048_576, 1_000_003):
        arguments = shapes(1024, 512, classes, "float32")
        sizes = [
            step(loss).lower(*arguments).compile().memory_analysis().temp_size_in_bytes / MIB
            for loss in (fused(ArcFace()), dense(ArcFace()))
        ]
        print(f"{classes:12,} {sizes[0]:9.1f} {sizes[1]:9.1f} {classes * 2048 / MIB:11.1f}")


def print_accuracy() -> None:
    import jax.numpy as jnp
    import numpy as np

    rows, width, classes = 64, 64, 262_144
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(rows, width)), jnp.bfloat16)
    w = jnp.asarray(0.2 * rng.normal(size=(classes, width)), jnp.bfloat16)
    labels = rng.integers(0, classes, rows).astype(np.int32)
    z = np.asarray(x, np.float64) @ np.asarray(w, np.float64).T
    top = z.max(1)
    exact = (np.log(np.exp(z - top[:, None]).sum(1)) + top - z[np.arange(rows), labels]).mean()
    found = float(fused()(x, w, labels))
    print(f"\nbfloat16, {classes:,} classes: loss {found:.6f}, float64 {exact:.6f}, ", end="")
    print(f"relative error {abs(found - exact) / exact:.1e}")


def print_times(options: argparse.Namespace) -> None:
    import jax
    import jax.numpy as jnp
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.normal(size=(options.rows, options.width)).astype(np.float32)
    w = 0.05 * rng.standard_normal((options.classes, options.width), np.float32)
    labels = rng.integers(0, options.classes, options.rows).astype(np.int32)
    arguments = jnp.asarray(x, options.dtype), jnp.asarray(w, options.dtype), jnp.asarray(labels)
    contenders: dict[str, Callable[[], Any]] = {}
    memory: dict[str, float] = {}
    for name, loss in (
        ("fused", fused(None, options.block_size)),
        ("dense", dense()),
        ("dense, optax", dense(peer=True)),
    ):
        compiled = step(loss).lower(*arguments).compile()
        memory[name] = compiled.memory_analysis().temp_size_in_bytes / MIB
        contenders[name] = functools.partial(run_to_end, compiled, arguments)
    contenders |= torch_contenders(x, w, labels, options)
    times = take_turns(contenders, options.rounds)

    shape = f"{options.rows} rows, {options.width} wide, {options.classes:,} classes"
    print(f"\nForward and backward, {shape}, {options.dtype}, {jax.devices()[0].device_kind}")
    print(f"{'':13} {'ms':>9} {'fused / it':>11} {'temporary MiB':>14}")
    for name, seconds in times.items():
        ratio = statistics.median(a / b for a, b in zip(times["fused"], seconds, strict=True))
        size = f"{memory[name]:14.1f}" if name in memory else f"{'-':>14}"
        print(f"{name:13} {statistics.median(seconds) * 1e3:9.2f} {ratio:11.2f} {size}")
    if jax.default_backend() != "cpu":
        product = jax.jit(lambda x, w: x @ w.T).lower(*arguments[:2]).compile()
        run = {"product": functools.partial(run_to_end, product, arguments[:2])}
        operations = 2 * options.rows * options.width * options.classes
        rate = operations / statistics.median(take_turns(run, options.rounds)["product"])
        reached = 4 * operations / statistics.median(times["fused"])
        print(
            f"product {rate / 1e12:.0f} Tflop/s; fused {reached / 1e12:.0f}: {reached / rate:.0%}"
        )


def run_to_end(compiled: Any, arguments: Any) -> None:
    import jax

    jax.block_until_ready(compiled(*arguments))


def take_turns(contenders: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender in each round, after a call to warm up."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        run()
    for turn in range(rounds):
        for name in sorted(contenders, reverse=bool(turn % 2)):
            time.sleep(0.05)  # the threads of the one before may spin for some time
            begin = time.perf_counter()
            contenders[name]()
            times[name].append(time.perf_counter() - begin)
    return times


def torch_contenders(
    x: Any, w: Any, labels: Any, options: argparse.Namespace
) -> dict[str, Callable[[], Any]]:
    """PyTorch's dense and, from 2.13, fused loss; nothing without PyTorch."""
    try:
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, options.dtype)
    rows = torch.tensor(x, dtype=dtype, device=device, requires_grad=True)
    weight = torch.tensor(w, dtype=dtype, device=device, requires_grad=True)
    target = torch.tensor(labels, dtype=torch.int64, device=device)
    functional = torch.nn.functional

    def backward(loss: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            rows.grad = weight.grad = None
            loss().backward()
            if device == "cuda":
                torch.cuda.synchronize()

        return run

    found = {"torch dense": lambda: functional.cross_entropy(rows @ weight.T, target)}
    if hasattr(functional, "linear_cross_entropy"):
        chunks = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=max(options.rows // 4, 1))
        found["torch fused"] = lambda: functional.linear_cross_entropy(
            rows, weight, target, options=chunks
        )
    return {name: backward(loss) for name, loss in found.items()}


def print_identities(teraflops: float) -> None:
    """What a head of D = 512 in float32 with SGD momentum needs, beside the published rows.

    Full: classifier, momentum and gradient, 3 x 2 KiB an identity. Sampled at 0.1 with lazy rows:
    classifier and momentum whole, rows, slots and gradient of the drawn. Time: 4 products of
    2 N D C operations at the given rate, or the bytes that a step reads and writes at 4.3 TB/s.
    """
    row, batch, width, bandwidth = 2048, 1024, 512, 4.3e12
    print("\ninsightface, 8 V100, samples/s | MB per GPU; by arithmetic, not measured: the head on")
    print(f"one H200 (139 GiB), batch {batch}, {teraflops:.0f} Tflop/s: GiB held and ms a step")
    print(
        f"{'identities':>11} {'data':>11} {'model':>11} {'PFC 0.1':>11}  {'full':>16} {'0.1':>16}"
    )
    for identities, published in INSIGHTFACE.items():
        cells = ["-" if p is None else f"{p[0]}|{p[1]}" for p in published]
        ours = []
        for part, held, moved in (
            (1.0, 3.0, 2 + 1 + 5),  # read twice, gradient written; read three, write two to step
            (0.1, 2.0 + 0.3, 0.1 * (2 + 2 + 1 + 5)),
        ):
            gib = held * row * identities / 2**30
            compute = 8 * batch * width * part * identities / (teraflops * 1e12)
            ms = 1e3 * max(compute, moved * row * identities / bandwidth)
            fits = "" if gib < 139 else " no"
            ours.append(f"{gib:6.1f}, {ms:5.1f} ms{fits}")
        print(f"{identities:11,} {cells[0]:>11} {cells[1]:>11} {cells[2]:>11}  ", end="")
        print(f"{ours[0]:>16} {ours[1]:>16}")


if __name__ == "__main__":
    main()
