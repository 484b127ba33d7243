"""Compiles the training step of presets for TPU chips that are not here, and tells what it costs there.

    python scripts/compile_for_tpu.py digits_lenet cifar10_resnet18 --topology v5e:2x2
    python scripts/compile_for_tpu.py --all --json scripts/results/compile_for_tpu.json
    python scripts/compile_for_tpu.py --table      only write the table of docs/tpu.md from that report

A TPU's compiler runs on any Linux machine with an x86 processor: `pip install 'jax[tpu]==VERSION'`, with
the version of the jax that is installed. What is compiled is one update as `jaxcv train` makes it:
augmentation, forward and backward pass, the sum over the chips, the optimiser, the moving average and the
metrics. The data need not be there: the shapes of a batch follow from what data set and task say of
themselves. docs/tpu.md explains the columns, and what they leave out.
"""

import argparse
import dataclasses
import importlib
import importlib.util
import json
import os
import pkgutil
import runpy
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from scripts.tpu.programs import CHIPS

ROOT = Path(__file__).parents[1]
REPORT = ROOT / "scripts" / "results" / "compile_for_tpu.json"
PAGE = ROOT / "docs" / "tpu.md"
STRATEGIES = ("shard_map", "pmap")
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    # Else libtpu asks the cloud's metadata server, for minutes, what it runs on,
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    # and lets only one process use its chips, of which there are none.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
HEAD = (
    *("preset", "chips", "batch", "strategy", "compile s", "arguments MiB", "temporaries MiB"),
    *("total MiB", "GFLOP", "GB moved", "loops", "collectives: number, MiB", "roofline ms"),
)
Row = dict[str, Any]


def table_lines(rows: list[Row]) -> list[str]:
    """A Markdown table with a line for each row."""
    return [_line(HEAD), "|---" * len(HEAD) + "|", *map(table_row, rows)]


def table_row(row: Row) -> str:
    """A line of the table; where there are no figures, the reason."""
    first = [f"`{row['preset']}`", row["topology"], f"{row['batch']:,}", row["strategy"]]
    for reason in ("error", "left_out"):
        if reason in row:
            return _line([*first, *["-"] * 8, row[reason].replace("|", "/")])
    if "needs" in row:
        reason = f"does not fit: at least {row['needs'] / 2**30:.2f} GiB of {row['of'] / 2**30:.2f}"
        return _line([*first, f"{row['seconds']:.0f}", *["-"] * 7, reason])
    kinds = sorted(row["collectives"].items())
    return _line(
        [
            *first,
            f"{row['seconds']:.0f}",
            *(_short(row[name] / 2**20) for name in ("arguments", "temporaries", "total")),
            _short(row["flops"] / 1e9),
            _short(row["bytes"] / 1e9),
            str(row["loops"]),
            "; ".join(f"{kind} {n}, {_short(size / 2**20)}" for kind, (n, size) in kinds) or "none",
            _short(row["roofline_ms"]),
        ]
    )


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _short(value: float) -> str:
    """With three digits, or all before the point where there are more."""
    decimals = next((n for n in (0, 1, 2) if value >= 10 ** (2 - n)), 3)
    return f"{value:,.{decimals}f}"


