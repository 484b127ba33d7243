"""`jaxcv list`: presets by task, models and data sets."""

import importlib
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, is_dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import flax.linen as nn
import tyro

from jaxcv import data as data_package
from jaxcv import models
from jaxcv.cli.presets import presets
from jaxcv.data import prepared
from jaxcv.data.tfds import find_prepared

_WIDTH = 80
_BOUND = "\u00a0"  # a blank at which no line is broken


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A preset, as it is listed.

    Attributes:
        name: for `jaxcv train NAME`.
        task: folder of `jaxcv.tasks` that holds its task.
        about: its first sentence.
        data: "ready", "not prepared" (`jaxcv data prepare`), or "bring data": files that are not here.
        accelerators: how many it is made for.
    """

    name: str
    task: str
    about: str
    data: str
    accelerators: int

    @property
    def remark(self) -> str:
        """What stands in the way of training it here, in brackets; "" for nothing."""
        chips = f"{self.accelerators} chips" if self.accelerators > 1 else ""
        words = [word for word in ("" if self.data == "ready" else self.data, chips) if word]
        return f"({', '.join(words)})" if words else ""


def list_(words: list[str]) -> int:
    """`jaxcv list`."""

    @dataclass(frozen=True, kw_only=True)
    class List:
        """List presets by task, models and data sets."""

        json: bool = False
        """Print everything as JSON, for programs."""

    options = tyro.cli(List, args=words, prog="jaxcv list")
    found = sorted(map(_preset, presets()), key=lambda preset: (preset.task, preset.name))
    parts = {
        "models": dict(_documented(models, _takes_images)),
        "data_sets": dict(_documented(data_package, _opens)),
    }
    here = sorted(prepared())
    if options.json:
        print(
            json.dumps({"presets": [asdict(p) for p in found], **parts, "prepared": here}, indent=1)
        )
        return 0
    for task, group in groupby(found, key=lambda preset: preset.task):
        print(f"{task} (jaxcv train NAME):")
        _print_presets(list(group))
    _print_names("models (jaxcv.models)", parts["models"])
    _print_names("data sets (jaxcv.data)", parts["data_sets"])
    _print_names("prepared by TFDS here", here or ["none"])
    return 0


def _preset(name: str) -> Listed:
    module = importlib.import_module(f"jaxcv.configs.{name}")
    experiment = module.experiment()
    return Listed(
        name=name,
        task=type(experiment.task).__module__.split(".")[2],
        about=_first_line(module),
        data=data_state(experiment.data),
        accelerators=getattr(module, "ACCELERATORS", 1),
    )


def data_state(dataset: Any) -> str:
    """Whether the data of a preset are here: "ready", "not prepared" or "bring data"; opens nothing."""
    if hasattr(dataset, "data"):
        return data_state(dataset.data)
    if hasattr(dataset, "data_dir"):
        try:
            find_prepared(dataset.name, dataset.data_dir)
        except ValueError:
            return "not prepared"
    place = getattr(dataset, "root", None) or getattr(dataset, "images", None)
    here = not isinstance(place, str) or Path(place).expanduser().exists()
    return "ready" if here else "bring data"


def _documented(package: Any, shown: Callable[[Any], bool]) -> Iterator[tuple[str, str]]:
    for name in sorted(package.__all__):
        thing = getattr(package, name)
        if shown(thing):
            yield name, _first_line(thing)


def _takes_images(thing: Any) -> bool:
    is_model = isinstance(thing, type) and issubclass(thing, nn.Module)
    return is_model and "images" in inspect.signature(thing.__call__).parameters


def _opens(thing: Any) -> bool:
    return is_dataclass(thing) and hasattr(thing, "open")


def _first_line(thing: Any) -> str:
    return (thing.__doc__ or "").strip().splitlines()[0]


def _print_presets(group: list[Listed]) -> None:
    width = max(len(preset.name) for preset in group)
    for preset in group:
        about = _shortened(preset.about, _WIDTH - width - 5 - len(preset.remark))
        remark = f" {preset.remark.replace(' ', _BOUND)}" if preset.remark else ""  # in one piece
        first, *more = textwrap.wrap(about + remark, _WIDTH - width - 4, break_on_hyphens=False)
        print(f"  {preset.name:<{width}}  {first.replace(_BOUND, ' ')}")
        for line in more:
            print(f"{'':<{width + 4}}{line.replace(_BOUND, ' ')}")


def _shortened(sentence: str, room: int) -> str:
    """As many whole clauses of a sentence as there is room for, and at least the first."""
    ends = [m.start() for m in re.finditer(r"[:,] | that |\.$", sentence)]
    fitting = [end for end in ends if end <= room]
    return sentence[: max(fitting, default=min(ends, default=len(sentence)))]


def _print_names(title: str, names: Iterable[str]) -> None:
    text = textwrap.fill(
        ", ".join(names),
        _WIDTH,
        initial_indent="  ",
        subsequent_indent="  ",
        break_on_hyphens=False,
    )
    print(f"{title}:\n{text}")
