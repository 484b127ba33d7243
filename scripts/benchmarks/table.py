"""Writes the tables of benchmarks in README.md from kept reports: `python -m scripts.benchmarks.table`.

A report is what `python -m scripts.benchmarks NAME --json scripts/results/NAME.json` writes. Each table
stands in README.md between two comments with its name; ratios are ours over the peer's, below 1 where
ours is faster, with the first and third quartile of the rounds, or over many cases the least and greatest.
Reports of runs with `--onednn` have names that end in `_onednn`.
"""

import json
import statistics
from typing import Any

from scripts.results import README, RESULTS, with_table

Report = dict[str, Any]

PEERS = ("flax", "keras", "torch")
LOWERINGS = {"": "XLA", "_onednn": "oneDNN"}


def training_step() -> list[str]:
    """A row for each network: ours by XLA alone and with oneDNN, each beside what ran in its turns."""
    reports = [read(f"training_step{ending}") for ending in LOWERINGS]
    head = ["case"]
    for lowering in LOWERINGS.values():
        head += [f"ms, {lowering}", *(f"beside {peer}" for peer in PEERS)]
    lines = [_line(head), "|---" * len(head) + "|"]
    for rows in zip(*(report["rows"] for report in reports), strict=True):
        cells = [rows[0]["case"]]
        for row in rows:
            assert row["case"] == rows[0]["case"], (row["case"], rows[0]["case"])
            cells += [f"{1e3 * row['seconds']['ours']:.2f}", *(_ratio(row, peer) for peer in PEERS)]
        lines.append(_line(cells))
    return [*lines, "", _machine(reports[-1])]


def convolutions() -> list[str]:
    """Both lowerings, summed up over all convolutions and their gradients."""
    head = ["", "beside XLA's own lowering", "above 1.05", "beside PyTorch", "below 1"]
    lines = [_line(head), "|---" * len(head) + "|"]
    for ending, lowering in LOWERINGS.items():
        rows = read(f"convolutions{ending}")["rows"]
        stock, torch = ([row["ratios"][peer][0] for row in rows] for peer in ("stock", "torch"))
        slower, faster = sum(r > 1.05 for r in stock), sum(r < 1 for r in torch)
        counts = (f"{slower} of {len(rows)}", f"{faster} of {len(rows)}")
        lines.append(_line([lowering, _spread(stock), counts[0], _spread(torch), counts[1]]))
    return lines


TABLES = {"training_step": training_step, "convolutions": convolutions}


def write_tables() -> None:
    """Replaces the tables in README.md."""
    text = README.read_text()
    for name, table in TABLES.items():
        text = with_table(text, name, table())
    README.write_text(text)


def read(name: str) -> Report:
    """A kept report."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def _machine(report: Report) -> str:
    machine = report["machine"]
    versions = ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
    return f"{machine['processor']}, {machine['threads']} threads, {machine['rounds']} rounds; {versions}."


def _ratio(row: dict[str, Any], peer: str) -> str:
    if peer not in row["ratios"]:
        return "-"
    middle, low, high = row["ratios"][peer]
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    write_tables()