def with_table(text: str, report: Row) -> str:
    """The page with the report's table, and by what it was compiled, between the two comments."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines = [*table_lines(report["rows"]), "", f"Compiled with {versions}."]
    begin, end = "<!-- compile_for_tpu: begin -->", "<!-- compile_for_tpu: end -->"
    before, rest = text.split(begin)
    return "\n".join([before + begin, *lines, end]) + rest.split(end)[1]


def merged(rows: list[Row], row: Row) -> list[Row]:
    """The rows, ordered by preset, with one more or in place of the one of the same conditions."""

    def conditions(row: Row) -> tuple[Any, ...]:
        return row["preset"], row["topology"], -row["batch"], STRATEGIES.index(row["strategy"])

    others = [old for old in rows if conditions(old) != conditions(row)]
    return sorted([*others, row], key=conditions)


def topology_devices(name: str) -> list[Any]:
    """The chips of a topology such as v5e:2x2; exits with one line where they cannot be compiled for."""
    import jax

    if importlib.util.find_spec("libtpu") is None:
        sys.exit(
            "there is no TPU compiler here; install the one that goes with this jax: "
            f"pip install 'jax[tpu]=={jax.__version__}'"
        )
    if name.partition(":")[0] not in CHIPS:
        sys.exit(
            f"topology {name!r} is of no known chip; say one of {', '.join(CHIPS)}, as v5e:2x2"
        )
    from jax.experimental import topologies

    try:
        return list(topologies.get_topology_desc(name, platform="tpu").devices)
    except jax.errors.JaxRuntimeError as error:
        sys.exit(f"the TPU compiler knows no topology {name!r}: {str(error).splitlines()[0]}")


def presets() -> list[str]:
    """Names of the presets of jaxcv."""
    from jaxcv import configs

    return [module.name for module in pkgutil.iter_modules(configs.__path__)]


def load(name: str) -> Any:
    """The experiment of a preset, or of a .py file with a function `experiment()`."""
    if name.endswith(".py"):
        return runpy.run_path(name)["experiment"]()
    if name not in presets():
        sys.exit(f"there is no preset {name!r}; there are {', '.join(presets())}")
    return importlib.import_module(f"jaxcv.configs.{name}").experiment()


def rows_of(
    name: str, experiment: Any, devices: list[Any], options: argparse.Namespace
) -> Iterator[Row]:
    """Compiles a preset by each strategy."""
    from scripts.tpu.described import described
    from scripts.tpu.lowering import lowered_step, measure

    if options.batch_size:
        experiment = dataclasses.replace(experiment, batch_size=options.batch_size)
    conditions = {"preset": Path(name).stem, "topology": options.topology}
    conditions["batch"] = experiment.batch_size
    hosts = len({device.process_index for device in devices})
    for strategy in options.strategy:
        row = {**conditions, "strategy": strategy}
        if strategy == "pmap" and hosts > 1:
            yield {
                **row,
                "left_out": f"each of {hosts} hosts maps a pmap by itself: not one program",
            }
            continue
        try:
            data = described(experiment, options.image_shape and tuple(options.image_shape))
            lowered = lowered_step(dataclasses.replace(experiment, data=data), devices, strategy)
        except ValueError as error:
            yield {**row, "error": str(error)}
        else:
            chip = CHIPS[options.topology.partition(":")[0]]
            yield {**row, **measure(lowered, chip, options.slowest)}


def parse(words: list[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("preset", nargs="*", help="names of presets, or .py files with a function experiment()")
    add("--all", action="store_true", help="every preset")
    add(
        "--topology", default="v5e:2x2", help="chips and how they are connected: v6e:4x4, v5p:2x2x1"
    )
    add("--strategy", nargs="+", choices=STRATEGIES, default=STRATEGIES)
    add("--batch-size", type=int, help="global batch, in place of the preset's")
    add("--image-shape", type=int, nargs=3, metavar=("H", "W", "C"), help="a picture as stored")
    add("--slowest", type=int, default=0, metavar="N", help="list the N slowest instructions")
    add("--json", type=Path, help="report to write; rows are added to one that is there")
    add("--table", action="store_true", help="only write the table of docs/tpu.md")
    options = parser.parse_args(words)
    if bool(options.preset) + options.all + options.table != 1:
        parser.error("give names of presets, or --all, or --table")
    return options


def main(words: list[str]) -> None:
    """Compiles, prints the table row by row, keeps the report; exits with 1 where one does not compile."""
    options = parse(words)
    if options.table:
        PAGE.write_text(with_table(PAGE.read_text(), json.loads(REPORT.read_text())))
        return
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    experiments = {name: load(name) for name in (presets() if options.all else options.preset)}
    devices = topology_devices(options.topology)
    report: Row = {"versions": {}, "rows": []}
    if options.json and options.json.is_file():
        report = json.loads(options.json.read_text())
    report["versions"] = {name: metadata.version(name) for name in ("jax", "jaxlib", "libtpu")}
    print("\n".join(table_lines([])), flush=True)
    failed = False
    for name, experiment in experiments.items():
        for row in rows_of(name, experiment, devices, options):
            print(table_row(row), flush=True)
            report["rows"] = merged(report["rows"], row)
            if options.json:
                options.json.write_text(json.dumps(report, indent=1) + "\n")
            failed |= "error" in row
    sys.exit(int(failed))


if __name__ == "__main__":
    main(sys.argv[1:])
