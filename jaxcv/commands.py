"""The commands of the command line: each takes the words after its name and gives an exit status."""

import importlib
import inspect
import json
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Annotated, Any

import flax.linen as nn
import jax
import tyro

from jaxcv import data as data_package
from jaxcv import models
from jaxcv.command_options import enable_compilation_cache, load_preset, presets, run_options
from jaxcv.data import TFDS, TFDSDetection, contact_sheet, prepare, prepared
from jaxcv.data.tfds import feature_names
from jaxcv.detection_commands import (
    DETECTION_OPTIONS,
    described_detections,
    detected_rows,
    detects,
)
from jaxcv.errors import UsageError, nearest
from jaxcv.face_commands import PAIR_OPTIONS, chosen_variables, evaluate_pairs
from jaxcv.faces.embedding import embeds_faces
from jaxcv.report import report_run
from jaxcv.segmentation_commands import (
    INFERENCE_OPTIONS,
    described_shares,
    segmented_rows,
    segments,
)
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
    options = run_options(
        "evaluate",
        words,
        json=(Path | None, None, "also write the whole summary to this file"),
        **PAIR_OPTIONS,
    )
    run, state = open_workdir(options.workdir, options.runtime, options.step)
    if options.pairs is None:
        results = evaluate_state(make_evaluator(run), state)
        what = f"{len(run.test_source)} test records"
    else:
        results, what = evaluate_pairs(run, state, options)
    print(f"step {int(state.step)}, {what}")
    print_results(results)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


def predict(words: list[str]) -> int:
    """`jaxcv predict DIR IMAGE ...`."""
    images = tyro.conf.Positional[tuple[str, ...]]
    options = run_options(
        "predict",
        words,
        images=(images, (), "image files, folders or globs"),
        output=(Path | None, None, "JSON lines go here; None: DIR/predictions.jsonl"),
        averaged=(bool, False, "predict with the averaged weights"),
        **INFERENCE_OPTIONS,
        **DETECTION_OPTIONS,
    )
    files = find_images(options.images)
    run, state = open_workdir(options.workdir, options.runtime, options.step)
    if embeds_faces(run):
        raise UsageError(
            f"the run in {options.workdir} embeds faces, and embeddings tell who somebody is: they are "
            "not written to a file. Compare two pictures by `jaxcv verify`, or find people by "
            "`jaxcv enroll` and `jaxcv search`"
        )
    variables = chosen_variables(state, options.averaged)
    output = options.output or options.workdir / "predictions.jsonl"
    # Pictures go to `predictions/` beside predictions.jsonl.
    folder = output.with_suffix("") if output.suffix else output.with_name(f"{output.name}_files")
    if not segments(run):
        check_unused(options, INFERENCE_OPTIONS, "segment")
    if not detects(run):
        check_unused(options, DETECTION_OPTIONS, "detect")
    if segments(run):
        rows = segmented_rows(run, variables, files, options, folder)
    elif detects(run):
        rows = detected_rows(run, variables, files, options, folder)
    else:
        rows = predict_files(run, variables, files)
    failed = 0
    width = min(max(map(len, files)), 60)
    with output.open("w") as lines:
        for row in rows:
            lines.write(json.dumps(row) + "\n")
            failed += "error" in row
            print(f"{row['file']:<{width}}  {described(row)}")
    print(f"{len(files) - failed} predictions, {failed} unreadable files: {output}")
    return 2 if failed == len(files) else 0


def report(words: list[str]) -> int:
    """`jaxcv report DIR`."""
    options = run_options("report", words)
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
        source = tfds_of_any_kind(options.name, options.split, options.data_dir).open("train")
    output = options.output or Path(options.name.replace("/", "_").replace(":", "_") + ".png")
    contact_sheet(source, options.rows, options.columns, options.seed).savefig(output)
    print(output)
    return 0


def tfds_of_any_kind(name: str, split: str, data_dir: str | None) -> TFDS:
    """A prepared data set whose training split is `split`: of objects, where it has them, or labels."""
    features = feature_names(name, data_dir)
    if "objects" in features and "label" not in features:
        return TFDSDetection(name=name, train_split=split, data_dir=data_dir, max_boxes=1000)
    return TFDS(name=name, train_split=split, data_dir=data_dir)


def list_(words: list[str]) -> int:
    """`jaxcv list`."""
    if words:
        raise UsageError(f"list takes no options, but got {' '.join(words)}")

    def first_line(thing: Any) -> str:
        return (thing.__doc__ or "").strip().splitlines()[0]

    print("presets (jaxcv train NAME):")
    for name in presets():
        print(f"  {name:<20} {first_line(importlib.import_module(f'jaxcv.configs.{name}'))}")

    def takes_images(thing: Any) -> bool:
        is_model = isinstance(thing, type) and issubclass(thing, nn.Module)
        return is_model and "images" in inspect.signature(thing.__call__).parameters

    def opens(thing: Any) -> bool:
        return is_dataclass(thing) and hasattr(thing, "open")

    for title, package, shown in (
        ("models (jaxcv.models)", models, takes_images),
        ("data sets (jaxcv.data)", data_package, opens),
    ):
        print(f"{title}:")
        for name in sorted(package.__all__):
            thing = getattr(package, name)
            if shown(thing):
                print(f"  {name:<20} {first_line(thing)}")
    print(f"TFDS data sets prepared here: {', '.join(sorted(prepared())) or 'none'}")
    return 0


def check_unused(options: Any, known: dict[str, Any], verb: str) -> None:
    """Raises UsageError where an option of `known` is given to a run that does not do what it is for."""
    for name, (_, default, _) in known.items():
        if getattr(options, name) != default:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} is for runs that {verb}, but this one does not")


def described(row: dict[str, Any]) -> str:
    """The part of a line that says what was predicted."""
    if "error" in row:
        return f"not readable: {row['error']}"
    if "shares" in row:
        return described_shares(row)
    if "detections" in row:
        return described_detections(row)
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
