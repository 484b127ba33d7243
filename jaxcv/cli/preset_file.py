"""A Python file of a user's own, and what is wrong with it: file, line, and what must be there."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import flax.linen as nn

from jaxcv.data import Dataset
from jaxcv.errors import UsageError, line_in
from jaxcv.train import Experiment, Optimizer, Task

# What must stand in an experiment, whatever else it holds.
_PARTS: dict[str, type] = {
    "data": Dataset,
    "model": nn.Module,
    "task": Task,
    "optimizer": Optimizer,
}


def experiment_of_file(name: str) -> Experiment:
    """What the function `experiment()` of a Python file returns.

    Args:
        name: path of the file.

    Raises:
        UsageError: there is no such file, it cannot be run, or it has no such function; the message
            names file and line.
    """
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"there is no file {name}")
    module = _imported(path)
    function = getattr(module, "experiment", None)
    if not callable(function):
        raise UsageError(
            f"{name} defines no function experiment(); it must have one, which returns a "
            f"jaxcv.train.Experiment{_instead(module)}"
        )
    with _errors_of(path):
        found = function()
    if not isinstance(found, Experiment):
        raise UsageError(
            f"{name}, line {_line_of(function)}: experiment() must return a jaxcv.train.Experiment, but "
            f"it returns {_described(found)}"
        )
    for part, wanted in _PARTS.items():
        value = getattr(found, part)
        if isinstance(value, type) or not isinstance(value, wanted):
            raise UsageError(
                f"{name}, line {_line_of(function)}: {part} of the experiment must be a "
                f"{wanted.__name__}, but it is {_described(value)}"
            )
    return found


def _imported(path: Path) -> ModuleType:
    """The file as a module of its name, so that config.json can name the classes that it defines."""
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) != str(path.absolute()):
        raise UsageError(f"{path} has the name of another Python module; call it something else")
    if "." in path.stem:
        raise UsageError(
            f"{path} cannot be imported, since Python would look for {path.stem.split('.')[0]!r} first; "
            "use no further dot in its name"
        )
    folder = str(path.parent.absolute())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()  # The file may be newer than the last look at its folder.
    with _errors_of(path):
        return importlib.import_module(path.stem)


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Within, what goes wrong is said with the line of the file where it did; --traceback says more."""
    try:
        yield
    except (Exception, SystemExit) as error:
        where, line = str(path), line_in(path, error)
        # With "Did you mean", from Python 3.12 on.
        told = traceback.TracebackException.from_exception(error).format_exception_only()
        what = next(told).strip()
        if isinstance(error, SyntaxError) and error.lineno is not None:
            where, line = error.filename or where, error.lineno
            quoted = f" in: {error.text.strip()}" if error.text else ""
            what = f"{type(error).__name__}: {error.msg}{quoted}"
        where = str(path) if where == str(path.absolute()) else where
        raise UsageError(f"{where}{f', line {line}' if line else ''}: {what}") from error


def _line_of(function: Any) -> int:
    try:
        return inspect.getsourcelines(function)[1]
    except (OSError, TypeError):
        return 1


def _described(value: Any) -> str:
    if value is None:
        return "None; is a return statement missing?"
    if isinstance(value, type):
        return f"the class {value.__name__}; are brackets missing after it?"
    if inspect.isroutine(value):
        return f"the function {value.__name__}; are brackets missing after it?"
    return f"{'an' if type(value).__name__[0] in 'aeiou' else 'a'} {type(value).__name__}"


def _instead(module: ModuleType) -> str:
    """Names that were perhaps meant."""
    if "experiment" in vars(module):
        return f"; its `experiment` is {_described(module.experiment)}, which cannot be called"
    found = [
        name
        for name, value in vars(module).items()
        if isinstance(value, Experiment) or getattr(value, "__module__", None) == module.__name__
    ]
    return f" (it defines {', '.join(found[:5])})" if found else ""
