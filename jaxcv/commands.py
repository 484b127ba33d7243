"""The commands of the command line: each takes the words after its name and gives an exit status."""

import importlib
import json
import os
import pkgutil
import sys
from dataclasses import dataclass, field, is_dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

from jaxcv import configs, models
from jaxcv import data as data_package
from jaxcv.data import TFDS, contact_sheet, prepare, prepared
from jaxcv.errors import UsageError, nearest
from jaxcv.report import report_run
from jaxcv.train import (
    Experiment,
    Runtime,
    evaluate_state,
    find_images,
    make_evaluator,
    open_workdir,
    predict_files,
    scalars,
)
from jaxcv.train import train as run_training

Results = dict[str, dict[str, Any]]


def train(words: list[str]) -> int:
    """`jaxcv train PRESET --workdir DIR ...`."""
    if not words or words[0] in ("-h", "--help"):
        print("usage: jaxcv train PRESET --workdir DIR [--FIELD VALUE ...]\n\npresets:")
        print("\n".join(f"  {name}" for name in presets()))
        print("\n`jaxcv train PRESET --help` lists the fields. A path to a .py file works as well.")
        return 0 if words else 2
    preset = load_preset(words[0])

    @dataclass(frozen=True, kw_only=True)
    class Train:
        """Train a preset, or go on with the run that the work directory holds."""

        workdir: Path
        """Directory of this run: configuration, metrics, checkpoints, report."""
        experiment: Annotated[Experiment, tyro.conf.arg(name="")] = preset
        runtime: Annotated[Runtime, tyro.conf.arg(name="")] = Runtime()  # noqa: RUF009

    options = tyro.cli(Train, args=words[1:], prog=f"jaxcv train {words[0]}")
    enable_compilation_cache()
    results = run_training(options.experiment, options.workdir, options.runtime)
    print_results(results)
    page, log = options.workdir / "report.html", options.workdir / "metrics.jsonl"
    if not page.exists() or page.stat().st_mtime < log.stat().st_mtime:
        report_run(options.workdir, options.runtime, results=results, experiment=options.experiment)
    if jax.process_index() == 0:
        print(f"report: {page}")
    return 0


def evaluate(words: list[str]) -> int:
    """`jaxcv evaluate DIR`."""
    options = _workdir_options(
        "evaluate", words, json=(Path | None, None, "also write the whole summary to this file")
    )
    run, state = open_workdir(options.workdir, options.runtime, options.step)
    results = evaluate_state(make_evaluator(run), state)
    print(f"step {int(state.step)}, {len(run.test_source)} test records")
    print_results(results)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


def predict(words: list[str]) -> int:
    """`jaxcv predict DIR IMAGE ...`."""
    images = tyro.conf.Positional[tuple[str, ...]]
    options = _workdir_options(
        "predict",
        words,
        images=(images, (), "image files, folders or globs"),
        output=(Path | None, None, "JSON lines go here; None: DIR/predictions.jsonl"),
        averaged=(bool, False, "predict with the averaged weights"),
    )
    files = find_images(options.images)
    run, state = open_workdir(options.workdir, options.runtime, options.step)
    variables = state.ema if options.averaged else state.variables
    if variables is None:
        raise UsageError("--averaged was asked for, but this run keeps no averaged weights")
    output = options.output or options.workdir / "predictions.jsonl"
    failed = 0
    width = min(max(map(len, files)), 60)
    with output.open("w") as lines:
        for row in predict_files(run, variables, files):
            lines.write(json.dumps(row) + "\n")
            failed += "error" in row
            print(f"{row['file']:<{width}}  {described(row)}")
    print(f"{len(files) - failed} predictions, {failed} unreadable files: {output}")
    return 2 if failed == len(files) else 0


def report(words: list[str]) -> int:
    """`jaxcv report DIR`."""
    options = _workdir_options("report", words)
    print(report_run(options.workdir, options.runtime, options.step))
    return 0


def data(words: list[str]) -> int:
    """`jaxcv data prepare NAME` and `jaxcv data show NAME`."""
    commands = {"prepare": data_prepare, "show": data_show}
    if not words or words[0] in ("-h", "--help"):
        print("usage: jaxcv data prepare NAME [...] | jaxcv data show NAME [...]")
        return 0 if words else 2
    return commands[nearest(words[0], commands, "data command")](words[1:])


def data_prepare(words: list[str]) -> int:
    """`jaxcv data prepare NAME`."""

    @dataclass(frozen=True, kw_only=True)
    class Prepare:
        """Prepare a TFDS data set as array_record."""

        name: tyro.conf.Positional[str]
        """Name of the data set, with a version if need be: cifar10, cifar10:3.0.2."""
        data_dir: str | None = None
        """Where prepared data sets go; None: $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
        raw_dir: str | None = None
        """A folder that holds the raw files; None looks in TFDS's download folders."""
        download: bool = True
        """Whether raw files that are found nowhere may be downloaded."""

    options = tyro.cli(Prepare, args=words, prog="jaxcv data prepare")
    where = prepare(
        options.name,
        data_dir=options.data_dir,
        raw_dir=options.raw_dir,
        download=options.download,
    )
    print(where)
    return 0


