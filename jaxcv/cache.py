"""Where compiled programs are kept for the next run."""

import os
from pathlib import Path


def cache_directory(name: str) -> Path:
    """Gives a directory in the user's cache, made if need be, that only this user can write.

    It lies in `$XDG_CACHE_HOME`, or `~/.cache`.

    Raises:
        OSError: where it cannot be made.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    directory = base / "jaxcv" / name
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return directory
