"""The command line: `python -m jaxcv train|evaluate|predict|report|data|list`.

Only what a command needs is imported, so that `--help` answers at once.
"""

import difflib
import importlib
import json
import logging
import os
import pkgutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

if TYPE_CHECKING:
    from jaxcv.train import Experiment

USAGE = """usage: jaxcv COMMAND ...

  train PRESET --workdir DIR [--FIELD VALUE ...]   train, or go on with a run
  evaluate DIR                                     evaluate a checkpoint of a run
  predict DIR IMAGE [IMAGE ...]                    classify image files, folders or globs
  report DIR                                       write DIR/report.html
  data prepare NAME | data show NAME               prepare a TFDS data set, or draw some of it
  list                                             presets, models, data sets

`jaxcv COMMAND --help` lists the options of a command; `jaxcv train PRESET --help` every field of
the preset. --traceback, anywhere, shows where an error came from.
"""


class UsageError(ValueError):
    """A command line that cannot be understood."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the words after the program's name; None takes those of the process.

    Returns:
        The exit status: 0 done, 1 failed, 2 bad input, 130 and 143 interrupted by SIGINT and SIGTERM.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    traceback = "--traceback" in words
    words = [word for word in words if word != "--traceback"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0 if words else 2
    if words[0] == "--version":
        from jaxcv import __version__

        print(__version__)
        return 0
    commands: dict[str, Callable[[list[str]], int]] = {
        "train": train_command,
        "evaluate": evaluate_command,
        "predict": predict_command,
        "report": report_command,
        "data": data_command,
        "list": list_command,
    }
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        command = commands[nearest(words[0], commands, "command")]
        return command(words[1:])
    except (ValueError, OSError) as error:
        if traceback:
            raise
        print(f"jaxcv: {one_line(error)}", file=sys.stderr)
        return 2
    except Exception as error:
        if traceback:
            raise
        if type(error).__name__ == "Interrupted":
            print(f"jaxcv: {error}", file=sys.stderr)
            return 128 + error.signal_number  # type: ignore[attr-defined]
        print(f"jaxcv: {type(error).__name__}: {one_line(error)}", file=sys.stderr)
        return 1


def nearest(word: str, known: Sequence[str] | dict[str, Any], what: str) -> str:
    """Gives `word` if it is known.

    Raises:
        UsageError: otherwise, naming what is nearest to it.
    """
    if word in known:
        return word
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
    raise UsageError(f"there is no {what} {word!r}; {hint}")


def one_line(error: BaseException) -> str:
    """The message of an error without its line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def presets() -> list[str]:
    """Names of the presets in `jaxcv.configs`."""
    from jaxcv import configs

    return [module.name for module in pkgutil.iter_modules(configs.__path__)]


def load_preset(name: str) -> "Experiment":
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
    sys.path.insert(0, str(path.parent.absolute()))
    module = importlib.import_module(path.stem)
    if not callable(getattr(module, "experiment", None)):
        raise UsageError(f"{name} defines no function experiment()")
    return module.experiment()


def parse(kind: Any, words: list[str], program: str, default: Any = None) -> Any:
    """Reads options into a dataclass by tyro; a bad option ends the process with status 2."""
    import tyro

    options = {} if default is None else {"default": default}
    return tyro.cli(kind, args=words, prog=f"jaxcv {program}", **options)


def enable_compilation_cache() -> None:
    """Keeps compiled programs for the next run, in a directory that only this user can write.

    JAX's own variable JAX_COMPILATION_CACHE_DIR chooses another; empty, it turns the cache off.
    """
    import jax

    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    directory = base / "jaxcv" / "compiled"
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return  # A home that cannot be written to is no reason not to train.
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def train_command(words: list[str]) -> int:
    """`jaxcv train PRESET --workdir DIR ...`."""
    if not words or words[0] in ("-h", "--help"):
        print("usage: jaxcv train PRESET --workdir DIR [--FIELD VALUE ...]\n\npresets:")
        print("\n".join(f"  {name}" for name in presets()))
        print("\n`jaxcv train PRESET --help` lists the fields. A path to a .py file works as well.")
        return 0 if words else 2
    preset, words = load_preset(words[0]), words[1:]
    import tyro

    from jaxcv.report import report_run
    from jaxcv.train import Experiment, Runtime, train

    @dataclass(frozen=True, kw_only=True)
    class Train:
        """Train a preset, or go on with the run that the work directory holds."""

        workdir: Path
        """Directory of this run: configuration, metrics, checkpoints, report."""
        experiment: tyro.conf.OmitArgPrefixes[Experiment] = preset
        runtime: tyro.conf.OmitArgPrefixes[Runtime] = Runtime()  # noqa: RUF009

    options = parse(Train, words, "train PRESET")
    enable_compilation_cache()
    results = train(options.experiment, options.workdir, options.runtime)
    print_results(results)
    print(f"report: {report_run(options.workdir, options.runtime)}")
    return 0


