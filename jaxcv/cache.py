"""Where compiled programs are kept for the next run."""

import os
from pathlib import Path

import jax


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


def enable_compilation_cache() -> None:
    """Keeps compiled programs for the next run, in a directory that only this user can write.

    JAX's own variable JAX_COMPILATION_CACHE_DIR chooses another; empty, it turns the cache off.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        directory = cache_directory("compiled")
    except OSError:
        return  # A home that cannot be written to is no reason not to train.
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
