"""What the commands share: presets, the options of a command on a run, the compilation cache."""

import importlib
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxcv.cache import enable_compilation_cache
from jaxcv.cli.preset_file import experiment_of_file
from jaxcv.cli.presets import presets
from jaxcv.errors import nearest
from jaxcv.report.presentation import NoOptions, Presentation, presentation_of
from jaxcv.train import Experiment, Runtime, Which, read_config


def load_preset(name: str) -> Experiment:
    """The experiment of a preset, or of a Python file of your own.

    Args:
        name: a preset's name, or a path ending in .py of a file with a function `experiment()`.

    Raises:
        UsageError: where there is none, or the file cannot be run; it names the line.
    """
    if name.endswith(".py"):
        return experiment_of_file(name)
    module = importlib.import_module(f"jaxcv.configs.{nearest(name, presets(), 'preset')}")
    return module.experiment()


def presentation_at(words: list[str]) -> Presentation:
    """How the task of the run that the first word names is shown; the plain way where none is named.

    It is looked up before the options are parsed, so that a command has those of the run's task and
    of no other.

    Raises:
        ConfigError: where the first word is no work directory of a run.
    """
    if not words or words[0].startswith("-"):
        return Presentation()
    for place, word in enumerate(words[:-1]):
        if word == "--preset":
            load_preset(words[place + 1])  # So that its classes are known.
    return presentation_of(read_config(Path(words[0]) / "config.json").task)


def run_options(
    command: str,
    words: list[str],
    *,
    in_gallery: bool = False,
    task_options: type = NoOptions,
    **fields: Any,
) -> Any:
    """Reads the options that all commands on a work directory share, and `fields` of their own.

    Args:
        command: its name.
        words: the command line after it.
        in_gallery: the first word names a gallery, and --workdir the run; else the first word names
            the run.
        task_options: a dataclass of options of the run's task alone, parsed into `task`.
        **fields: (type, default, help) by name.
    """
    shared = {
        "step": (Which, "last", "which checkpoint: best (by keep.best), last, or a step"),
        "preset": (str | None, None, "a .py file of your own whose classes the run uses"),
    }
    workdir = Path if in_gallery else tyro.conf.Positional[Path]
    required = [("workdir", option(workdir, "work directory of a run"))]
    if in_gallery:
        gallery = option(tyro.conf.Positional[Path], "directory of the gallery")
        required.insert(0, ("gallery", gallery))
    options = make_dataclass(
        command.title(),
        [
            *required,
            *(
                (name, option(kind, text), field(default=default))
                for name, (kind, default, text) in {**fields, **shared}.items()
            ),
            (
                "task",
                Annotated[task_options, tyro.conf.arg(name="")],
                field(default=task_options()),
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


def option(kind: Any, text: str) -> Any:
    """A type with the words that --help shows beside it."""
    return Annotated[kind, tyro.conf.arg(help=text)]
