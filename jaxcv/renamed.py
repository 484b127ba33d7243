"""Names of earlier versions, which programs may still import."""

import importlib
import warnings
from collections.abc import Mapping
from typing import Any


def earlier_name(package: str, name: str, now: Mapping[str, str]) -> Any:
    """What a package's `__getattr__` returns: the thing that had this name earlier, with a warning.

    Args:
        package: whose attribute is asked for.
        name: of the attribute.
        now: by earlier name, the path that it has now.

    Raises:
        AttributeError: for a name that the package never had.
    """
    if name not in now:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    warnings.warn(f"{package}.{name} is now {now[name]}", DeprecationWarning, stacklevel=3)
    module, _, attribute = now[name].rpartition(".")
    return getattr(importlib.import_module(module), attribute)
