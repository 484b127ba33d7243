"""Versions and hardware of a run: what one needs to repeat it, and nothing about who ran it."""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from importlib import metadata
from pathlib import Path

import jax

from jaxcv.atomic import write_text

PACKAGES = (
    "jaxcv",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "tensorflow-datasets",
    "numpy",
    "scikit-learn",
)


def collect_environment() -> dict[str, dict[str, str]]:
    """Versions of Python and of the packages that decide results, processor, memory, devices.

    Neither the machine's name nor any path is among them.

    Returns:
        `{"Versions": {name: version}, "Hardware": {name: description}}`.
    """
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    kinds = Counter(
        "CPU" if d.platform == "cpu" else f"{d.platform.upper()} {d.device_kind}"
        for d in jax.devices()
    )
    devices = [f"{count} × {kind}" for kind, count in sorted(kinds.items())]
    hardware = {
        "devices": ", ".join(devices),
        "processes": str(jax.process_count()),
        "host processor": _processor(),
        "host cores": str(_cores()),
    }
    memory = _memory_gib()
    if memory is not None:
        hardware["host memory"] = f"{memory:.1f} GiB"
    hardware["system"] = f"{platform.system()} {platform.machine()}"
    return {"Versions": versions, "Hardware": hardware}


def write_environment(workdir: Path) -> None:
    """Writes environment.json into a work directory; of several processes the first does."""
    if jax.process_index() == 0:
        text = json.dumps(collect_environment(), indent=2)
        write_text(workdir / "environment.json", text + "\n")


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _cores() -> int:
    """Cores that this process may use, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gib() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return None
