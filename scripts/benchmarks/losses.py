"""Softmax cross-entropy, forward and backward, beside optax and PyTorch, on the CPU.

    python scripts/benchmarks/losses.py

Every line is one case: the time per call of the mean loss and its gradient, and the ratio of ours
to each peer (below 1 is faster). The contenders take turns, so that a busy machine slows all alike,
and a ratio is the median over the rounds of the ratio within a round. Bytes are XLA's temporaries
beyond inputs and outputs (`compiled.memory_analysis()`); for PyTorch, what autograd keeps between
forward and backward.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Case:
    """One comparison; the first four are the ones that count."""

    examples: int
    classes: int
    dtype: str = "float32"
    label_smoothing: float = 0.0
    weighted: bool = False
    ignore_label: int | None = None

    def __str__(self) -> str:
        options = [self.dtype] if self.dtype != "float32" else []
        options += ["smoothing"] if self.label_smoothing else []
        options += ["class weights"] if self.weighted else []
        options += ["ignore label"] if self.ignore_label is not None else []
        return f"({self.examples}, {self.classes}) {', '.join(options)}"


CASES = (
    Case(examples=128, classes=10),
    Case(examples=256, classes=1000),
    Case(examples=4096, classes=32000),
    Case(examples=65536, classes=21),
    Case(examples=256, classes=1000, label_smoothing=0.1),
    Case(examples=65536, classes=21, ignore_label=0),
    Case(examples=65536, classes=21, weighted=True),
    Case(examples=4096, classes=4000, dtype="bfloat16"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="CPU cores for each contender")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.1, help="per contender and round")
    parser.add_argument("--cases", type=int, nargs="*", help="numbers of the cases to run, from 0")
    options = parser.parse_args()

    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if hasattr(os, "sched_setaffinity"):  # XLA has as many threads as there are cores to use
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])

    print(f"{'case':32} {'ours':>9} {'optax':>9} {'torch':>9}  ours/optax ours/torch  ", end="")
    print("temporary MiB: ours  optax  torch")
    for number, case in enumerate(CASES):
        if options.cases is None or number in options.cases:
            measure(case, options.threads, options.rounds, options.seconds)


def measure(case: Case, threads: int, rounds: int, seconds: float) -> None:
    """Times the contenders in turns and prints one line."""
    contenders = {"ours": jax_contender(case, ours), "optax": jax_contender(case, peer)}
    torch_contender = make_torch_contender(case, threads)
    if torch_contender is not None:
        contenders["torch"] = torch_contender
    times: dict[str, list[float]] = {name: [] for name in contenders}
    repeats = {name: repeats_for(run, seconds) for name, (run, _) in contenders.items()}
    for turn in range(rounds):
        for name in sorted(contenders, reverse=bool(turn % 2)):
            run, _ = contenders[name]
            time.sleep(0.02)  # the threads of the one before may spin for some time
            run()
            start = time.perf_counter()
            for _ in range(repeats[name]):
                run()
            times[name].append((time.perf_counter() - start) / repeats[name])

    cells = [f"{statistics.median(t) * 1e3:6.2f} ms" for t in times.values()]
    ratios = []
    for name in ("optax", "torch"):
        pairs = zip(times["ours"], times.get(name, []), strict=False)
        each = [own / other for own, other in pairs]
        ratios.append(f"{statistics.median(each):10.2f}" if each else f"{'-':>10}")
    memory = [f"{bytes_ / 2**20:6.2f}" for _, bytes_ in contenders.values()]
    print(
        f"{case!s:32} {' '.join(cells)}  {' '.join(ratios)}  {'':14}{' '.join(memory)}", flush=True
    )


def repeats_for(run: Callable[[], Any], seconds: float) -> int:
    """How often to call so that a round lasts about `seconds`; warms up on the way."""
    run()
    start = time.perf_counter()
    run()
    return max(1, min(1000, round(seconds / max(time.perf_counter() - start, 1e-6))))


def draw(case: Case) -> tuple[Any, Any]:
    import numpy as np

    rng = np.random.default_rng(0)
    logits = rng.normal(size=(case.examples, case.classes)).astype(np.float32)
    return logits, rng.integers(0, case.classes, case.examples)


def ours(case: Case, logits: Any, labels: Any) -> Any:
    import jax.numpy as jnp

    from jaxcv import losses

    values = losses.softmax_cross_entropy(
        logits,
        labels,
        label_smoothing=case.label_smoothing,
        class_weights=jnp.linspace(0.5, 1.5, case.classes) if case.weighted else None,
        ignore_label=case.ignore_label,
    )
    if case.ignore_label is None:
        return losses.masked_mean(values)
    return losses.masked_mean(values, labels != case.ignore_label)


def peer(case: Case, logits: Any, labels: Any) -> Any:
    """The same with what optax offers, and the rest as one would write it by hand."""
    import jax
    import jax.numpy as jnp
    import optax

    if case.label_smoothing:
        one_hot = jax.nn.one_hot(labels, case.classes)
        targets = optax.smooth_labels(one_hot, case.label_smoothing)
        return optax.softmax_cross_entropy(logits, targets).mean()
    values = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    if case.weighted:
        values = values * jnp.linspace(0.5, 1.5, case.classes)[labels]
    if case.ignore_label is None:
        return values.mean()
    return values.mean(where=labels != case.ignore_label)


def jax_contender(case: Case, loss: Callable[..., Any]) -> tuple[Callable[[], Any], int]:
    import functools

    import jax
    import jax.numpy as jnp

    logits, labels = draw(case)
    arguments = (jnp.asarray(logits, case.dtype), jnp.asarray(labels, jnp.int32))
    step = jax.jit(jax.value_and_grad(functools.partial(loss, case)))
    compiled = step.lower(*arguments).compile()
    temporary = compiled.memory_analysis().temp_size_in_bytes
    return lambda: jax.block_until_ready(compiled(*arguments)), temporary


def make_torch_contender(case: Case, threads: int) -> tuple[Callable[[], Any], int] | None:
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(threads)
    logits_array, labels_array = draw(case)
    logits = torch.tensor(logits_array).to(getattr(torch, case.dtype)).requires_grad_()
    labels = torch.tensor(labels_array)
    weight = torch.linspace(0.5, 1.5, case.classes) if case.weighted else None

    def loss() -> Any:
        values = torch.nn.functional.cross_entropy(
            logits,
            labels,
            weight=weight,
            label_smoothing=case.label_smoothing,
            ignore_index=-100 if case.ignore_label is None else case.ignore_label,
            reduction="none" if case.weighted else "mean",
        )
        return values.mean()

    def run() -> None:
        logits.grad = None
        loss().backward()

    kept: dict[int, int] = {}

    def keep(tensor: Any) -> Any:
        if tensor.data_ptr() not in (logits.data_ptr(), labels.data_ptr()):
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss()
    return run, sum(kept.values())


if __name__ == "__main__":
    main()