def data_show(words: list[str]) -> int:
    """`jaxcv data show NAME`."""

    @dataclass(frozen=True, kw_only=True)
    class Show:
        """Draw some records of a data set, each under the name of its class."""

        name: tyro.conf.Positional[str]
        """A TFDS name, or a preset, whose data set is then drawn."""
        data_dir: str | None = None
        """Where prepared data sets are; None: $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
        split: str = "train"
        """Which split, TFDS slices included; of a preset, train or test."""
        rows: int = 5
        columns: int = 10
        seed: int = 0
        """Another seed chooses other records."""
        output: Path | None = None
        """The picture; None: NAME.png here."""

    options = tyro.cli(Show, args=words, prog="jaxcv data show")
    if options.name in presets():
        source = load_preset(options.name).data.open("test" if options.split == "test" else "train")
    else:
        dataset = TFDS(name=options.name, train_split=options.split, data_dir=options.data_dir)
        source = dataset.open("train")
    output = options.output or Path(options.name.replace("/", "_").replace(":", "_") + ".png")
    contact_sheet(source, options.rows, options.columns, options.seed).savefig(output)
    print(output)
    return 0


def list_(words: list[str]) -> int:
    """`jaxcv list`."""
    if words:
        raise UsageError(f"list takes no options, but got {' '.join(words)}")

    def first_line(thing: Any) -> str:
        return (thing.__doc__ or "").strip().splitlines()[0]

    print("presets (jaxcv train NAME):")
    for name in presets():
        print(f"  {name:<20} {first_line(importlib.import_module(f'jaxcv.configs.{name}'))}")
    for title, package, attribute in (
        ("models (jaxcv.models)", models, "num_classes"),
        ("data sets (jaxcv.data)", data_package, "open"),
    ):
        print(f"{title}:")
        for name in sorted(package.__all__):
            thing = getattr(package, name)
            if is_dataclass(thing) and hasattr(thing, attribute):
                print(f"  {name:<20} {first_line(thing)}")
    print(f"TFDS data sets prepared here: {', '.join(sorted(prepared())) or 'none'}")
    return 0


def presets() -> list[str]:
    """Names of the presets in `jaxcv.configs`."""
    return [module.name for module in pkgutil.iter_modules(configs.__path__)]


def load_preset(name: str) -> Experiment:
    """Gives the experiment of a preset, or of a Python file of your own.

    Args:
        name: a preset's name, or a path ending in .py of a file with a function `experiment()`.

    Raises:
        UsageError: where there is none.
    """
    if not name.endswith(".py"):
        module = importlib.import_module(f"jaxcv.configs.{nearest(name, presets(), 'preset')}")
        return module.experiment()
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"there is no file {name}")
    # As a module of that name, so that config.json can name the classes that it defines.
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) != str(path.absolute()):
        raise UsageError(f"{name} has the name of another Python module; call it something else")
    sys.path.insert(0, str(path.parent.absolute()))
    module = importlib.import_module(path.stem)
    if not callable(getattr(module, "experiment", None)):
        raise UsageError(f"{name} defines no function experiment()")
    return module.experiment()


def enable_compilation_cache() -> None:
    """Keeps compiled programs for the next run, in a directory that only this user can write.

    JAX's own variable JAX_COMPILATION_CACHE_DIR chooses another; empty, it turns the cache off.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    directory = base / "jaxcv" / "compiled"
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return  # A home that cannot be written to is no reason not to train.
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _workdir_options(command: str, words: list[str], **fields: Any) -> Any:
    """Reads the options that all commands on a work directory share, and `fields` of their own.

    Args:
        command: its name.
        words: the command line after it.
        **fields: (type, default, help) by name.
    """
    shared = {
        "step": (int | None, None, "which checkpoint; None takes the newest"),
        "preset": (str | None, None, "a .py file of your own whose classes the run uses"),
    }
    options = make_dataclass(
        command.title(),
        [
            ("workdir", _option(tyro.conf.Positional[Path], "work directory of a run")),
            *(
                (name, _option(kind, text), field(default=default))
                for name, (kind, default, text) in {**fields, **shared}.items()
            ),
            ("runtime", Annotated[Runtime, tyro.conf.arg(name="")], field(default=Runtime())),
        ],
        frozen=True,
    )
    parsed: Any = tyro.cli(options, args=words, prog=f"jaxcv {command}", description="")
    if parsed.preset is not None:
        load_preset(parsed.preset)  # So that its classes are known when config.json names them.
    enable_compilation_cache()
    return parsed


def _option(kind: Any, text: str) -> Any:
    return Annotated[kind, tyro.conf.arg(help=text)]


def described(row: dict[str, Any]) -> str:
    """The part of a line that says what was predicted."""
    if "error" in row:
        return f"not readable: {row['error']}"
    if "probabilities" not in row:
        return f"{row['prediction']:.6g}"
    best = sorted(row["probabilities"].items(), key=lambda item: -item[1])[:3]
    return "  ".join(f"{name} {probability:.3f}" for name, probability in best)


def print_results(results: Results) -> None:
    """Prints the numbers of an evaluation, a line each; in the first of several processes."""
    if jax.process_index() > 0:
        return
    for split, summary in results.items():
        print(f"{split}:")
        for name, value in scalars(summary).items():
            print(f"  {name:<28} {value:.6g}")
