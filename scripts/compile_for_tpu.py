"""Compiles the training step of presets for TPU chips that are not here, and tells what it costs.

    python scripts/compile_for_tpu.py digits_lenet cifar10_resnet18 --topology v5e:2x2
    python scripts/compile_for_tpu.py --all --json scripts/results/compile_for_tpu.json
    python scripts/compile_for_tpu.py --table          only write the table of docs/tpu.md from that report

A TPU's compiler runs on any Linux machine with an x86 processor: `pip install 'jax[tpu]==VERSION'` with the
version of the jax that is installed. What is compiled is one update as `jaxcv train` makes it: augmentation,
forward and backward pass, the sum over the chips, the optimiser, the moving average and the metrics. Model,
task and optimiser are the preset's. Its data need not be there: where they are not, the shapes of a batch
follow from what the data set and the task say of themselves. Columns and limits are explained in docs/tpu.md.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import importlib
import importlib.util
import json
import math
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "scripts" / "results" / "compile_for_tpu.json"
PAGE = ROOT / "docs" / "tpu.md"
STRATEGIES = ("shard_map", "pmap")
Row = dict[str, Any]


class Chip(NamedTuple):
    """What a chip can do at most."""

    flops: float  # operations a second in bfloat16, which is how XLA multiplies float32 by default
    bandwidth: float  # bytes a second between memory and chip


# Google Cloud's documentation, "Key specifications" of each generation, read in November 2026:
# docs.cloud.google.com/tpu/docs/v4, v5e, v5p and v6e (which also has v5e).
CHIPS = {
    "v4": Chip(275e12, 1228e9),
    "v5e": Chip(197e12, 819e9),
    "v5p": Chip(459e12, 2765e9),
    "v6e": Chip(918e12, 1640e9),
}

# Pictures [H, W, C] as they are stored, of data sets that presets read at their own size: by the name in
# TFDS, or by the class of the data set. InsightFace's record files hold faces aligned to 112x112.
STORED = {
    "cifar10": (32, 32, 3),
    "mnist": (28, 28, 1),
    "fashion_mnist": (28, 28, 1),
    "orl_faces": (112, 92, 1),
    "cityscapes/semantic_segmentation": (1024, 2048, 3),
    "RecordIO": (112, 112, 3),
}
# Where the number of records is not known: no shape depends on it, only when a schedule ends.
EPOCH = 1000

_BITS = {"pred": 8, "c64": 64, "c128": 128}
_ARRAY = re.compile(r"\b(pred|[suf]\d+|bf16|f8\w+|c64|c128)\[([\d,]*)\]")
_COLLECTIVE = re.compile(
    r"= (?P<type>[^=]*?) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|ragged-all-to-all"
    r"|collective-permute|collective-broadcast)(?P<half>-start|-done)?\("
)
_NO_ROOM = re.compile(r"Used ([\d.]+)([GM]) of ([\d.]+)([GM]) hbm")


def roofline_ms(chip: Chip, flops: float, bytes_accessed: float) -> float:
    """The least time for so many operations and bytes: whichever takes longer, the other hidden."""
    return 1e3 * max(flops / chip.flops, bytes_accessed / chip.bandwidth)


def type_bytes(hlo_type: str) -> int:
    """Bytes of an HLO type, an array or a tuple of them, without what a layout pads.

    Example:
        >>> type_bytes("(f32[64,128]{1,0:T(8,128)}, bf16[3]{0}, s32[]{:T(128)})")
        32778
    """
    total = 0
    for name, sizes in _ARRAY.findall(hlo_type):
        bits = _BITS.get(name) or int(re.findall(r"\d+", name)[0])
        total += math.prod(int(size) for size in sizes.split(",") if size) * bits // 8
    return total


def collectives(hlo: str) -> dict[str, list[int]]:
    """{kind: [number, bytes of the results on a chip]} in the text of an optimised program.

    One that is started and awaited later is counted once, where it is done.
    """
    found: dict[str, list[int]] = {}
    for match in _COLLECTIVE.finditer(hlo):
        if match["half"] != "-start":
            kind = found.setdefault(match["kind"], [0, 0])
            kind[0] += 1
            kind[1] += type_bytes(match["type"])
    return found


def loops(hlo: str) -> int:
    """How many loops a program has: XLA counts the operations in each once."""
    return len(re.findall(r"\) while\(|\} while\(", hlo))


def fingerprint(hlo: str) -> str:
    """Equal for equal programs, whatever their instructions are called and wherever they come from."""
    text = re.sub(r", metadata=\{[^}]*\}", "", hlo.partition("\n\n")[2])
    lines = sorted(re.sub(r"%[\w.\-]+|\"id\":\"\d+\"|channel_id=\d+", "%", text).splitlines())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def slowest(hlo: str, count: int) -> list[tuple[float, str]]:
    """The instructions that the compiler expects to take most of the time, with their parts of the sum.

    Those in a loop are counted once, those that overlap each by itself.
    """
    found = []
    for line in hlo.splitlines():
        cycles = re.search(r'"estimated_cycles":"(\d+)"', line)
        if cycles:
            made = re.search(r"= (\S+|\(.*?\)) ([\w-]+)\(", line)
            source = re.search(r'op_name="([^"]*)"', line)
            what = f"{made[2]} {made[1]}" if made else line.strip()[:80]
            found.append((int(cycles[1]), f"{what}  {source[1] if source else ''}"))
    total = sum(cycles for cycles, _ in found) or 1
    return [(cycles / total, what) for cycles, what in sorted(found, reverse=True)[:count]]


@dataclasses.dataclass(frozen=True, eq=False)
class Described:
    """A data set of zeros: every record has the shapes of one that was described."""

    record: dict[str, np.ndarray]
    length: int
    random_rectangle: Any = None
    class_names: tuple[str, ...] = ()

    def open(self, split: str) -> "Described":
        """All splits are alike."""
        return self

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return self.record

    def record_name(self, index: int) -> str:
        """For messages."""
        return f"described record {index}"


def described(experiment: Any, shape: tuple[int, int, int] | None = None) -> Described:
    """Stands in for the data of an experiment.

    Args:
        experiment: whose data set, task and batch size.
        shape: of a picture as the data set gives it; None takes it from the data if they are there, else
            from the data set's own `size` and `channels`, or `STORED`.

    Raises:
        ValueError: where nothing tells the shape.
    """
    length = EPOCH * experiment.batch_size
    if shape is None:
        with contextlib.suppress(ValueError, OSError):
            source = experiment.data.open("train")
            record = {name: np.zeros_like(value) for name, value in source[0].items()}
            rectangle = getattr(source, "random_rectangle", None)
            return Described(record, len(source), rectangle, source.class_names)
    data = experiment.data
    while hasattr(data, "data"):  # a data set of people's wraps another
        data = data.data
    image = np.zeros(shape or _image_shape(data), np.uint8)
    record = {"image": image, **_annotations(experiment.task, data, image.shape[:2])}
    return Described(record, length, getattr(data, "random_rectangle", None))


def _image_shape(data: Any) -> tuple[int, int, int]:
    stored = STORED.get(getattr(data, "name", type(data).__name__))
    size = getattr(data, "size", None) or (stored and stored[:2])
    if size is None:
        raise ValueError(
            f"nothing says how large the pictures of {data} are; give --image-shape HEIGHT WIDTH CHANNELS"
        )
    height, width = (size, size) if isinstance(size, int) else size
    return height, width, data.channels or (stored[2] if stored else 3)


def _annotations(task: Any, data: Any, size: tuple[int, int]) -> dict[str, np.ndarray]:
    if "boxes" in task.annotations:
        count = data.max_boxes
        return {
            "boxes": np.zeros((count, 4), np.float32),
            "classes": np.full(count, -1, np.int32),
            "ignored": np.zeros(count, bool),
            "area": np.zeros(count, np.float32),
            "placement": np.zeros(4, np.float32),
        }
    if task.ignore_label is not None:  # a label for every pixel
        return {"label": np.zeros(size, np.uint8)}
    return {"label": np.zeros((), np.float32 if task.class_count() is None else np.int32)}


@contextlib.contextmanager
def as_on(devices: list[Any]) -> Iterator[None]:
    """Within, JAX finds these devices, so that what asks for the machine is answered as on theirs."""
    import jax

    def found(backend: str | None = None) -> list[Any]:
        return devices

    with (
        mock.patch.object(jax, "devices", found),
        mock.patch.object(jax, "default_backend", lambda: devices[0].platform),
    ):
        yield


class ShapeFeed:
    """Lowers what other feeds run: `call(carry, step)` gives the lowered program and no metrics."""

    def __init__(self, batch: dict[str, Any], device_map: Any) -> None:
        self._batch, self._map = batch, device_map

    def bind(self, function: Any, carry: Any = None, *, out: Any = None, donate: bool = False) -> Any:
        """As `jaxcv.train.feed.StreamFeed` maps it."""
        mapped = self._map.map(function, (carry, 0), out=out, donate=(0,) if donate else ())
        return lambda carried, step: (mapped.lower(carried, self._batch), None)


def lowered_step(experiment: Any, devices: list[Any], strategy: str) -> Any:
    """The lowered training step of an experiment whose data are described, on devices that are not here.

    Raises:
        ValueError: where the experiment does not fit the devices.
    """
    import jax

    from jaxcv.train import Runtime, open_run
    from jaxcv.train.loop import make_advance
    from jaxcv.train.window import Packing

    if strategy == "pmap" and len({device.process_index for device in devices}) > 1:
        raise ValueError("pmap over several hosts is mapped by each host for itself, not compiled whole")
    with as_on(devices):
        run = open_run(experiment, Runtime(strategy=strategy))
        device_map = run.device_map
        shapes = jax.eval_shape(run.create_state)
        state = jax.tree.map(
            lambda sharding, part: jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), part
            ),
            device_map.shardings(run.layout),
            shapes,
        )
        batch = {
            name: jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=device_map.shardings(0))
            for name, value in batch_shapes(experiment, device_map).items()
        }
        lowered, _, _ = make_advance(run, ShapeFeed(batch, device_map), 1, Packing())(state, 0, 1)
        return lowered


def batch_shapes(experiment: Any, device_map: Any) -> dict[str, Any]:
    """The arrays of a global batch [B, ...], as a streamed feed makes them."""
    import jax

    rows, rectangle = device_map.padded(experiment.batch_size), experiment.data.random_rectangle
    record = {name: (value.shape, value.dtype) for name, value in experiment.data.record.items()}
    if rectangle is not None:
        shape, dtype = record["image"]
        record["image"] = (*rectangle.size, shape[-1]), dtype
    record |= {"mask": ((), np.dtype(bool))}
    record |= {name: ((), np.dtype(np.int32)) for name in ("record", "epoch")}
    return {
        name: jax.ShapeDtypeStruct((rows, *shape), dtype) for name, (shape, dtype) in record.items()
    }


def measure(lowered: Any, chip: Chip, show_slowest: int = 0) -> Row:
    """Compiles and tells what the program costs, or that it does not fit into a chip's memory."""
    import jax

    started = time.perf_counter()
    try:
        program = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        room = _NO_ROOM.search(str(error))
        if room is None:
            return {"error": str(error).strip().splitlines()[0][:200]}
        unit = {"G": 2**30, "M": 2**20}
        wanted, there = (float(room[i]) * unit[room[i + 1]] for i in (1, 3))
        return {"seconds": round(time.perf_counter() - started, 1), "needs": wanted, "of": there}
    seconds = round(time.perf_counter() - started, 1)
    hlo, costs, memory = program.as_text(), program.cost_analysis(), program.memory_analysis()
    for part, what in slowest(hlo, show_slowest):
        print(f"    {part:6.1%}  {what}", file=sys.stderr)
    arguments, temporaries = memory.argument_size_in_bytes, memory.temp_size_in_bytes
    kept = memory.output_size_in_bytes - memory.alias_size_in_bytes  # results in memory of their own
    return {
        "seconds": seconds,
        "arguments": arguments,
        "temporaries": temporaries,
        "total": arguments + temporaries + kept + memory.generated_code_size_in_bytes,
        "flops": costs["flops"],
        "bytes": costs["bytes accessed"],
        "loops": loops(hlo),
        "collectives": collectives(hlo),
        "roofline_ms": roofline_ms(chip, costs["flops"], costs["bytes accessed"]),
        "fingerprint": fingerprint(hlo),
    }


