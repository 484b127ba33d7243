"""How jaxcv stands kills, flipped bits and mutated files; every number is counted here and now.

    python -m scripts.soak [--kills 90] [--flips 300] [--images 40000] [--files 8000]

- kills: a run is killed by SIGKILL at random moments until it has finished; how often did it end in the
  bytes of a run that nothing disturbed, and with its rows?
- flips: one bit of one file of a run is flipped; is it noticed?
- images: encoded images of every format are mutated and decoded.
- files: annotations, tables, configurations and the like are mutated and read.

A mutated file may be read, if it still says something, or refused by a ValueError that names it. Anything
else counts: another error, a process that died, one that took longer than a minute or more than 4 GB.
`--docs` writes the counts to scripts/results/soak.json and into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxcv.train import Checkpoints, collect_environment, read_config
from jaxcv.train.logging import read_rows
from scripts.results import with_table
from scripts.soak_files import Sample, samples

SECONDS, MEMORY = 60, 4 * 2**30
RESULTS = Path(__file__).parent / "results" / "soak.json"
PAGE = Path(__file__).parent.parent / "docs" / "reliability.md"
WHAT = {
    "kills": "SIGKILL at a random moment of a run, again and again until it has finished",
    "flips": "one flipped bit in a file of a run",
    "images": "mutated images of 18 kinds, decoded as pictures and as masks",
    "files": "mutated annotations, tables, lists, pairs, records, galleries and files of runs",
}
# A sample and the seed of its mutation; None leaves it as it is.
Job = tuple[Sample, int | None]
COMMAND = [
    "train", "digits_lenet", "--epochs", "None", "--steps", "120", "--eval-every", "40",
    "--checkpoint-every", "10", "--log-every", "10",
]  # fmt: skip


def main() -> None:
    """Runs what the options ask for and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, count in (("kills", 90), ("flips", 300), ("images", 40_000), ("files", 8_000)):
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--docs", action="store_true", help="write the counts into the documentation"
    )
    options = parser.parse_args()
    rng = random.Random(options.seed)
    counts: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if options.kills or options.flips:
            seconds = train(root / "whole")
        if options.kills:
            counts["kills"] = soak_kills(root, options.kills, seconds, rng)
        if options.flips:
            counts["flips"] = soak_flips(root, options.flips, rng)
        for kind, number in (("images", options.images), ("files", options.files)):
            if number:
                counts[kind] = soak_mutations(samples(root / kind, kind), number, rng)
    for line in table_lines(counts):
        print(line)
    if options.docs:  # what was not tried this time stays as it was
        kept = json.loads(RESULTS.read_text())["counts"] if RESULTS.exists() else {}
        counts = {**kept, **counts}
        RESULTS.write_text(json.dumps({"counts": counts, **collect_environment()}, indent=2) + "\n")
        PAGE.write_text(with_table(PAGE.read_text(), "soak", table_lines(counts)))
    bad = sum(n for numbers in counts.values() for name, n in numbers.items() if "BAD" in name)
    sys.exit(bool(bad))


def table_lines(counts: dict[str, dict[str, int]]) -> list[str]:
    """The counts as a table in Markdown."""
    rows = [
        f"| {WHAT[kind]} | {', '.join(f'{number:,} {name}' for name, number in numbers.items())} |"
        for kind, numbers in counts.items()
    ]
    return ["| Tried | What came of it |", "|---|---|", *rows]


def train(workdir: Path, kill_after: float | None = None) -> float:
    """Trains in a process of its own; returns its seconds, or minus them where it was killed."""
    process = multiprocessing.get_context("fork").Process(target=_train, args=(workdir,))
    start = time.monotonic()
    process.start()
    process.join(kill_after)
    if process.is_alive():
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
    seconds = time.monotonic() - start
    if process.exitcode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"training in {workdir} ended with {process.exitcode}")
    return seconds if process.exitcode == 0 else -seconds