def workdir_options(command: str, words: list[str], **fields: Any) -> Any:
    """Reads the options that all commands on a work directory share, and `fields` of their own.

    Args:
        command: its name.
        words: the command line after it.
        **fields: (type, default, help) by name.
    """
    import tyro

    from jaxcv.train import Runtime

    Positional = tyro.conf.Positional  # noqa: N806
    shared = {
        "step": (int | None, None, "which checkpoint; None takes the newest"),
        "preset": (str | None, None, "a .py file of your own whose classes the run uses"),
    }
    described = [
        (name, Annotated[kind, tyro.conf.arg(help=text)], field(default=default))
        for name, (kind, default, text) in {**fields, **shared}.items()
    ]
    options = make_dataclass(
        command.title(),
        [
            ("workdir", Annotated[Positional[Path], tyro.conf.arg(help="work directory of a run")]),
            *described,
            ("runtime", tyro.conf.OmitArgPrefixes[Runtime], field(default=Runtime())),
        ],
        frozen=True,
    )
    parsed = parse(options, words, command)
    if parsed.preset is not None:
        load_preset(parsed.preset)  # So that its classes are known when config.json names them.
    enable_compilation_cache()
    return parsed


def evaluate_command(words: list[str]) -> int:
    """`jaxcv evaluate DIR`."""
    options = workdir_options(
        "evaluate", words, json=(Path | None, None, "also write the whole summary to this file")
    )
    from jaxcv.train import evaluate_state, make_evaluator, open_workdir

    run, state = open_workdir(options.workdir, options.runtime, options.step)
    results = evaluate_state(make_evaluator(run), state)
    print(f"step {int(state.step)}, {len(run.test_source)} test records")
    print_results(results)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


def predict_command(words: list[str]) -> int:
    """`jaxcv predict DIR IMAGE ...`."""
    import tyro

    options = workdir_options(
        "predict",
        words,
        images=(
            tyro.conf.Positional[tuple[str, ...]],
            (),
            "image files, folders or globs",
        ),
        output=(Path | None, None, "JSON lines go here; None: DIR/predictions.jsonl"),
        averaged=(bool, False, "predict with the averaged weights"),
    )
    from jaxcv.train import find_images, open_workdir, predict_files

    files = find_images(options.images)
    if not files:
        raise UsageError("predict needs at least one image file, folder or glob")
    run, state = open_workdir(options.workdir, options.runtime, options.step)
    if options.averaged and state.ema is None:
        raise UsageError("--averaged was asked for, but this run keeps no averaged weights")
    variables = state.ema if options.averaged else state.variables
    output = options.output or options.workdir / "predictions.jsonl"
    failed = 0
    width = min(max(map(len, files)), 60)
    with output.open("w") as lines:
        for row in predict_files(run, variables, files):
            lines.write(json.dumps(row) + "\n")
            failed += "error" in row
            print(f"{row['file']:<{width}}  {described_prediction(row)}")
    print(f"{len(files) - failed} predictions, {failed} unreadable files: {output}")
    return 2 if failed == len(files) else 0


def described_prediction(row: dict[str, Any]) -> str:
    """The part of a line that says what was predicted."""
    if "error" in row:
        return f"not readable: {row['error']}"
    if "probabilities" not in row:
        return f"{row['prediction']:.6g}"
    best = sorted(row["probabilities"].items(), key=lambda item: -item[1])[:3]
    return "  ".join(f"{name} {probability:.3f}" for name, probability in best)


def report_command(words: list[str]) -> int:
    """`jaxcv report DIR`."""
    options = workdir_options("report", words)
    from jaxcv.report import report_run

    print(report_run(options.workdir, options.runtime, options.step))
    return 0


def data_command(words: list[str]) -> int:
    """`jaxcv data prepare NAME` and `jaxcv data show NAME`."""
    from jaxcv.data.command import prepare_command, show_command

    commands = {"prepare": prepare_command, "show": show_command}
    if not words or words[0] in ("-h", "--help"):
        print("usage: jaxcv data prepare NAME [...] | jaxcv data show NAME [...]")
        return 0 if words else 2
    return commands[nearest(words[0], commands, "data command")](words[1:])


def list_command(words: list[str]) -> int:
    """`jaxcv list`."""
    if words:
        raise UsageError(f"list takes no options, but got {' '.join(words)}")
    from jaxcv import data, models

    print("presets (jaxcv train NAME):")
    for name in presets():
        module = importlib.import_module(f"jaxcv.configs.{name}")
        print(f"  {name:<20} {(module.__doc__ or '').strip().splitlines()[0]}")
    for title, package in (("models", models), ("data sets", data)):
        print(f"{title} (jaxcv.{package.__name__.split('.')[-1]}):")
        for name in sorted(package.__all__):
            thing = getattr(package, name)
            if isinstance(thing, type) and (title == "models" or hasattr(thing, "open")):
                print(f"  {name:<20} {(thing.__doc__ or '').strip().splitlines()[0]}")
    prepared = sorted(data.prepared())
    print(f"TFDS data sets prepared here: {', '.join(prepared) or 'none'}")
    return 0


def print_results(results: dict[str, dict[str, Any]]) -> None:
    """Prints the numbers of an evaluation, a line each."""
    from jaxcv.train.evaluation import scalars

    for split, summary in results.items():
        print(f"{split}:")
        for name, value in scalars(summary).items():
            print(f"  {name:<24} {value:.6g}")