HEAD = (
    *("preset", "chips", "batch", "strategy", "compile s", "arguments MiB", "temporaries MiB"),
    *("total MiB", "GFLOP", "GB moved", "loops", "collectives: number, MiB", "roofline ms"),
)


def table_row(row: Row) -> str:
    """A line of the table; a reason in place of the figures where there are none."""
    cells = [f"`{row['preset']}`", row["topology"], f"{row['batch']:,}", row["strategy"]]
    if "error" in row:
        cells += ["-"] * 8 + [row["error"].replace("|", "/")]
    elif "needs" in row:
        wanted, there = row["needs"] / 2**30, row["of"] / 2**30
        reason = f"does not fit: {wanted:.1f} GiB of {there:.2f} GiB"
        cells += [f"{row['seconds']:.0f}", *["-"] * 7, reason]
    else:
        kinds = (f"{k} {n}, {b / 2**20:,.1f}" for k, (n, b) in sorted(row["collectives"].items()))
        cells += [
            f"{row['seconds']:.0f}",
            *(f"{row[name] / 2**20:,.0f}" for name in ("arguments", "temporaries", "total")),
            f"{row['flops'] / 1e9:,.1f}",
            f"{row['bytes'] / 1e9:,.2f}",
            str(row["loops"]),
            "; ".join(kinds) or "none",
            f"{row['roofline_ms']:.2f}",
        ]
    return f"| {' | '.join(cells)} |"


