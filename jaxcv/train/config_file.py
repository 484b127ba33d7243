"""An experiment as JSON: class names and fields. Reading it runs no code but jaxcv's own constructors."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np
from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from jaxcv.atomic import write_text
from jaxcv.errors import UsageError, nearest, one_line
from jaxcv.json_file import JSONFileError, read_json
from jaxcv.train.experiment import Experiment

# Linen gives each module these two fields; they are not settings.
_LINEN_FIELDS = {"parent", "name"}

# Whose classes an experiment holds; nothing else of jaxcv is imported because a file says so.
_PACKAGES = ("data", "image", "losses", "models", "tasks", "train")

# What earlier versions called things, so that their runs can still be read.
_RENAMED_CLASSES = {
    "jaxcv.data.random_rectangle.RandomRectangle": "jaxcv.data.DecodeRandomResizedCrop",
    "jaxcv.models.averaged_views.AveragedViews": "jaxcv.models.TestTimeAugmentation",
}
_RENAMED_FIELDS = {
    "random_rectangle": "random_resized_crop",
    "shifted_share": "shifted_fraction",
}


class ConfigError(ValueError):
    """A configuration file that cannot be read, or that differs from the one wanted."""


def to_json(value: Any) -> Any:
    """Turns dataclasses, Linen modules, tuples and plain values into JSON values.

    Raises:
        ConfigError: for a value that is none of these, such as a function.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        skip = _LINEN_FIELDS if isinstance(value, nn.Module) else set()
        fields = {
            f.name: to_json(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if f.init and f.name not in skip
        }
        return {"class": public_path(type(value)), **fields}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.ndarray):
        # Named, so that other arrays are noticed; too large to be written out.
        digest = hashlib.sha256(value.tobytes()).hexdigest()
        return {"array": f"{value.dtype}{list(value.shape)} sha256 {digest}"}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ConfigError(
        f"{value!r} of type {type(value).__name__} cannot be written to config.json; an experiment "
        "holds dataclasses, Linen modules, tuples, numbers and strings"
    )


def public_path(cls: type) -> str:
    """The path at which jaxcv exports a class, which outlives a move of the file that defines it.

    Example:
        >>> from jaxcv.train import SGD
        >>> public_path(SGD)
        'jaxcv.train.SGD'

    Raises:
        ConfigError: for a class of jaxcv that its package does not export, and so could not be read back.
    """
    package, _, name = cls.__module__.partition(".")
    if package != "jaxcv":
        return f"{cls.__module__}.{cls.__qualname__}"
    package = f"jaxcv.{name.split('.')[0]}"
    if getattr(sys.modules[package], cls.__qualname__, None) is not cls:
        raise ConfigError(
            f"{cls.__module__}.{cls.__qualname__} cannot be written to config.json, since {package} does "
            "not export it"
        )
    return f"{package}.{cls.__qualname__}"


def from_json(value: Any) -> Any:
    """Rebuilds what `to_json` wrote; lists become tuples.

    A class whose fields have changed since an earlier version may have a class method
    `upgrade(fields) -> fields`, which is given the fields as they were written.

    Raises:
        ConfigError: for a class outside jaxcv that is not already imported, an unknown field, or a value
            of another type than the field's.
    """
    if isinstance(value, list):
        return tuple(from_json(item) for item in value)
    if not isinstance(value, dict):
        return value
    if "array" in value:
        raise ConfigError(
            f"config.json only names the data, which were arrays of the program ({value['array']}); "
            "hand the experiment itself to this function"
        )
    cls: Any = _resolve(value.get("class"))
    known = {field.name for field in dataclasses.fields(cls)}
    fields: dict[str, Any] = {
        name if name in known else _RENAMED_FIELDS.get(str(name), str(name)): from_json(item)
        for name, item in value.items()
        if name != "class"
    }
    upgrade = getattr(cls, "upgrade", None)
    try:
        if upgrade is not None:
            fields = upgrade(fields)
        check_types(cls, fields)
        return cls(**fields)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"config.json does not fit {value['class']}: {one_line(error)}") from None


