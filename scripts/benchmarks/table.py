"""Writes the tables of benchmarks in README.md from kept reports: `python -m scripts.benchmarks.table`.

A report is what `python -m scripts.benchmarks NAME --json scripts/results/NAME.json` writes. Each table
stands in README.md between two comments with its name; ratios are ours over the peer's, below 1 where
ours is faster, with the first and third quartile of the rounds.
"""

import json
from typing import Any

from scripts.results import README, RESULTS, with_table

# Table: the peers, in the order of the columns.
TABLES = {"training_step": ("flax", "keras", "torch")}


def table(name: str, peers: tuple[str, ...]) -> list[str]:
    """The lines of a table, below them the machine and the versions."""
    report: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    head = ["case", "ms, ours", *(f"beside {peer}" for peer in peers)]
    lines = [_line(head), "|---" * len(head) + "|"]
    for row in report["rows"]:
        ratios = [row["ratios"].get(peer) for peer in peers]
        cells = ["-" if r is None else f"{r[0]:.2f} ({r[1]:.2f} to {r[2]:.2f})" for r in ratios]
        lines.append(_line([row["case"], f"{1e3 * row['seconds']['ours']:.2f}", *cells]))
    machine = report["machine"]
    versions = ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
    below = f"{machine['processor']}, {machine['threads']} threads, {machine['rounds']} rounds; {versions}."
    return [*lines, "", below]


def write_tables() -> None:
    """Replaces the tables in README.md."""
    text = README.read_text()
    for name, peers in TABLES.items():
        text = with_table(text, name, table(name, peers))
    README.write_text(text)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    write_tables()