def table_lines(rows: list[Row]) -> list[str]:
    """A Markdown table of rows."""
    head = f"| {' | '.join(HEAD)} |"
    return [head, "|---" * len(HEAD) + "|", *map(table_row, rows)]


def with_table(text: str, report: Row) -> str:
    """The page with the report's table, and with what it was compiled, between the two comments."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines = "\n".join([*table_lines(report["rows"]), "", f"Compiled by {versions}."])
    begin, end = "<!-- compile_for_tpu: begin -->\n", "\n<!-- compile_for_tpu: end -->"
    before, rest = text.split(begin)
    return before + begin + lines + end + rest.split(end)[1]


def merged(rows: list[Row], row: Row) -> list[Row]:
    """The rows with one more, in place of the one of the same preset, chips, batch and strategy."""
    key = ("preset", "topology", "batch", "strategy")
    names = [[old[k] for k in key] for old in rows]
    wanted = [row[k] for k in key]
    if wanted in names:
        rows = rows.copy()
        rows[names.index(wanted)] = row
        return rows
    return sorted([*rows, row], key=lambda r: r["preset"])


def topology_devices(name: str) -> list[Any]:
    """The chips of a topology such as v5e:2x2.

    Raises:
        SystemExit: with one line, where there is no TPU compiler or no such topology.
    """
    import jax

    if importlib.util.find_spec("libtpu") is None:
        sys.exit(
            "there is no TPU compiler here; install the one that goes with this jax: "
            f"pip install 'jax[tpu]=={jax.__version__}'"
        )
    if name.partition(":")[0] not in CHIPS:
        sys.exit(f"topology {name} is of no known chip; known are {', '.join(CHIPS)}, as in v5e:2x2")
    from jax.experimental import topologies

    try:
        return list(topologies.get_topology_desc(name, platform="tpu").devices)
    except jax.errors.JaxRuntimeError as error:
        sys.exit(f"topology {name} is not known to the TPU compiler: {str(error).splitlines()[0]}")


def load(name: str) -> Any:
    """The experiment of a preset; exits with one line where there is none."""
    from jaxcv.presets import presets

    if name not in presets():
        sys.exit(f"there is no preset {name}; there are {', '.join(presets())}")
    return importlib.import_module(f"jaxcv.configs.{name}").experiment()


def compile_preset(name: str, options: argparse.Namespace) -> Iterator[Row]:
    """A row for each strategy."""
    experiment = load(name)
    if options.batch_size:
        experiment = dataclasses.replace(experiment, batch_size=options.batch_size)
    devices = topology_devices(options.topology)
    chip = CHIPS[options.topology.partition(":")[0]]
    for strategy in options.strategy:
        row = {"preset": name, "topology": options.topology, "strategy": strategy}
        row |= {"batch": experiment.batch_size}
        try:
            data = described(experiment, tuple(options.image_shape) if options.image_shape else None)
            lowered = lowered_step(dataclasses.replace(experiment, data=data), devices, strategy)
        except ValueError as error:
            yield {**row, "error": str(error)}
            continue
        yield {**row, **measure(lowered, chip, options.slowest)}


def parse(words: list[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("preset", nargs="*", help="names of presets")
    parser.add_argument("--all", action="store_true", help="every preset")
    parser.add_argument("--topology", default="v5e:2x2", help="chip and their arrangement: v6e:4x4")
    parser.add_argument("--strategy", nargs="+", choices=STRATEGIES, default=STRATEGIES)
    parser.add_argument("--batch-size", type=int, help="global batch in place of the preset's")
    parser.add_argument(
        "--image-shape", type=int, nargs=3, metavar=("H", "W", "C"), help="of a stored picture"
    )
    parser.add_argument("--slowest", type=int, default=0, help="list so many costly instructions")
    parser.add_argument("--json", type=Path, help="report to write, or to add rows to")
    parser.add_argument("--table", action="store_true", help=f"write {PAGE.name} from {REPORT.name}")
    options = parser.parse_args(words)
    if bool(options.preset) + options.all + options.table != 1:
        parser.error("give names of presets, or --all, or --table")
    return options


def main(words: list[str]) -> None:
    """Compiles, prints a table row by row, and keeps the report."""
    options = parse(words)
    if options.table:
        PAGE.write_text(with_table(PAGE.read_text(), json.loads(REPORT.read_text())))
        return
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # else libtpu asks the cloud who it is, for minutes
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    import jax
    import jaxlib

    from jaxcv.presets import presets

    report: Row = {"rows": []}
    if options.json and options.json.is_file():
        report = json.loads(options.json.read_text())
    topology_devices(options.topology)  # before the head of the table, so that an error is one line
    print("\n".join(table_lines([])), flush=True)
    for name in presets() if options.all else options.preset:
        for row in compile_preset(name, options):
            print(table_row(row), flush=True)
            report["rows"] = merged(report["rows"], row)
            report["versions"] = {
                "jax": jax.__version__,
                "jaxlib": jaxlib.__version__,
                "libtpu": importlib.metadata.version("libtpu"),
            }
            if options.json:
                options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