def check_types(cls: type, fields: dict[str, Any]) -> None:
    """Raises TypeError for a value that its field's annotation does not allow, such as "64" for an int."""
    try:
        hints = typing.get_type_hints(cls)
    except NameError:  # An annotation in somebody's own file that only a type checker can resolve.
        return
    for name, value in fields.items():
        hint = hints.get(name, Any)
        try:
            check_type(value, hint, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
        except TypeCheckError as error:
            raise TypeError(f"{name} is {value!r}: {one_line(error)}") from None
        if isinstance(value, bool) and not _allows_bool(hint):  # bool is a subclass of int
            raise TypeError(f"{name} is {value!r}, which is not {hint}")


def _allows_bool(hint: Any) -> bool:
    inner = typing.get_args(hint)
    return hint in (Any, bool, object) or any(_allows_bool(each) for each in inner)


def _resolve(path: Any) -> type:
    """The class that a path names; of jaxcv, one that its package exports, whichever file defines it."""
    module_name, _, class_name = _RENAMED_CLASSES.get(str(path), str(path)).rpartition(".")
    package, _, name = module_name.partition(".")
    if package == "jaxcv":
        name = name.split(".")[0]
        if name not in _PACKAGES:
            raise ConfigError(
                f"config.json names {path}, but an experiment holds classes of jaxcv's packages "
                f"{', '.join(_PACKAGES)} alone"
            )
        module_name = f"jaxcv.{name}"
        module = importlib.import_module(module_name)
    elif module_name in sys.modules:
        module = sys.modules[module_name]
    else:
        raise ConfigError(
            f"config.json names {path}, which is not a class of jaxcv; nothing else is imported "
            "from a file. Call jaxcv from the script that defines it"
        )
    known = {
        name: thing
        for name, thing in vars(module).items()
        if isinstance(thing, type) and dataclasses.is_dataclass(thing)
    }
    try:
        return known[nearest(class_name, known, f"dataclass in {module_name}")]
    except UsageError as error:
        raise ConfigError(f"config.json cannot be read: {error}") from None


def read_config(path: Path) -> Experiment:
    """Reads an experiment that `write_config` wrote.

    Raises:
        ConfigError: where the file is missing, no JSON, or holds something else.
    """
    try:
        experiment = from_json(_stored(path))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; is it the work directory of a run?") from None
    if not isinstance(experiment, Experiment):
        raise ConfigError(f"{path} holds no experiment")
    return experiment


def write_config(path: Path, experiment: Experiment) -> None:
    """Writes the experiment, or makes sure that the file there already says the same.

    Raises:
        ConfigError: where it says something else; every differing field is shown with both values.
    """
    wanted = json.loads(json.dumps(to_json(experiment)))
    if not path.exists():
        write_text(path, json.dumps(wanted, indent=2) + "\n")
        return
    differences = [
        f"{name} was {then} and is now {now}"
        for name, then, now in differences_of(_up_to_date(_stored(path)), wanted)
    ]
    if differences:
        raise ConfigError(
            f"{path.parent} is the work directory of another experiment: "
            + "; ".join(differences)
            + ". Take another --workdir, or the old settings"
        )


def _stored(path: Path) -> Any:
    """The JSON value that a file holds; ConfigError where it is damaged."""
    try:
        return read_json(path)
    except JSONFileError as error:
        raise ConfigError(
            f"{error}. Delete it and train with the settings of this run again: it is written anew, and "
            "the run goes on from its checkpoints"
        ) from None


def _up_to_date(found: Any) -> Any:
    """What this version would have written; as it is, where it cannot be read, part by part."""
    try:
        return json.loads(json.dumps(to_json(from_json(found))))
    except (ConfigError, ValueError):
        if isinstance(found, dict):  # arrays that were data, say, beside a task that can be read
            return {name: _up_to_date(part) for name, part in found.items()}
        return found


def differences_of(first: Any, second: Any, name: str = "") -> Iterator[tuple[str, str, str]]:
    """(name, first value, second value), as JSON, of each field in which two JSON values differ."""
    if isinstance(first, dict) and isinstance(second, dict):
        for key in dict.fromkeys([*first, *second]):
            inner = f"{name}.{key}" if name else key
            yield from differences_of(first.get(key), second.get(key), inner)
    elif first != second:
        yield name, json.dumps(first), json.dumps(second)
