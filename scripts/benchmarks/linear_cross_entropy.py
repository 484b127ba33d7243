"""The fused linear cross-entropy beside dense JAX and PyTorch: memory, accuracy, time, a table.

    python scripts/benchmarks/linear_cross_entropy.py
    python scripts/benchmarks/linear_cross_entropy.py time --rows 4096 --width 512 --classes 2000000

* memory: XLA's temporaries beyond inputs, outputs and gradients (`compiled.memory_analysis()`) for
  1,024 rows, 512 wide, ArcFace, forward and backward. Compiled only: nothing is allocated.
* accuracy: bfloat16 inputs, 262,144 classes, beside float64.
* time: forward and backward of the mean loss; "fused" chooses by shape whether to keep the logits,
  "fused, tiles" makes them twice. The contenders take turns, so that a busy machine slows all
  alike; a ratio is the median over the rounds of the ratio within a round. PyTorch's fused function
  (2.13) works on a quarter of the rows at a time; its own choice of a chunk took 40 times as long
  on the CPU.
* table: the rows of the table that insightface publishes (8 V100, ResNet-50, samples/s and MB per
  GPU; arcface_torch/docs/speed_benchmark.md) beside what the head - classifier, momentum, gradient,
  embeddings, tiles - needs here: the memory as XLA plans it, on one device and on eight; the time
  of an H200 by arithmetic; and the time of this machine, measured for the first rows.

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

PARTS = ("memory", "accuracy", "time", "table")
MIB = 2**20

# Identities: (samples/s, MB per GPU) of data parallel, model parallel, Partial FC 0.1.
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
    parser.add_argument("--block-size", type=int, default=512, help="time: classes of the tiles")
    parser.add_argument("--margin", action="store_true", help="time: ArcFace, on cosines")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2, help="CPU cores for each contender")
    parser.add_argument("--teraflops", type=float, default=790, help="table: of the assumed H200")
    parser.add_argument("--bandwidth", type=float, default=4.3, help="table: its TB/s")
    parser.add_argument("--measure", type=int, default=125_000, help="table: up to so many classes")
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
    if "table" in (options.parts or PARTS):
        print_table(options)


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

    from jaxcv.losses import ArcFace

    rng = np.random.default_rng(0)
    x = rng.normal(size=(options.rows, options.width)).astype(np.float32)
    w = 0.05 * rng.standard_normal((options.classes, options.width), np.float32)
    labels = rng.integers(0, options.classes, options.rows).astype(np.int32)
    arguments = jnp.asarray(x, options.dtype), jnp.asarray(w, options.dtype), jnp.asarray(labels)
    contenders: dict[str, Callable[[], Any]] = {}
    memory: dict[str, float] = {}
    margin = ArcFace() if options.margin else None
    losses = {
        "fused": fused(margin),
        "fused, tiles": fused(margin, options.block_size),
        "dense": dense(margin),
    }
    if margin is None:
        losses["dense, optax"] = dense(peer=True)
    for name, loss in losses.items():
        compiled = step(loss).lower(*arguments).compile()
        memory[name] = compiled.memory_analysis().temp_size_in_bytes / MIB
        contenders[name] = functools.partial(run_to_end, compiled, arguments)
    if margin is None:
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


def head_step(rate: float) -> Any:
    """A step of SGD with momentum on an ArcFace head; of all classes, or of a sample with lazy rows."""
    import jax
    import jax.numpy as jnp
    import optax

    from jaxcv import losses

    optimizer = optax.sgd(0.1, momentum=0.9)

    def step(classifier: Any, momentum: Any, x: Any, labels: Any, key: Any) -> Any:
        sample, rows = None, classifier
        if rate < 1:
            sample = losses.sample_classes(key, labels, classifier.shape[0], rate=rate)
            rows = classifier[sample.rows]

        def loss(x: Any, rows: Any) -> Any:
            margin = losses.ArcFace()
            return jnp.mean(
                losses.linear_softmax_cross_entropy(
                    x, rows, labels, margin=margin, sample=sample
                ).loss
            )

        to_x, gradient = jax.grad(loss, (0, 1))(x, rows)
        slots = (optax.TraceState(momentum), optax.EmptyState())
        if sample is None:
            updates, slots = optimizer.update(gradient, slots, classifier)
            classifier = optax.apply_updates(classifier, updates)
        else:
            classifier, slots = losses.lazy_row_update(
                optimizer, gradient, sample, slots, classifier
            )
        return classifier, slots[0].trace, to_x

    return jax.jit(step, donate_argnums=(0, 1))


def planned_gib(rate: float, batch: int, width: int, classes: int) -> float:
    """What a step holds at once on a device with so many classes, by XLA's account."""
    import jax

    classifier = jax.ShapeDtypeStruct((classes, width), "float32")
    x, _, labels = shapes(batch, width, classes, "float32")
    key = jax.eval_shape(lambda: jax.random.key(0))
    compiled = head_step(rate).lower(classifier, classifier, x, labels, key).compile()
    memory = compiled.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return (held - memory.alias_size_in_bytes + memory.temp_size_in_bytes) / 2**30


