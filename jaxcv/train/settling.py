"""What a task takes from elsewhere is settled once, when its run starts, and written into config.json.

A dataclass within a task takes part by a method, nothing to register:

    settled(data, earlier) -> the same with everything in its fields

where `data` is the `TrainingData` and `earlier` the one of its type at its place in the run's
config.json, or None. So a run that goes on, or is evaluated, needs what it came from no more.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, TypeVar

import flax.linen as nn

from jaxcv.train.config_file import ConfigError, from_json
from jaxcv.train.task import Task
from jaxcv.train.training_data import TrainingData

Part = TypeVar("Part")


def settled(part: Part, data: TrainingData, earlier: Any = None) -> Part:
    """A task, or a part of one, with all that is to be settled in it settled.

    Args:
        part: dataclass, tuple of them, or anything else, which stays as it is.
        data: the training records.
        earlier: what stood in its place when the run started; None where nothing did.

    Raises:
        ValueError: from the part that cannot be settled.
    """
    if isinstance(part, tuple):
        olds = earlier if isinstance(earlier, tuple) else ()
        olds = (*olds, *[None] * len(part))
        items = [settled(item, data, old) for item, old in zip(part, olds)]
        changed = any(new is not old for new, old in zip(items, part))
        return tuple(items) if changed else part  # type: ignore[return-value]
    if not dataclasses.is_dataclass(part) or isinstance(part, type | nn.Module):
        return part
    before = earlier if type(earlier) is type(part) else None
    changes = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        new = settled(value, data, getattr(before, field.name, None))
        if new is not value:
            changes[field.name] = new
    whole: Any = dataclasses.replace(part, **changes) if changes else part
    return whole.settled(data, before) if hasattr(whole, "settled") else whole


def earlier_task(workdir: str | Path) -> Task | None:
    """The task in a work directory's config.json; None where there is none that can be read."""
    try:
        return from_json(json.loads((Path(workdir) / "config.json").read_text())["task"])
    except (OSError, ConfigError, ValueError, KeyError, TypeError):
        return None  # What is wrong with the file, `write_config` and `read_config` say.
