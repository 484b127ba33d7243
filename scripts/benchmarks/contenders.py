"""What every benchmark shares: contenders take turns on the same cores, and ratios are what counts.

A busy machine slows all contenders of one round alike, so a ratio is taken within a round, and what is
reported is the median over the rounds with its quartiles. With `--clock cpu` and one thread the time is
the processor's own, which other people's work on the machine touches least.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("jax", "jaxlib", "flax", "optax", "onednn-cpu-gomp", "torch", "keras", "numpy")
OURS = "ours"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One case.

    Attributes:
        benchmark, case: what was timed.
        seconds: median per call, by contender.
        ratios: ours over each other contender, below 1 where ours is faster: (median, first and
            third quartile).
        notes: what else is worth knowing, such as initial losses or images per second.
    """

    benchmark: str
    case: str
    seconds: dict[str, float]
    ratios: dict[str, tuple[float, float, float]]
    notes: dict[str, Any] = field(default_factory=dict)


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks know."""
    result = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    result.add_argument("--threads", type=int, default=2, help="cores for each contender")
    result.add_argument("--core", type=int, default=0, help="the first of them")
    result.add_argument("--rounds", type=int, default=9)
    result.add_argument("--seconds", type=float, default=0.2, help="per contender and round")
    result.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    result.add_argument(
        "--plain-malloc", action="store_true", help="memory as without `jaxcv train`"
    )
    result.add_argument("--onednn", action="store_true", help="as with `jaxcv train --onednn`")
    result.add_argument("--cases", nargs="*", help="parts of the names of the cases to run")
    result.add_argument("--without", nargs="*", default=(), help="contenders to leave out")
    result.add_argument("--json", type=Path, help="file for rows, machine and versions")
    return result


def prepare(options: argparse.Namespace) -> None:
    """Binds the process to its cores; before JAX, PyTorch or Keras is imported."""
    if not options.plain_malloc:
        from jaxcv.convolution.large_pages import use_large_pages

        use_large_pages(
            one_arena=options.onednn
        )  # as `jaxcv train` does, and for all contenders alike
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("KERAS_BACKEND", "jax")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if hasattr(os, "sched_setaffinity"):  # XLA has as many threads as there are cores to use
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[options.core : options.core + options.threads])
    if options.onednn:
        from jaxcv.convolution import onednn

        onednn.load()


def wanted(case: str, options: argparse.Namespace) -> bool:
    """Whether `--cases` asks for this one."""
    return not options.cases or any(part in case for part in options.cases)


def compare(
    benchmark: str,
    case: str,
    contenders: dict[str, Callable[[], Any]],
    options: argparse.Namespace,
    notes: dict[str, Any] | None = None,
) -> Row:
    """Times the contenders in turns, in changing order; each call must wait for its result."""
    clock = time.perf_counter if options.clock == "wall" else time.process_time

    def timed(run: Callable[[], Any], repeats: int) -> float:
        start = clock()
        for _ in range(repeats):
            run()
        return (clock() - start) / repeats

    repeats = {}
    for name, run in contenders.items():
        run()  # compiles
        once = timed(run, 1)
        repeats[name] = max(1, min(1000, round(options.seconds / max(once, 1e-6))))
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(options.rounds):
        for name in sorted(contenders, reverse=bool(turn % 2)):
            time.sleep(0.02)  # the threads of the one before may spin for some time
            contenders[name]()
            times[name].append(timed(contenders[name], repeats[name]))
    ratios = {}
    for name in contenders:
        if name != OURS and OURS in contenders:
            each = [own / other for own, other in zip(times[OURS], times[name], strict=True)]
            ratios[name] = (statistics.median(each), *_quartiles(each))
    seconds = {name: statistics.median(values) for name, values in times.items()}
    return Row(benchmark=benchmark, case=case, seconds=seconds, ratios=ratios, notes=notes or {})


def show(row: Row) -> None:
    """Prints a line for each contender."""
    print(f"{row.benchmark}: {row.case}")
    for name, seconds in row.seconds.items():
        line = f"    {name:24}{1e3 * seconds:10.3f} ms"
        if name in row.ratios:
            ratio, low, high = row.ratios[name]
            line += f"    ours/{name} {ratio:.2f} ({low:.2f} to {high:.2f})"
        print(line)
    for name, value in row.notes.items():
        print(f"    {name}: {value}")
    print(end="", flush=True)


def finish(rows: Sequence[Row], options: argparse.Namespace) -> None:
    """Writes the JSON, if one is asked for."""
    if options.json is not None:
        report = {"machine": machine(options), "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """Processor, cores used, clock and versions."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": options.threads,
        "clock": options.clock,
        "rounds": options.rounds,
        "plain_malloc": options.plain_malloc,
        "onednn": options.onednn,
        "versions": versions,
    }


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def _processor() -> str:
    lines = (
        Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []
    )
    found = {}
    for line in lines:
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    parts = [found.get("model name", platform.processor() or platform.machine())]
    if "cpu family" in found:
        parts.append(f"family {found['cpu family']} model {found['model']}")
    return ", ".join(parts)