def _train(workdir: Path) -> None:
    from jaxcv.cli.main import main as jaxcv

    with (workdir.parent / "log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        os._exit(jaxcv([*COMMAND, "--workdir", str(workdir)]))


def soak_kills(root: Path, kills: int, seconds: float, rng: random.Random) -> dict[str, int]:
    """Runs that are killed, each until it has finished, and how they compare with `root/whole`."""
    wanted, counts = _outcome(root / "whole"), Counter({"kills": 0, "runs": 0, "of them equal": 0})
    while counts["kills"] < kills:
        workdir = root / "killed"
        while train(workdir, rng.uniform(0.1, 0.9) * seconds) < 0:
            counts["kills"] += 1
        counts["runs"] += 1
        equal = _outcome(workdir) == wanted
        counts["of them equal" if equal else "BAD: runs that differ"] += 1
        shutil.rmtree(workdir)
    return dict(counts)


def _outcome(workdir: Path) -> Any:
    """Digests of the last checkpoint's arrays, and the rows without how fast they were made."""
    checkpoints = Checkpoints(workdir / "checkpoints")
    rows = read_rows(workdir / "metrics.jsonl")
    timeless = [{k: v for k, v in row.items() if k != "images_per_second"} for row in rows]
    return checkpoints.verify(checkpoints.steps()[-1])["leaves"], timeless


def soak_flips(root: Path, flips: int, rng: random.Random) -> dict[str, int]:
    """One bit of one file of a finished run at a time; each file as often as any other."""
    run = root / "whole"
    last = run / "checkpoints" / str(Checkpoints(run / "checkpoints").steps()[-1])
    files = [p for p in [*last.rglob("*"), run / "config.json", run / "run.json"] if p.is_file()]
    counts: Counter[str] = Counter()
    for _ in range(flips):
        path = rng.choice(files)
        whole = path.read_bytes()
        if not whole:
            continue
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        try:
            noticed = _noticed(run, path)
        finally:
            path.write_bytes(whole)
        counts["noticed" if noticed else "BAD: not noticed"] += 1
    return dict(counts)


def _noticed(run: Path, path: Path) -> bool:
    from jaxcv.train.run_card import read_run_card

    try:
        read_config(run / "config.json")
        read_run_card(run)
        Checkpoints(run / "checkpoints").verify(Checkpoints(run / "checkpoints").steps()[-1])
    except ValueError as error:
        return path.name in str(error) or path.parent.name in str(error)
    return False


def soak_mutations(inputs: list[Sample], number: int, rng: random.Random) -> dict[str, int]:
    """Mutates samples in turn; many are read in one process, as a training run would."""
    counts: Counter[str] = Counter()
    sound = _in_a_process([(sample, None) for sample in inputs])
    if sound != Counter({"read": len(inputs)}):
        raise RuntimeError(f"the files are not sound before they are mutated: {dict(sound)}")
    jobs: list[Job] = [(inputs[i % len(inputs)], rng.getrandbits(64)) for i in range(number)]
    size = 200
    for start in range(0, len(jobs), size):
        counts.update(_in_a_process(jobs[start : start + size]))
    return dict(sorted(counts.items()))


def _in_a_process(jobs: list[Job]) -> Counter[str]:
    """Outcomes of some jobs; one that ends the process is counted, and the others go on in another."""
    context, counts = multiprocessing.get_context("fork"), Counter[str]()
    while jobs:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_read_all, args=(jobs, sender))
        process.start()
        sender.close()
        done = 0
        with contextlib.suppress(EOFError):
            while receiver.poll(SECONDS):
                outcome = receiver.recv()
                counts[outcome] += 1
                done += 1
                if "BAD" in outcome:
                    sample, seed = jobs[done - 1]
                    print(f"{outcome}: {sample.name}, mutation {seed}", file=sys.stderr)
        if done < len(jobs):
            process.kill()
            sample, seed = jobs[done]
            print(f"{sample.name}, mutation {seed}: ended its process", file=sys.stderr)
            counts["BAD: died, or took too long"] += 1
            done += 1
        process.join()
        jobs = jobs[done:]
    return counts


def _read_all(jobs: list[Job], sender: Any) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
    for sample, seed in jobs:
        content = sample.content if seed is None else mutated(sample.content, random.Random(seed))
        sample.path.write_bytes(content)
        sender.send(_outcome_of(sample.read, sample.path))
        sample.path.write_bytes(sample.content)
    os._exit(0)


def _outcome_of(read: Callable[[Path], Any], path: Path) -> str:
    try:
        read(path)
    except ValueError as error:
        named = path.name in str(error) and "\n" not in str(error)
        return "refused by name" if named else "BAD: refused without its name"
    except MemoryError:
        return "BAD: MemoryError"
    except Exception as error:
        return f"BAD: {type(error).__name__}"
    return "read"


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A file somewhat wrong: bits flipped, bytes replaced, parts cut out, doubled, moved or grown."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        out = bytearray(rng.choice(_MUTATIONS)(out, rng)) or bytearray(b"\0")
    return bytes(out)


def _flip(data: bytearray, rng: random.Random) -> bytearray:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def _replace(data: bytearray, rng: random.Random) -> bytearray:
    data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x22, 0x2C, 0x7B))
    return data


def _number(data: bytearray, rng: random.Random) -> bytearray:
    """A number in the text becomes another; in a binary file, four bytes become a large one."""
    digits = [i for i, byte in enumerate(data) if 48 <= byte < 58]
    if digits:
        place = rng.choice(digits)
        value = rng.choice((b"-1", b"0", b"1e999", b"NaN", b"99999999999999999999", b"0.5", b'"7"'))
        return data[:place] + value + data[place + 1 :]
    place = rng.randrange(len(data))
    return data[:place] + rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff")) + data[place + 4 :]


def _cut(data: bytearray, rng: random.Random) -> bytearray:
    first, last = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:first] + data[last:]


def _truncate(data: bytearray, rng: random.Random) -> bytearray:
    return data[: rng.randrange(len(data))]


def _double(data: bytearray, rng: random.Random) -> bytearray:
    first, last = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:last] + data[first:]


def _insert(data: bytearray, rng: random.Random) -> bytearray:
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.randbytes(rng.choice((1, 2, 8, 64))) + data[place:]


_MUTATIONS = (_flip, _replace, _number, _cut, _truncate, _double, _insert)


if __name__ == "__main__":
    # No thread of JAX runs in this process: it only forks those that read and train.
    warnings.filterwarnings("ignore", message=r"os\.fork", category=RuntimeWarning)
    main()
