"""Seconds from the shell: help, lists, and the first step of training, with a cold and a warm cache.

    python scripts/benchmarks/startup.py [--rounds 3]

Each command is a process of its own; the commands take turns. Wall seconds are what one waits; user
seconds are the processor's, which a busy machine changes least. "first step" is `jaxcv train
digits_lenet` until metrics.jsonl has the row of step 1, and is then killed; cold is with an empty
directory of compiled programs, warm with what the cold run left there.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAIN = ["train", "digits_lenet", "--devices", "1", "--log-every", "1"]
COMMANDS = {
    "--help": ["--help"],
    "train --help": ["train", "--help"],
    "train digits_lenet --help": ["train", "digits_lenet", "--help"],
    "list": ["list"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", nargs="*", help="parts of the names of the cases to run")
    options = parser.parse_args()
    seconds: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder)
        for _ in range(options.rounds):
            for name, words in cases(room).items():
                if not options.cases or any(part in name for part in options.cases):
                    seconds.setdefault(name, []).append(timed(words, room, name))
    print(f"{'jaxcv ...':32}{'wall s':>8}{'user s':>8}   median of {options.rounds}")
    for name, values in seconds.items():
        wall, user = (statistics.median(column) for column in zip(*values, strict=True))
        print(f"{name:32}{wall:8.2f}{user:8.2f}")


def cases(room: Path) -> dict[str, list[str]]:
    """Words by name; training once with each state of the cache, then a prediction with its run."""
    run = str(room / "run")
    picture = str(room / "picture.png")
    return {
        **COMMANDS,
        "first step, cold": [*TRAIN, "--workdir", str(room / "cold")],
        "first step, warm": [*TRAIN, "--workdir", str(room / "warm")],
        "train, 6 steps": [*TRAIN, "--epochs", "None", "--steps", "6", "--workdir", run],
        "predict": ["predict", run, picture, "--devices", "1"],
    }


def timed(words: list[str], room: Path, name: str) -> tuple[float, float]:
    """Runs one command; gives its wall and user seconds."""
    cache = room / "cache"
    if name.endswith("cold"):
        shutil.rmtree(cache, ignore_errors=True)
    if "--workdir" in words:
        shutil.rmtree(words[-1], ignore_errors=True)
    if words[0] == "predict":
        draw_picture(Path(words[2]))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"XDG_CACHE_HOME": str(cache), "JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "jaxcv", *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        if name.startswith("first step"):
            wait_for_row(Path(words[-1]) / "metrics.jsonl", process)
            process.kill()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    if process.returncode not in (0, -9):
        raise SystemExit(f"jaxcv {' '.join(words)} failed: {process.returncode}")
    return wall, usage.ru_utime


def wait_for_row(path: Path, process: "subprocess.Popen[bytes]") -> None:
    while not (path.exists() and path.stat().st_size):
        if process.poll() is not None:
            raise SystemExit(f"training ended before its first step: {process.returncode}")
        time.sleep(0.01)


def draw_picture(path: Path) -> None:
    from PIL import Image

    Image.new("L", (8, 8), 128).save(path)


if __name__ == "__main__":
    main()