def print_table(options: argparse.Namespace, batch: int = 1024, width: int = 512) -> None:
    """Head of D = 512 in float32, batch 1,024 over all devices, gathered on each.

    The H200's time is the larger of 4 products of 2 N D C operations and of the bytes that a step
    reads and writes; nothing is counted for the exchange of 2 MiB of embeddings between devices.
    """
    print(
        "\ninsightface on 8 V100, samples/s|MB a GPU: data parallel, model parallel, sampled 0.1."
    )
    print(f"Here: GiB a device as XLA plans them; ms a step of {batch} on H200s (139 GiB), by")
    print(f"arithmetic: {options.teraflops:.0f} Tflop/s, {options.bandwidth} TB/s, head alone.")
    heads = ("1 device", "1 device, 0.1", "8 devices", "8 devices, 0.1")
    print(f"{'identities':>11} {'data':>11} {'model':>11} {'0.1':>11}", end="")
    print("".join(f" {head:>18}" for head in heads))
    for identities, published in INSIGHTFACE.items():
        cells = ["-" if p is None else f"{p[0]}|{p[1]}" for p in published]
        print(f"{identities:11,} {cells[0]:>11} {cells[1]:>11} {cells[2]:>11}", end="")
        for devices in (1, 8):
            for rate in (1.0, 0.1):
                classes = -(-identities // devices)
                gib = planned_gib(rate, batch, width, classes)
                # Read twice and a gradient written; then three read and two written to step.
                # Sampled, rows are also read and written on the way to and from a copy.
                moved = (8 if rate == 1 else 12) * rate * 4 * width * classes
                compute = 8 * batch * width * rate * classes / (options.teraflops * 1e12)
                ms = 1e3 * max(compute, moved / (options.bandwidth * 1e12))
                cell = f"{gib:.2f}, {ms:.2f} ms" + ("" if gib < 139 else " no")
                print(f" {cell:>18}", end="", flush=True)
        print()
    for identities in INSIGHTFACE:
        if identities <= options.measure:
            print_measured_step(options, identities, width)


def print_measured_step(options: argparse.Namespace, classes: int, width: int) -> None:
    import jax
    import jax.numpy as jnp

    batch = 128
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (batch, width))
    labels = jax.random.randint(keys[1], (batch,), 0, classes)
    for rate in (1.0, 0.1):
        step, times = head_step(rate), []
        classifier = 0.01 * jax.random.normal(keys[2], (classes, width))
        momentum = jnp.zeros_like(classifier)
        for _ in range(options.rounds):
            begin = time.perf_counter()
            classifier, momentum, to_x = step(classifier, momentum, x, labels, keys[0])
            jax.block_until_ready(to_x)
            times.append(time.perf_counter() - begin)
        ms = 1e3 * statistics.median(times[1:])
        print(
            f"measured here ({jax.devices()[0].device_kind}), batch {batch}, {classes:,} classes, "
            f"rate {rate}: {ms:.0f} ms a step, {1e3 * batch / ms:.0f} samples/s through the head"
        )


if __name__ == "__main__":
    main()
