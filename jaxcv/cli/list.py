"""`jaxcv list`: presets, models and data sets."""

import importlib
import inspect
from dataclasses import is_dataclass
from typing import Any

import flax.linen as nn

from jaxcv import data as data_package
from jaxcv import models
from jaxcv.cli.presets import presets
from jaxcv.data import prepared
from jaxcv.errors import UsageError


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
