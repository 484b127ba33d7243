"""Regenerates the table of results in README.md: trains each row's preset and times the whole command.

    python scripts/results.py [ROW ...]          train these rows (all), then write the table
    python scripts/results.py --table            only write the table, from scripts/results/

Each row's log (metrics.jsonl), configuration and environment are kept in scripts/results/ROW/. Rows
on TFDS data need them prepared: `jaxcv data prepare NAME`, or $TFDS_DATA_DIR.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jaxcv.train.logging import read_rows

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"

ROWS = {
    "digits_lenet": ["digits_lenet"],
    "fashion_mnist_cnn": ["fashion_mnist_cnn"],
    "fashion_mnist_mlp": ["mlp_28x28", "--data.name", "fashion_mnist"],
    "cifar10_jpeg75_lenet": ["cifar10_lenet", "--data.name", "cifar10_jpeg75"],
}


def train(name: str) -> None:
    """Runs a row's command in an empty work directory and keeps its log."""
    with tempfile.TemporaryDirectory() as workdir:
        started = time.perf_counter()
        command = [sys.executable, "-m", "jaxcv", "train", *ROWS[name], "--workdir", workdir]
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - started
        kept = RESULTS / name
        kept.mkdir(parents=True, exist_ok=True)
        for file in ("metrics.jsonl", "config.json", "environment.json"):
            shutil.copy(Path(workdir) / file, kept / file)
        (kept / "seconds.json").write_text(json.dumps({"seconds": round(seconds, 1)}) + "\n")


def table_row(name: str) -> str:
    """A row of the table from a kept log."""
    kept = RESULTS / name
    hardware = json.loads((kept / "environment.json").read_text())["Hardware"]
    seconds = json.loads((kept / "seconds.json").read_text())["seconds"]
    last = {row["split"]: row for row in read_rows(kept / "metrics.jsonl")}
    accuracy = f"{100 * last['test']['accuracy']:.2f}%"
    averaged = f"{100 * last['test_ema']['accuracy']:.2f}%" if "test_ema" in last else "-"
    machine = f"{hardware['host cores']} cores, {hardware['host processor']}"
    cells = [
        f"`jaxcv train {' '.join(ROWS[name])}`",
        f"{int(last['test']['count']):,}",
        accuracy,
        averaged,
        f"{last['test']['step']:,}",
        f"{seconds:.0f}",
        machine,
    ]
    return f"| {' | '.join(cells)} |"


def write_table() -> None:
    """Replaces the table in README.md."""
    lines = [
        "| command | test images | accuracy | of averaged weights | steps | seconds | machine |",
        "|---|---|---|---|---|---|---|",
        *(table_row(name) for name in ROWS if (RESULTS / name).is_dir()),
    ]
    text = README.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    README.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}")


def main(words: list[str]) -> None:
    """Trains the rows that are named, all by default, and writes the table."""
    if words != ["--table"]:
        unknown = set(words) - set(ROWS)
        if unknown:
            sys.exit(f"no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
        for name in words or ROWS:
            train(name)
    write_table()


if __name__ == "__main__":
    main(sys.argv[1:])
