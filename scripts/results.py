"""Regenerates the tables of results in README.md: trains each row's preset and times the whole command.

    python scripts/results.py [ROW ...]          train these rows (all), then write the tables
    python scripts/results.py --table            only write the tables, from scripts/results/

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

from jaxcv.cli.options import load_preset
from jaxcv.report.numbers import shown
from jaxcv.train import Headline
from jaxcv.train.logging import read_rows

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent.parent / "README.md"

# Each table stands in README.md between two comments with its name.
TABLES = {
    "results": {
        "digits_lenet": ["digits_lenet"],
        "fashion_mnist_cnn": ["fashion_mnist_cnn"],
        "fashion_mnist_mlp": ["mlp_28x28", "--data.name", "fashion_mnist"],
        "cifar10_jpeg75_lenet": ["cifar10_lenet", "--data.name", "cifar10_jpeg75"],
    },
    "segmentation": {"camvid_unet": ["camvid_unet"]},
    "detection": {
        "shapes_fcos": ["shapes_fcos"],
        "bccd_fcos": ["bccd_fcos"],
        "bccd_retinanet": ["bccd_retinanet"],
    },
}
# How many of the task's headlines a table shows of the last evaluation.
HEADLINES = {"results": 1, "segmentation": 2, "detection": 2}
ROWS = {name: command for table in TABLES.values() for name, command in table.items()}


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


def headlines(table: str) -> tuple[Headline, ...]:
    """The numbers that a table shows, from the task of its first row."""
    preset = next(iter(TABLES[table].values()))[0]
    return load_preset(preset).task.headlines[: HEADLINES[table]]


def table_row(table: str, name: str) -> str:
    """A row of a table from a kept log."""
    kept = RESULTS / name
    hardware = json.loads((kept / "environment.json").read_text())["Hardware"]
    seconds = json.loads((kept / "seconds.json").read_text())["seconds"]
    last = {row["split"]: row for row in read_rows(kept / "metrics.jsonl")}
    figures = [
        shown(last[split][headline.name], headline) if split in last else "-"
        for headline in headlines(table)
        for split in ("test", "test_ema")
    ]
    machine = f"{hardware['host cores']} cores, {hardware['host processor']}"
    cells = [
        f"`jaxcv train {' '.join(ROWS[name])}`",
        f"{int(last['test']['count']):,}",
        *figures,
        f"{last['test']['step']:,}",
        f"{seconds:.0f}",
        machine,
    ]
    return f"| {' | '.join(cells)} |"


def write_tables() -> None:
    """Replaces the tables in README.md."""
    text = README.read_text()
    for table, rows in TABLES.items():
        measures = [f"{headline.title} | of averaged weights" for headline in headlines(table)]
        head = ["command", "test images", *measures, "steps", "seconds", "machine"]
        line = f"| {' | '.join(head)} |"
        lines = [
            line,
            "|---" * (line.count("|") - 1) + "|",
            *(table_row(table, name) for name in rows if (RESULTS / name).is_dir()),
        ]
        text = with_table(text, table, lines)
    README.write_text(text)


def with_table(text: str, table: str, lines: list[str]) -> str:
    """The text with these lines between the two comments that have the table's name."""
    begin, end = f"<!-- {table}: begin -->", f"<!-- {table}: end -->"
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{after}"


def main(words: list[str]) -> None:
    """Trains the rows that are named, all by default, and writes the tables."""
    if words != ["--table"]:
        unknown = set(words) - set(ROWS)
        if unknown:
            sys.exit(f"no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
        for name in words or ROWS:
            train(name)
    write_tables()


if __name__ == "__main__":
    main(sys.argv[1:])
