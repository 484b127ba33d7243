"""Names of the presets, and what `jaxcv train --help` says: answered without importing JAX."""

import pkgutil

from jaxcv import configs


def presets() -> list[str]:
    """Names of the presets in `jaxcv.configs`."""
    return [module.name for module in pkgutil.iter_modules(configs.__path__)]


def train_usage() -> str:
    """What `jaxcv train` says without a preset."""
    return "\n".join(
        (
            "usage: jaxcv train PRESET --workdir DIR [--FIELD VALUE ...]\n\npresets:",
            *(f"  {name}" for name in presets()),
            "\n`jaxcv train PRESET --help` lists the fields. A path to a .py file works as well.\n",
        )
    )
